"""Item 13 as pure functions: answers to empty questions, and what processes share, in; findings out."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from labcheck.checks import item_13_limits as limits
from labcheck.checks.model import Target
from labcheck.external.model import Counted
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes
from labcheck.facts.stores import Store, shared_stores
from labcheck.result import Result
from labcheck.verdict import Finding
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")
TOLD = {"ratelimit-policy": '"chat";q=10;w=60', "ratelimit": '"chat";r=9;t=60'}
REFUSAL = TOLD | {"retry-after": "42"}


def counted(status: int | None = 401, error: str = "", forged: bool = False, **fields: str) -> Counted:
    fields_of_answer = {name.replace("_", "-"): text for name, text in fields.items()}
    return Counted("198.51.100.10", status, fields_of_answer, error, forged)


# ---- without asking ----------------------------------------------------------------------------


def test_rate_limit_with_a_refusal_in_the_logs_passes_and_without_one_is_left_to_the_exercise() -> None:
    (refused,) = limits.requests_were_refused({"/api/chat": 3, "/other": 9}, target=TARGET)
    assert refused.verdict.value == "PASS" and refused.detail == "3 in its logs"
    for none in ({}, {"/other": 9}):
        (finding,) = limits.requests_were_refused(none, target=TARGET)
        assert finding.verdict.value == "UNKNOWN" and finding.until_exercised


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (counted(None, "refused"), "FAIL", "cannot be asked over https: refused"),
        (counted(404), "UNKNOWN", "no path that takes questions"),
        (counted(405), "UNKNOWN", "no path that takes questions"),
    ],
)
def test_rate_limit_is_not_judged_where_the_first_question_is_not_taken(
    answer: Counted, expected: str, says: str
) -> None:
    (finding,) = limits.how_far_it_goes((answer,), TARGET)
    assert finding.verdict.value == expected and says in finding.observed


# ---- what the processes share ------------------------------------------------------------------

KNOWN = Accounts((Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),), {})
LINE = "/home/aiapp/app/.venv/bin/python uvicorn lab_app.main:app --port"


def process(number: int) -> Process:
    line = f"{LINE} {8000 + number}"
    return Process(800 + number, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, line, False)


def socket(number: int) -> Socket:
    return Socket("tcp", "127.0.0.1", 8000 + number, "uvicorn", (800 + number,))


def store(number: int, database: str = "0", connected: bool | None = True) -> Store:
    return Store(800 + number, "REDIS_URL", "127.0.0.1", 6379, database, connected)


REDIS = Socket("tcp", "127.0.0.1", 6379, "redis-server", (600,))
THREE = Processes(tuple(process(number) for number in range(3)))
SOCKETS = (*(socket(number) for number in range(3)), REDIS)


def together(
    *stores: Store, running: Processes = THREE, sockets: tuple[Socket, ...] = SOCKETS
) -> list[Finding]:
    return list(limits.the_processes_count_together(stores, running, sockets, KNOWN, target=TARGET))


def test_rate_limit_processes_that_are_connected_to_the_same_store_pass() -> None:
    (finding,) = together(store(0), store(1), store(2))
    assert finding.verdict.value == "PASS"
    assert finding.observed == "3 processes are connected to the same store, localhost:6379/0"


@pytest.mark.parametrize(
    ("stores", "expected", "says"),
    [
        ((), "FAIL", "on port 8000 has no store"),
        ((store(0), store(1)), "FAIL", "on port 8002 has no store"),
        ((store(0), store(1), store(2, "1")), "FAIL", "do not share a store"),
        ((store(0), store(1), store(2, connected=False)), "UNKNOWN", "on port 8002 has no connection"),
        ((store(0), store(1), store(2, connected=None)), "UNKNOWN", "on port 8002 has no connection"),
    ],
)
def test_rate_limit_process_that_counts_for_itself_is_named(
    stores: tuple[Store, ...], expected: str, says: str
) -> None:
    findings = together(*stores)
    assert verdict(findings) == expected and says in findings[0].observed


def test_rate_limit_store_that_is_not_there_fails() -> None:
    stores = [store(number, connected=False) for number in range(3)]
    findings = together(*stores, sockets=SOCKETS[:3])
    assert verdict(findings) == "FAIL" and "no program listens at 127.0.0.1:6379" in findings[0].observed
    remote = [replace(one, host="10.0.0.7") for one in stores]
    assert verdict(together(*remote, sockets=SOCKETS[:3])) == "UNKNOWN"


def test_rate_limit_needs_no_store_for_one_process_alone_and_fails_for_none() -> None:
    assert verdict(together(running=Processes((process(0),)), sockets=(socket(0),))) == "PASS"
    assert verdict(together(running=Processes(()), sockets=())) == "FAIL"


def test_supervisor_s_own_socket_is_no_store_of_the_programs_that_it_starts() -> None:
    variables = {
        "SUPERVISOR_SERVER_URL": "unix:///var/run/supervisor.sock",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    program = subprocess.Popen(["sleep", "60"], env=os.environ | variables)
    try:
        completed = subprocess.run(["bash", "-c", shared_stores.command], capture_output=True, text=True)
    finally:
        program.kill()
        program.wait()
    stores = shared_stores.parse(Result(completed.stdout, completed.stderr, completed.returncode))
    assert {one.variable for one in stores if one.pid == program.pid} == {"REDIS_URL"}


# ---- exercise ----------------------------------------------------------------------------------


def answers_until_refused(
    number: int, status: int = 401, forged: int | None = None, **fields: str
) -> list[Counted]:
    """So many answers, then a refusal and what a forged address got, if there was one."""
    plain = [counted(status, **fields)] * number
    if forged is None:
        return plain
    last = fields | {"retry_after": "42"}
    return [*plain, counted(429, **last), counted(forged, forged=True, **last)]


@pytest.mark.parametrize(
    ("answers", "expected", "says"),
    [
        (
            answers_until_refused(10, forged=429, **TOLD),
            "PASS",
            "after 10 requests without a key, the next one is refused",
        ),
        (
            answers_until_refused(9, forged=429, **TOLD),
            "PASS",
            "after 10 requests",
        ),  # the read-only check was the first of them
        (answers_until_refused(10, forged=429), "PASS", "after 10 requests"),
        (answers_until_refused(10, forged=401, **TOLD), "FAIL", "let in again with a forged X-Forwarded-For"),
        (
            answers_until_refused(11, **TOLD),
            "FAIL",
            "11 requests to /api/chat without a key (status 401), and none",
        ),
        (answers_until_refused(11), "FAIL", "and none was refused"),
        (answers_until_refused(11, 200), "FAIL", "and none was refused"),
        (answers_until_refused(11, 422, **TOLD), "FAIL", "and none was refused"),
        (
            answers_until_refused(11, 422),
            "UNKNOWN",
            "whether those are counted that get an answer is not known",
        ),
        (answers_until_refused(1, ratelimit_policy="1000;w=60"), "UNKNOWN", "higher than what is sent here"),
        (
            [*answers_until_refused(3, **TOLD), counted(None, "no answer")],
            "UNKNOWN",
            "stopped answering: no answer",
        ),
    ],
)
def test_rate_limit_has_to_refuse_one_client_and_its_forged_address(
    answers: list[Counted], expected: str, says: str
) -> None:
    findings = list(limits.how_far_it_goes(answers, TARGET))
    assert verdict(findings) == expected, findings
    assert any(says in finding.observed for finding in findings if finding.verdict.value == expected)


def test_rate_limit_refusal_without_a_time_to_come_back_fails() -> None:
    answers = [counted(401), counted(429), counted(429, forged=True)]
    (refusal, forged) = limits.how_far_it_goes(answers, TARGET)
    assert refusal.verdict.value == "FAIL" and "when to come back" in refusal.observed
    assert forged.verdict.value == "PASS"


def test_rate_limit_finding_names_the_count_that_was_used_and_not_the_key() -> None:
    with_key = replace(TARGET, chat_key="the-key-of-labcheck")
    findings = list(limits.how_far_it_goes(answers_until_refused(10, forged=429), with_key))
    assert "with the key from labcheck.toml" in findings[0].observed
    assert "the-key-of-labcheck" not in str(findings)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (counted(), "PASS"),
        (counted(422), "PASS"),
        (counted(429), "FAIL"),
        (counted(None, "refused"), "UNKNOWN"),
    ],
)
def test_rate_limit_that_refuses_another_client_together_with_the_first_fails(
    answer: Counted, expected: str
) -> None:
    assert limits.another_client(answer).verdict.value == expected
