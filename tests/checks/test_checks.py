"""The checks as pure functions: values in, findings out."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from labcheck import checklist
from labcheck.checks import item_07_account as account
from labcheck.checks import item_08_secrets as secrets
from labcheck.checks import item_09_supervisor as watch
from labcheck.checks import item_12_ssh as ssh
from labcheck.checks import item_13_limits as limits
from labcheck.checks.model import Criterion, Target
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes, Unit, parse_processes
from labcheck.facts.supervisor import Program, ProgramFile, Supervisor
from labcheck.result import Result
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")


# Those that no chapter teaches yet are judged by unit tests alone.
ITEMS = {item.number: item for item in (*checklist.ITEMS, secrets.ITEM, ssh.ITEM, limits.ITEM)}


@pytest.mark.parametrize(
    "criterion",
    [criterion for item in ITEMS.values() for criterion in item.criteria],
    ids=lambda criterion: criterion.name,
)
def test_a_criterion_asks_for_what_it_judges_by(criterion: Criterion) -> None:
    wanted = set(inspect.signature(criterion.judge).parameters) - {"target"}
    assert set(criterion.needs) == wanted


def test_an_item_has_the_place_on_the_checklist_that_was_kept_for_it() -> None:
    for item in checklist.ITEMS:
        built = ITEMS[item.number]
        assert (built.title, built.short) == (item.title, item.short)
        assert (built.chapter, built.section) == (item.chapter, item.section)


# ---- 7, 9 --------------------------------------------------------------------------------------

INIT = Process(1, 0, "systemd", frozenset({0}), frozenset({0}), 0xFF, "/sbin/init", False)
SUPERVISORD = Process(700, 1, "supervisord", frozenset({0}), frozenset({0}), 0xFF, "supervisord -n", False)
LINE = "/home/aiapp/app/.venv/bin/python /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --port 8000"
WORKER = Process(800, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE, False)
RUNNING = Processes((INIT, SUPERVISORD, WORKER))
SOCKETS = (Socket("tcp", "127.0.0.1", 8000, "uvicorn", (800,)),)
KNOWN = Accounts(
    (
        Account("root", 0, frozenset({"root"}), "/root", "/bin/bash"),
        Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),
    ),
    {0: "root", 1001: "aiapp", 998: "docker"},
)
BARE = Accounts(KNOWN.all[:1], KNOWN.group_ids)


def with_worker(**changes: object) -> Processes:
    return Processes((INIT, SUPERVISORD, replace(WORKER, **changes)))  # type: ignore[arg-type]


def with_second(**changes: object) -> Processes:
    second = replace(WORKER, pid=900, **changes)  # type: ignore[arg-type]
    return Processes((*RUNNING.all, second))


def test_a_server_without_the_application_fails() -> None:
    nobody = Processes((INIT,))
    assert verdict(account.it_runs_under_its_own_account(nobody, (), BARE, target=TARGET)) == "FAIL"
    assert (
        verdict(watch.its_programs_run(Supervisor(False, "", ()), nobody, (), BARE, target=TARGET)) == "FAIL"
    )


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (RUNNING, "PASS"),
        (with_worker(uids=frozenset({0})), "FAIL"),
        (with_second(uids=frozenset({0}), parent=1), "FAIL"),
        (with_second(uids=frozenset({0}), parent=1, contained=True), "PASS"),
        (with_second(uids=frozenset({0}), parent=1, name="sudo", arguments=f"sudo -u aiapp {LINE}"), "PASS"),
    ],
)
def test_no_process_of_the_application_is_root_s(running: Processes, expected: str) -> None:
    assert verdict(account.it_runs_under_its_own_account(running, SOCKETS, KNOWN, target=TARGET)) == expected


def test_a_group_that_the_running_process_alone_has_fails() -> None:
    running = with_worker(groups=frozenset({1001, 998}))
    (finding,) = account.it_is_in_no_group_that_is_root(running, SOCKETS, KNOWN, target=TARGET)
    assert finding.verdict.value == "FAIL" and "docker" in finding.saw


def test_a_rule_of_sudo_fails_and_is_shown() -> None:
    rules = {"aiapp": ("(root) NOPASSWD: /usr/bin/systemctl",)}
    (finding,) = account.it_may_not_use_sudo(RUNNING, SOCKETS, KNOWN, rules, target=TARGET)
    assert finding.verdict.value == "FAIL" and "systemctl" in finding.saw


def test_a_capability_fails() -> None:
    running = with_worker(capabilities=0x400)
    assert verdict(account.it_has_no_capabilities(running, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


@pytest.mark.parametrize(("state", "expected"), [("locked", "PASS"), ("set", "FAIL"), ("empty", "FAIL")])
def test_only_a_locked_password_passes(state: str, expected: str) -> None:
    states = {"aiapp": state}
    assert (
        verdict(account.nobody_logs_in_by_password(RUNNING, SOCKETS, KNOWN, states, target=TARGET))
        == expected
    )


PROGRAM = Program("aiapp", "aiapp-8000", "RUNNING", 800, True, True, "pid 800, uptime 0:00:10")
LOADED = Supervisor(True, "RUNNING", (PROGRAM,))


@pytest.mark.parametrize(
    "state", ["STOPPED", "STARTING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN"]
)
def test_every_state_but_running_fails(state: str) -> None:
    loaded = Supervisor(True, "RUNNING", (replace(PROGRAM, state=state),))
    assert verdict(watch.its_programs_run(loaded, RUNNING, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


def test_a_worker_beside_supervisor_fails() -> None:
    assert verdict(watch.nothing_runs_beside_it(LOADED, RUNNING, SOCKETS, KNOWN, target=TARGET)) == "PASS"
    beside = with_second(parent=1)
    assert verdict(watch.nothing_runs_beside_it(LOADED, beside, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("0::/system.slice/web.service", "web.service"),
        ("1:name=systemd:/system.slice/web.service/worker", "web.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("4:memory:/system.slice/web.service", ""),
    ],
)
def test_the_service_around_a_process_is_known(line: str, unit: str) -> None:
    fields = ["Name", "PPid", "Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapAmb", "NSpid"]
    status = "\n".join(f"/proc/1/status:{name}:\t0" for name in fields)
    text = f"== status\n{status}\n== units\n/proc/1/cgroup:{line}\n== arguments\n1 init\n== end\n"
    (process,) = parse_processes(Result(text, "", 0)).all
    assert process.unit == unit


def test_a_service_of_systemd_is_not_told_to_be_supervisors() -> None:
    running = with_second(parent=1, unit="web.service")
    for loaded in (Supervisor(False, "", ()), Supervisor(True, "RUNNING", ())):
        (finding,) = watch.its_programs_run(loaded, running, SOCKETS, KNOWN, target=TARGET)
        assert finding.next == "systemd runs it (web.service), and this check knows Supervisor alone"
    (finding,) = watch.nothing_runs_beside_it(LOADED, running, SOCKETS, KNOWN, target=TARGET)
    assert finding.saw.endswith("is no child of Supervisor, but of systemd's web.service")
    assert finding.next == "let one of the two run it, systemd or Supervisor"


@pytest.mark.parametrize(
    ("file", "program", "expected"),
    [
        (ProgramFile("true", True), PROGRAM, "PASS"),
        (ProgramFile("unexpected", True), PROGRAM, "PASS"),
        (ProgramFile("false", True), PROGRAM, "FAIL"),
        (ProgramFile("true", False), PROGRAM, "FAIL"),
        (ProgramFile("true", True), replace(PROGRAM, kills_group=False), "FAIL"),
        (ProgramFile("true", True), replace(PROGRAM, autostart=False), "FAIL"),
    ],
)
def test_restart_and_stop_are_set(file: ProgramFile, program: Program, expected: str) -> None:
    loaded = Supervisor(True, "RUNNING", (program,))
    assert verdict(watch.it_restarts_and_stops_whole(loaded, {"aiapp-8000": file}, target=TARGET)) == expected


def test_supervisor_must_start_at_boot() -> None:
    for state, expected in (("enabled", "PASS"), ("disabled", "FAIL"), ("masked", "FAIL")):
        units = {"supervisor": Unit("supervisor", True, True, state, 700)}
        assert verdict(watch.it_starts_at_boot(units)) == expected
