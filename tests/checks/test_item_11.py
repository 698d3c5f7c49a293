"""Item 11 as pure functions: what makes backups, what the store says, and which alert there is, in; findings
out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from labcheck.checks import item_11_backups as item
from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.backups import Backups, Held, Job, Password, State, Store
from labcheck.facts.monitoring import Monitoring, Prometheus, Rule
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes
from labcheck.verdict import Finding
from tests.checks.findings import text_of, verdict

NOW = 1_800_000_000.0
HOUR = 3600
TARGET = Target(host="server", domain="app.lab.example")
KNOWN = Accounts((Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),), {})
LINE = "/home/aiapp/app/.venv/bin/python uvicorn lab_app.main:app --port 8000"
RUNNING = Processes((Process(800, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE, False),))
SOCKETS = (Socket("tcp", "127.0.0.1", 8000, "uvicorn", (800,)),)

JOB = Job(
    "backup", "timer", "aiapp-backup.timer", "aiapp-backup.service", True, True,
    int(NOW) - HOUR, int(NOW) - HOUR, "success", ("pg_dump", "restic"),
)  # fmt: skip
DRILL = replace(JOB, kind="drill", name="aiapp-restore-drill.timer", unit="aiapp-restore-drill.service")
STORE = Store(
    job="aiapp-backup.timer", where="rclone:store", place="elsewhere", host="store.lab.example", problem="",
    count=3, newest=NOW - HOUR, size=5_000_000,
    dumps=(Held("/var/lib/aiapp-backup/copy/aiapp.dump", 40_000),),
    passwords=(Password("server", True), Password("internet", False)),
    shell=False, delete="refused", open=(),
)  # fmt: skip
TOO_OLD = Rule(
    "BackupTooOld", "time() - aiapp_backup_last_success_timestamp_seconds > 26 * 3600",
    holds_for=0.0, labels={}, health="ok", error="", age=1.0, interval=15.0, firing=False,
)  # fmt: skip
NUMBERS = {
    "aiapp_backup_last_success_timestamp_seconds": NOW - HOUR,
    "aiapp_restore_drill_last_success_timestamp_seconds": NOW - 48 * HOUR,
}
FOUND = Backups(NOW, "server", State(("Chroma", "PostgreSQL"), ()), (JOB, DRILL), (STORE,), ())


def watching(
    *rules: Rule, numbers: Mapping[str, float] = NUMBERS, records: Mapping[str, str] | None = None
) -> Monitoring:
    series = {name: ({},) for name in numbers}
    monitor = Prometheus("127.0.0.1:9091", rules, records or {}, series, numbers, (), (), 1.0, None)
    return Monitoring((monitor,), (), {}, ())


SEEN = watching(TOO_OLD)
WITHOUT_NUMBERS = watching(numbers={})


def made(backups: Backups, running: Processes = RUNNING) -> list[Finding]:
    return list(item.they_are_made(backups, running, SOCKETS, KNOWN, target=TARGET))


def with_store(**changes: object) -> Backups:
    return replace(FOUND, stores=(replace(STORE, **changes),))  # type: ignore[arg-type]


def with_job(**changes: object) -> Backups:
    return replace(FOUND, jobs=(replace(JOB, **changes), DRILL))  # type: ignore[arg-type]


def with_drill(**changes: object) -> Backups:
    return replace(FOUND, jobs=(JOB, replace(DRILL, **changes)))  # type: ignore[arg-type]


def test_server_with_backups_as_they_should_be_passes_every_criterion() -> None:
    assert verdict(made(FOUND)) == "PASS"
    for criterion in item.ITEM.criteria[1:]:
        findings = list(criterion(*([FOUND, SEEN] if "state" in criterion.needs else [FOUND])))
        assert all(finding.verdict.value == "PASS" for finding in findings), (
            criterion.name,
            text_of(findings),
        )


# ---- made --------------------------------------------------------------------------------------


def test_server_without_a_backup_job_fails_once_and_names_what_would_be_lost() -> None:
    bare = replace(FOUND, jobs=(), stores=())
    (finding,) = made(bare)
    assert finding.verdict.value == "FAIL" and finding.observed.endswith("and there is Chroma, PostgreSQL")
    assert not [
        finding
        for criterion in item.ITEM.criteria[1:7]
        if criterion is not item.a_person_is_told
        for finding in criterion(*([bare, SEEN] if "state" in criterion.needs else [bare]))
    ]


def test_a_bare_server_fails_and_one_without_state_is_skipped() -> None:
    nothing = replace(FOUND, state=State((), ()), jobs=(), stores=())
    assert verdict(made(nothing, Processes(()))) == "FAIL"
    assert verdict(made(nothing)) == "SKIP"


def test_data_on_another_machine_is_unknown() -> None:
    with pytest.raises(Unreadable, match=r"db\.example"):
        made(replace(FOUND, state=State((), ("db.example",)), jobs=(), stores=()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"active": False, "enabled": False}, "aiapp-backup.timer is off"),
        ({"active": False}, "is not running"),
        ({"enabled": False}, "is not enabled"),
        ({"result": "exit-code"}, "the last run of aiapp-backup.service failed (exit-code)"),
        ({"by": "cron", "name": "/etc/crontab", "active": False, "enabled": False}, "no cron runs"),
    ],
)
def test_backup_job_that_does_not_run_or_failed_fails(changes: dict[str, object], says: str) -> None:
    findings = made(with_job(**changes))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_backup_job_that_has_not_run_since_the_boot_is_no_fault() -> None:
    assert verdict(made(with_job(result="", ended=None))) == "PASS"


# ---- elsewhere, fresh, full --------------------------------------------------------------------


def test_backup_store_on_this_server_fails() -> None:
    findings = list(
        item.they_are_elsewhere(with_store(place="here", where="/var/backups", host="/var/backups"))
    )
    assert verdict(findings) == "FAIL" and "/var/backups is on this server" in text_of(findings)
    assert verdict(item.they_are_elsewhere(with_store(place="unknown"))) == "UNKNOWN"


def test_dumps_that_stay_on_the_server_fail_and_a_tool_that_is_not_known_is_unreadable() -> None:
    dumps = replace(FOUND, jobs=(replace(JOB, tools=("pg_dump",)),), stores=())
    assert verdict(item.they_are_elsewhere(dumps)) == "FAIL"
    with pytest.raises(Unreadable, match="borg"):
        list(item.they_are_elsewhere(replace(dumps, jobs=(replace(JOB, tools=("borg",)),))))


@pytest.mark.parametrize(
    ("changes", "expected", "says"),
    [
        ({"newest": NOW - 25 * HOUR}, "PASS", "of the last day"),
        ({"newest": NOW - 27 * HOUR}, "FAIL", "older than a day"),
        ({"newest": NOW + 2 * HOUR}, "FAIL", "from the future"),
        ({"newest": None, "size": None}, "FAIL", "the store is empty"),
        ({"dumps": (Held("/copy/aiapp.dump", 20),)}, "FAIL", "holds aiapp.dump, empty"),
        ({"dumps": (), "size": 0}, "FAIL", "holds nothing"),
        ({"problem": "wrong password or no key found"}, "UNKNOWN", "wrong password"),
    ],
)
def test_newest_copy_has_to_be_fresh_and_full(changes: dict[str, object], expected: str, says: str) -> None:
    findings = list(item.the_newest_is_fresh_and_full(with_store(**changes)))
    assert verdict(findings) == expected and says in text_of(findings)


def test_findings_on_the_newest_copy_do_not_change_with_time() -> None:
    one, two = (list(item.the_newest_is_fresh_and_full(with_store(newest=NOW - age))) for age in (100, 9000))
    assert text_of(one) == text_of(two)


# ---- keys and passwords ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected", "says"),
    [
        ({"shell": True}, "FAIL", "opens a shell on store.lab.example"),
        ({"delete": "allowed"}, "FAIL", "would delete copies"),
        ({"shell": None, "delete": "unknown"}, "UNKNOWN", "cannot be seen"),
    ],
)
def test_store_key_that_may_do_more_than_append_fails(
    changes: dict[str, object], expected: str, says: str
) -> None:
    findings = list(item.the_server_cannot_delete_them(with_store(**changes)))
    assert verdict(findings) == expected and says in text_of(findings)


@pytest.mark.parametrize(
    ("passwords", "expected"),
    [
        ((Password("server", True),), "UNKNOWN"),
        ((Password("server", True), Password("server", False)), "UNKNOWN"),
        ((Password("server", True), Password("laptop", False)), "PASS"),
    ],
)
def test_a_second_password_counts_if_it_was_made_elsewhere(
    passwords: tuple[Password, ...], expected: str
) -> None:
    assert verdict(item.they_can_be_opened_without_the_server(with_store(passwords=passwords))) == expected


def test_password_of_the_store_that_every_account_may_read_fails() -> None:
    findings = list(
        item.they_can_be_opened_without_the_server(with_store(open=("/etc/aiapp-backup/password",)))
    )
    assert verdict(findings) == "FAIL" and "every account on this server may read" in text_of(findings)


def test_a_dump_that_lies_open_fails_also_where_nothing_makes_backups() -> None:
    findings = list(item.no_dump_lies_open(replace(FOUND, jobs=(), dumps=("/var/tmp/ledger.sql",))))
    assert verdict(findings) == "FAIL" and "/var/tmp/ledger.sql" in text_of(findings)


# ---- alerts ------------------------------------------------------------------------------------

DRILL_S = {name: value for name, value in NUMBERS.items() if "drill" in name}
OF_THE_DRILL = replace(
    TOO_OLD,
    name="RestoreDrillTooOld",
    query="time() - aiapp_restore_drill_last_success_timestamp_seconds > 8 * 86400",
)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (watching(), "no rule about the age"),
        (watching(replace(TOO_OLD, query="aiapp_backup_last_run_succeeded == 0")), "no rule about the age"),
        (watching(TOO_OLD, numbers={}), "compares a number that no target reports"),
        (watching(OF_THE_DRILL), "no rule about the age"),
        (watching(TOO_OLD, OF_THE_DRILL, numbers=DRILL_S), "BackupTooOld compares a number that no target"),
        (watching(replace(TOO_OLD, health="err")), "cannot be evaluated"),
        (watching(replace(TOO_OLD, firing=True)), "BackupTooOld is firing"),
        (watching(TOO_OLD, replace(OF_THE_DRILL, firing=True)), "RestoreDrillTooOld is firing"),
    ],
)
def test_backup_age_without_an_alert_fails(state: Monitoring, says: str) -> None:
    findings = list(item.a_person_is_told(FOUND, state))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_backup_age_from_a_recording_rule_passes() -> None:
    recorded = replace(TOO_OLD, query="backup:since_last_success:seconds > 26 * 3600")
    state = watching(
        recorded, records={"backup:since_last_success:seconds": TOO_OLD.query.partition(" >")[0]}
    )
    assert verdict(item.a_person_is_told(FOUND, state)) == "PASS"


@pytest.mark.parametrize(
    "state",
    [
        Monitoring((), (), {}, ()),
        Monitoring((), (), {"Prometheus at 127.0.0.1:9090": "refused"}, ()),
        watching(replace(TOO_OLD, query="time( > 1")),
    ],
)
def test_monitoring_that_cannot_be_asked_is_unreadable(state: Monitoring) -> None:
    with pytest.raises(Unreadable):
        list(item.a_person_is_told(FOUND, state))


# ---- brought back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected", "says"),
    [
        ({}, "PASS", "within a month"),
        ({"active": False}, "FAIL", "is off"),
        ({"result": "exit-code"}, "FAIL", "the last drill failed"),
        ({"ended": None, "result": "", "triggered": None}, "FAIL", "has never run"),
        ({"ended": None, "result": ""}, "UNKNOWN", "has run, and how that ended is not told"),
        ({"ended": int(NOW) - 40 * 86400}, "FAIL", "more than a month ago"),
    ],
)
def test_restore_drill_has_to_succeed_within_a_month(
    changes: dict[str, object], expected: str, says: str
) -> None:
    findings = list(item.one_was_brought_back(with_drill(**changes), WITHOUT_NUMBERS))
    assert verdict(findings) == expected and says in text_of(findings)


def test_restore_drill_is_known_by_its_own_metric_after_a_boot() -> None:
    drill = replace(DRILL, ended=None, result="", triggered=None)
    boot = replace(FOUND, jobs=(JOB, drill))
    assert verdict(item.one_was_brought_back(boot, SEEN)) == "PASS"
    old = NUMBERS | {"aiapp_restore_drill_last_success_timestamp_seconds": NOW - 40 * 86400}
    assert verdict(item.one_was_brought_back(boot, watching(numbers=old))) == "FAIL"


def test_restore_drill_that_is_missing_fails() -> None:
    assert verdict(item.one_was_brought_back(replace(FOUND, jobs=(JOB,)), SEEN)) == "FAIL"


# ---- exercise ----------------------------------------------------------------------------------

TABLE = item.Table("aiapp: usage", 500, 0, 0)
OUTCOME = item.Outcome("", "aiapp-backup.service", "success", True, True, 1, (TABLE,))


def test_a_backup_that_came_back_with_the_same_rows_passes() -> None:
    assert verdict(item.what_came_back(OUTCOME)) == "PASS"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ended_well": False, "result": "exit-code"}, "was started, and failed (exit-code)"),
        ({"new": False}, "the store has no new copy"),
        ({"tables": (replace(TABLE, missing=3),)}, "lacks rows that are here"),
        ({"tables": (replace(TABLE, strange=1),)}, "has rows that were never here"),
        ({"tables": (replace(TABLE, rows=0),)}, "no row in any table"),
        ({"tables": ()}, "no row in any table"),
    ],
)
def test_a_backup_that_does_not_come_back_fails(changes: dict[str, object], says: str) -> None:
    findings = list(item.what_came_back(replace(OUTCOME, **changes)))  # type: ignore[arg-type]
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_backup_that_cannot_be_made_or_compared_is_unknown() -> None:
    assert verdict(item.what_came_back(replace(OUTCOME, dumps=0, tables=()))) == "UNKNOWN"
    with pytest.raises(Unreadable, match="no space"):
        list(item.what_came_back(item.Outcome(refused="no space left")))
