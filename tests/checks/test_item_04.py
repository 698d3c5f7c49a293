"""Item 4 as pure functions: what a server writes in, findings out."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcheck.checks import item_04_logs as logs
from labcheck.checks.model import Criterion
from labcheck.errors import Unreadable
from labcheck.external.model import Attempt, Fetch, Website
from labcheck.facts.logs import TAIL, File, Held
from labcheck.facts.network import SshConnection
from labcheck.ssh import Connection
from tests.checks.findings import only, verdict
from tests.checks.written_logs import (
    CLIENT,
    FILES,
    FOLDER,
    HELD,
    LOG,
    NAMES,
    SAID,
    app_logs,
    failure,
    files,
    line,
    path,
    request,
    values,
)

WELL = Attempt(200, 0.1, "{}", "", "", {}, "", well=True, request_id="own-1")


def site(*attempts: Attempt) -> Website:
    return Website((), (), (Fetch("198.51.100.10", "/health/live", attempts or (WELL,)),))


SSH = SshConnection("198.51.100.7", "198.51.100.10", 22)
CRITERIA: list[tuple[Criterion, dict[str, Any]]] = [
    (logs.every_process_writes_them, {}),
    (logs.what_is_asked_now_is_in_them, {"site": site()}),
    (logs.every_line_can_be_searched, {}),
    (logs.their_times_can_be_compared, {"site": site()}),
    (logs.clients_can_be_told_apart, {"site": site(), "own": ("198.51.100.10",), "ssh": SSH}),
    (logs.they_are_not_for_everyone, {}),
]


def test_server_that_writes_its_logs_passes_every_criterion() -> None:
    for criterion, more in CRITERIA:
        findings = list(criterion(**values(), **more))
        assert verdict(findings) == "PASS", (criterion.name, findings)
    assert not list(logs.each_copy_has_its_records(**values()))


@pytest.mark.parametrize("output", ["pipe:[7]", "/dev/null", "socket:[7]", ""])
def test_an_application_without_a_log_file_is_judged_by_no_other_criterion(output: str) -> None:
    here = values(files(held=(Held(800, 1, output), Held(800, 2, output))))
    assert all(not list(criterion(**here, **more)) for criterion, more in CRITERIA)


def test_a_process_that_writes_nothing_beside_one_that_does_is_found() -> None:
    held = tuple(one for one in HELD if one.pid == 800 or one.path == path("app"))
    finding = only(logs.every_process_writes_them(**values(files(held=held))))
    assert finding.observed == "what answers on port 8001 has no access and no error and no metrics log open"


def test_log_file_under_four_names_is_one_log() -> None:
    held = tuple(Held(pid, fd, path("app"), written_last=True) for pid in (800, 801) for fd in range(3, 7))
    assert verdict(logs.every_process_writes_them(**values(files(held=held)))) == "FAIL"


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
    assert says in only(logs.every_process_writes_them(**values(files(held=held)))).observed


def test_a_log_that_was_rotated_under_an_idle_process_is_still_its_log() -> None:
    others = tuple(one for one in HELD if one.path != path("error"))
    idle = tuple(Held(pid, 9, f"{path('error')}.1", deleted=True) for pid in (800, 801))
    assert verdict(logs.every_process_writes_them(**values(files(held=(*others, *idle))))) == "PASS"


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
def test_request_of_just_now_has_to_be_in_the_access_log(
    access: list[dict[str, Any]], attempts: tuple[Attempt, ...], expected: str
) -> None:
    here = values(files({"access": access, "app": [line()]}))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site(*attempts))) == expected


def test_request_in_another_log_and_not_in_the_access_log_fails() -> None:
    here = values(files({"access": [OTHER]}))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site())) == "FAIL"


def test_request_without_an_answer_is_not_expected_in_the_log() -> None:
    with pytest.raises(Unreadable, match="no request of this check was answered"):
        list(logs.what_is_asked_now_is_in_them(**values(files({"access": []})), site=site(SILENT)))


def test_log_that_is_too_busy_to_reach_back_to_the_request_is_written_to() -> None:
    many = [request(f"other-{n}", "/api/chat", seconds_ago=3.0) for n in range(9)]
    long = {path("access"): replace(LOG, size=TAIL * 3)}
    here = values(files({"access": many}, also=long))
    assert verdict(logs.what_is_asked_now_is_in_them(**here, site=site())) == "PASS"
    arguments = {"site": site(), "own": (), "ssh": SSH}
    assert verdict(logs.clients_can_be_told_apart(**here, **arguments)) == "PASS"
    same = [one | {"ip_address": "127.0.0.1"} for one in many]
    here = values(files({"access": same}, also=long))
    assert verdict(logs.clients_can_be_told_apart(**here, **arguments)) == "FAIL"


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
    finding = only(logs.every_line_can_be_searched(**values(files({name: [*SAID[name], record]}))))
    assert finding.verdict.value == "FAIL" and says in finding.observed


def test_model_call_that_failed_may_lack_its_tokens() -> None:
    lost = line(event_type="llm_error", level="ERROR", error="no answer", model="small", duration_ms=9.5)
    assert verdict(logs.every_line_can_be_searched(**values(files({"metrics": [lost]})))) == "PASS"


@pytest.mark.parametrize("broken", ["INFO: started", '"text"', "[1]", '{"timestamp": "2026', "\0\0{}"])
def test_a_line_that_is_no_json_object_fails_and_is_shown_where_it_may_differ(broken: str) -> None:
    log_files = files()
    log_files.lines[path("app")] += (broken,)
    finding = only(logs.every_line_can_be_searched(**values(log_files)))
    assert finding.observed == "app.log has lines that are not JSON" and broken[:9] in finding.detail


def test_blank_line_as_a_full_disk_leaves_it_passes() -> None:
    log_files = files()
    log_files.lines[path("app")] += ("    ",)
    assert verdict(logs.every_line_can_be_searched(**values(log_files))) == "PASS"


def test_a_log_that_begins_as_text_fails() -> None:
    log_files = files({"app": []}, texts=[path("app")])
    assert "app.log" in only(logs.every_line_can_be_searched(**values(log_files))).observed


@pytest.mark.parametrize("kind", ["access", "error", "metrics"])
def test_log_copy_that_lacks_a_record_of_the_application_log_fails(kind: str) -> None:
    finding = only(logs.each_copy_has_its_records(**values(files({kind: []}))))
    assert finding.observed == f"{kind}.log lacks records that app.log has"


@pytest.mark.parametrize(
    ("app", "also"),
    [
        ([failure(seconds_ago=4000.0)], LOG),  # from before the copy began
        ([failure(seconds_ago=0.5)], LOG),  # only just written
        ([failure()], replace(LOG, born=None)),  # it is not known since when there is a copy
        ([failure(seconds_ago=300.0)], replace(LOG, size=TAIL * 2)),  # further up than was read
    ],
)
def test_log_copy_may_lack_records_that_it_cannot_have(app: list[dict[str, Any]], also: File) -> None:
    later = failure(seconds_ago=60.0, request_id="later")
    here = values(files({"app": app, "error": [later]}, also={path("error"): also}))
    assert not list(logs.each_copy_has_its_records(**here))


@pytest.mark.parametrize(
    ("stamp", "says"),
    [
        ("2026-11-26T05:31:25Z", "0000-00-00T00:00:00.000000Z and 0000-00-00T00:00:00Z"),
        ("2026-11-26 05:31:25,123", "0000-00-00 00:00:00,000"),
        ("2026-11-26T07:31:25.123456+02:00", "+00:00"),
    ],
)
def test_timestamps_of_another_form_fail(stamp: str, says: str) -> None:
    here = values(files({"app": [line(), line() | {"timestamp": stamp}]}))
    finding = only(logs.their_times_can_be_compared(**here, site=site()))
    assert finding.verdict.value == "FAIL" and says in finding.observed


def test_timestamps_of_one_form_that_is_not_utc_fail() -> None:
    local = {name: [one | {"timestamp": "2026-11-26T05:31:25"} for one in SAID[name]] for name in NAMES}
    assert verdict(logs.their_times_can_be_compared(**values(files(local)), site=site())) == "FAIL"


@pytest.mark.parametrize(("hours", "says"), [(-2, "ahead of"), (5, "behind")])
def test_timestamp_of_local_time_with_a_z_fails(hours: int, says: str) -> None:
    local = {"access": [request(seconds_ago=hours * 3600.0)], "app": [], "error": [], "metrics": []}
    finding = only(logs.their_times_can_be_compared(**values(files(local)), site=site()))
    assert finding.verdict.value == "FAIL" and says in finding.observed


@pytest.mark.parametrize(
    ("address", "client", "expected"),
    [
        (CLIENT, SSH.client, "PASS"),
        ("127.0.0.1", SSH.client, "FAIL"),
        ("::1", SSH.client, "FAIL"),
        ("::ffff:127.0.0.1", SSH.client, "FAIL"),
        ("198.51.100.10", SSH.client, "FAIL"),  # the proxy asks by the server's own public address
        ("198.51.100.10", "198.51.100.10", "PASS"),  # so does a vantage on the server itself
        ("198.51.100.10", "127.0.0.1", "PASS"),
    ],
)
def test_a_request_has_its_client_s_address_and_not_the_proxy_s(
    address: str, client: str, expected: str
) -> None:
    here = values(files({"access": [request(), request(ip_address=address)]}))
    look = {"site": site(), "own": ("198.51.100.10",), "ssh": replace(SSH, client=client)}
    assert verdict(logs.clients_can_be_told_apart(**here, **look)) == expected


def test_visitor_without_request_ids_cannot_be_distinguished_from_the_server_s_own_health_check() -> None:
    here = values(files({"access": [request(ip_address="127.0.0.1")]}), own=(), ssh=SSH)
    with pytest.raises(Unreadable, match="no X-Request-ID"):
        list(logs.clients_can_be_told_apart(**here, site=site(replace(WELL, request_id=""))))
    assert not list(logs.clients_can_be_told_apart(**here, site=site(SILENT)))


@pytest.mark.parametrize(
    ("also", "expected"),
    [
        (
            {path("access"): replace(LOG, mode=stat.S_IFREG | 0o644)},
            "PASS",
        ),  # its folder lets no other account in
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
def test_log_permissions_follow_from_file_and_folders(also: dict[str, File], expected: str) -> None:
    assert verdict(logs.they_are_not_for_everyone(**values(files(also=also)))) == expected


ANSWERED = [
    Fetch("198.51.100.10", "/health/live", (WELL,)),
    Fetch("198.51.100.10", "/no", (replace(WELL, status=404),)),
]


def test_answer_of_the_proxy_itself_is_not_looked_for_in_the_log() -> None:
    by_itself = Fetch("198.51.100.10", "/no", (replace(WELL, request_id=""),))
    silent = Fetch("198.51.100.10", "/no", (SILENT,))
    assert logs.answered_by_the_application([*ANSWERED, by_itself, silent]) == ANSWERED
    assert logs.answered_by_the_application([by_itself, silent]) == [by_itself]


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
    finding = only(logs.where_they_are(app_logs(), ANSWERED, full))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.observed


def test_logs_that_each_process_writes_for_itself_add_up() -> None:
    held = (*HELD, Held(801, 9, f"{FOLDER}/access-8001.log"))
    there = {path("app"): MARKED, path("access"): MARKED[:1], f"{FOLDER}/access-8001.log": MARKED[1:]}
    assert verdict(logs.where_they_are(app_logs(files(held=held)), ANSWERED, there)) == "PASS"


def test_a_request_that_failed_belongs_into_the_error_log_as_well() -> None:
    answered = [Fetch("198.51.100.10", "/no", (replace(WELL, status=503),))]
    rows = [request("m", "/no", status_code=503)]
    there = {path(name): rows for name in NAMES if name != "metrics"} | {path("metrics"): []}
    assert verdict(logs.where_they_are(app_logs(), answered, there)) == "PASS"


# ---- on a real host ----------------------------------------------------------------------------


def test_log_lines_with_an_id_are_found_in_each_log_and_no_others(shared: Connection, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("app.log", "access.log")]
    rows = [{"request_id": "m-1"}, {"request_id": "m-12"}, {"request_id": "x", "path": "/m-1"}]
    Path(paths[0]).write_text("".join(json.dumps(row) + "\n" for row in rows) + "m-1 is no JSON\n")
    Path(paths[1]).write_text("")
    assert logs.lines_with(shared, ["m-1", "m-2"], paths) == {paths[0]: [rows[0]], paths[1]: []}


def test_a_log_that_cannot_be_searched_is_unreadable(shared: Connection, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        logs.lines_with(shared, ["m-1"], [str(tmp_path / "absent.log")])
