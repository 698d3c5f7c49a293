"""Item 11: what happened on this server is copied off it, can be restored, and an alert fires if not.

The read-only check logs in nowhere: it sees what makes the copies, where they go, and which alert there is.
The exercise asks the store what it has and what it would let this server do, then has a copy made and brings
it back. The lab's chapter is 09_backups, section "Backups".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

from labcheck import promql
from labcheck.checks.application import processes_of_app
from labcheck.checks.model import Context, Criterion, Item, Need, Target, criterion
from labcheck.checks.monitoring import Alert, alerts, unanswered
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.backups import Backups, Job, Store, backups, parse_backups
from labcheck.facts.monitoring import Monitoring, monitoring
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Processes, processes
from labcheck.remote_program import answer, run_as_root
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, skipped, unknown

HOUR, DAY = 3600, 86400  # s
FRESH = 26 * HOUR
"""A copy each day, and two hours for a slow night."""
DRILLED = 32 * DAY
"""A month: with fewer drills, you find out on the day it is needed."""
EMPTY = 200
"""Bytes: a packed nothing has twenty, and a dump without any table some hundred more than this."""
TIME_LIMIT = 900

_OURS = re.compile(r"backup|restic|borg|restore_drill", re.I)
_DRILL = re.compile("restore|drill")
_WHY = "disks die, accounts are closed, and an attacker deletes what is within reach"


def backup_criterion(**needs: Need) -> Callable[[Callable[..., Iterator[Finding]]], Criterion]:
    """A criterion of backups that there are: where none is made, the first criterion has said so."""

    def make(judge: Callable[..., Iterator[Finding]]) -> Criterion:
        @wraps(judge)
        def whole(observed: Backups, *others: Any, **named: Any) -> Iterator[Finding]:
            if observed.of("backup"):
                yield from judge(observed, *others, **named)

        return criterion(observed=backups, **needs)(whole)

    return make


@criterion(observed=backups, running=processes, sockets=listening_sockets, known=accounts)
def they_are_made(
    observed: Backups, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """A timer makes them, is started at boot, and its last run ended well."""
    jobs = observed.of("backup")
    if not jobs:
        if not observed.state.here and processes_of_app(running, sockets, known, target):
            if observed.state.elsewhere:
                hosts = ", ".join(observed.state.elsewhere)
                raise Unreadable(f"the data is on {hosts}: its backups cannot be seen from here")
            yield skipped("no state: no database server here, and no database file that is open")
            return
        has = f", and there is {', '.join(observed.state.here)}" if observed.state.here else ""
        yield failed(
            f"nothing makes backups{has}",
            expected="a timer that copies what happened here to another machine",
            why=_WHY,
            next="write down what cannot be made again; then pg_dump and restic, and a timer for both",
        )
        return
    good = [job for job in jobs if job.active and job.enabled and job.result in ("", "success")]
    for job in () if good else jobs:
        yield from _idle(job)
    if good:
        yield passed(f"{good[0].name} makes them, with {', '.join(good[0].tools)}")


def _idle(job: Job) -> Iterator[Finding]:
    if job.by == "cron":
        yield failed(
            f"{job.name} has a backup, and no cron runs",
            expected="something that starts it",
            why="a line in a crontab alone does nothing",
            next="a systemd timer: it says when it ran, and how that ended",
        )
        return
    if not job.active or not job.enabled:
        state = "not enabled" if job.active else "not running" if job.enabled else "off"
        yield failed(
            f"{job.name} is {state}",
            expected="active, and enabled at boot",
            why="a backup that was switched off for a night is switched off for years",
            next=f"sudo systemctl enable --now {job.name}",
        )
    if job.result not in ("", "success"):
        yield failed(
            f"the last run of {job.unit} failed ({job.result})",
            expected="a run that ends well",
            why="it fails every night until a person looks",
            next=f"sudo journalctl -u {job.unit}",
        )


@backup_criterion()
def they_are_elsewhere(observed: Backups) -> Iterator[Finding]:
    """They are on another machine, and no account there can read them."""
    if not observed.stores:
        tools = sorted({tool for job in observed.of("backup") for tool in job.tools})
        if set(tools) <= {"pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "mongodump", "pg_basebackup"}:
            yield failed(
                f"{', '.join(tools)} makes them, and nothing is seen to encrypt them and take them away",
                expected="copies on another machine, encrypted before they leave",
                why=_WHY,
                next="send the dumps with restic",
            )
            return
        raise Unreadable(f"where {', '.join(tools)} sends them is not understood: only restic is")
    for store in observed.stores:
        if store.place == "here":
            yield failed(
                f"{store.where} is on this server ({store.host})",
                expected="another machine, best of another provider",
                why="it goes with the disk, with the account, and with an attacker who has got root",
                next="a store over SSH: restic with rclone serve restic behind a forced command",
            )
        elif store.place == "unknown":
            yield unknown(f"on which machine {store.where} is cannot be determined")
        else:
            yield passed(f"they are on {store.host}, encrypted by restic")


@backup_criterion()
def the_newest_is_fresh_and_full(observed: Backups) -> Iterator[Finding]:
    """The store has one of the last day, with dumps in it that are not empty."""
    for store in observed.stores:
        if store.problem:
            yield unknown(f"the store does not say what it has: {store.problem}")
        elif store.newest is None:
            yield failed(
                "the store is empty",
                expected="a copy of the last day",
                why="what was never sent cannot be brought back",
                next=_start(observed),
            )
        else:
            yield from _fresh_and_full(observed, store, store.newest)


def _start(observed: Backups) -> str:
    unit = next((job.unit for job in observed.of("backup") if job.unit), "")
    return f"sudo systemctl start {unit}; sudo journalctl -u {unit}" if unit else "start it by hand, and see"


def _fresh_and_full(observed: Backups, store: Store, newest: float) -> Iterator[Finding]:
    age = observed.now - newest
    hollow = [held.path.rpartition("/")[2] for held in store.dumps if held.size < EMPTY]
    if age > FRESH:
        yield failed(
            "the newest copy in the store is older than a day",
            expected="at most 26 hours: a day, and a slow night",
            why="what came in since then is lost with the disk",
            next=_start(observed),
            detail=f"{age / HOUR:.0f} h",
        )
    elif age < -HOUR:
        yield failed(
            "the newest copy in the store is from the future",
            expected="the time at which it was made",
            why="by its date it outlives all that come after it, and hides that none comes",
            next="look at the clock, and at which accounts may write to the store",
        )
    if hollow or not store.size:
        yield failed(
            f"the newest copy holds {', '.join(hollow) + ', empty' if hollow else 'nothing'}",
            expected="dumps with the data in them",
            why="a dump that failed leaves an empty file and an exit status of 0, if it is not checked",
            next="set -o pipefail, no pipe around pg_dump, and count the rows in the file before it is sent",
        )
    elif -HOUR <= age <= FRESH:
        yield passed(
            "the newest copy is of the last day, and not empty",
            detail=f"{age / HOUR:.1f} h old, {store.size / 1e6:.1f} MB, {store.count} copies",
        )


@backup_criterion()
def the_server_cannot_delete_them(observed: Backups) -> Iterator[Finding]:
    """The server's key lets it add copies, and neither delete them nor get a shell at the store."""
    for store in observed.stores:
        if store.shell:
            yield failed(
                f"the server's key opens a shell on {store.host}",
                expected="a forced command: rclone serve restic --stdio --append-only",
                why="an attacker on this server deletes the copies first, and then asks for money",
                next='restrict,command="rclone serve restic --stdio --append-only …" before the key there',
            )
        elif store.delete == "allowed":
            yield failed(
                f"the store at {store.host} would delete copies for the server",
                expected="a key that can only append (403 Forbidden)",
                why="an attacker on this server deletes the copies first, and then asks for money",
                next="--append-only in this key's forced command, and a second key elsewhere for retention",
            )
        elif store.delete == "refused":
            yield passed("the server's key can add copies, and not delete them")
        else:
            yield unknown("whether the server could delete the copies cannot be seen")


@backup_criterion()
def they_can_be_opened_without_the_server(observed: Backups) -> Iterator[Finding]:
    """A second password opens the store, made on another machine; and here root alone has the first."""
    for store in observed.stores:
        for path in store.open:
            yield failed(
                f"every account on this server may read {path}",
                expected="passwords and keys of the store for root alone",
                why="it opens all copies: all that was ever in the database",
                next=f"sudo chmod 600 {path}, and then a new one",
            )
        if store.passwords is None:
            continue  # it was not asked, or its problem is another finding
        others = sorted({it.host for it in store.passwords if not it.ours and it.host != observed.host})
        if others:
            yield passed(f"a second password opens the store, made on {others[0]}")
        else:
            yield unknown(
                "whether the password is also kept elsewhere: the store has none but this server's own",
                next="make a second one elsewhere (restic key add), and keep it there",
            )


@criterion(observed=backups)
def no_dump_lies_open(observed: Backups) -> Iterator[Finding]:
    """No dump of a database on this server can be read by every account."""
    for path in observed.dumps[:5]:
        yield failed(
            f"every account on this server may read {path}, a dump of a database",
            expected="dumps in a folder of root's alone, and gone when they are sent",
            why="the database guards each row by accounts, and its dump guards none",
            next=f"sudo chmod go= {shlex.quote(path)}; umask 077 before the next one is made",
        )


@backup_criterion(state=monitoring)
def a_person_is_told(observed: Backups, state: Monitoring) -> Iterator[Finding]:
    """Prometheus has a rule about the age of the last good one, and the number for it."""
    if not state.prometheus and (reasons := unanswered(state, "Prometheus")):
        raise Unreadable(f"Prometheus did not say which rules it has loaded ({reasons[0]})")
    if not state.prometheus:
        raise Unreadable("no Prometheus runs here: whether a missing backup raises an alert cannot be seen")
    loaded = alerts(state)
    ours = [it for it in loaded.all if _OURS.search(" ".join([it.rule.name, *it.names]))]
    timed = [alert for alert in ours if _is_timed(alert)]
    live = [alert for alert in timed if not set(alert.prometheus.numbers).isdisjoint(alert.names)]
    aged = [alert for alert in timed if _of_backups(alert)]
    why = "a backup ends silently, and is missed on the day it is needed"
    broken = [alert.rule for alert in ours if alert.rule.health == "err"]
    for rule in broken:
        yield failed(
            f"the rule {rule.name} cannot be evaluated",
            expected="a rule that Prometheus can evaluate",
            why=why,
            next="promtool check rules, and the rules' page of Prometheus",
        )
    if not aged and loaded.unread:
        name, reason = next(iter(loaded.unread.items()))
        raise Unreadable(f"whether the alert {name} is about backups cannot be determined: {reason}")
    if not aged:
        yield failed(
            "Prometheus has no rule about the age of the last backup",
            expected="time() - (when the last good one ended) > 26 * 3600",
            why=why,
            next="/etc/prometheus/rules/backup.yml, then: sudo systemctl reload prometheus",
        )
    elif not (watching := [alert for alert in aged if alert in live]):
        yield failed(
            f"{aged[0].rule.name} compares a number that no target reports",
            expected="the time of the last good backup, as a metric",
            why="a rule without a number never fires",
            next="write it to node_exporter's textfile folder at the end of each run",
        )
    elif not broken:
        yield passed(f"{watching[0].rule.name} watches its age")
    for alert in live:
        if alert.rule.firing:
            yield failed(
                f"the alert {alert.rule.name} is firing",
                expected="an alert that is quiet",
                why="a person has been told, and nothing was done",
                next=_start(observed),
            )


def _is_timed(alert: Alert) -> bool:
    """Whether it compares how long ago something was."""
    return bool(promql.calls(alert.says, "time")) or any("_age" in name for name in alert.names)


def _of_backups(alert: Alert) -> bool:
    """Whether it is about making them, and not only about the drill that brings one back."""
    others = [name for name in alert.names if not _DRILL.search(name)]
    return len(others) == len(alert.names) or any(_OURS.search(name) for name in others)


@backup_criterion(state=monitoring)
def one_was_brought_back(observed: Backups, state: Monitoring) -> Iterator[Finding]:
    """A drill of restoring ran within a month, by itself, and ended well."""
    jobs = observed.of("drill")
    why = "a backup that was never restored is a hope"
    expected = "a drill by a timer: the newest copy into a scratch database, compared, at least each month"
    if not jobs:
        yield failed(
            "nothing tries to bring one back",
            expected=expected,
            why=why,
            next="restic restore into a folder, pg_restore into a scratch database, count, drop; weekly",
        )
        return
    job = next((job for job in jobs if job.active and job.enabled), None)
    if job is None:
        yield failed(
            f"{jobs[0].name} is off",
            expected=expected,
            why=why,
            next=f"sudo systemctl enable --now {jobs[0].name}",
        )
        return
    if job.result not in ("", "success"):
        yield failed(
            f"the last drill failed ({job.unit}: {job.result})",
            expected="a copy that can be brought back",
            why="it would fail on the day it is needed as well",
            next=f"sudo journalctl -u {job.unit}",
        )
        return
    traces = [
        value
        for prometheus in state.prometheus
        for name, value in prometheus.numbers.items()
        if _DRILL.search(name) and name.endswith("_timestamp_seconds")
    ]
    last = max([*traces, job.ended if job.ended and job.result == "success" else 0])
    if not last and not traces:
        if job.triggered is None:
            yield failed(
                f"{job.name} has never run",
                expected=expected,
                why=why,
                next=f"sudo systemctl start {job.unit}",
            )
        else:
            yield unknown(f"{job.name} has run, and how that ended is not told since the last boot")
    elif observed.now - last > DRILLED:
        yield failed(
            "the last good drill is more than a month ago",
            expected=expected,
            why=why,
            next=f"sudo systemctl start {job.unit}; sudo journalctl -u {job.unit}",
            detail=f"{(observed.now - last) / DAY:.0f} days",
        )
    else:
        yield passed(
            "a copy was brought back within a month, by a timer",
            detail=f"{(observed.now - last) / DAY:.1f} days",
        )


# ---- exercise ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table that was brought back: the rows in it, those that are missing although they were there all the
    time, and those that were never there."""

    name: str
    rows: int
    missing: int
    strange: int


@dataclass(frozen=True)
class Outcome:
    """What became of a backup that was made and brought back. `refused` says why that could not be done."""

    refused: str = ""
    unit: str = ""
    result: str = ""
    ended_well: bool = False
    new: bool = False
    dumps: int = 0
    tables: tuple[Table, ...] = ()


def a_backup_comes_back(server: Connection, ctx: Context) -> Iterator[Finding]:
    """What the store says; then the server's own job makes a copy, which is compared with what is here."""
    observed = parse_backups(run_as_root(server, "find_backups", "stores", timeout=TIME_LIMIT))
    yield from the_newest_is_fresh_and_full(observed)
    yield from the_server_cannot_delete_them(observed)
    yield from they_can_be_opened_without_the_server(observed)
    done = run_as_root(server, "find_backups", "exercise", timeout=TIME_LIMIT)
    yield from what_came_back(answer(done, Outcome, "the trial of a backup"))


def what_came_back(outcome: Outcome) -> Iterator[Finding]:
    """The job ended well, the store has a new copy, and each table in it has the rows that are here."""
    if outcome.refused:
        raise Unreadable(f"a backup could not be made and brought back: {outcome.refused}")
    if not outcome.ended_well:
        yield failed(
            f"{outcome.unit} was started, and failed ({outcome.result})",
            expected="a backup that can be made now",
            why=_WHY,
            next=f"sudo journalctl -u {outcome.unit}",
        )
        return
    if not outcome.new:
        yield failed(
            f"{outcome.unit} ended well, and the store has no new copy",
            expected="a new copy in the store",
            why="an exit status of 0 is no backup",
            next=f"sudo journalctl -u {outcome.unit}",
        )
        return
    if not outcome.dumps:
        yield unknown("the new copy has no dump that pg_restore reads: what is in it was not compared")
        return
    wrong = [table for table in outcome.tables if table.missing or table.strange]
    for table in wrong:
        what = "lacks rows that are here" if table.missing else "has rows that were never here"
        yield failed(
            f"what came back of {table.name} {what}",
            expected="the rows that are here",
            why="a copy of something else, or of some time ago, passes for a backup until it is needed",
            next="what is dumped: the name of the database, the file that is sent, and when it was made",
            detail=f"{table.missing} missing, {table.strange} strange, of {table.rows}",
        )
    rows = sum(table.rows for table in outcome.tables)
    if not wrong and rows:
        yield passed(
            "a backup was made, brought back beside the real thing, and has the same rows",
            detail=f"{rows} rows",
        )
    elif not wrong:
        yield failed(
            "what came back has no row in any table",
            expected="the rows that are here",
            why="an empty dump is a dump, too",
            next="what is dumped: the name of the database",
        )


ITEM = Item(
    number=11,
    title="Backups configured (if stateful)",
    short="Backups",
    chapter="09_backups",
    section="Backups",
    criteria=(
        they_are_made,
        they_are_elsewhere,
        they_can_be_opened_without_the_server,
        no_dump_lies_open,
        a_person_is_told,
        one_was_brought_back,
    ),
    exercise=a_backup_comes_back,
)
