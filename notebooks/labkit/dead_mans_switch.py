"""The dead man's switch: the server undoes a change that could lock you out, unless a new login stops it."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from labcheck.errors import Unreachable
from labcheck.remote.output import last_line
from labcheck.result import Result
from labcheck.ssh import AS_ROOT, Connection
from labcheck.wait import GaveUp, NotYet, wait_until

# Everything of the switch lives here on the server: root's alone, gone after a reboot.
FOLDER = "/run/labkit-switch"
UNIT = "labkit-switch"
SHORTEST = 5
"""Seconds that a new connection needs at least, on a slow machine."""
GRACE = 60.0
"""Seconds that the server may take for the undoing itself, beyond its time."""


class SwitchError(Exception):
    """The switch could not be set and nothing was changed, or its end is not known: the text says which."""


TOO_LATE = "a new login came too late"


@dataclass(frozen=True)
class Outcome:
    """How a guarded change ended.

    `kept` is True if a new connection proved that a login is possible. `change` is what the change printed,
    or None if the connection was cut before it ended; `undo` what undoing printed, where it was undone;
    `refused` why no new connection came about, or TOO_LATE.
    """

    kept: bool
    change: Result | None
    undo: Result | None = None
    refused: str = ""


_UNDO = """\
bash undo.sh >undo.out 2>undo.err </dev/null
echo $? >undo.status.new
mv undo.status.new undo.status
"""

# An undoing that is under way is waited for: at most a minute.
_LET_IT_END = """\
for _ in $(seq 60); do
  if [ ! -e undoing ] || [ -e undo.status ]; then break; fi
  sleep 1
done
"""

# What renames the file `armed.TOKEN` first has the last word: the clock, or the new connection. A rename
# is one step, so that never both and never neither happens. The token keeps an old clock from a new change.
_CLOCK = f"""\
cd {FOLDER} || exit 1
mv "armed.$1" undoing 2>/dev/null || exit 0
{_UNDO}"""

# A clock that is no longer needed. Its number may since have gone to another process: so that is looked at.
_STOP = f"""\
stop_clock() {{
  if [ -d /run/systemd/system ]; then
    if systemctl is-active --quiet {UNIT}.timer; then systemctl stop {UNIT}.timer; fi
  elif [ -e clock.pid ] && grep -qs {FOLDER}/clock.sh "/proc/$(cat clock.pid)/cmdline"; then
    kill -- "-$(cat clock.pid)"
  fi
}}
"""

_ARM = f"""\
{_STOP}
set -eu
umask 077
mkdir -p {FOLDER}
cd {FOLDER}
# An earlier run ended between its change and its proof: its change is undone first, not forgotten.
for left in armed.*; do
  if [ -e "$left" ]; then bash clock.sh "${{left#armed.}}"; fi
done
{_LET_IT_END}
stop_clock
rm -f undoing kept undo.status undo.out undo.err clock.pid
printf '%s' "$undo" >undo.sh
printf '%s' "$clock" >clock.sh
: >"armed.$token"
if [ -d /run/systemd/system ]; then
  systemd-run --quiet --collect --unit={UNIT} --on-active="$within" --timer-property=AccuracySec=100ms \\
    /bin/bash {FOLDER}/clock.sh "$token"
else
  setsid bash -c "sleep $within; exec bash {FOLDER}/clock.sh $token" </dev/null >/dev/null 2>&1 &
  echo $! >clock.pid
fi
echo set
"""

_DISARM = f"""\
{_STOP}
cd {FOLDER} || exit 1
if mv "armed.$token" kept 2>/dev/null; then
  stop_clock
  echo kept
else
  echo undone
fi
"""

# After the change: where the clock has run out meanwhile, what it did after the undoing is undone too.
_AGAIN = f"""\
cd {FOLDER} || exit 1
if [ -e "armed.$token" ]; then exit 0; fi
{_LET_IT_END}{_UNDO}"""

_ASK = f"""\
cd {FOLDER} || exit 1
if [ -e undo.status ]; then
  echo undone "$(cat undo.status)"
  cat undo.out
  cat undo.err >&2
elif [ -e "armed.$token" ] || [ -e undoing ]; then echo armed
else echo gone
fi
"""

_NOW = f"""\
{_STOP}
cd {FOLDER} || exit 1
bash clock.sh "$token"
stop_clock
"""


def guarded(
    server: Connection,
    change: Callable[[Connection], Result],
    *,
    undo: str,
    within: int = 60,
    expect: int = 0,
    vantage: Connection | None = None,
    address: str = "",
    port: int = 22,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome:
    """Make a change that a new connection has to confirm within `within` seconds.

    `change` does it over the connection that it is given, `undo` is bash that root runs on the server. First
    the server's own clock is set, then the change is made, then a new connection is opened from here (and,
    with `vantage`, the SSH port at `address` is tried from there); only that stops the clock. A change that
    ends with another status than `expect` is undone at once. If this computer goes away, the server undoes
    the change; what an earlier run left is undone before a new one begins. `meanwhile` is called before each
    look while something is waited for. Raises SwitchError, or Unreachable if the server could not be reached
    to begin with.
    """
    meanwhile = meanwhile or (lambda: None)
    token = secrets.token_hex(8)
    _arm(server, undo, within, token)
    deadline = time.monotonic() + within
    fresh = replace(server, fresh=True)
    try:
        result: Result | None = change(server)
    except Unreachable:
        result = None  # the change cut its own connection: the proof below decides
    if result is not None:
        with contextlib.suppress(Unreachable):
            _root(server, _with(token, _AGAIN), timeout=120)
    if result is not None and result.exit_status != expect:
        with contextlib.suppress(Unreachable):  # then the server's own clock does it
            _root(server, _with(token, _NOW))
        return Outcome(False, result, _wait_for_undo(server, fresh, token, deadline, meanwhile))
    refused: list[str] = []

    def proved() -> bool:
        meanwhile()
        refused.append(_shut(fresh, vantage, address, port))
        return not refused[-1]

    with contextlib.suppress(GaveUp, Unreachable):
        wait_until(proved, what="a new login", timeout=_left(deadline))
        if _root(fresh, _with(token, _DISARM)).stdout.split() == ["kept"]:
            return Outcome(True, result)
    why = next((reason for reason in reversed(refused) if reason), TOO_LATE)
    return Outcome(False, result, _wait_for_undo(server, fresh, token, deadline, meanwhile), why)


def _arm(server: Connection, undo: str, within: int, token: str) -> None:
    if within < SHORTEST:
        raise SwitchError(f"the dead man's switch needs at least {SHORTEST} s, or no new login is in time")
    words = {"undo": undo + "\n", "clock": _CLOCK, "within": str(within), "token": token}
    values = "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items())
    result = _root(server, values + _ARM, timeout=120)
    if result.stdout.split()[-1:] != ["set"]:
        reason = last_line(result.stderr)
        raise SwitchError(
            f"the dead man's switch could not be set on {server.host}, nothing was changed: {reason}"
        )


def _shut(fresh: Connection, vantage: Connection | None, address: str, port: int) -> str:
    """Why there is no really new login from here, or no SSH greeting there; empty if both are."""
    try:
        if fresh.run("true", timeout=10).exit_status != 0:
            return "a new login works, but no command runs"
        if vantage is None:
            return ""
        greeting = f"exec 3<>/dev/tcp/{address}/{port} && IFS= read -r -t 5 -u 3 line && echo $line"
        if not vantage.run(f"timeout 8 bash -c {shlex.quote(greeting)}", timeout=15).stdout.startswith(
            "SSH-"
        ):
            return f"port {port} does not answer from {vantage.host}"
    except Unreachable as problem:
        return problem.reason
    return ""


def _wait_for_undo(
    server: Connection, fresh: Connection, token: str, deadline: float, meanwhile: Callable[[], None]
) -> Result:
    """What undoing printed, asked over whichever connection works: the old one may have survived."""

    def ask() -> Result:
        meanwhile()
        for connection in (server, fresh):
            try:
                answer = _root(connection, _with(token, _ASK))
            except Unreachable:
                continue
            state, _, printed = answer.stdout.partition("\n")
            if state.startswith("undone "):
                return Result(printed, answer.stderr, int(state.split()[1]))
            raise NotYet(f"the switch is {state or 'not to be seen'}")
        raise NotYet("the server does not answer")

    try:
        return wait_until(ask, what="the server to undo it", timeout=_left(deadline) + GRACE)
    except GaveUp as problem:
        raise SwitchError(f"{problem}: look at the server's console") from None


def _with(token: str, script: str) -> str:
    return f"token={token}\n{script}"


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)


def _root(connection: Connection, script: str, timeout: float = 30) -> Result:
    """Run bash as root with the script on standard input."""
    return connection.run(AS_ROOT, stdin=script, timeout=timeout)
