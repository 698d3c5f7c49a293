"""Item 10: somebody watches, somebody is told, and somebody notices when nobody watches any more.

The look asks the server's own Prometheus and Alertmanager what is in effect, not what is in their files:
targets, the module's alerts with what their expressions give now, who gets a critical alert, silences, the
heartbeat. What a look cannot tell is whether the one who gets it keeps it: the exercise sends a test alert,
and asks the receiver. The alert on cost is item 15's. The lab's chapter is 07_monitoring, section "Alerts".
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from labcheck.checks.application import servers
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.monitoring import Alertmanager, Monitoring, Prometheus, Rule, Silence, monitoring
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Processes, processes
from labcheck.gather import gather
from labcheck.remote.monitoring import LATE, comparison, selectors
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, NotYet, wait_until

_WHY = "what nobody watches is broken until a user writes"
_TAUGHT = "rules and their tests are in chapter 07_monitoring"
LONGEST = 300.0
"""Seconds for which the health may have to be bad before it is told; the module wants 2 minutes."""
SHORTEST = 120.0
MONTH = 31 * 86400.0


def _watching(seen: Monitoring) -> Iterator[Finding]:
    """What is to be said where there is no Prometheus to ask."""
    if reasons := [f"{who}: {why}" for who, why in seen.unanswered.items() if who.startswith("Prometheus")]:
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus")
    elif seen.agents:
        yield unknown(
            f"{seen.agents[0]} runs here and no Prometheus: what it measures is judged elsewhere",
            next="see there which alerts are set up, and let one arrive",
        )
    else:
        yield failed(
            "nothing on this server watches it",
            expected="Prometheus, or another monitor, with alerts that reach somebody",
            why=_WHY,
            next="install prometheus and prometheus-alertmanager",
        )


@criterion(seen=monitoring, running=processes, sockets=listening_sockets, known=accounts)
def the_targets_answer(
    seen: Monitoring, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Each target is up, and each process of the application is one."""
    if not seen.prometheus:
        yield from _watching(seen)
        return
    watched = [one for prometheus in seen.prometheus for one in prometheus.targets]
    down = [one for one in watched if not one.up]
    for one in down:
        yield failed(
            f"{one.job} at {one.instance} gives Prometheus no numbers",
            expected="each target is up",
            why="an alert on numbers that do not come never fires",
            next="see Status, Targets in Prometheus; is the program running?",
            detail=one.error,
        )
    asked = {int(port) for one in watched for port in re.findall(r"^https?://[^/]*:(\d+)/", one.address)}
    ports = sorted(servers(running, sockets, known, target))
    missed = [port for port in ports if port not in asked]
    for port in missed:
        yield failed(
            f"nobody asks the application's process on port {port} for its numbers",
            expected="each process of the application is a target",
            why="each counts its own requests: what goes wrong in this one is not in the sum",
            next=f"add 127.0.0.1:{port} to scrape_configs, and reload Prometheus",
        )
    if not ports:
        yield unknown("no process of the application listens: whether they are targets cannot be told")
    if not down and not missed and ports:
        yield passed(f"{len(watched)} targets are up, and among them the application's {len(ports)}")


# ---- the rules ---------------------------------------------------------------------------------

WANTED = {
    "health": "an alert on /health, which does not answer with 200 for 2 minutes",
    "errors": "an alert on more than 5 % of the requests that fail",
    "latency": "an alert on a 95th percentile over 5 s",
    "disk": "an alert on a disk that is more than 80 % full",
    "target": "an alert on a target that gives no numbers",
}
_STATUS = re.compile(r"^(status|status_code|code|http_status|http_status_code|http_response_status_code)$")


def kind(rule: Rule) -> str:
    """What an alert is about, by the metrics that it reads; "" for anything else."""
    read = selectors(rule.query)
    names = " ".join(name for name, _ in read)
    if re.search(r"\bprobe_(success|http_status_code)\b", names):
        return "health"
    if read and all(name == "up" for name, _ in read):
        return "target"
    if "histogram_quantile" in rule.query or any("quantile" in labels for _, labels in read):
        return "latency"
    if re.search(r"\bnode_filesystem_|disk_used|disk_free", names):
        return "disk"
    if "/" in rule.query and any(_STATUS.match(label) for _, labels in read for label in labels):
        return "errors"
    return ""


@criterion(seen=monitoring)
def the_alerts_are_in_effect(seen: Monitoring, target: Target) -> Iterator[Finding]:
    """The module's alerts are loaded and evaluated, and would fire for what they are meant for."""
    if not seen.prometheus:
        return
    found = [(prometheus, rule) for prometheus in seen.prometheus for rule in prometheus.rules]
    wrong = False
    for wanted, words in WANTED.items():
        mine = [(prometheus, rule) for prometheus, rule in found if kind(rule) == wanted]
        problems = [list(_wrong_with(wanted, *pair, target)) for pair in mine]
        if not mine:
            wrong = True
            yield failed(
                f"Prometheus has not loaded {words}",
                expected="the module's alerts, and one on targets that are down, loaded and evaluated",
                why=_WHY,
                next="promtool check rules FILE, name the file in rule_files, and reload Prometheus",
            )
        elif all(problems):  # of several on the same thing, one that is right is enough
            wrong = True
            yield from problems[0]
    if not wrong:
        pace = max(prometheus.pace for prometheus in seen.prometheus)
        lab = f", at the lab's pace: {pace:g} times as fast" if target.lab and pace > 1 else ""
        yield passed(f"{len(WANTED)} kinds of alerts are loaded and evaluated{lab}")


Fault: TypeAlias = Callable[..., Finding]
"""What is wrong with one rule, as a finding that names it."""


def _wrong_with(wanted: str, prometheus: Prometheus, rule: Rule, target: Target) -> Iterator[Finding]:
    def fault(saw: str, expected: str, why: str, next: str = _TAUGHT) -> Finding:
        return failed(f"the alert {rule.name} {saw}", expected=expected, why=why, next=next)

    never = "it looks like an alert, and never fires"
    if rule.health != "ok":
        yield fault(f"cannot be evaluated: {rule.error or rule.health}", "a rule in good health", never)
        return
    if rule.age > LATE + 3 * rule.interval:
        yield fault("is not evaluated any more", f"evaluated every {rule.interval:g} s", never)
        return
    if strange := sorted({name for name, _ in selectors(rule.query)} - prometheus.known):
        yield fault(
            f"reads {strange[0]}, which Prometheus does not have",
            "a metric that some target brings",
            never,
            "see the metric's name at the target, /metrics",
        )
        return
    split = comparison(rule.query)
    if split is None:
        yield fault("compares with nothing", WANTED[wanted], "nobody can say when it fires")
        return
    yield from _CONDITIONS[wanted](rule, split, fault)
    # Requests may not have come yet; a probe, a disk and a target are always there.
    if wanted in ("health", "disk", "target") and not rule.left:
        yield fault("looks at nothing: its left side gives no series", WANTED[wanted], never)
    if wanted == "health":
        yield from _health(rule, prometheus, target, fault)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Unreadable(f"an alert compares with {text!r}, which is no plain number") from None


def _over(rule: Rule, split: tuple[str, str, str], most: float, fault: Fault, what: str) -> Iterator[Finding]:
    """It fires above a limit, and the limit is no higher than the module's."""
    left, operator, right = split
    if re.search(r"(\*\s*100\b|\b100\s*\*)", left):
        most *= 100
    if operator not in (">", ">=") or not 0 < _number(right) <= most:
        yield fault(
            f"fires for {operator} {right}",
            f"> {most:g}: {what}",
            "what is worse than that goes by unnoticed",
        )


def _errors(rule: Rule, split: tuple[str, str, str], fault: Fault) -> Iterator[Finding]:
    yield from _over(rule, split, 0.05, fault, "the share of requests that fail")
    conditions = [
        condition
        for _, labels in selectors(split[0])
        for label, condition in labels.items()
        if _STATUS.match(label)
    ]
    counted = {
        code for code in ("200", "404", "500", "502", "503") if any(_fits(code, it) for it in conditions)
    }
    if missing := sorted({"500", "502", "503"} - counted):
        yield fault(
            f"does not count status {', '.join(missing)} as an error",
            'every status of a failure: status=~"5.."',
            "requests that fail go by unnoticed",
        )
    elif "200" in counted and not any(how in ("!=", "!~") for how, _ in conditions):
        yield fault("counts status 200 as an error", 'failures alone: status=~"5.."', "it cries wolf")


def _fits(text: str, condition: tuple[str, str]) -> bool:
    how, value = condition
    if how in ("=", "!="):
        return (text == value) == (how == "=")
    try:
        return bool(re.fullmatch(value, text)) == (how == "=~")
    except re.error:
        raise Unreadable(f"the pattern {value!r} in an alert is not understood") from None


def _latency(rule: Rule, split: tuple[str, str, str], fault: Fault) -> Iterator[Finding]:
    yield from _over(rule, split, 5, fault, "seconds, for the 95th percentile")
    if match := re.search(r"histogram_quantile\s*\(\s*([\d.]+)\s*,(.*)", split[0], re.S):
        if float(match[1]) < 0.95:
            yield fault(
                f"looks at the quantile {match[1]}", "0.95 or more", "the slowest answers are not among them"
            )
        if "sum" in match[2] and not re.search(r"\bby\s*\([^)]*\ble\b|\bwithout\s*\(", match[2]):
            yield fault(
                "adds up the buckets without keeping le",
                "sum by (le) (…)",
                "it looks like an alert, and never fires",
            )


def _disk(rule: Rule, split: tuple[str, str, str], fault: Fault) -> Iterator[Finding]:
    left, operator, right = split
    hundred = 100 if re.search(r"(\*\s*100\b|\b100\s*\*)", left) else 1
    limit = _number(right) / hundred
    good = 0 < limit <= 0.8 if operator in (">", ">=") else 0.2 <= limit < 1 and operator in ("<", "<=")
    if not good:
        yield fault(f"fires for {operator} {right}", "more than 80 % in use", "a full disk stops everything")


def _health_condition(rule: Rule, split: tuple[str, str, str], fault: Fault) -> Iterator[Finding]:
    _, operator, right = split
    by_status = "probe_http_status_code" in rule.query
    good = (operator, right) in ((("!=", "200"),) if by_status else (("==", "0"), ("!=", "1"), ("<", "1")))
    if not good:
        yield fault(
            f"fires for {operator} {right}", "any answer but 200", "it looks like an alert, and never fires"
        )


def _target_condition(rule: Rule, split: tuple[str, str, str], fault: Fault) -> Iterator[Finding]:
    _, operator, right = split
    if (operator, right) not in (("==", "0"), ("!=", "1"), ("<", "1")):
        yield fault(
            f"fires for {operator} {right}", "up == 0", "an alert on numbers that do not come never fires"
        )


_CONDITIONS = {
    "health": _health_condition,
    "errors": _errors,
    "latency": _latency,
    "disk": _disk,
    "target": _target_condition,
}


def _health(rule: Rule, prometheus: Prometheus, target: Target, fault: Fault) -> Iterator[Finding]:
    if rule.labels.get("severity") != "critical":
        yield fault(
            f"has the severity {rule.labels.get('severity', 'none')}",
            "severity: critical",
            "whoever sorts by severity lets it wait until tomorrow",
        )
    holds = rule.holds_for * (prometheus.pace if target.lab else 1)
    if not SHORTEST <= holds <= LONGEST:
        yield fault(
            f"has to hold for {rule.holds_for:g} s",
            "2 minutes: one lost packet wakes nobody, and an outage does",
            "too short cries wolf, too long is too late",
        )
    seen = {value for labels, _ in rule.left for value in labels.values()}
    if rule.left and not any(
        re.search(rf"://{re.escape(target.domain)}(:\d+)?/health", value) for value in seen
    ):
        yield fault(
            f"does not look at https://{target.domain}/health",
            "the way of the users: the domain's /health",
            "something else may be well while the application is not",
        )


# ---- who is told -------------------------------------------------------------------------------


@criterion(seen=monitoring)
def somebody_is_told(seen: Monitoring) -> Iterator[Finding]:
    """Prometheus hands its alerts to an Alertmanager that has somebody to send a critical one to."""
    if not seen.prometheus:
        return
    if not any(prometheus.alertmanagers for prometheus in seen.prometheus):
        yield failed(
            "Prometheus hands its alerts to nobody",
            expected="an Alertmanager in alerting: alertmanagers:",
            why="an alert that stays in Prometheus is seen by whoever looks there, which is nobody",
        )
        return
    if reasons := [f"{who}: {why}" for who, why in seen.unanswered.items() if who.startswith("Alertm")]:
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus-alertmanager")
        return
    if not seen.alertmanagers:
        here = all(
            "//127." in url or "//localhost" in url for it in seen.prometheus for url in it.alertmanagers
        )
        reason = "Prometheus hands its alerts to an Alertmanager"
        if here:
            yield failed(
                f"{reason} that does not run",
                expected="Alertmanager, running",
                why="an alert that fires reaches nobody",
                next="systemctl status prometheus-alertmanager",
            )
        else:
            yield unknown(f"{reason} on another server, which cannot be asked from here")
        return
    good = True
    for manager in seen.alertmanagers:
        for finding in _told_by(manager, seen.prometheus):
            good = False
            yield finding
    if good:
        names = sorted({name for manager in seen.alertmanagers for name in manager.critical or ()})
        to = f" goes to {', '.join(names)}" if names else " has a receiver"
        yield passed(f"a critical alert{to}, and notifications are accepted")


def _told_by(manager: Alertmanager, monitors: Sequence[Prometheus]) -> Iterator[Finding]:
    silent = [name for name in manager.critical or () if not manager.receivers.get(name)]
    if not any(manager.receivers.values()) or silent:
        yield failed(
            f"a critical alert goes to {silent[0] if silent else 'a receiver'}, which sends it nowhere",
            expected="a receiver with somewhere to send to (webhook_configs, email_configs, …)",
            why="an alert that fires reaches nobody",
            next="amtool config routes test severity=critical",
        )
    for silence in manager.silences:
        if silence.left > MONTH and _covers(
            silence, {"severity": "critical", "alertname": "HealthCheckFails"}
        ):
            yield failed(
                "a silence keeps critical alerts quiet for more than a month",
                expected="silences end with the work that they are for",
                why="an alert that fires reaches nobody, and nobody remembers why",
                next="amtool silence query, amtool silence expire ID",
                detail=silence.comment,
            )
    lately = [prometheus.failed for prometheus in monitors if prometheus.failed is not None]
    ever = [failures / sent for sent, failures in manager.sent.values() if sent]
    if max(lately or ever, default=0) > 0.5:
        yield failed(
            "most notifications of Alertmanager fail",
            expected="each notification is accepted by its receiver",
            why="an alert that fires reaches nobody",
            next="journalctl -u prometheus-alertmanager: the receiver's address, its key, its certificate",
        )


def _covers(silence: Silence, labels: dict[str, str]) -> bool:
    """Whether it would keep an alert with these labels quiet, as far as they are known."""
    for name, value, pattern, equal in silence.matchers:
        if name not in labels:
            return False
        fits = re.fullmatch(value, labels[name]) is not None if pattern else labels[name] == value
        if fits != equal:
            return False
    return True


@criterion(seen=monitoring)
def the_watcher_is_watched(seen: Monitoring) -> Iterator[Finding]:
    """An alert that always fires goes out all the time: who does not get it knows that nobody watches."""
    if not seen.prometheus or not seen.alertmanagers:
        return
    beats = {
        rule.name
        for prometheus in seen.prometheus
        for rule in prometheus.rules
        if rule.firing and not selectors(rule.query)
    }
    expected = (
        "an alert that always fires (expr: vector(1)), with a receiver that notices when it does not come"
    )
    why = "a monitor that has died is as quiet as a server that is well"
    if not beats:
        yield failed("nothing tells when the monitoring itself stops", expected=expected, why=why)
        return
    for manager in seen.alertmanagers:
        alive = [
            alert
            for alert in manager.alerts
            if alert.labels.get("alertname") in beats and alert.age < 3 * LATE and alert.state == "active"
        ]
        heard = [name for alert in alive for name in alert.receivers if manager.receivers.get(name)]
        if heard:
            yield passed(f"the heartbeat goes to {heard[0]}")
        else:
            reason = (
                "goes to a receiver that sends it nowhere" if alive else "does not arrive at Alertmanager"
            )
            yield failed(f"the heartbeat {min(beats)} {reason}", expected=expected, why=why)


# ---- exercise ----------------------------------------------------------------------------------

ARRIVES_WITHIN = 120.0  # s: a group waits for 30 s, an emulated machine for a while
TEST = "LabcheckTest"  # and a mark behind it, so that each is a group of its own and waits for no other
_SEND = f"""
import http.client, json, sys
address, mark, seconds = sys.argv[1:]
host, _, port = address.rpartition(":")
host = "127.0.0.1" if host.strip("[]") in ("", "0.0.0.0", "::") else host.strip("[]")
from datetime import datetime, timedelta, timezone
end = datetime.now(timezone.utc) + timedelta(seconds=float(seconds))
alert = {{
    "labels": {{"alertname": "{TEST}-" + mark[:6], "severity": "critical", "mark": mark}},
    "annotations": {{"summary": "a test by labcheck: nothing is wrong"}},
    "endsAt": end.isoformat(),
}}
c = http.client.HTTPConnection(host, int(port), timeout=10)
c.request("POST", "/api/v2/alerts", json.dumps([alert]), {{"Content-Type": "application/json"}})
answer = c.getresponse()
sys.exit(0 if answer.status == 200 else "status %d" % answer.status)
"""


def _send(server: Connection, address: str, mark: str, seconds: float) -> str:
    """Hand Alertmanager the test alert, which ends so many seconds from now; what went wrong, or ""."""
    words = " ".join(map(shlex.quote, (address, mark, str(seconds))))
    ended = server.run(f"python3 -IS -c {shlex.quote(_SEND)} {words}")
    return (ended.stderr.strip().splitlines() or ["it gave no reason"])[-1] if ended.exit_status else ""


def a_test_alert_arrives(server: Connection, ctx: Context) -> Iterator[Finding]:
    """A critical test alert is handed to Alertmanager, and the receiver is asked whether it has it."""
    ask = ctx.target.alerts_received
    if not ask:
        yield unknown(
            "how to ask the receiver what it has received is not known",
            next='labcheck.toml: [alerts] received = "a command on the server that prints it"',
        )
        return
    managers = gather(server, [monitoring])[monitoring].alertmanagers
    if not managers:
        raise Unreadable("no Alertmanager answers on the server")
    mark = secrets.token_hex(8)
    if wrong := _send(server, managers[0].address, mark, 300):
        yield unknown(f"Alertmanager did not take the test alert: {wrong}")
        return
    said = ""

    def is_there() -> bool:
        nonlocal said
        answer = server.run(AS_ROOT, stdin=f"{ask}\n", timeout=30)
        if answer.exit_status:
            said = (answer.stderr.strip().splitlines() or [f"exit status {answer.exit_status}"])[-1]
            raise NotYet(said)
        said = ""
        return mark in answer.stdout

    try:
        wait_until(is_there, what="the test alert", timeout=ARRIVES_WITHIN, every=1)
        yield passed("a test alert has arrived at the receiver")
    except GaveUp:
        if said:
            yield unknown(f"the receiver could not be asked: {said}")
        else:
            yield failed(
                f"a test alert has not arrived at the receiver within {ARRIVES_WITHIN:g} s",
                expected="what Alertmanager sends is there when the receiver is asked",
                why="everything looks well, and nobody is told",
                next="which address does Alertmanager send to, and who answers there?",
            )
    finally:
        _send(server, managers[0].address, mark, -1)


ITEM = Item(
    number=10,
    title="Monitoring and alerts set up",
    short="Monitoring",
    chapter="07_monitoring",
    section="Alerts",
    criteria=(the_targets_answer, the_alerts_are_in_effect, somebody_is_told, the_watcher_is_watched),
    exercise=a_test_alert_arrives,
)
