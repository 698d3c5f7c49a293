"""Item 9: Supervisor starts the application, restarts it, and stops all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from labcheck.checks.application import called, processes_of_app
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Process, Processes, Unit, processes, units
from labcheck.facts.supervisor import Program, ProgramFile, Supervisor, supervisor, supervisor_files
from labcheck.gather import gather
from labcheck.remote.output import last_line
from labcheck.result import Result
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, NotYet, wait_until

_SUPERVISORS = ("supervisor", "supervisord")  # the names of its unit
_WHY = "without a process manager it stays down when it falls"


def programs_of_app(loaded: Supervisor, target: Target) -> tuple[Program, ...]:
    """The group named like the account; where there is none, all that Supervisor runs."""
    own = tuple(program for program in loaded.programs if program.group == target.account)
    return own or loaded.programs


def unit_of(process: Process) -> str:
    """The systemd service that runs it on purpose, if one does that is not Supervisor's or a login's."""
    own = process.unit.removesuffix(".service") in (*_SUPERVISORS, "ssh", "sshd") or process.unit.startswith(
        "user@"
    )
    return "" if own else process.unit


@criterion(loaded=supervisor, running=processes, sockets=listening_sockets, known=accounts)
def its_programs_run(
    loaded: Supervisor, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """The running supervisord has programs of the application, and each is RUNNING."""
    units = [
        unit for process in processes_of_app(running, sockets, known, target) if (unit := unit_of(process))
    ]
    elsewhere = f"systemd runs it ({units[0]}), and this check knows Supervisor alone" if units else ""
    if not loaded.running:
        yield failed(
            "Supervisor is not running",
            expected="supervisord runs, and the application's programs in it are RUNNING",
            why=_WHY,
            next=elsewhere or "sudo apt-get install supervisor",
        )
        return
    programs = programs_of_app(loaded, target)
    if not programs:
        yield failed(
            "Supervisor has no program",
            expected="the application's programs, RUNNING",
            why=_WHY,
            next=elsewhere or "write /etc/supervisor/conf.d/aiapp.conf, then: sudo supervisorctl update",
        )
    for program in programs:
        if program.state != "RUNNING":
            yield failed(
                f"{program.full_name} is {program.state}",
                expected="RUNNING",
                why=_WHY,
                next=f"sudo supervisorctl tail {program.full_name} stderr",
                detail=program.says,
            )
    if programs and all(program.state == "RUNNING" for program in programs):
        yield passed(f"{', '.join(program.full_name for program in programs)} RUNNING")


@criterion(loaded=supervisor, running=processes, sockets=listening_sockets, known=accounts)
def nothing_runs_beside_it(
    loaded: Supervisor, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Every process of the application descends from a program of Supervisor."""
    pids = {program.pid for program in loaded.programs if program.pid}
    inside = {process.pid for process in running.below(pids)}
    of_app = processes_of_app(running, sockets, known, target)
    outside = [process for process in of_app if process.pid not in inside]
    for name, unit in dict.fromkeys((called(process), unit_of(process)) for process in outside):
        yield failed(
            f"{name} is no child of Supervisor" + (f", but of systemd's {unit}" if unit else ""),
            expected="every process of the application is Supervisor's",
            why="it holds the port or the old code, and no restart reaches it",
            next="let one of the two run it, systemd or Supervisor"
            if unit
            else "end it (its pid: ps -ef), and let Supervisor start it",
        )
    if loaded.running and not of_app:
        yield failed(
            "no process of the application runs", expected="the application, under Supervisor", why=_WHY
        )
    elif of_app and not outside:
        yield passed("every process of the application is its child")


@criterion(loaded=supervisor, files=supervisor_files)
def it_restarts_and_stops_whole(
    loaded: Supervisor, files: dict[str, ProgramFile], target: Target
) -> Iterator[Finding]:
    """Restart after a fall, start with supervisord, and stop with all children."""
    if not loaded.running:
        return
    good = True
    for program in programs_of_app(loaded, target):
        settings = files.get(program.name)
        problems: list[tuple[str, str, str]] = []
        if settings is None:
            problems.append(
                (
                    f"{program.full_name} is in none of Supervisor's files",
                    "its section in conf.d",
                    "it is gone after a reboot",
                )
            )
        else:
            if settings.autorestart not in ("true", "unexpected"):
                problems.append(
                    (f"{program.full_name} has autorestart={settings.autorestart}", "autorestart=true", _WHY)
                )
            if not settings.stop_as_group:
                problems.append(
                    (
                        f"{program.full_name} has no stopasgroup=true",
                        "stopasgroup=true",
                        "children survive a stop and hold the port",
                    )
                )
        if not program.kills_group:
            problems.append(
                (
                    f"{program.full_name} was loaded without killasgroup",
                    "killasgroup=true",
                    "children survive a kill and hold the port",
                )
            )
        if not program.autostart:
            problems.append(
                (
                    f"{program.full_name} was loaded with autostart=false",
                    "autostart=true",
                    "after a reboot it is not started",
                )
            )
        for observed, expected, why in problems:
            good = False
            yield failed(
                observed, expected=expected, why=why, next="correct the file, then: sudo supervisorctl update"
            )
    if good and programs_of_app(loaded, target):
        yield passed("restarts what falls, and stops it as a group")


@criterion(units=units)
def it_starts_at_boot(units: dict[str, Unit]) -> Iterator[Finding]:
    """systemd starts supervisord at boot."""
    present = [unit for name in _SUPERVISORS if (unit := units.get(name)) and unit.present]
    if any(unit.starts_at_boot == "enabled" for unit in present):
        yield passed("starts at boot")
    else:
        state = present[0].starts_at_boot or "unknown" if present else "not installed"
        yield failed(
            f"Supervisor's unit is {state}",
            expected="enabled: systemd starts it at boot",
            why="after the next reboot the application is gone",
            next="sudo systemctl enable supervisor",
        )


# ---- exercise ----------------------------------------------------------------------------------

CRASH = "labcheck-crash"
_FILE = f"/etc/supervisor/conf.d/{CRASH}.conf"
_UNDO = f"rm -f {_FILE}; supervisorctl update {CRASH}"  # which reads the files by itself
# Put back by a timer of the server's own, should this side be cut off.
_START = f"""set -euo pipefail
if systemctl is-active --quiet {CRASH}.timer; then systemctl stop {CRASH}.timer; fi
systemd-run --quiet --collect --unit={CRASH} --on-active=180 /bin/bash -c "{_UNDO}"
printf '%s\\n' '[program:{CRASH}]' command=/bin/false startsecs=1 startretries=1 > {_FILE}
supervisorctl update {CRASH}
"""
_TOLD = f"""set -uo pipefail
supervisorctl status {CRASH} > /dev/null
echo "status $?"
log=$(sed -n 's/^ *logfile *= *\\([^ ;]*\\).*/\\1/p' /etc/supervisor/supervisord.conf | head -1)
tail -n 200 "$log" | grep -o 'gave up: {CRASH} entered FATAL state'
"""
BACK_WITHIN = 180  # s, an emulated machine's start of a large application included
# s; Supervisor looks every second for what has exited and is to be started again (its select() times out
# after one), so what it has left alone for this long stays down.
LEFT_ALONE = 15


def _root(server: Connection, script: str, timeout: float = 60) -> Result:
    return server.run(AS_ROOT, stdin=script, timeout=timeout)


def _program(server: Connection, full_name: str) -> Program | None:
    loaded = gather(server, [supervisor])[supervisor]
    return next((program for program in loaded.programs if program.full_name == full_name), None)


def _ports(server: Connection, pid: int) -> set[int]:
    """The TCP ports on which this process or one below it answers."""
    observed = gather(server, [processes, listening_sockets], root=True)
    pids = {process.pid for process in observed[processes].below({pid})}
    return {
        item.port for item in observed[listening_sockets] if item.protocol == "tcp" and pids & {*item.pids}
    }


def a_killed_worker_is_back(server: Connection, ctx: Context) -> Iterator[Finding]:
    """A killed worker is RUNNING again, with a new pid, and answers on its ports.

    It fails as soon as Supervisor leaves the worker alone, not only after the longest start has passed.
    """
    loaded = gather(server, [supervisor])[supervisor]
    running = [program for program in programs_of_app(loaded, ctx.target) if program.state == "RUNNING"]
    if not running:
        yield failed("there is no running worker to kill", expected="a RUNNING program", why=_WHY)
        return
    victim = running[0]
    ports = _ports(server, victim.pid)
    killed = _root(server, f"kill -KILL {victim.pid}")
    if killed.exit_status != 0:
        yield unknown(f"{victim.full_name} could not be killed: {killed.stderr.strip()}")
        return

    down_since: float | None = None

    def is_back() -> bool:
        nonlocal down_since
        now = _program(server, victim.full_name)
        if now is None:
            raise NotYet("Supervisor does not know it any more")
        if now.state not in ("EXITED", "STOPPED", "FATAL"):
            down_since = None
        elif down_since is None:
            down_since = time.monotonic()
        elif time.monotonic() - down_since > LEFT_ALONE:
            raise GaveUp(f"{victim.full_name} has been {now.state} for {LEFT_ALONE} s")
        if now.state != "RUNNING" or now.pid == victim.pid:
            raise NotYet(f"it is {now.state}")
        # It is RUNNING after a second; a check at that moment finds an application that is still starting.
        if missing := ports - _ports(server, now.pid):
            raise NotYet(f"nothing listens on port {min(missing)} yet")
        return True

    try:
        wait_until(is_back, what=f"{victim.full_name} to be RUNNING again", timeout=BACK_WITHIN)
        yield passed(f"{victim.full_name} was killed, and is RUNNING again")
    except GaveUp:
        yield failed(
            f"{victim.full_name} was killed, and stays down",
            expected="RUNNING again with a new pid, by itself",
            why=_WHY,
            next="autorestart=true, then: sudo supervisorctl update",
        )


def a_crash_loop_is_told(server: Connection) -> Iterator[Finding]:
    """A program that always fails ends in FATAL, and the status and the log say so."""
    started = _root(server, _START)
    try:
        if started.exit_status != 0:
            reason = last_line(started.stderr or started.stdout, "no reason given")
            yield unknown(f"the crash loop could not be made: {reason}")
            return

        def has_given_up() -> bool:
            now = _program(server, CRASH)
            if now is None or now.state != "FATAL":
                raise NotYet(f"it is {now.state if now else 'not there'}")
            return True

        try:
            wait_until(has_given_up, what="Supervisor to give up", timeout=40)
            printed = _root(server, _TOLD).stdout
        except GaveUp:
            printed = ""
    finally:
        _root(server, f"{_UNDO}\nsystemctl stop {CRASH}.timer")
    if "status 3" in printed and "gave up" in printed:
        yield passed("a program that always fails ends in FATAL, and the status and the log say so")
    else:
        yield failed(
            "a program that always fails is not reported as FATAL",
            expected="FATAL in supervisorctl status (exit status 3) and in supervisord.log",
            why="a crash loop without an alert runs for weeks",
        )


def it_is_supervised(server: Connection, ctx: Context) -> Iterator[Finding]:
    """A process that ends is started again, and one that cannot be started is reported as FATAL."""
    yield from a_killed_worker_is_back(server, ctx)
    yield from a_crash_loop_is_told(server)


ITEM = Item(
    number=9,
    title="Supervisor keeps the application running",
    short="Supervisor",
    chapter="01_vm_setup",
    section="Supervisor, who watches over it",
    criteria=(its_programs_run, nothing_runs_beside_it, it_restarts_and_stops_whole, it_starts_at_boot),
    exercise=it_is_supervised,
)
