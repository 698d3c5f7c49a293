"""Items 4 and 5 as pure functions: what a server writes and how it rotates in, findings out."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from labcheck.checks import application
from labcheck.checks import item_04_logs as logs
from labcheck.checks import item_05_rotation as turns
from labcheck.checks.logs import Written, it_writes_to_files, written
from labcheck.checks.model import Criterion, Target
from labcheck.errors import Unreadable
from labcheck.external.model import Attempt, Got, Website
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.logs import TAIL, File, Held, LogFiles
from labcheck.facts.network import Socket, SshConnection
from labcheck.facts.processes import Process, Processes
from labcheck.facts.rotation import DAY, HOUR, Handled, Rotation, Rule, Starter
from labcheck.remote.rotate_under_load import Outcome
from tests.checks.findings import only, verdict

TARGET = Target(host="server", domain="app.lab.example")
NOW = datetime(2026, 11, 26, 5, 31, 30, tzinfo=UTC).timestamp()
FOLDER = "/var/log/aiapp"
NAMES = ("app", "access", "error", "metrics")
CLIENT = "198.51.100.2"

LINE = "/home/aiapp/app/.venv/bin/python /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --port {}"
INIT = Process(1, 0, "systemd", frozenset({0}), frozenset({0}), 0xFF, "/sbin/init", False)
CRON = replace(INIT, pid=500, parent=1, name="cron", arguments="/usr/sbin/cron -f")
ONE, TWO = (
    Process(pid, 1, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE.format(port), False)
    for pid, port in ((800, 8000), (801, 8001))
)
RUNNING = Processes((INIT, ONE, TWO))
SOCKETS = tuple(
    Socket("tcp", "127.0.0.1", port, "uvicorn", (pid,)) for pid, port in ((800, 8000), (801, 8001))
)
KNOWN = Accounts(
    (
        Account("root", 0, frozenset({"root"}), "/root", "/bin/bash"),
        Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),
    ),
    {0: "root", 1001: "aiapp", 4: "adm"},
)


def path(name: str) -> str:
    return f"{FOLDER}/{name}.log"


def line(seconds_ago: float = 5.0, **fields: object) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat(timespec="microseconds")
    head = {
        "timestamp": stamp.removesuffix("+00:00") + "Z",
        "level": "INFO",
        "message": "said",
        "event_type": "application",
        "request_id": None,
    }
    return head | fields


def request(request_id: str = "own-1", path: str = "/health/live", **fields: object) -> dict[str, Any]:
    asked = {"event_type": "request", "request_id": request_id, "ip_address": CLIENT, "method": "GET"}
    return line(**{**asked, "path": path, "status_code": 200, "duration_ms": 1.5, **fields})  # type: ignore[arg-type]


def failure(**fields: object) -> dict[str, Any]:
    return line(level="ERROR", event_type="error", message="it failed", **fields)  # type: ignore[arg-type]


CALL = line(event_type="llm_call", request_id="chat-1", model="small", duration_ms=9.5,
            prompt_tokens=7, completion_tokens=5, cost_usd=None)  # fmt: skip
SAID: dict[str, list[dict[str, Any]]] = {
    "app": [line(60.0), request(), failure(), CALL],
    "access": [request()],
    "error": [failure()],
    "metrics": [CALL],
}
LOG = File(stat.S_IFREG | 0o640, 1001, 1001, 500, int(NOW) - 3600)
FILES = {path(name): LOG for name in NAMES} | {
    FOLDER: File(stat.S_IFDIR | 0o750, 1001, 1001, 4096, None),
    "/var/log": File(stat.S_IFDIR | 0o755, 0, 0, 4096, None),
    "/var": File(stat.S_IFDIR | 0o755, 0, 0, 4096, None),
}
HELD = tuple(
    Held(pid, fd, path(name), written_last=True) for pid in (800, 801) for fd, name in enumerate(NAMES, 3)
)


def files(
    said: dict[str, list[dict[str, Any]]] | None = None,
    *,
    held: tuple[Held, ...] = HELD,
    also: dict[str, File] | None = None,
    texts: Iterable[str] = (),
) -> LogFiles:
    """A server where each process writes the four logs; `said` replaces what is in some of them."""
    lines = {path(name): tuple(map(json.dumps, some)) for name, some in (SAID | (said or {})).items()}
    return LogFiles(NOW, held, FILES | (also or {}), lines, frozenset(texts))


def seen(found: LogFiles | None = None, **others: object) -> dict[str, Any]:
    """What every criterion about logs gets."""
    here = {"running": RUNNING, "sockets": SOCKETS, "known": KNOWN, "files": found or files()}
    return {**here, "target": TARGET, **others}


def wrote(found: LogFiles | None = None) -> Written:
    return written(**seen(found))


WELL = Attempt(200, 0.1, "{}", "", "", {}, "", well=True, request_id="own-1")


def site(*attempts: Attempt) -> Website:
    return Website((), (), (Got("198.51.100.10", "/health/live", attempts or (WELL,)),))


SSH = SshConnection("198.51.100.7", "198.51.100.10", 22)
LOOKS: list[tuple[Criterion, dict[str, Any]]] = [
    (logs.every_process_writes_them, {}),
    (logs.what_is_asked_now_is_in_them, {"site": site()}),
    (logs.every_line_can_be_searched, {}),
    (logs.their_times_can_be_compared, {"site": site()}),
    (logs.clients_can_be_told_apart, {"site": site(), "own": ("198.51.100.10",), "ssh": SSH}),
    (logs.they_are_not_for_everyone, {}),
]


# ---- which logs are the application's ----------------------------------------------------------


def test_the_logs_are_those_that_the_processes_hold_which_answer_for_the_application() -> None:
    stranger = replace(CRON, pid=900, name="caddy", arguments="caddy run", uids=frozenset({999}))
    found = written(
        **seen(
            files(held=(*HELD, Held(900, 4, "/var/log/caddy/access.log", written_last=True))),
            running=Processes((*RUNNING.all, stranger)),
        )
    )
    assert [(log.name, log.kind) for log in found.logs] == [
        ("app.log", "application"),
        ("access.log", "access"),
        ("error.log", "error"),
        ("metrics.log", "metrics"),
    ]
    assert found.behind == {8000: frozenset({800}), 8001: frozenset({801})}


def test_what_answers_are_the_listeners_and_what_they_started_but_no_other_program_of_the_account() -> None:
    worker = replace(ONE, pid=802, parent=800, arguments="python -c spawn_main")
    chroma = replace(ONE, pid=803, name="chroma", arguments="/home/aiapp/chroma run --port 8100")
    sockets = (*SOCKETS, Socket("tcp", "127.0.0.1", 8100, "chroma", (803,)))
    running = Processes((*RUNNING.all, worker, chroma))
    assert application.servers(running, sockets, KNOWN, TARGET) == {
        8000: frozenset({800, 802}),
        8001: frozenset({801}),
    }


@pytest.mark.parametrize(
    ("output", "expected", "says"),
    [
        ("pipe:[7]", "FAIL", "through a pipe"),
        ("/dev/null", "FAIL", "no log file"),
        ("socket:[7]", "UNKNOWN", "journal"),
        ("", "UNKNOWN", "does not tell"),
    ],
)
def test_without_a_log_file_it_depends_on_where_the_output_goes(
    output: str, expected: str, says: str
) -> None:
    here = seen(files(held=(Held(800, 1, output), Held(800, 2, output))))
    if expected == "UNKNOWN":
        with pytest.raises(Unreadable, match=says):
            list(it_writes_to_files(**here))
    else:
        assert says in only(it_writes_to_files(**here)).saw
    assert all(not list(criterion(**here, **more)) for criterion, more in LOOKS)


def test_an_application_in_a_container_keeps_its_log_elsewhere() -> None:
    inside = replace(ONE, contained=True)
    proxy = replace(CRON, pid=800, name="docker-proxy")
    for process in (inside, proxy):
        with pytest.raises(Unreadable, match="container"):
            list(it_writes_to_files(**seen(running=Processes((INIT, process)), sockets=SOCKETS[:1])))


def test_without_the_application_nothing_is_logged() -> None:
    finding = only(it_writes_to_files(**seen(running=Processes((INIT,)), sockets=())))
    assert finding.verdict.value == "FAIL" and "no process" in finding.saw


# ---- 4 -----------------------------------------------------------------------------------------


def test_a_server_that_writes_its_logs_passes_every_look() -> None:
    for criterion, more in LOOKS:
        findings = list(criterion(**seen(), **more))
        assert verdict(findings) == "PASS", (criterion.name, findings)
    assert not list(logs.each_copy_has_its_records(**seen()))


def test_a_process_that_writes_nothing_beside_one_that_does_is_found() -> None:
    held = tuple(one for one in HELD if one.pid == 800 or one.path == path("app"))
    finding = only(logs.every_process_writes_them(**seen(files(held=held))))
    assert finding.saw == "what answers on port 8001 has no access and no error and no metrics log open"


def test_four_names_for_one_file_are_one_log() -> None:
    held = tuple(Held(pid, fd, path("app"), written_last=True) for pid in (800, 801) for fd in range(3, 7))
    assert verdict(logs.every_process_writes_them(**seen(files(held=held)))) == "FAIL"


@pytest.mark.parametrize(
    ("place", "deleted", "says"),
    [
        ("/tmp/aiapp_logs/error.log", False, "logs are written to /tmp/aiapp_logs, which does not last"),
        (path("error"), True, "was deleted"),
    ],
)
def test_a_log_that_will_be_gone_fails(place: str, deleted: bool, says: str) -> None:
    others = tuple(one for one in HELD if one.path != path("error"))
    held = (*others, *(Held(pid, 9, place, deleted, written_last=True) for pid in (800, 801)))
    assert says in only(logs.every_process_writes_them(**seen(files(held=held)))).saw


def test_a_log_that_was_rotated_under_an_idle_process_is_still_its_log() -> None:
    others = tuple(one for one in HELD if one.path != path("error"))
    idle = tuple(Held(pid, 9, f"{path('error')}.1", deleted=True) for pid in (800, 801))
    assert verdict(logs.every_process_writes_them(**seen(files(held=(*others, *idle))))) == "PASS"


OLD = request("old", seconds_ago=9000.0)
OTHER = request("old", "/api/chat", seconds_ago=9000.0)
SILENT = Attempt(None, 0.0, "", "", "", {}, "refused", well=False)


@pytest.mark.parametrize(
    ("access", "attempts", "expected"),
    [
        ([OLD, request()], (WELL,), "PASS"),
        ([OLD], (WELL,), "FAIL"),  # it logs health requests, and does not log these
        ([], (WELL,), "FAIL"),
        ([OTHER], (replace(WELL, request_id="own-2"),), "UNKNOWN"),  # perhaps it leaves them out
        ([request("x")], (replace(WELL, request_id=""),), "PASS"),  # no ids: by path and time
        ([OLD], (replace(WELL, request_id=""),), "FAIL"),
    ],
)
def test_what_was_asked_just_now_has_to_be_in_the_access_log(
    access: list[dict[str, Any]], attempts: tuple[Attempt, ...], expected: str
) -> None:
    here = seen(files({"access": access, "app": [line()]}))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site(*attempts))) == expected


def test_what_is_in_another_log_and_not_in_the_access_log_fails() -> None:
    here = seen(files({"access": [OTHER]}))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site())) == "FAIL"


def test_without_an_answer_nothing_is_expected_in_the_log() -> None:
    with pytest.raises(Unreadable, match="no request of this look was answered"):
        list(logs.what_is_asked_now_is_in_them(**seen(files({"access": []})), site=site(SILENT)))


def test_a_log_that_is_too_busy_to_reach_back_to_the_look_is_written_to() -> None:
    many = [request(f"other-{n}", "/api/chat", seconds_ago=3.0) for n in range(9)]
    long = {path("access"): replace(LOG, size=TAIL * 3)}
    here = seen(files({"access": many}, also=long))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site())) == "PASS"
    look = {"site": site(), "own": (), "ssh": SSH}
    assert verdict(logs.clients_can_be_told_apart(**here, **look)) == "PASS"
    same = [one | {"ip_address": "127.0.0.1"} for one in many]
    here = seen(files({"access": same}, also=long))
    assert verdict(logs.clients_can_be_told_apart(**here, **look)) == "FAIL"


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("app", {"timestamp": line()["timestamp"], "level": "INFO"}, "without event_type, message"),
        ("app", request(ip_address=None), "without ip_address"),
        ("access", line(), "duration_ms, ip_address, method, path, request_id, status_code"),
        ("access", request(status_code="200"), "without status_code as a number"),
        ("metrics", line(event_type="llm_call", model="small"), "completion_tokens, cost_usd, duration_ms"),
        ("error", line(), "has records of what went well"),
    ],
)
def test_a_record_without_its_fields_or_in_the_wrong_log_fails(
    name: str, record: dict[str, Any], says: str
) -> None:
    finding = only(logs.every_line_can_be_searched(**seen(files({name: [*SAID[name], record]}))))
    assert finding.verdict.value == "FAIL" and says in finding.saw


def test_a_failed_call_of_the_model_need_not_know_its_tokens() -> None:
    lost = line(event_type="llm_error", level="ERROR", error="no answer", model="small", duration_ms=9.5)
    assert verdict(logs.every_line_can_be_searched(**seen(files({"metrics": [lost]})))) == "PASS"


@pytest.mark.parametrize("broken", ["INFO: started", '"text"', "[1]", '{"timestamp": "2026', "\0\0{}"])
def test_a_line_that_is_no_json_object_fails_and_is_shown_where_it_may_differ(broken: str) -> None:
    found = files()
    found.lines[path("app")] += (broken,)
    finding = only(logs.every_line_can_be_searched(**seen(found)))
    assert finding.saw == "app.log has lines that are not JSON" and broken[:9] in finding.detail


def test_a_blank_line_is_what_a_full_disk_leaves() -> None:
    found = files()
    found.lines[path("app")] += ("    ",)
    assert verdict(logs.every_line_can_be_searched(**seen(found))) == "PASS"


def test_a_log_that_begins_as_text_fails() -> None:
    found = files({"app": []}, texts=[path("app")])
    assert "app.log" in only(logs.every_line_can_be_searched(**seen(found))).saw


@pytest.mark.parametrize("kind", ["access", "error", "metrics"])
def test_a_copy_that_lacks_what_the_log_of_everything_has_fails(kind: str) -> None:
    finding = only(logs.each_copy_has_its_records(**seen(files({kind: []}))))
    assert finding.saw == f"{kind}.log lacks records that app.log has"


@pytest.mark.parametrize(
    ("app", "also"),
    [
        ([failure(seconds_ago=4000.0)], LOG),  # from before the copy began
        ([failure(seconds_ago=0.5)], LOG),  # only just written
        ([failure()], replace(LOG, born=None)),  # nobody knows since when there is a copy
        ([failure(seconds_ago=300.0)], replace(LOG, size=TAIL * 2)),  # further up than was read
    ],
)
def test_what_a_copy_need_not_have_is_not_missed(app: list[dict[str, Any]], also: File) -> None:
    later = failure(seconds_ago=60.0, request_id="later")
    here = seen(files({"app": app, "error": [later]}, also={path("error"): also}))
    assert not list(logs.each_copy_has_its_records(**here))


@pytest.mark.parametrize(
    ("stamp", "says"),
    [
        ("2026-11-26T05:31:25Z", "0000-00-00T00:00:00.000000Z and 0000-00-00T00:00:00Z"),
        ("2026-11-26 05:31:25,123", "0000-00-00 00:00:00,000"),
        ("2026-11-26T07:31:25.123456+02:00", "+00:00"),
    ],
)
def test_times_of_another_form_fail(stamp: str, says: str) -> None:
    here = seen(files({"app": [line(), line() | {"timestamp": stamp}]}))
    finding = only(logs.their_times_can_be_compared(**here, site=site()))
    assert finding.verdict.value == "FAIL" and says in finding.saw


def test_one_form_that_is_not_utc_fails() -> None:
    local = {name: [one | {"timestamp": "2026-11-26T05:31:25"} for one in SAID[name]] for name in NAMES}
    assert verdict(logs.their_times_can_be_compared(**seen(files(local)), site=site())) == "FAIL"


@pytest.mark.parametrize(("hours", "says"), [(-2, "ahead of"), (5, "behind")])
def test_local_time_with_a_z_behind_it_fails(hours: int, says: str) -> None:
    local = {"access": [request(seconds_ago=hours * 3600.0)], "app": [], "error": [], "metrics": []}
    finding = only(logs.their_times_can_be_compared(**seen(files(local)), site=site()))
    assert finding.verdict.value == "FAIL" and says in finding.saw


@pytest.mark.parametrize(
    ("address", "client", "expected"),
    [
        (CLIENT, SSH.client, "PASS"),
        ("127.0.0.1", SSH.client, "FAIL"),
        ("::1", SSH.client, "FAIL"),
        ("::ffff:127.0.0.1", SSH.client, "FAIL"),
        ("198.51.100.10", SSH.client, "FAIL"),  # the proxy asks by the server's own public address
        ("198.51.100.10", "198.51.100.10", "PASS"),  # so does who looks from the server itself
        ("198.51.100.10", "127.0.0.1", "PASS"),
    ],
)
def test_a_request_has_its_client_s_address_and_not_the_proxy_s(
    address: str, client: str, expected: str
) -> None:
    here = seen(files({"access": [request(), request(ip_address=address)]}))
    look = {"site": site(), "own": ("198.51.100.10",), "ssh": replace(SSH, client=client)}
    assert verdict(logs.clients_can_be_told_apart(**here, **look)) == expected


def test_without_ids_a_visitor_cannot_be_told_from_the_server_s_own_health_check() -> None:
    here = seen(files({"access": [request(ip_address="127.0.0.1")]}), own=(), ssh=SSH)
    with pytest.raises(Unreadable, match="no X-Request-ID"):
        list(logs.clients_can_be_told_apart(**here, site=site(replace(WELL, request_id=""))))
    assert not list(logs.clients_can_be_told_apart(**here, site=site(SILENT)))


@pytest.mark.parametrize(
    ("also", "expected"),
    [
        ({path("access"): replace(LOG, mode=stat.S_IFREG | 0o644)}, "PASS"),  # its folder lets nobody in
        ({FOLDER: replace(FILES[FOLDER], mode=stat.S_IFDIR | 0o755)}, "PASS"),
        (
            {
                FOLDER: replace(FILES[FOLDER], mode=stat.S_IFDIR | 0o755),
                f"{path('access')}.2.gz": replace(LOG, mode=stat.S_IFREG | 0o644),
            },
            "FAIL",
        ),
        ({path("error"): replace(LOG, uid=0, gid=4)}, "FAIL"),  # open from before: not again
        ({path("error"): replace(LOG, uid=0, mode=stat.S_IFREG | 0o660)}, "PASS"),
    ],
)
def test_who_may_read_and_who_may_write_follows_from_file_and_folders(
    also: dict[str, File], expected: str
) -> None:
    assert verdict(logs.they_are_not_for_everyone(**seen(files(also=also)))) == expected


GOT = [
    Got("198.51.100.10", "/health/live", (WELL,)),
    Got("198.51.100.10", "/no", (replace(WELL, status=404),)),
]


def test_what_the_proxy_answers_by_itself_is_not_looked_for_in_the_log() -> None:
    by_itself = Got("198.51.100.10", "/no", (replace(WELL, request_id=""),))
    nobody = Got("198.51.100.10", "/no", (SILENT,))
    assert logs.answered_by_the_application([*GOT, by_itself, nobody]) == GOT
    assert logs.answered_by_the_application([by_itself, nobody]) == [by_itself]


MARKED = [request("m"), request("m", "/no", status_code=404)]


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({"app": MARKED, "access": MARKED}, ""),
        ({"app": [*MARKED, line(request_id="m")], "access": MARKED}, ""),  # another record of that request
        (
            {"app": MARKED, "access": MARKED[:1]},
            "access.log lacks a request for /no that was answered with 404",
        ),
        ({"app": [], "access": MARKED}, "app.log lacks"),
        ({"app": MARKED, "access": [*MARKED, MARKED[0]]}, "once too often"),
        ({"app": MARKED, "access": MARKED, "error": MARKED[1:]}, "error.log has a request for /no"),
        (
            {"app": MARKED, "access": [one | {"ip_address": logs.FORGED} for one in MARKED]},
            "the address that a client claims",
        ),
    ],
)
def test_a_marked_request_is_in_the_right_logs_once_and_nowhere_else(
    there: dict[str, list[dict[str, Any]]], says: str
) -> None:
    full = {path(name): there.get(name, []) for name in NAMES}
    finding = only(logs.where_they_are(wrote(), GOT, full))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.saw


def test_what_each_process_logs_for_itself_adds_up() -> None:
    held = (*HELD, Held(801, 9, f"{FOLDER}/access-8001.log"))
    there = {path("app"): MARKED, path("access"): MARKED[:1], f"{FOLDER}/access-8001.log": MARKED[1:]}
    assert verdict(logs.where_they_are(wrote(files(held=held)), GOT, there)) == "PASS"


def test_a_request_that_failed_belongs_into_the_error_log_as_well() -> None:
    answered = [Got("198.51.100.10", "/no", (replace(WELL, status=503),))]
    rows = [request("m", "/no", status_code=503)]
    there = {path(name): rows for name in NAMES if name != "metrics"} | {path("metrics"): []}
    assert verdict(logs.where_they_are(wrote(), answered, there)) == "PASS"


# ---- 5 -----------------------------------------------------------------------------------------


def handled(name: str, **changes: Any) -> Handled:
    return replace(Handled(path(name), moved=f"{path(name)}.1", made=(0o640, 1001, 1001)), **changes)


def rule(*some: Handled, **changes: Any) -> Rotation:
    """logrotate with one rule, for the four logs."""
    all_of_them = some or tuple(handled(name) for name in NAMES)
    loaded = Rule(f"{FOLDER}/*.log", DAY, 100 << 20, None, None, True, all_of_them)
    return Rotation(True, (replace(loaded, **changes),))


AGES = {f"{FOLDER}/*.log": 30}

TIMER = Starter("logrotate.timer", False, "", True, 2 * HOUR, idle=600.0)
IDLE_CRON = Starter("/etc/cron.hourly/logrotate", True, "it does nothing where systemd runs", True, HOUR)
TURNS: list[tuple[Criterion, dict[str, Any]]] = [
    (turns.a_rule_is_loaded, {"loaded": rule()}),
    (turns.its_limits_are_set, {"loaded": rule(), "ages": AGES}),
    (turns.its_way_loses_no_line, {"loaded": rule()}),
    (turns.it_is_started_often_enough, {"runs": (TIMER,), "loaded": rule()}),
    (turns.it_has_seen_them, {"loaded": rule()}),
    (turns.nobody_writes_to_what_was_put_aside, {}),
]


def test_a_server_that_rotates_passes_every_look() -> None:
    for criterion, more in TURNS:
        findings = list(criterion(**seen(), **more))
        assert verdict(findings) == "PASS", (criterion.name, findings)


@pytest.mark.parametrize(
    ("loaded", "says"),
    [
        (Rotation(installed=False), "not installed"),
        (Rotation(True), "no rule for app.log, access.log, error.log, metrics.log"),
        (rule(*(handled(name) for name in NAMES[:3])), "no rule for metrics.log"),
        (
            rule(
                *(
                    handled(name, moved="", refused="parent directory has insecure permissions")
                    for name in NAMES
                )
            ),
            "leaves app.log, access.log, error.log, metrics.log alone: parent directory has insecure",
        ),
    ],
)
def test_a_rule_that_logrotate_does_not_have_or_does_not_follow_fails(loaded: Rotation, says: str) -> None:
    finding = only(turns.a_rule_is_loaded(**seen(), loaded=loaded))
    assert finding.verdict.value == "FAIL" and says in finding.saw and finding.next


def test_what_logrotate_says_of_a_file_that_it_ignores_is_told() -> None:
    loaded = Rotation(True, (), ("error: Ignoring aiapp because it is writable by group or others.",))
    row = {f"{path('app')}.{number}": LOG for number in (1, 2)}  # from when it did not ignore it
    finding = only(turns.a_rule_is_loaded(**seen(files(also=row)), loaded=loaded))
    assert finding.verdict.value == "FAIL" and "writable by group" in finding.saw


def test_where_another_program_rotates_that_is_said_and_not_judged() -> None:
    row = {f"{path('app')}.{number}": LOG for number in (1, 2)}
    here = seen(files(also=row), loaded=Rotation(True))
    with pytest.raises(Unreadable, match=r"something else than logrotate rotates app\.log"):
        list(turns.a_rule_is_loaded(**here))
    assert not list(turns.predecessors_are_packed(**here))
    assert not list(turns.it_is_started_often_enough(**here, runs=()))
    once = {f"{path('app')}.1": LOG}
    assert verdict(turns.a_rule_is_loaded(**seen(files(also=once)), loaded=Rotation(True))) == "FAIL"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": None}, "no limit by age"),  # size 100M, which takes the place of daily
        ({"every": 7 * DAY}, "an age of 7 days"),
        ({"size": None}, "no limit by size"),
        ({"size": 1 << 30}, "a size of 1024 MB"),
        ({"at_least": 100 << 20}, "nothing below 100 MB"),  # minsize 100M
        ({"kept": 0}, "0 predecessors"),
        ({"kept": 30}, "30 predecessors, which in a busy time are 30 hours"),
        ({"kept": 719}, "719 predecessors"),
        ({"skips_empty": True}, "while a log is empty, its predecessors stay"),  # notifempty
        ({"packs": False}, "no compression"),
    ],
)
def test_each_limit_is_wanted(changes: dict[str, Any], says: str) -> None:
    finding = only(turns.its_limits_are_set(**seen(), loaded=rule(**changes), ages=AGES))
    assert finding.verdict.value == "FAIL" and says in finding.saw


@pytest.mark.parametrize(
    ("kept", "days", "says"),
    [
        (30, None, ["no limit of days", "30 predecessors"]),
        (None, None, ["no limit of days"]),
        (30, 7, ["predecessors for 7 days", "30 predecessors"]),
        (None, 7, ["predecessors for 7 days"]),
        (30, 30, ["30 predecessors"]),
        (720, 30, []),  # more than an hourly timer can make in thirty days
        (None, 90, []),
    ],
)
def test_thirty_files_are_not_thirty_days(kept: int | None, days: int | None, says: list[str]) -> None:
    here = {"loaded": rule(kept=kept), "ages": {f"{FOLDER}/*.log": days}}
    finding = only(turns.its_limits_are_set(**seen(), **here))
    assert finding.verdict.value == ("FAIL" if says else "PASS")
    assert all(words in finding.saw for words in says)


def test_a_rule_from_another_file_is_not_judged_by_its_days() -> None:
    with pytest.raises(Unreadable, match="in none of logrotate's usual files"):
        list(turns.its_limits_are_set(**seen(), loaded=rule(), ages={}))


def test_a_rule_whose_logs_are_all_empty_does_not_show_what_it_does() -> None:
    empty = rule(*(Handled(path(name)) for name in NAMES), packs=None)
    assert verdict(turns.its_limits_are_set(**seen(), loaded=empty, ages=AGES)) == "UNKNOWN"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"moved": "", "copied": True, "emptied": True, "made": None}, "copytruncate"),
        ({"moved": "", "copied": True, "made": None}, "is copied"),
        ({"made": (0o640, 0, 4)}, "belongs to root, mode 0640"),
        ({"made": (0o440, 1001, 1001)}, "may not write to it"),
        ({"moved": f"{path('app')}-20261126"}, "dateext"),
        ({"moved": f"{path('app')}-2026112605"}, ""),
        ({"made": None}, ""),  # nocreate, in a folder of the application's own
    ],
)
def test_a_way_that_loses_lines_fails(changes: dict[str, Any], says: str) -> None:
    loaded = rule(handled("app", **changes))
    finding = only(turns.its_way_loses_no_line(**seen(), loaded=loaded))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.saw


def test_nocreate_in_a_folder_of_root_s_leaves_the_application_without_a_log() -> None:
    here = seen(files(also={FOLDER: replace(FILES[FOLDER], uid=0, gid=1001)}))
    finding = only(turns.its_way_loses_no_line(**here, loaded=rule(handled("app", made=None))))
    assert finding.verdict.value == "FAIL" and "has to make a new app.log" in finding.saw


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ((), "nothing starts logrotate"),
        (
            (replace(TIMER, off="it is inactive"),),
            "nothing starts logrotate (logrotate.timer: it is inactive)",
        ),
        (
            (replace(TIMER, gap=25 * HOUR), IDLE_CRON),
            "as seldom as every 25 h (/etc/cron.hourly/logrotate: it",
        ),
        ((replace(TIMER, gap=13 * HOUR),), "every 13 h"),  # hourly, with AccuracySec=12h
        ((replace(IDLE_CRON, off=""),), "(/etc/cron.hourly/logrotate: no cron runs)"),
    ],
)
def test_a_size_limit_that_is_seldom_looked_at_fails(runs: tuple[Starter, ...], says: str) -> None:
    finding = only(turns.it_is_started_often_enough(**seen(), runs=runs, loaded=rule()))
    assert finding.verdict.value == "FAIL" and says in finding.saw


def test_cron_may_start_it_where_its_daemon_runs() -> None:
    here = seen(running=Processes((*RUNNING.all, CRON)))
    run = replace(IDLE_CRON, off="", idle=None)
    assert verdict(turns.it_is_started_often_enough(**here, runs=(run,), loaded=rule())) == "PASS"


@pytest.mark.parametrize(
    "runs",
    [
        (replace(TIMER, off="it is inactive"), replace(TIMER, name="own.timer", usual=False)),
        (replace(TIMER, gap=25 * HOUR), replace(TIMER, name="own.timer", usual=False)),
        (replace(TIMER, gap=None),),
    ],
)
def test_a_schedule_that_was_not_understood_is_not_judged(runs: tuple[Starter, ...]) -> None:
    with pytest.raises(Unreadable):
        list(turns.it_is_started_often_enough(**seen(), runs=runs, loaded=rule()))


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (TIMER, ""),
        (replace(TIMER, idle=None), ""),
        (replace(TIMER, at_boot=False), "is not started at boot"),
        (replace(TIMER, failed="exit-code"), "failed (exit-code)"),
        (replace(TIMER, idle=4.0 * HOUR), "should have started logrotate"),
    ],
)
def test_a_timer_that_does_not_do_its_work_fails(run: Starter, says: str) -> None:
    findings = list(turns.it_goes_on_being_started(**seen(), runs=(run,), loaded=rule()))
    assert [says in finding.saw for finding in findings] == [True] * bool(says)


def test_a_rule_that_no_run_has_met_yet_fails() -> None:
    loaded = rule(handled("app"), handled("access", known=False))
    finding = only(turns.it_has_seen_them(**seen(), loaded=loaded))
    assert finding.verdict.value == "FAIL" and "has met access.log yet" in finding.saw


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "UNKNOWN"),  # nothing was put aside: nothing is said
        ([".1", ".2.gz", ".3.gz"], "PASS"),
        ([".1", ".2", ".3.gz"], "FAIL"),
        ([".3"], "FAIL"),
        (["-20261125", "-20261124.gz"], "PASS"),
        (["-20261125", "-20261124"], "FAIL"),
        ([".1", ".bak", "-note"], "PASS"),
    ],
)
def test_all_predecessors_but_the_newest_are_packed(names: list[str], expected: str) -> None:
    beside = {f"{path('app')}{name}": LOG for name in names}
    assert verdict(turns.predecessors_are_packed(**seen(files(also=beside)), loaded=rule())) == expected


def test_who_writes_to_a_rotated_log_is_named_and_who_only_holds_it_is_not() -> None:
    idle = Held(800, 9, f"{path('error')}.1", deleted=True)
    assert verdict(turns.nobody_writes_to_what_was_put_aside(**seen(files(held=(*HELD, idle))))) == "PASS"
    at_the_moment = Held(801, 9, f"{path('app')}.1", written_last=True, written_at=float(LOG.born or 0))
    here = seen(files(held=(*HELD, at_the_moment)))
    assert verdict(turns.nobody_writes_to_what_was_put_aside(**here)) == "PASS"
    stuck = replace(at_the_moment, written_at=NOW - 5)
    finding = only(turns.nobody_writes_to_what_was_put_aside(**seen(files(held=(*HELD, stuck)))))
    assert finding.saw == "app.log.1 is still written to; it is open in uvicorn lab_app.main:app on port 8001"


def test_a_stranger_that_writes_to_a_rotated_log_of_the_application_is_found() -> None:
    stranger = replace(CRON, pid=900, name="supervisord")
    held = (*HELD, Held(900, 5, f"{path('app')}.1", written_last=True, written_at=NOW))
    here = seen(files(held=held), running=Processes((*RUNNING.all, stranger)))
    assert "supervisord" in only(turns.nobody_writes_to_what_was_put_aside(**here)).saw


IDS = {"before": ["a", "b"], "after": ["c", "d"]}
EVERYWHERE = {path(name): list("abcd") if name in ("app", "access") else [] for name in NAMES}
NEW = {path(name): ["c", "d"] if name in ("app", "access") else [] for name in NAMES}


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Outcome(**IDS, anywhere=EVERYWHERE, new=NEW), ""),
        (
            Outcome(**IDS, anywhere=EVERYWHERE | {path("access"): ["a", "c", "d"]}, new=NEW),
            "access.log lost lines",
        ),
        (
            Outcome(**IDS, anywhere=EVERYWHERE, new=NEW | {path("app"): ["d"]}),
            "still writes to the old app.log",
        ),
        (Outcome(failed="error: stat of it failed"), "went wrong: error: stat"),
    ],
)
def test_every_line_is_found_after_a_rotation_and_late_ones_in_the_new_file(
    outcome: Outcome, says: str
) -> None:
    finding = only(turns.what_became_of_the_lines(wrote(), outcome))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.saw


@pytest.mark.parametrize(
    "outcome",
    [Outcome(refused="8000/tcp: refused"), Outcome(**IDS, anywhere={log: [] for log in EVERYWHERE}, new=NEW)],
)
def test_a_rotation_that_could_not_be_watched_is_not_judged(outcome: Outcome) -> None:
    with pytest.raises(Unreadable):
        list(turns.what_became_of_the_lines(wrote(), outcome))


# ---- both --------------------------------------------------------------------------------------


def test_what_is_said_does_not_change_with_time() -> None:
    """Notebooks print what was seen and expected, and compare it with the next run."""
    for criterion, more in (*LOOKS, *TURNS):
        later = replace(files(), now=NOW + 1)
        first, second = (list(criterion(**seen(found), **more)) for found in (files(), later))
        assert [(one.saw, one.expected) for one in first] == [(one.saw, one.expected) for one in second]
