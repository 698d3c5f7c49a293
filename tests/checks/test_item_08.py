"""Item 8 as pure functions: which process holds which secrets, and where else they are, in; findings out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcheck.checks import item_08_secrets as item
from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes
from labcheck.facts.secrets import Holder, Place, SecretFile, Secrets
from labcheck.verdict import Finding
from tests.checks.findings import text_of, verdict

TARGET = Target(host="server", domain="app.lab.example")
PATH = "/home/aiapp/app/.env"
KEY, URL = 0, 1
NAMED = {"OPENAI_API_KEY": KEY, "DATABASE_URL": URL}
HOLDER = Holder(800, "aiapp", "uvicorn", PATH, NAMED)
FILE = SecretFile(PATH, 0o600, "aiapp", ("aiapp",), False, {"/home/aiapp": ("aiapp",)}, NAMED, frozenset())
FOUND = Secrets((HOLDER,), frozenset(), (FILE,), (), frozenset(), (), (), (), {"files": 300, "objects": 40})
KNOWN = Accounts((Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),), {})
LINE = "/home/aiapp/app/.venv/bin/python uvicorn lab_app.main:app --port 8000"
RUNNING = Processes((Process(800, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE, False),))
SOCKETS = (Socket("tcp", "127.0.0.1", 8000, "uvicorn", (800,)),)


def judge(criterion: object, observed: Secrets, running: Processes = RUNNING) -> list[Finding]:
    assert callable(criterion)
    return list(criterion(observed, running, SOCKETS, KNOWN, target=TARGET))


def environment(observed: Secrets, running: Processes = RUNNING) -> list[Finding]:
    return judge(item.they_come_from_the_environment, observed, running)


def file(**changes: object) -> list[Finding]:
    changed = replace(FOUND, files=(replace(FILE, **changes),))  # type: ignore[arg-type]
    return judge(item.their_file_is_the_account_s_alone, changed)


def elsewhere(*places: Place, **changes: object) -> list[Finding]:
    return judge(item.they_are_nowhere_else, replace(FOUND, places=places, **changes))  # type: ignore[arg-type]


# ---- in the environment ------------------------------------------------------------------------


def test_secrets_in_the_environment_of_the_process_pass_and_are_named() -> None:
    (finding,) = environment(FOUND)
    assert finding.verdict.value == "PASS"
    assert finding.observed == "DATABASE_URL, OPENAI_API_KEY in the environment of what runs"


@pytest.mark.parametrize(
    ("holders", "files", "says"),
    [
        ((), (), "has no secret in its environment"),
        (
            (replace(HOLDER, secrets={}),),
            (FILE,),
            f"has no OPENAI_API_KEY in its environment, and {PATH} has",
        ),
        ((replace(HOLDER, secrets={"DATABASE_URL": URL}),), (FILE,), "has no OPENAI_API_KEY"),
        (
            (replace(HOLDER, secrets=NAMED | {"OPENAI_API_KEY": 7}),),
            (FILE,),
            "has another OPENAI_API_KEY than",
        ),
    ],
)
def test_process_without_the_file_s_secrets_in_its_environment_fails(
    holders: tuple[Holder, ...], files: tuple[SecretFile, ...], says: str
) -> None:
    findings = environment(replace(FOUND, holders=holders, files=files))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_secret_that_only_a_shell_understands_is_not_compared() -> None:
    odd = replace(FILE, odd=frozenset({"OPENAI_API_KEY"}), secrets=NAMED | {"OPENAI_API_KEY": 7})
    assert verdict(environment(replace(FOUND, files=(odd,)))) == "PASS"


def test_environment_is_enough_where_there_is_no_file() -> None:
    secrets = replace(FOUND, holders=(replace(HOLDER, file=""),), files=())
    assert verdict(environment(secrets)) == "PASS"
    assert not judge(item.their_file_is_the_account_s_alone, secrets)


def test_application_that_does_not_run_fails_and_one_that_is_hidden_is_unreadable() -> None:
    assert verdict(environment(FOUND, Processes(()))) == "FAIL"
    with pytest.raises(Unreadable, match="also to root"):
        environment(replace(FOUND, hidden=frozenset({800})))


# ---- their file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": 0o644}, "is open to every account (mode 0644)"),
        ({"mode": 0o602}, "is open to every account (mode 0602)"),
        ({"mode": 0o640, "group": ("aiapp", "vagrant")}, "open to a group with vagrant in it (mode 0640)"),
        ({"owner": "vagrant"}, "belongs to vagrant"),
        ({"access_list": True}, "has an access list"),
        ({"writers": {"/srv": ("everybody",)}}, "every account may change what is in /srv"),
        ({"writers": {"/home/aiapp": ("aiapp", "vagrant")}}, "vagrant may change what is in /home/aiapp"),
    ],
)
def test_secrets_file_that_another_account_may_read_or_replace_fails(
    changes: dict[str, object], says: str
) -> None:
    findings = file(**changes)
    assert verdict(findings) == "FAIL" and says in text_of(findings)


@pytest.mark.parametrize("changes", [{}, {"owner": "root"}, {"mode": 0o640}, {"mode": 0o400}])
def test_secrets_file_that_the_account_and_root_alone_can_read_passes(changes: dict[str, object]) -> None:
    assert verdict(file(**changes)) == "PASS"


# ---- nowhere else ------------------------------------------------------------------------------


def place(kind: str, *secrets: int, where: str = "/somewhere", readers: str = "") -> Place:
    return Place(kind, where, frozenset(secrets or {KEY}), frozenset(readers.split()))


@pytest.mark.parametrize("kind", ["command line", "repository", "unit", "history", "log"])
def test_secret_in_any_other_place_fails_and_is_named(kind: str) -> None:
    (finding,) = elsewhere(place(kind))
    assert finding.verdict.value == "FAIL"
    assert finding.observed.startswith("OPENAI_API_KEY is in") and "/somewhere" in finding.observed
    assert finding.why and finding.next


def test_secrets_in_one_place_are_one_finding() -> None:
    (finding,) = elsewhere(place("repository", KEY, URL))
    assert finding.observed == "DATABASE_URL, OPENAI_API_KEY are in the repository /somewhere"


@pytest.mark.parametrize(
    ("readers", "expected"),
    [("aiapp", "PASS"), ("everybody", "FAIL"), ("aiapp vagrant", "FAIL"), ("vagrant", "FAIL")],
)
def test_secrets_copy_that_others_than_the_account_may_read_fails(readers: str, expected: str) -> None:
    assert verdict(elsewhere(place("copy", readers=readers))) == expected


def test_secrets_of_other_programs_are_not_the_application_s() -> None:
    other = Holder(900, "grafana", "grafana", "", {"GF_SECURITY_ADMIN_PASSWORD": 9})
    assert verdict(elsewhere(place("log", 9), holders=(HOLDER, other), short=frozenset({9}))) == "PASS"


def test_program_of_another_account_that_holds_secrets_fails() -> None:
    session = Holder(900, "vagrant", "python3", "", {"OPENAI_API_KEY": KEY})
    findings = elsewhere(holders=(HOLDER, session))
    assert "the environment of a program of vagrant: python3" in text_of(findings)
    supervisord = replace(session, account="root", program="supervisord")
    assert verdict(elsewhere(holders=(HOLDER, supervisord))) == "PASS"


def test_settings_file_of_another_program_is_a_copy() -> None:
    shell = Holder(900, "vagrant", "bash", "/home/vagrant/.env", {})
    copy = replace(FILE, path="/home/vagrant/.env", owner="vagrant")
    findings = elsewhere(holders=(HOLDER, shell), files=(FILE, copy))
    assert "a copy that vagrant may read: /home/vagrant/.env" in text_of(findings)


def test_a_shell_that_stands_in_the_application_s_folder_changes_nothing() -> None:
    shell = Holder(900, "vagrant", "bash", PATH, {})
    assert verdict(elsewhere(holders=(shell, HOLDER))) == "PASS"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"short": frozenset({URL})}, "DATABASE_URL has a part of less than 8 characters"),
        ({"unfinished": ("/var/log", "/opt")}, "the search did not come to /var/log, /opt"),
        ({"unread": ("/srv: Input/output error",)}, "unread: /srv: Input/output error"),
        ({"unread": tuple("abcde")}, "unread: a, b, c and 2 more"),
    ],
)
def test_search_that_left_something_out_is_unknown(changes: dict[str, object], says: str) -> None:
    (finding,) = elsewhere(**changes)
    assert finding.verdict.value == "UNKNOWN" and says in finding.observed


def test_secret_that_was_found_counts_although_the_search_did_not_end() -> None:
    assert verdict(elsewhere(place("log"), unfinished=("/opt",))) == "FAIL"


def test_places_of_one_kind_are_shown_as_a_few() -> None:
    many = [place("log", where=f"/var/log/{number}") for number in range(100)]
    assert len(elsewhere(*many, place("unit"))) == 6


def test_commit_that_holds_a_secret_is_shown_in_the_detail_alone() -> None:
    (finding,) = elsewhere(replace(place("repository", where="/home/aiapp/app, .env"), commit="1a2b3c4"))
    assert "1a2b3c4" in finding.detail and "1a2b3c4" not in finding.observed


def test_places_are_not_judged_where_there_is_no_secret() -> None:
    assert not elsewhere(holders=(), files=())
