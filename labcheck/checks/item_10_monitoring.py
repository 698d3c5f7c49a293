"""Item 10: the server is monitored, alerts reach a person, and a monitoring that has stopped is noticed.

The read-only check asks the server's own Prometheus and Alertmanager what is in effect, not what is in their
files: targets, the module's alerts with what their expressions give now, the receivers of a critical alert,
silences, the heartbeat. What it cannot find out is whether a receiver keeps what it gets: the exercise sends
a test alert, and asks the receiver. The alert on cost is item 15's. The lab's chapter is 07_monitoring,
section "Alerts".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence

from labcheck.checks.application import servers
from labcheck.checks.item_10_alerts import WHY, the_alerts_are_in_effect
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.checks.monitoring import alertmanager_is_elsewhere, alerts, covers, unanswered
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.monitoring import Alertmanager, Monitoring, Prometheus, monitoring
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Processes, processes
from labcheck.gather import gather
from labcheck.remote.monitoring import LATE
from labcheck.remote.output import last_line
from labcheck.remote_program import command
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, NotYet, wait_until

MONTH = 31 * 86400.0


def _watching(state: Monitoring) -> Iterator[Finding]:
    """What is to be said where there is no Prometheus to ask."""
    if reasons := unanswered(state, "Prometheus"):
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus")
    elif state.agents:
        yield unknown(
            f"{state.agents[0]} runs here and no Prometheus: what it measures is judged elsewhere",
            next="see there which alerts are set up, and let one arrive",
        )
    else:
        yield failed(
            "nothing on this server watches it",
            expected="Prometheus, or another monitor, with alerts that reach a person",
            why=WHY,
            next="install prometheus and prometheus-alertmanager",
        )


@criterion(state=monitoring, running=processes, sockets=listening_sockets, known=accounts)
def the_targets_answer(
    state: Monitoring, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Each target is up, and each process of the application is one."""
    if not state.prometheus:
        yield from _watching(state)
        return
    watched = [scrape for prometheus in state.prometheus for scrape in prometheus.targets]
    down = [scrape for scrape in watched if not scrape.up]
    for scrape in down:
        yield failed(
            f"{scrape.job} at {scrape.instance} gives Prometheus no numbers",
            expected="each target is up",
            why="an alert on numbers that do not come never fires",
            next="see Status, Targets in Prometheus; is the program running?",
            detail=scrape.error,
        )
    scraped_ports = {
        int(port) for scrape in watched for port in re.findall(r"^https?://[^/]*:(\d+)/", scrape.address)
    }
    ports = sorted(servers(running, sockets, known, target))
    missed = [port for port in ports if port not in scraped_ports]
    for port in missed:
        yield failed(
            f"Prometheus does not ask the application's process on port {port} for its numbers",
            expected="each process of the application is a target",
            why="each counts its own requests: what goes wrong in this one is not in the sum",
            next=f"add 127.0.0.1:{port} to scrape_configs, and reload Prometheus",
        )
    if not ports:
        yield unknown("no process of the application listens: whether they are targets cannot be determined")
    if not down and not missed and ports:
        yield passed(f"{len(watched)} targets are up, and among them the application's {len(ports)}")


# ---- receivers ---------------------------------------------------------------------------------


@criterion(state=monitoring)
def a_person_is_told(state: Monitoring) -> Iterator[Finding]:
    """Prometheus hands its alerts to an Alertmanager that has a receiver for critical ones."""
    if not state.prometheus:
        return
    if not any(prometheus.alertmanagers for prometheus in state.prometheus):
        yield failed(
            "Prometheus hands its alerts to no Alertmanager",
            expected="an Alertmanager in alerting: alertmanagers:",
            why="an alert that stays in Prometheus reaches no person",
        )
        return
    if reasons := unanswered(state, "Alertmanager"):
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus-alertmanager")
        return
    if not state.alertmanagers:
        reason = "Prometheus hands its alerts to an Alertmanager"
        if alertmanager_is_elsewhere(state):
            yield unknown(f"{reason} on another server, which cannot be asked from here")
        else:
            yield failed(
                f"{reason} that does not run",
                expected="Alertmanager, running",
                why="an alert that fires reaches no person",
                next="systemctl status prometheus-alertmanager",
            )
        return
    good = True
    for manager in state.alertmanagers:
        for finding in _told_by(manager, state.prometheus):
            good = False
            yield finding
    if good:
        names = sorted({name for manager in state.alertmanagers for name in manager.critical or ()})
        to = f" goes to {', '.join(names)}" if names else " has a receiver"
        yield passed(f"a critical alert{to}, and notifications are accepted")


def _told_by(manager: Alertmanager, monitors: Sequence[Prometheus]) -> Iterator[Finding]:
    silent = [name for name in manager.critical or () if not manager.receivers.get(name)]
    if not any(manager.receivers.values()) or silent:
        yield failed(
            f"a critical alert goes to {silent[0] if silent else 'a receiver'}, which sends it nowhere",
            expected="a receiver with somewhere to send to (webhook_configs, email_configs, …)",
            why="an alert that fires reaches no person",
            next="amtool config routes test severity=critical",
        )
    for silence in manager.silences:
        if silence.left > MONTH and covers(
            silence, {"severity": "critical", "alertname": "HealthCheckFails"}
        ):
            yield failed(
                "a silence keeps critical alerts quiet for more than a month",
                expected="silences end with the work that they are for",
                why="an alert that fires reaches no person, and the reason is forgotten",
                next="amtool silence query, amtool silence expire ID",
                detail=silence.comment,
            )
    lately = [prometheus.failed for prometheus in monitors if prometheus.failed is not None]
    ever = [failures / sent for sent, failures in manager.sent.values() if sent]
    if max(lately or ever, default=0) > 0.5:
        yield failed(
            "most notifications of Alertmanager fail",
            expected="each notification is accepted by its receiver",
            why="an alert that fires reaches no person",
            next="journalctl -u prometheus-alertmanager: the receiver's address, its key, its certificate",
        )


@criterion(state=monitoring)
def the_watcher_is_watched(state: Monitoring) -> Iterator[Finding]:
    """An alert that always fires is sent all the time: without it, the monitoring has stopped."""
    if not state.prometheus or not state.alertmanagers:
        return
    beats = {alert.rule.name for alert in alerts(state).all if alert.rule.firing and not alert.names}
    expected = (
        "an alert that always fires (expr: vector(1)), with a receiver that notices when it does not come"
    )
    why = "a monitor that has died is as quiet as a server that is well"
    if not beats:
        yield failed("nothing alerts when the monitoring itself stops", expected=expected, why=why)
        return
    for manager in state.alertmanagers:
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


def _send(server: Connection, address: str, mark: str, seconds: float) -> str:
    """Hand Alertmanager the test alert, which ends so many seconds from now; what went wrong, or ""."""
    ended = server.run(command("monitoring", "send", address, mark, seconds))
    return last_line(ended.stderr, "it gave no reason") if ended.exit_status else ""


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
    problem = ""

    def is_there() -> bool:
        nonlocal problem
        answer = server.run(AS_ROOT, stdin=f"{ask}\n", timeout=30)
        if answer.exit_status:
            problem = last_line(answer.stderr, f"exit status {answer.exit_status}")
            raise NotYet(problem)
        problem = ""
        return mark in answer.stdout

    try:
        wait_until(is_there, what="the test alert", timeout=ARRIVES_WITHIN, every=1)
        yield passed("a test alert has arrived at the receiver")
    except GaveUp:
        if problem:
            yield unknown(f"the receiver could not be asked: {problem}")
        else:
            yield failed(
                f"a test alert has not arrived at the receiver within {ARRIVES_WITHIN:g} s",
                expected="what Alertmanager sends is there when the receiver is asked",
                why="everything looks well, and no alert is sent",
                next="which address does Alertmanager send to, and which program answers there?",
            )
    finally:
        _send(server, managers[0].address, mark, -1)


ITEM = Item(
    number=10,
    title="Monitoring and alerts set up",
    short="Monitoring",
    chapter="07_monitoring",
    section="Alerts",
    criteria=(the_targets_answer, the_alerts_are_in_effect, a_person_is_told, the_watcher_is_watched),
    exercise=a_test_alert_arrives,
)
