"""The checks as pure functions: values in, findings out."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import labcheck.wait
from labcheck import checklist
from labcheck.checks import item_01_domain as domain
from labcheck.checks import item_02_https as https
from labcheck.checks import item_03_health as health
from labcheck.checks import item_06_firewall as firewall
from labcheck.checks import item_07_account as account
from labcheck.checks import item_08_secrets as secrets
from labcheck.checks import item_09_supervisor as watch
from labcheck.checks import item_12_ssh as ssh
from labcheck.checks import item_13_limits as limits
from labcheck.checks.model import Criterion, Target
from labcheck.external.model import (
    Attempt,
    Got,
    Handshake,
    MarksSent,
    Port,
    PortScan,
    Records,
    Redirect,
    Sent,
    Website,
)
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import FirewallFiles, PacketFilter, Socket, SshConnection
from labcheck.facts.processes import Process, Processes, Unit, parse_processes
from labcheck.facts.supervisor import Program, ProgramFile, Supervisor
from labcheck.result import Result
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")
IPV4, IPV6 = "198.51.100.10", "2001:db8:100::10"


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


# ---- 1 -----------------------------------------------------------------------------------------

RIGHT = Records("ns1.lab.example", "NOERROR", (IPV4,), (IPV6,), (), 60)
NOTHING = Records("ns1.lab.example", "NXDOMAIN", (), (), (), None)


def test_a_name_that_does_not_exist_fails() -> None:
    (finding,) = domain.the_zone_has_the_name((NOTHING,), target=TARGET)
    assert finding.verdict.value == "FAIL" and "NXDOMAIN" in finding.saw and "ns1" in finding.saw


def test_name_servers_that_differ_fail() -> None:
    other = replace(RIGHT, server="ns2.lab.example", ipv4=("198.51.100.9",))
    assert verdict(domain.the_zone_has_the_name((RIGHT, other), target=TARGET)) == "FAIL"


def test_a_stale_answer_in_the_resolver_fails() -> None:
    assert verdict(domain.the_world_has_heard((RIGHT,), replace(RIGHT, ipv4=("198.51.100.2",)))) == "FAIL"
    assert verdict(domain.the_world_has_heard((RIGHT,), replace(RIGHT, ttl=3))) == "PASS"


OWN = "10.0.0.5"  # the server's own address behind a provider's translation
HERE = Sent(took=True, answers=True, arrived=frozenset({OWN}))
ELSEWHERE = Sent(took=True, answers=True)
ROUTED = Sent(took=True, answers=True, arrived=frozenset({"198.51.100.99"}))  # through this server to another
SHUT = Sent(took=False, answers=True)
SILENT = Sent(took=False, answers=False)


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "own", "expected"),
    [
        (HERE, HERE, (OWN,), "PASS"),  # behind NAT: the server itself knows neither address
        (HERE, ELSEWHERE, (OWN,), "FAIL"),
        (HERE, ROUTED, (OWN,), "FAIL"),
        (HERE, SILENT, (OWN,), "FAIL"),
        (HERE, SHUT, (OWN,), "UNKNOWN"),  # perhaps it is, and the provider lets nothing through but 443/tcp
        (HERE, SHUT, (OWN, IPV6), "PASS"),
        (HERE, SILENT, (OWN, IPV6), "PASS"),
    ],
)
def test_whose_an_address_is_follows_from_what_arrives(
    ipv4: Sent, ipv6: Sent, own: tuple[str, ...], expected: str
) -> None:
    marks = MarksSent({IPV4: ipv4, IPV6: ipv6})
    assert verdict(domain.each_address_is_this_server((RIGHT,), RIGHT, marks, {}, own)) == expected


def test_a_server_that_could_not_watch_calls_no_address_anothers() -> None:
    for marks in (MarksSent({IPV4: HERE, IPV6: ELSEWHERE}, problem="only root may see"),
                  MarksSent({IPV4: HERE, IPV6: ELSEWHERE}, lost=3)):  # fmt: skip
        assert verdict(domain.each_address_is_this_server((RIGHT,), RIGHT, marks, {}, (OWN,))) == "UNKNOWN"


@pytest.mark.parametrize(
    ("records", "edge", "name"),
    [
        (replace(RIGHT, ipv4=("104.16.1.1",), ipv6=()), {}, "Cloudflare"),
        (replace(RIGHT, aliases=("d1.cloudfront.net",)), {}, "CloudFront"),
        (RIGHT, {"cf-ray": "1"}, "Cloudflare"),
    ],
)
def test_a_network_in_front_is_unknown_and_named(records: Records, edge: dict[str, str], name: str) -> None:
    marks = MarksSent({})
    findings = list(domain.each_address_is_this_server((records,), records, marks, edge, ()))
    assert verdict(findings) == "UNKNOWN" and name in findings[0].saw


# ---- 2, 3 --------------------------------------------------------------------------------------

SHAKE = Handshake(IPV4, "", "", "TLSv1.3", "h2", ("app.lab.example",), "Lab Encrypt", 0, 12, 3,
                  {"TLSv1": "refused", "TLSv1_1": "refused"})  # fmt: skip
HEALTHY = json.dumps({"status": "healthy", "components": {"openai_api": {"status": "healthy"}}})
GOOD = Attempt(200, 0.1, HEALTHY, "", "", {}, "", well=True)


def site(shake: Handshake = SHAKE, redirect: str = "https://app.lab.example/", *gets: Got) -> Website:
    return Website((shake,), (Redirect(IPV4, Attempt(308, 0.1, "", redirect, "", {}, "", well=False)),), gets)


def test_a_certificate_with_a_quarter_left_or_less_fails() -> None:
    assert verdict(https.the_certificate_is_trusted(site(), target=TARGET)) == "PASS"
    assert verdict(https.the_certificate_is_trusted(site(replace(SHAKE, now=9)), target=TARGET)) == "FAIL"


@pytest.mark.parametrize("days", [90, 64, 45, 160 / 24])
def test_a_certificate_that_waits_for_the_time_that_its_authority_names_passes(days: float) -> None:
    """Let's Encrypt's window for ARI ends 1 % of the lifetime after its last third, or its last half."""
    ideal = 1 / 3 if days >= 10 else 1 / 2
    part_left, half_a_day = ideal - 0.01, 0.5
    now = days * (1 - part_left) + half_a_day  # the client's next look after the window's end
    found = https.the_certificate_is_trusted(site(replace(SHAKE, not_after=days, now=now)), target=TARGET)
    assert verdict(found) == "PASS"


def test_what_is_said_of_a_certificate_does_not_change_with_time() -> None:
    early, late = (
        list(https.the_certificate_is_trusted(site(replace(SHAKE, now=now)), target=TARGET)) for now in (1, 4)
    )
    assert [finding.saw for finding in early] == [finding.saw for finding in late]


@pytest.mark.parametrize(
    ("state", "expected"), [("refused", "PASS"), ("accepted", "FAIL"), ("unreadable: x", "UNKNOWN")]
)
def test_an_old_version_that_could_not_be_tried_is_unknown(state: str, expected: str) -> None:
    assert verdict(https.old_versions_are_refused(site(replace(SHAKE, old={"TLSv1": state})))) == expected


@pytest.mark.parametrize(
    "location",
    ["", "http://app.lab.example/", "https://app.lab.example.evil.example/", "https://other.example/"],
)
def test_a_redirect_to_anywhere_else_fails(location: str) -> None:
    assert verdict(https.http_leads_to_https(site(SHAKE, location), target=TARGET)) == "FAIL"


def got(path: str = "/health", **changes: object) -> Got:
    return Got(IPV4, path, (replace(GOOD, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (got(body='{"status": "unhealthy", "components": {"a": "down"}}'), "status 200 with"),
        (got(status=503), "status 503 with"),
        (got(body='{"status": "healthy", "components": {"a": "unhealthy"}}'), "although a is not"),
        (got(body="OK"), "not a JSON object"),
        (got(body='{"status": "healthy"}'), "no component"),
        (got(seconds=1.2), "slower than 1 s"),
        (got(status=502, body=""), "status 502"),
        (got(status=None, error="no answer"), "no answer"),
    ],
)
def test_a_health_answer_fails_with_its_reason(answer: Got, says: str) -> None:
    (finding,) = health.the_endpoints_answer(site(SHAKE, "", answer))
    assert finding.verdict.value == "FAIL" and says in finding.saw


def test_the_best_of_three_counts() -> None:
    slow = replace(GOOD, seconds=2.0, well=False)
    quick_and_ill = replace(GOOD, seconds=0.01, body='{"status": "degraded", "components": {}}', well=False)
    three = Got(IPV4, "/health", (slow, quick_and_ill, GOOD))
    assert verdict(health.the_endpoints_answer(site(SHAKE, "", three))) == "PASS"
    assert (
        verdict(health.the_endpoints_answer(site(SHAKE, "", replace(three, attempts=three.attempts[:2]))))
        == "FAIL"
    )


def ill(*names: str, status: int = 503, **changes: object) -> Got:
    """An answer of /health that calls these components ill."""
    parts = {name: {"status": "unhealthy" if name in names else "healthy"} for name in ("database", "cache")}
    word = "unhealthy" if status == 503 else "degraded"
    return got(status=status, body=json.dumps({"status": word, "components": parts}), **changes)


WELL, ILL, LATE = got(), ill("database"), ill("database", seconds=1.2)
READY, NOT_READY = got("/health/ready"), got("/health/ready", status=503, body='{"status": "unhealthy"}')


@pytest.mark.parametrize(
    ("answers", "expected", "says"),
    [
        ([[WELL], [ILL]], "PASS", "says unhealthy (database) within 1 s"),
        ([[WELL], [ill("database", status=200)]], "PASS", "says degraded (database) within 1 s"),
        ([[ILL, NOT_READY]], "PASS", "says unhealthy"),
        ([[LATE], [WELL], [LATE], [ILL]], "PASS", "says unhealthy"),
        ([[LATE], [LATE], [LATE], [ILL]], "FAIL", "longer than 1 s"),
        ([[], [got(status=None, error="no answer")], [LATE], [ILL]], "FAIL", "longer than 1 s"),
        ([[LATE], [LATE]], "FAIL", "longer than 1 s"),
        ([[WELL], [WELL]], "FAIL", "stays well"),
        ([[LATE], [WELL]], "FAIL", "stays well"),
        ([[ill()], [ill()]], "FAIL", "names no component"),
        ([[ill("cache")], [ill("cache")]], "FAIL", "names cache"),
        ([[ill("cache", "database")], [ill("cache", "database")]], "FAIL", "cache is not well again"),
        ([[ILL, READY], [ILL, READY]], "FAIL", "still lets traffic come"),
    ],
)
def test_how_a_paused_dependency_shows(
    answers: list[list[Got]], expected: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock on which only waiting takes time: every answer is asked for, however busy the computer is.
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(labcheck.wait, "time", clock)
    left = iter(answers)
    timeout = float(len(answers) - 1)
    finding, _ = health.how_it_shows(
        "DATABASE_URL", lambda: next(left), timeout=timeout, every=1, before={"cache"}
    )
    assert finding.verdict.value == expected and says in finding.saw


def test_one_text_for_every_path_fails() -> None:
    recited = [got(path) for path in ("/health/live", "/health/ready", "/health")]
    assert verdict(health.the_application_itself_answers(site(SHAKE, "", *recited))) == "FAIL"


# ---- 6 -----------------------------------------------------------------------------------------

SSH = SshConnection("198.51.100.2", IPV4, 22)
UVICORN = Socket("tcp", "0.0.0.0", 8000, "uvicorn", (800,))
FILTER = PacketFilter({4: True, 6: True}, {4: False, 6: False}, True, frozenset())
FILES = FirewallFiles(True, True, False, frozenset())
UFW = {"ufw": Unit("ufw", True, True, "enabled", 0)}


def scan(state: str, *, proven: bool = True) -> PortScan:
    return PortScan(
        (Port(IPV4, "tcp", 8000, state),), frozenset({(4, "tcp", 8000)} if proven else ()), "no reference"
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (scan("filtered"), "PASS"),
        (scan("open"), "FAIL"),
        (scan("open", proven=False), "FAIL"),  # that it opened needs no proof
        (scan("filtered", proven=False), "UNKNOWN"),
        (PortScan((), frozenset(), ""), "UNKNOWN"),
    ],
)
def test_a_port_is_closed_only_for_who_could_open_one(seen: PortScan, expected: str) -> None:
    assert verdict(firewall.only_the_three_answer(seen, (UVICORN,), SSH, target=TARGET)) == expected


def test_an_open_door_names_the_program_behind_it() -> None:
    finding = next(iter(firewall.only_the_three_answer(scan("open"), (UVICORN,), SSH, target=TARGET)))
    assert "8000/tcp" in finding.saw and "uvicorn on 0.0.0.0" in finding.saw


def test_a_door_that_the_filter_lets_through_to_nobody_fails() -> None:
    assert verdict(firewall.nothing_else_is_let_through(FILTER, scan("closed"), SSH)) == "FAIL"
    rejecting = replace(FILTER, rejects={4: True, 6: True})
    assert not list(firewall.nothing_else_is_let_through(rejecting, scan("closed"), SSH))
    naming = replace(FILTER, rejected=frozenset({(4, "tcp", 8000)}))
    assert not list(firewall.nothing_else_is_let_through(naming, scan("closed"), SSH))
    other = replace(FILTER, rejected=frozenset({(4, "tcp", 8001)}))
    assert verdict(firewall.nothing_else_is_let_through(other, scan("closed"), SSH)) == "FAIL"


def test_a_filter_for_one_family_alone_fails_and_names_the_other() -> None:
    (finding,) = firewall.the_filter_is_loaded(replace(FILTER, drops={4: True, 6: False}))
    assert finding.verdict.value == "FAIL" and "IPv6" in finding.saw and "IPv4" not in finding.saw


@pytest.mark.parametrize(
    ("files", "unit", "expected"),
    [
        (FILES, "enabled", "PASS"),
        (FILES, "disabled", "FAIL"),
        (replace(FILES, ufw_enabled=False), "enabled", "FAIL"),
        (replace(FILES, ufw_enabled=None), "", "FAIL"),
    ],
)
def test_a_filter_that_nothing_loads_at_boot_fails(files: FirewallFiles, unit: str, expected: str) -> None:
    units = {"ufw": replace(UFW["ufw"], starts_at_boot=unit)}
    assert verdict(firewall.it_comes_back_at_boot(FILTER, files, units)) == expected


# ---- 7, 9 --------------------------------------------------------------------------------------

INIT = Process(1, 0, "systemd", frozenset({0}), frozenset({0}), 0xFF, "/sbin/init", False)
SUPERVISORD = Process(700, 1, "supervisord", frozenset({0}), frozenset({0}), 0xFF, "supervisord -n", False)
LINE = "/home/aiapp/app/.venv/bin/python /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --port 8000"
WORKER = Process(800, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE, False)
RUNNING = Processes((INIT, SUPERVISORD, WORKER))
SOCKETS = (replace(UVICORN, address="127.0.0.1"),)
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
