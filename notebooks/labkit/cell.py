"""Running a notebook cell as bash, on a host or here: in order, live, bounded, and ended when we go away."""

from __future__ import annotations

import os
import queue
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from labcheck.result import TIMED_OUT
from labcheck.ssh import Connection

TIMEOUT = 1800.0
"""Seconds that a cell may take: package installations on an emulated machine take minutes."""
LINES = 200
"""Lines of a cell's output that are shown."""
WIDTH = 2000
"""Characters of one line that are shown."""


@dataclass(frozen=True)
class Ran:
    """How a cell ended: its exit status, what it printed (standard output and error in order), and where
    it stopped: the line's number in the cell and its text, where a command's failure stopped it.
    """

    exit_status: int
    output: str
    line: int = 0
    command: str = ""

    def why(self) -> str:
        """The end in words, for one line."""
        if self.exit_status == TIMED_OUT and not self.command:
            return f"it took longer than {TIMEOUT:.0f} s and was ended"
        where = f" from line {self.line}: {self.command}" if self.command else ""
        hint = " (a program wrote into a pipe that was closed: `head`?)" if self.exit_status == 141 else ""
        return f"exit status {self.exit_status}{where}{hint}"


def run_cell(
    connection: Connection,
    script: str,
    *,
    account: str = "",
    show: Callable[[str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    timeout: float = TIMEOUT,
) -> Ran:
    """Run `script` with bash on the host, as `account` in its home, or as the account that logs in.

    The first command that fails ends it, as `set -euo pipefail` does. Nothing asks questions: standard input
    is empty and apt asks nothing. `show` gets the output as it comes, line by line, at most LINES lines;
    `meanwhile` is called several times a second while none comes. What the cell leaves running in the
    background is ended with it, unless it left by setsid or systemd; and everything is ended on the host when
    this side goes away. Raises Unreachable.
    """
    nonce = secrets.token_hex(12)
    lines = _Lines(nonce, show)
    text = _PREPARE.replace("NONCE", nonce) + _evaluated(script)
    size = len(text.encode())
    if account:
        inner = shlex.quote(f'LC_ALL=C; IFS= read -r -N {size} text; exec </dev/null; cd; eval "$text"')
        start = (
            f'sudo -n -u {shlex.quote(account)} -H bash --noprofile --norc -c {inner} < <(printf %s "$text")'
        )
    else:
        start = '( exec </dev/null; eval "$text" )'
    host = _HOST.replace("NONCE", nonce).replace("SIZE", str(size)).replace("START", start)
    command = f"exec bash --noprofile --norc -c {shlex.quote(host)}"

    def take(piece: str) -> bool:
        if not piece and meanwhile:
            meanwhile()
        return lines.add(piece)

    result = connection.run(command, stdin=text, timeout=timeout, on_output=take, hold=True)
    lines.end()
    status = lines.status if lines.status is not None else (result.exit_status or 1)
    return Ran(status, "".join(lines.kept), lines.line, _line(script, lines.line))


class NoBash(Exception):
    """There is no bash on this computer; the text says how to get one."""


def run_here(
    script: str,
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    show: Callable[[str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    timeout: float = TIMEOUT,
) -> Ran:
    """Run `script` with bash on this computer, in `folder`, by the rules of `run_cell`.

    Of the person's environment it has PATH alone, behind the programs beside this Python; `environ` is added.
    HOME and TMPDIR are an empty folder that is gone afterwards, as is whatever the script leaves running.
    Raises NoBash.
    """
    bash = _bash()
    nonce = secrets.token_hex(12)
    lines = _Lines(nonce, show)
    # What is gone afterwards may still be written to for a moment.
    with tempfile.TemporaryDirectory(prefix="laptop-", ignore_cleanup_errors=True) as place:
        file, home = Path(place, "cell"), Path(place, "home")
        home.mkdir()
        text = _END_JOBS + _PREPARE.replace("NONCE", nonce) + _evaluated(script)
        file.write_text(text, encoding="utf-8", newline="\n")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        environment = {**(environ or {}), "PATH": path, "HOME": str(home), "TMPDIR": str(home)}
        if "SYSTEMROOT" in os.environ:  # without it, no program on Windows opens a socket
            environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
        process = subprocess.Popen(
            [bash, "--noprofile", "--norc", str(file)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=os.name == "posix",
        )
        assert process.stdout
        pieces: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, pieces), daemon=True)
        reader.start()
        until = time.monotonic() + timeout
        try:
            while process.poll() is None and time.monotonic() < until:
                try:
                    lines.add(pieces.get(timeout=0.2))
                except queue.Empty:
                    if meanwhile:
                        meanwhile()
            status = process.poll()
        finally:
            _end(process)
        reader.join(1)  # not for long: what left by setsid may hold the pipe open
        while not pieces.empty():
            lines.add(pieces.get())
    lines.end()
    if status is None:
        return Ran(TIMED_OUT, "".join(lines.kept))
    return Ran(
        128 - status if status < 0 else status, "".join(lines.kept), lines.line, _line(script, lines.line)
    )


def _bash() -> str:
    """Where bash is. On Windows it is the one that Git brings: the one in System32 starts another system."""
    if os.name == "posix":
        bash = shutil.which("bash")
    else:
        git = shutil.which("git")
        beside = Path(git).resolve().parents[1] / "bin" / "bash.exe" if git else None
        bash = str(beside) if beside and beside.exists() else None
    if bash is None:
        raise NoBash("there is no bash on this computer: install it, on Windows with Git (git-scm.com)")
    return bash


def _read(pipe: IO[str], into: queue.Queue[str]) -> None:
    with suppress(OSError, ValueError):
        for line in pipe:
            into.put(line)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and all that it started: asked first, forced after two seconds."""
    if os.name != "posix":
        process.kill()
        process.wait()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            process.poll()  # so that it does not stay as a zombie
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _line(script: str, number: int) -> str:
    """The line of that number, as it stands there: bash's own idea of a command is less, or spelled out."""
    lines = script.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _evaluated(script: str) -> str:
    """The cell as one string to evaluate; it begins by noting what bash takes for its first line's number."""
    return f"eval {shlex.quote('_first=$LINENO; ' + script)}\n"


# What runs on the host. The cell is a job with its own process group; beside it, a watcher waits for the end
# of our input, which comes when ssh is gone, and then ends the job, as root where it may.
_HOST = """\
LC_ALL=C; export LC_ALL
IFS= read -r -N SIZE text
exec 3<&0
set -m
START 2>&1 3<&- &
job=$!
(
  read -r -u 3
  stop() { sudo -n kill -$1 -- -$job || kill -$1 -- -$job; }
  stop TERM; read -t 2 <> <(:); stop KILL
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait $job 2>/dev/null
status=$?
kill -KILL -- -$watcher
# A process that is left gets the moment that setsid takes to leave the group.
if kill -0 -- -$job 2>/dev/null; then read -t 0.3 <> <(:); kill -TERM -- -$job 2>/dev/null; fi
printf '\\nNONCE end %s\\n' $status
"""

# What the cell finds. sudo drops the environment, and apt under sudo would ask questions again. The trap says
# which command stopped it, and for our own function, where that was called; its output goes to the cell's own
# output even from inside a redirection.
_PREPARE = """\
export LC_ALL=C.UTF-8 TERM=dumb PAGER=cat SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
sudo() { command sudo --preserve-env=DEBIAN_FRONTEND,NEEDRESTART_MODE,LC_ALL "$@"; }
exec 7>&1
trap '_status=$? _at=$((LINENO - _first + 1))
if ((_at < 1)); then _at=$((BASH_LINENO[${#FUNCNAME[@]} - 1] - _first + 1)); fi
printf "\\nNONCE at %s %s\\n" $_status $_at >&7' ERR
set -Eeuo pipefail
"""


# Windows has no groups of processes to end: there the shell ends its own jobs.
_END_JOBS = """\
trap '_status=$?; trap - ERR; set +e; kill $(jobs -p) 2>/dev/null; exit $_status' EXIT
"""


class _Lines:
    """The output as it comes, cut into lines; the marks among them are taken out and understood."""

    def __init__(self, nonce: str, show: Callable[[str], None] | None) -> None:
        self.mark = re.compile(rf"{nonce} (at|end) (\d+)(?: (\d+))?$")
        self.show = show
        self.kept: list[str] = []
        self.rest = ""
        self.blank = False
        self.status: int | None = None
        self.line = 0
        self.hidden = False

    def add(self, piece: str) -> bool:
        """Take what came; True when it was the end."""
        *lines, self.rest = (self.rest + piece).split("\n")
        for line in lines:
            if match := self.mark.match(line):
                self.blank = False
                self._understand(match)
            else:
                self._keep(line)
        return self.status is not None

    def _understand(self, match: re.Match[str]) -> None:
        if match[1] == "end":
            self.status = int(match[2])
        elif not self.line:
            self.line = int(match[3])

    def _keep(self, line: str) -> None:
        # A mark begins with a newline, in case the line before it had none: a blank line is held back until
        # it is clear that no mark follows.
        if self.blank:
            self._show("\n")
        self.blank = not line
        if line:
            self._show((line if len(line) <= WIDTH else line[:WIDTH] + " …") + "\n")

    def _show(self, line: str) -> None:
        if len(self.kept) >= LINES:
            self.hidden = True
            return
        self.kept.append(line)
        if self.show:
            self.show(line)

    def end(self) -> None:
        if self.rest:
            self._keep(self.rest)
            self.rest = ""
        if self.hidden:
            self.kept.append("… (the rest is not shown)\n")
            if self.show:
                self.show(self.kept[-1])
