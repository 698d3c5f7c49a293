"""Item 5: the logs are rotated in time, and no line is lost by it.

Taught in 04_logging, "Rotation".
"""

from __future__ import annotations

import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import replace

from labcheck.checks.application import called
from labcheck.checks.logs import NEEDS, AppLogs, app_logs_in, it_writes_to_files, log_criterion, may_write
from labcheck.checks.model import Context, Item
from labcheck.errors import Unreadable
from labcheck.facts.logs import File
from labcheck.facts.rotation import (
    CONFIGURATION,
    DAY,
    HOUR,
    Rotation,
    Rule,
    Starter,
    ages,
    rotation,
    starters,
)
from labcheck.gather import gather
from labcheck.remote import rotate_under_load
from labcheck.remote.rotate_under_load import Outcome
from labcheck.remote_program import answer, run_as_root
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, unknown

# The course's contract: daily, and at 100 MB; kept for thirty days, and that is not a number of files.
OLDEST, LARGEST, DAYS_KEPT = DAY, 100 * 1024 * 1024, 30
A_DAY_AT_MOST = 24  # rotations, where the size is looked at each hour
# s between two runs: hourly, and the two hours that systemd may take its time where AccuracySec says so
# (AccuracySec=1h is Debian's and Ubuntu's own, RandomizedDelaySec=1h other systems').
SELDOM = 3 * HOUR
_PACKED = (".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z")
_LOST = "the lines of that moment are gone, and nothing says so"
_FILE = "/etc/logrotate.d/aiapp"


def rules_for(app_logs: AppLogs, loaded: Rotation) -> dict[str, Rule]:
    """By pattern, the rules that are for the application's logs."""
    pairs = [loaded.find(log.path) for log in app_logs.logs]
    return {pair[0].pattern: pair[0] for pair in pairs if pair}


# ---- read-only check ---------------------------------------------------------------------------


@log_criterion(loaded=rotation)
def a_rule_is_loaded(app_logs: AppLogs, loaded: Rotation) -> Iterator[Finding]:
    """logrotate itself names each of the logs among those that it would rotate."""
    expected = "logrotate has a rule for each log of the application"
    why = "a log that only grows fills the disk, and then everything stops"
    if not loaded.installed:
        yield failed(
            "logrotate is not installed", expected=expected, why=why, next="sudo apt-get install logrotate"
        )
        return
    without = [log for log in app_logs.logs if not loaded.find(log.path)]
    names = ", ".join(log.name for log in without)
    if not loaded.problems and any(_rotated_by_another(log.path, app_logs) for log in without):
        raise Unreadable(
            f"something else than logrotate rotates {names}: predecessors are there, and no rule"
        )
    if without:
        yield failed(
            "; ".join([f"logrotate has no rule for {names}", *loaded.problems[:2]]),
            expected=expected,
            why=why,
            next=f"write {_FILE} for {without[0].folder}/*.log, then: sudo logrotate --debug {CONFIGURATION}",
        )
    refused: dict[str, list[str]] = {}
    for log in app_logs.logs:
        pair = loaded.find(log.path)
        if pair and pair[1].refused:
            reason = pair[1].refused.replace(log.path, "it")
            refused.setdefault(reason, []).append(log.name)
    for reason, those in refused.items():
        yield failed(
            f"logrotate leaves {', '.join(those)} alone: {reason}",
            expected=expected,
            why=why,
            next=_help(reason),
        )
    if not without and not refused:
        yield passed(f"logrotate has a rule for {app_logs.names()}")


def _rotated_by_another(log: str, app_logs: AppLogs) -> bool:
    """Whether a log has a row of plain predecessors: one may be made by hand, a second one is a program's."""
    return {f"{log}.1", f"{log}.2"} <= set(app_logs.files.beside(log))


def _help(reason: str) -> str:
    if "insecure permissions" in reason:
        return "sudo chmod g-w,o-w the folder; or say in the rule whose it is: su ACCOUNT GROUP"
    return f"sudo logrotate --debug {CONFIGURATION}"


@log_criterion(loaded=rotation, ages=ages)
def its_limits_are_set(app_logs: AppLogs, loaded: Rotation, ages: dict[str, int | None]) -> Iterator[Finding]:
    """A log is put aside after a day or at 100 MB, is kept for thirty days, not longer, and is packed."""
    for rule in rules_for(app_logs, loaded).values():
        if rule.pattern not in ages:
            raise Unreadable(f"the rule for {rule.pattern} is in none of logrotate's usual files")
        days = ages[rule.pattern]
        problems = []
        if rule.every is None:
            problems.append("no limit by age")
        elif rule.every > OLDEST:
            problems.append(f"an age of {rule.every // DAY} days")
        if rule.size is None:
            problems.append("no limit by size")
        elif rule.size > LARGEST:
            problems.append(f"a size of {rule.size // 1024 // 1024} MB")
        if rule.at_least:
            problems.append(f"nothing below {rule.at_least // 1024 // 1024} MB rotated, however old it is")
        if days is None:
            problems.append("no limit of days for predecessors (maxage)")
        elif days < DAYS_KEPT:
            problems.append(f"predecessors for {days} days")
        elif rule.skips_empty:
            problems.append("maxage and notifempty: while a log is empty, its predecessors stay")
        if rule.kept is not None and rule.kept < A_DAY_AT_MOST * DAYS_KEPT:
            problems.append(f"{rule.kept} predecessors, which in a busy time are {rule.kept} hours")
        if rule.packs is False:
            problems.append("no compression")
        if problems:
            yield failed(
                f"the rule for {rule.pattern} has {', '.join(problems)}",
                expected="daily, maxsize 100M, rotate -1, maxage 30, compress, and no notifempty",
                why="a busy day fills the disk or deletes what is needed, or what should be gone stays",
                next=f"correct {_FILE}: maxsize goes with daily, size replaces it; rotate counts files, "
                "and maxage days",
            )
        elif rule.packs is None and not any(handled.refused for handled in rule.logs):
            yield unknown(f"all logs of the rule for {rule.pattern} are empty: it does not show what it does")
        elif rule.packs and rule.every and rule.size:
            age = "daily" if rule.every == DAY else f"every {rule.every // HOUR} h"
            yield passed(f"{age} and at {rule.size // 1024 // 1024} MB, kept for {days} days, packed")


@log_criterion(loaded=rotation)
def its_way_loses_no_line(app_logs: AppLogs, loaded: Rotation) -> Iterator[Finding]:
    """The log is renamed, not copied and cut; and the application may write to what comes after it."""
    good = False
    for log in app_logs.logs:
        pair = loaded.find(log.path)
        if not pair or pair[1].refused:
            continue
        rule, handled = pair
        if handled.copied or handled.emptied:
            yield failed(
                f"{log.name} is {'copied and then emptied (copytruncate)' if handled.emptied else 'copied'}",
                expected="it is renamed, and the application opens a new one (create, or nocreate)",
                why=_LOST if handled.emptied else "the log itself goes on growing",
                next=f"sudo sed -i s/copytruncate/create/ {_FILE}",
            )
            return
        if not handled.moved:
            continue
        good = True
        if handled.made:
            new, place = File(stat.S_IFREG | handled.made[0], *handled.made[1:], 0, None), f"a new {log.name}"
        else:
            # A folder that is gone is not this criterion's subject.
            new = app_logs.files.files.get(log.folder, File(stat.S_IFDIR | 0o777, 0, 0, 0, None))
            place = f"{log.folder}, where it has to make a new {log.name},"
        if not all(may_write(process, new) for process in log.writers):
            yield failed(
                f"{place} belongs to {app_logs.known.name(new.uid)}, mode {stat.S_IMODE(new.mode):04o}, "
                "and the application may not write to it",
                expected=f"a file that {app_logs.target.account} may write to",
                why="after the next rotation its lines go to the file that was put aside, or nowhere",
                next=f"create 0640 {app_logs.target.account} {app_logs.target.account}",
            )
            return
        if re.search(r"-\d{8}$", handled.moved) and rule.size:
            yield failed(
                f"a predecessor of {log.name} is named after its day alone (dateext)",
                expected="a number, or a date with the hour (dateformat -%Y%m%d-%H)",
                why="on a busy day the second rotation finds its name taken, and leaves the log to grow",
                next=f"take dateext out of {_FILE}",
            )
            return
    if good:
        yield passed("logs are renamed, and the application may write to the new ones")


_STARTED = "logrotate.timer active, enabled at boot, and hourly"


def in_force(app_logs: AppLogs, runs: tuple[Starter, ...]) -> tuple[Starter, ...]:
    """The same, with those entries of cron off that no cron is there to follow."""
    if any(process.name in ("cron", "crond") for process in app_logs.running.all):
        return runs
    return tuple(replace(run, off=run.off or "no cron runs") if run.by_cron else run for run in runs)


def soonest(runs: tuple[Starter, ...]) -> Starter | None:
    """What starts logrotate most often on its usual configuration, if it is known how often."""
    usual = [run for run in runs if run.usual and not run.off and run.gap is not None]
    return min(usual, key=lambda run: run.gap or 0, default=None)


@log_criterion(loaded=rotation, runs=starters)
def it_is_started_often_enough(
    app_logs: AppLogs, loaded: Rotation, runs: tuple[Starter, ...]
) -> Iterator[Finding]:
    """A timer or cron starts logrotate about hourly: a size limit is worth as much as it is looked at."""
    if not rules_for(app_logs, loaded):
        return
    runs = in_force(app_logs, runs)
    run = soonest(runs)
    gap = run.gap if run else None
    if run and gap and gap <= SELDOM:
        yield passed(f"{run.name} starts logrotate about hourly")
        return
    for starter in runs:
        if not starter.off and starter.gap is None:
            raise Unreadable(f"how often {starter.name} starts logrotate is not understood")
        if not starter.off and not starter.usual:
            raise Unreadable(f"{starter.name} starts logrotate in a way of its own, which was not examined")
    # What looks as if it did, and often enough.
    off = "; ".join(
        f"{starter.name}: {starter.off}" for starter in runs if starter.off and starter.gap != 24 * HOUR
    )
    observed = f"{run.name} starts logrotate as seldom as every {gap / HOUR:.0f} h" if run and gap else ""
    yield failed(
        (observed or "nothing starts logrotate") + (f" ({off})" if off else ""),
        expected=_STARTED,
        why="a size limit is looked at when logrotate runs, and not in between: a busy hour fills the disk",
        next="sudo systemctl edit logrotate.timer: [Timer], OnCalendar=, OnCalendar=hourly, AccuracySec=1m",
    )


@log_criterion(loaded=rotation, runs=starters)
def it_goes_on_being_started(
    app_logs: AppLogs, loaded: Rotation, runs: tuple[Starter, ...]
) -> Iterator[Finding]:
    """What starts it is there after a reboot, has started it when it should, and it ended well."""
    run = soonest(in_force(app_logs, runs))
    if run is None or not rules_for(app_logs, loaded):
        return
    if not run.at_boot:
        yield failed(
            f"{run.name} is not started at boot",
            expected=_STARTED,
            why="after the next reboot nothing is rotated",
            next=f"sudo systemctl enable {run.name}",
        )
    if run.failed:
        yield failed(
            f"the last run of {run.name} failed ({run.failed})",
            expected="a run that ends well",
            why="a rotation that fails every hour is noticed when the disk is full",
            next=f"sudo journalctl -u {run.name.removesuffix('.timer')}",
        )
    if run.idle is not None and run.idle > (run.gap or 0) + HOUR:
        yield failed(
            f"{run.name} should have started logrotate, and did not",
            expected=_STARTED,
            why="a timer that does not fire looks like one that does",
            next="sudo systemctl list-timers; sudo systemctl start logrotate.service",
            detail=f"for {run.idle / HOUR:.1f} h",
        )


@log_criterion(loaded=rotation)
def it_has_seen_them(app_logs: AppLogs, loaded: Rotation) -> Iterator[Finding]:
    """logrotate's state has an entry for each log: a run has met them, and not only we, by asking."""
    pairs = [(log, pair[1]) for log in app_logs.logs if (pair := loaded.find(log.path))]
    unseen = [log.name for log, handled in pairs if not handled.known and not handled.refused]
    if unseen:
        yield failed(
            f"no run of logrotate has met {', '.join(unseen)} yet",
            expected="an entry for each log in /var/lib/logrotate/status",
            why="a rule that no run has read rotates nothing",
            next="sudo systemctl start logrotate.service",
        )
    elif pairs:
        yield passed("logrotate's state has an entry for each")


@log_criterion(loaded=rotation)
def predecessors_are_packed(app_logs: AppLogs, loaded: Rotation) -> Iterator[Finding]:
    """Of the logs that were put aside, all but the newest are compressed."""
    any_before, plain = False, []
    for log in app_logs.logs if rules_for(app_logs, loaded) else ():
        before = [name for name in app_logs.files.beside(log.path) if _is_predecessor(name, log.path)]
        any_before = any_before or bool(before)
        loose = [name for name in before if not name.endswith(_PACKED)]
        newest = {f"{log.path}.1", *sorted(name for name in loose if name.startswith(f"{log.path}-"))[-1:]}
        plain += [name.rpartition("/")[2] for name in loose if name not in newest]
    if plain:
        yield failed(
            f"predecessors that are not compressed: {', '.join(plain[:4])}",
            expected="all but the newest are",
            why="a log shrinks to a tenth: so much longer it can be kept",
            next="compress in the rule; what was put aside before it, gzip by hand",
        )
    elif any_before:
        yield passed("what was put aside is packed")


def _is_predecessor(name: str, log: str) -> bool:
    return re.fullmatch(r"[.-][\d.-]+(\.\w+)?", name.removeprefix(log)) is not None


@log_criterion()
def no_process_writes_to_a_rotated_log(app_logs: AppLogs) -> Iterator[Finding]:
    """No process, of the application or not, goes on writing to a rotated log."""
    paths = {log.path for log in app_logs.logs}
    stuck: dict[str, set[str]] = {}
    for held in app_logs.files.held:
        new = app_logs.files.files.get(held.log)
        # What was written at the very moment of the rotation counts for neither side.
        late = held.written_last and held.written_at > (new.born or 0 if new else 0) + 1
        if held.log in paths and held.rotated and late:
            name = held.path.rpartition("/")[2] + (", which is deleted," if held.deleted else "")
            process = app_logs.running.by_pid(held.pid)
            stuck.setdefault(name, set()).add(called(process) if process else "a process that has ended")
    for name, programs in stuck.items():
        yield failed(
            f"{name} is still written to; it is open in {', '.join(sorted(programs))}",
            expected="after a rotation, every process writes to the new file",
            why="a person who follows the log sees nothing more, and what is packed next loses lines",
            next="restart it; a log handler that looks whether its file was renamed: WatchedFileHandler",
        )
    if not stuck:
        yield passed("no process writes to a rotated log")


# ---- exercise ----------------------------------------------------------------------------------


def a_rotation_under_load_loses_nothing(server: Connection, ctx: Context) -> Iterator[Finding]:
    """While requests come, the application's logs are rotated by force: each request is logged once."""
    app_logs = app_logs_in(gather(server, list(NEEDS.values())), ctx.target)
    mark = f"labcheck-{secrets.token_hex(8)}"
    request = {
        "mark": mark,
        "ports": list(app_logs.behind),
        "logs": [log.path for log in app_logs.logs],
        "configuration": CONFIGURATION,
    }
    result = run_as_root(server, "rotate_under_load", request, timeout=rotate_under_load.TIME_LIMIT + 30)
    yield from what_became_of_the_lines(app_logs, answer(result, Outcome, "the rotation under load"))


def what_became_of_the_lines(app_logs: AppLogs, outcome: Outcome) -> Iterator[Finding]:
    """Every request that was answered has its line in the old or the new file, and late ones in the new."""
    if outcome.refused:
        raise Unreadable(f"no rotation was made: {outcome.refused}")
    if outcome.failed:
        yield failed(
            f"a forced rotation went wrong: {outcome.failed}",
            expected="a rotation that no user notices",
            why="it goes wrong by night as well",
        )
        return
    before, after = set(outcome.before), set(outcome.after)
    kept: list[str] = []
    good = True
    for kind in ("application", "access"):
        logs, names = app_logs.of(kind), app_logs.names(kind)
        anywhere = {one for log in logs for one in outcome.anywhere[log.path]}
        new = {one for log in logs for one in outcome.new[log.path]}
        if not before & anywhere:
            continue  # these requests are not its subject
        kept.append(names)
        if lost := (before | after) - anywhere:
            good = False
            yield failed(
                f"{names} lost lines while it was rotated",
                expected="each request that was answered is in the old file or in the new one",
                why=_LOST,
                next="rename, do not copy (create); delaycompress; and a handler that looks for the new file",
                detail=f"{len(lost)} of {len(before | after)}",
            )
        if late := after & anywhere - new:
            good = False
            yield failed(
                f"after a rotation the application still writes to the old {names}",
                expected="lines go to the new file",
                why="a person who follows the log sees nothing more, and what is packed next loses lines",
                next="a log handler that looks whether its file was renamed (WatchedFileHandler)",
                detail=f"{len(late)} of {len(after)} lines",
            )
    if not kept:
        raise Unreadable("the requests under load are in no log, by the ids that their answers have")
    if good:
        yield passed(
            f"a forced rotation under load lost no line of {' and '.join(kept)}; "
            "each log has one predecessor more",
            detail=f"{len(before | after)} requests",
        )


ITEM = Item(
    number=5,
    title="Log rotation configured",
    short="Log rotation",
    chapter="04_logging",
    section="Rotation",
    criteria=(
        it_writes_to_files,
        a_rule_is_loaded,
        its_limits_are_set,
        its_way_loses_no_line,
        it_is_started_often_enough,
        it_goes_on_being_started,
        it_has_seen_them,
        predecessors_are_packed,
        no_process_writes_to_a_rotated_log,
    ),
    exercise=a_rotation_under_load_loses_nothing,
)
