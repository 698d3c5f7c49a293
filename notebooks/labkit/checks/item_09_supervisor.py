"""Item 9: Supervisor starts the application, restarts it, and stops all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from labkit.checks import Context, Item, Target, aspect
from labkit.checks.application import called, processes_of_app
from labkit.connection import AS_ROOT, Connection
from labkit.facts.accounts import Accounts, accounts
from labkit.facts.network import Socket, listening_sockets
from labkit.facts.processes import Processes, Unit, processes, units
from labkit.facts.supervisor import Program, ProgramFile, Supervisor, supervisor, supervisor_files
from labkit.verdict import Finding, failed, passed, unknown

_WHY = "what nobody watches stays down when it falls"


def programs_of_app(loaded: Supervisor, target: Target) -> tuple[Program, ...]:
    """The group named like the account; where there is none, all that Supervisor runs."""
    own = tuple(program for program in loaded.programs if program.group == target.account)
    return own or loaded.programs


@aspect(loaded=supervisor)
def its_programs_run(loaded: Supervisor, target: Target) -> Iterator[Finding]:
    """The running supervisord has programs of the application, and each is RUNNING."""
    if not loaded.running:
        yield failed(
            "Supervisor is not running",
            expected="supervisord runs, and the application's programs in it are RUNNING",
            why=_WHY,
            next="sudo apt-get install supervisor",
        )
        return
    programs = programs_of_app(loaded, target)
    if not programs:
        yield failed(
            "Supervisor has no program",
            expected="the application's programs, RUNNING",
            why=_WHY,
            next="write /etc/supervisor/conf.d/aiapp.conf, then: sudo supervisorctl update",
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


@aspect(loaded=supervisor, running=processes, sockets=listening_sockets, known=accounts)
def nothing_runs_beside_it(
    loaded: Supervisor, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Every process of the application descends from a program of Supervisor."""
    pids = {program.pid for program in loaded.programs if program.pid}
    inside = {process.pid for process in running.below(pids)}
    found = processes_of_app(running, sockets, known, target)
    outside = [process for process in found if process.pid not in inside]
    for name in dict.fromkeys(called(process) for process in outside):
        yield failed(
            f"{name} is no child of Supervisor",
            expected="every process of the application is Supervisor's",
            why="it holds the port or the old code, and no restart reaches it",
            next="end it (its pid: ps -ef), and let Supervisor start it",
        )
    if loaded.running and not found:
        yield failed(
            "no process of the application runs", expected="the application, under Supervisor", why=_WHY
        )
    elif found and not outside:
        yield passed("every process of the application is its child")


@aspect(loaded=supervisor, files=supervisor_files)
def it_restarts_and_stops_whole(
    loaded: Supervisor, files: dict[str, ProgramFile], target: Target
) -> Iterator[Finding]:
    """Restart after a fall, start with supervisord, and stop with all children."""
    if not loaded.running:
        return
    good = True
    for program in programs_of_app(loaded, target):
        written = files.get(program.name)
        problems: list[tuple[str, str, str]] = []
        if written is None:
            problems.append(
                (
                    f"{program.full_name} is in none of Supervisor's files",
                    "its section in conf.d",
                    "it is gone after a reboot",
                )
            )
        else:
            if written.autorestart not in ("true", "unexpected"):
                problems.append(
                    (f"{program.full_name} has autorestart={written.autorestart}", "autorestart=true", _WHY)
                )
            if not written.stop_as_group:
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
                    "after a reboot nobody starts it",
                )
            )
        for saw, expected, why in problems:
            good = False
            yield failed(
                saw, expected=expected, why=why, next="correct the file, then: sudo supervisorctl update"
            )
    if good and programs_of_app(loaded, target):
        yield passed("restarts what falls, and stops it as a group")


@aspect(units=units)
def it_starts_at_boot(units: dict[str, Unit]) -> Iterator[Finding]:
    """systemd starts supervisord at boot."""
    present = [unit for name in ("supervisor", "supervisord") if (unit := units.get(name)) and unit.present]
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

# One line of JSON a result. Everything is put back here, and by a timer should this script be cut off.
_EXERCISE = r"""set -uo pipefail
conf=/etc/supervisor/conf.d/labcheck-crash.conf
undo="rm -f $conf; supervisorctl reread; supervisorctl update labcheck-crash"
pid_of() { supervisorctl pid "$1" 2>/dev/null; }
log=$(sed -n 's/^ *logfile *= *\([^ ;]*\).*/\1/p' /etc/supervisor/supervisord.conf | head -1)
own='$2 == "RUNNING" && index($1, group) == 1 { print $1; exit }'
name=$(supervisorctl status | awk -v group="$ACCOUNT" "$own")
if [[ -z $name ]]; then echo '{"worker": null}'; exit 0; fi
before=$(pid_of "$name")
kill -9 "$before"
end=$((SECONDS + 30)) back=false after=$before
while (( SECONDS < end )); do
  after=$(pid_of "$name")
  if [[ $after == "$before" || $after == 0 ]]; then continue; fi
  if [[ $(supervisorctl status "$name") == *RUNNING* ]]; then back=true; break; fi
done
printf '{"worker": "%s", "back": %s}\n' "$name" "$back"
systemctl stop labcheck-crash.timer 2>/dev/null
systemd-run --quiet --collect --unit=labcheck-crash --on-active=120 /bin/bash -c "$undo" || exit 5
trap 'systemctl stop labcheck-crash.timer; eval "$undo" >/dev/null' EXIT
printf '[program:labcheck-crash]\ncommand=/bin/false\nstartsecs=1\nstartretries=1\n' > "$conf"
supervisorctl reread >/dev/null; supervisorctl update labcheck-crash >/dev/null
end=$((SECONDS + 40)) fatal=false code=0
while (( SECONDS < end )); do
  if said=$(supervisorctl status labcheck-crash); then code=0; else code=$?; fi
  if [[ $said == *FATAL* ]]; then fatal=true; break; fi
done
logged=false
if tail -n 200 "$log" | grep -q 'gave up: labcheck-crash entered FATAL state'; then logged=true; fi
printf '{"fatal": %s, "code": %d, "logged": %s}\n' "$fatal" "$code" "$logged"
"""


def a_killed_worker_is_back(server: Connection, ctx: Context) -> Iterator[Finding]:
    """A killed worker is back with a new pid; a program that always fails ends in FATAL and is told."""
    done = server.run(AS_ROOT, stdin=f"ACCOUNT={ctx.account}\n{_EXERCISE}", timeout=180)
    results: dict[str, object] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            results |= json.loads(line)
    if "worker" not in results:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.exit_status}"])[-1]
        yield unknown(f"the exercise could not run: {said}")
        return
    if results["worker"] is None:
        yield failed("there is no running worker to kill", expected="a RUNNING program", why=_WHY)
        return
    if results["back"]:
        yield passed(f"{results['worker']} was killed, and is RUNNING again")
    else:
        yield failed(
            f"{results['worker']} was killed, and stays down",
            expected="RUNNING again with a new pid within 30 s",
            why=_WHY,
            next="autorestart=true, then: sudo supervisorctl update",
        )
    if "fatal" not in results:
        yield unknown(
            "the crash loop could not be made: "
            + (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        )
    elif results["fatal"] and results["code"] and results["logged"]:
        yield passed("a program that always fails ends in FATAL, and the status and the log say so")
    else:
        yield failed(
            "a program that always fails is not told as FATAL",
            expected="FATAL in supervisorctl status (exit status 3) and in supervisord.log",
            why="a crash loop that nobody is told of runs for weeks",
        )


ITEM = Item(
    number=9,
    title="Supervisor keeps the application running",
    short="Supervisor",
    chapter="01_vm_setup",
    section="Supervisor, who watches over it",
    aspects=(its_programs_run, nothing_runs_beside_it, it_restarts_and_stops_whole, it_starts_at_boot),
    exercise=a_killed_worker_is_back,
)
