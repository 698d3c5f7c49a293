"""Reaching a host through the OpenSSH client, with the person's own configuration."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from labcheck.errors import Unreachable
from labcheck.remote.output import last_line
from labcheck.result import CUT_SHORT, TIMED_OUT, Result
from labcheck.ssh_errors import explain, how_to_get_ssh, was_lost

CONNECT = 15
"""Seconds that ssh itself gives one attempt at connecting."""
ANSWER = 40.0
"""Seconds until a login shell must have answered: two hops, and a slow machine that has just started."""
OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of standard output that are kept; a command that prints more is stopped."""
PERSIST = 120
"""Seconds that a shared login stays after its last command, should no program end it."""
AS_ROOT = "exec bash -c '(( EUID )) && exec sudo -n bash -s; exec bash -s'"
"""Runs a script from standard input as root, also where root logs in and there is no sudo."""


@dataclass(frozen=True)
class Connection:
    """A host as ssh knows it: a name, an alias of an ssh_config, or user@address.

    `config` is an ssh_config to use in place of the person's own. `fresh` opens a new TCP connection for
    each command, also where the configuration shares one; `shared` is the socket of one login for all
    commands (see one_login). Keys and passphrases come from the agent or from
    files: nothing is ever asked. Host keys are always verified.
    """

    host: str
    config: Path | None = field(default=None, kw_only=True)
    fresh: bool = field(default=False, kw_only=True)
    shared: Path | None = field(default=None, kw_only=True)

    def run(
        self,
        command: str,
        *,
        stdin: str | bytes = "",
        timeout: float = 60,
        on_output: Callable[[str], bool] | None = None,
        hold: bool = False,
    ) -> Result:
        """Run `command`, one string for the login shell, and return what it printed.

        `timeout` (seconds) limits the command, from the moment the host has answered: then the Result has
        exit status 124. `on_output` gets standard output as it comes, and "" every 0.2 s while none comes; it
        may say by True that this was the end (something in the background may keep the stream open), and the
        exit status is 0 then. `hold` keeps standard input open until the end, so that the other side can
        notice when we are gone. Raises Unreachable when no shell answered, or when the connection was lost on
        the way. An interrupt ends ssh before it goes on.
        """
        # The mark tells "the shell answered" from "ssh failed", whose exit statuses overlap, and cuts off
        # whatever a profile printed before the command began.
        mark = f"answered-{secrets.token_hex(8)}"
        call = _Call(self._arguments(f"echo {mark}; {command}"), mark, on_output)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            ended = call.run(data, timeout, hold)
        except FileNotFoundError:
            raise Unreachable(
                self.host, "the program `ssh` is not installed here", how_to_get_ssh()
            ) from None
        result = Result(_text(ended.stdout), _text(ended.stderr), ended.exit_status)
        if not ended.answered:
            raise self._not_answered(result, ended)
        if result.exit_status == 255 and was_lost(result.stderr):
            reason = "the connection was lost in the middle of a command"
            raise Unreachable(self.host, reason, f"try `{self.command_line()}` by hand", result)
        return result

    def forward(self, port: int, far: str) -> subprocess.Popen[bytes]:
        """Start `ssh -L 127.0.0.1:PORT:FAR`, on a connection of its own. Opening the port takes a while.

        `far` is a name or address and a port, as the host reaches it. What runs at the other end reads our
        standard input: when that is closed, as it is when we are gone, however that came, ssh ends. What ssh
        says is on the process's standard error.
        """
        alone = replace(self, fresh=True, shared=None)
        options = ("-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:{far}")
        return subprocess.Popen(
            alone._arguments("cat >/dev/null", *options),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def command_line(self) -> str:
        """What a person types to get there."""
        return f"ssh -F {self.config} {self.host}" if self.config else f"ssh {self.host}"

    def _arguments(self, command: str, *options: str) -> list[str]:
        arguments = ["ssh"]
        if self.config:
            arguments += ["-F", str(self.config)]
        arguments += ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}"]
        # A peer that vanished (a restored snapshot, a firewall) is noticed in 30 s, not in hours. Less would
        # take a slow machine that is setting up its packet filter for one that is gone.
        arguments += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"]
        if self.fresh:
            arguments += ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        elif self.shared:
            arguments += ["-o", "ControlMaster=auto", "-o", f"ControlPath={self.shared}"]
            arguments += ["-o", f"ControlPersist={PERSIST}"]
        return [*arguments, *options, "--", self.host, command]

    def _not_answered(self, result: Result, ended: _Ended) -> Unreachable:
        if ended.timed_out:
            next = f"try `{self.command_line()}`; if an old shared connection hangs: ssh -O exit {self.host}"
            return Unreachable(self.host, f"no answer within {ANSWER:.0f} s", next)
        if result.exit_status != 255 or not result.stderr.strip():
            # Logged in, but what runs there is no shell (a forced command, nologin), or it printed nothing.
            reason = last_line(result.stdout, last_line(result.stderr, f"exit status {result.exit_status}"))
            return Unreachable(
                self.host,
                f"it let us in, but no shell answered: {reason}",
                f"try `{self.command_line()}` by hand",
            )
        return explain(result.stderr, self.host, self.config, self.command_line())


@contextlib.contextmanager
def one_login(connection: Connection) -> Iterator[Connection]:
    """The same host over one login for all commands, as long as the body runs.

    An address that logs in again and again is counted: by `ufw limit`, by fail2ban, by sshd itself. Where the
    person's configuration shares a connection, or OpenSSH cannot (on Windows), it is left as it is.
    """
    if os.name != "posix" or connection.fresh or _is_shared(connection):
        yield connection
        return
    with tempfile.TemporaryDirectory(prefix="labcheck-") as folder:
        socket = Path(folder, "ssh")
        try:
            yield replace(connection, shared=socket)
        finally:
            if socket.exists():
                _ask_ssh(connection, "-o", f"ControlPath={socket}", "-O", "exit")


def _is_shared(connection: Connection) -> bool:
    """Whether the configuration has connections shared already; no connection is made."""
    settings = dict(line.partition(" ")[::2] for line in _ask_ssh(connection, "-G").splitlines())
    shares = settings.get("controlmaster", "false") not in ("false", "no")
    return shares and settings.get("controlpath", "none") != "none"


def _ask_ssh(connection: Connection, *options: str) -> str:
    """What ssh says without logging in; nothing where it fails."""
    config = ["-F", str(connection.config)] if connection.config else []
    command = ["ssh", *config, *options, "--", connection.host]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout if completed.returncode == 0 else ""


def stop_all() -> None:
    """End every ssh that this process still has running: for an interrupt, from the thread that got it."""
    with _running_lock:
        calls = list(_running)
    for call in calls:
        call.stop()


def _text(data: bytes) -> str:
    """Text of any bytes: what is not UTF-8 becomes \\xNN, so that it can be printed and put into JSON."""
    return data.decode(errors="backslashreplace")


@dataclass(frozen=True)
class _Ended:
    stdout: bytes
    stderr: bytes
    exit_status: int
    answered: bool
    timed_out: bool


_running: set[_Call] = set()
_running_lock = threading.Lock()


class _Call:
    """One run of ssh: threads read its pipes (as Windows needs it), the caller's thread keeps the time."""

    def __init__(self, arguments: list[str], mark: str, on_output: Callable[[str], bool] | None) -> None:
        self.arguments = arguments
        self.mark = mark.encode()
        self.on_output = on_output
        self.out = bytearray()
        self.err = bytearray()
        self.answered = False
        self.enough = False
        self.open = 2  # pipes that have not come to their end
        self.pieces: queue.Queue[tuple[bytearray, bytes]] = queue.Queue()
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, stdin: bytes, timeout: float, hold: bool) -> _Ended:
        posix = os.name == "posix"
        flags = 0 if posix else subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined,unused-ignore]
        # A session of its own: an interrupt at the terminal reaches us alone, and we can end ssh together
        # with the jump hosts' ssh that it started. A shared connection's master has already left it.
        process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=posix,
            creationflags=flags,
        )
        self.process = process
        with _running_lock:
            _running.add(self)
        assert process.stdin and process.stdout and process.stderr
        threads = [
            threading.Thread(target=self._read, args=(process.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, self.err), daemon=True),
            threading.Thread(target=_write, args=(process.stdin, stdin, hold), daemon=True),
        ]
        try:
            for thread in threads:
                thread.start()
            status, timed_out = self._wait(timeout)
        finally:
            self.stop()
            with _running_lock:
                _running.discard(self)
        return _Ended(bytes(self.out), bytes(self.err), status, self.answered, timed_out)

    def _wait(self, timeout: float) -> tuple[int, bool]:
        """The exit status, and whether the time limit made it."""
        assert self.process
        until = time.monotonic() + ANSWER
        answered = ended = False
        while self.open:
            remaining = until - time.monotonic()
            if remaining <= 0:
                # After the end, what is still in the pipes; not for long: another process may hold them open.
                return (self._status(), False) if ended else (TIMED_OUT, True)
            self._take(min(remaining, 0.2))
            if not ended and self.process.poll() is not None:
                ended = True
                until = min(until, time.monotonic() + 1)
            if self.enough:
                return 0, False
            if self.answered and not answered and not ended:
                answered = True
                until = time.monotonic() + timeout
            if len(self.out) > OUTPUT_LIMIT:
                del self.out[OUTPUT_LIMIT:]
                return CUT_SHORT, False
        try:
            self.process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            return TIMED_OUT, True
        return self._status(), False

    def _status(self) -> int:
        assert self.process
        status = self.process.returncode
        return 128 - status if status < 0 else status

    def _take(self, seconds: float) -> None:
        try:
            into, piece = self.pieces.get(timeout=seconds)
        except queue.Empty:
            if self.on_output and self.answered:
                self.enough = self.on_output("")
            return
        if not piece:
            self.open -= 1
            return
        into += piece
        if into is self.out:
            self._new_output(piece)

    def _new_output(self, piece: bytes) -> None:
        if not self.answered:
            _, found, piece = bytes(self.out).partition(self.mark)
            piece = piece.removeprefix(b"\r")
            if not found or not piece.startswith(b"\n"):
                return
            self.answered = True
            piece = piece[1:]
            self.out[:] = piece
        if self.on_output and piece:
            self.enough = self.on_output(_text(piece))

    def _read(self, pipe: IO[bytes], into: bytearray) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(pipe.fileno(), 65536):
                self.pieces.put((into, piece))
        self.pieces.put((into, b""))

    def stop(self) -> None:
        """End ssh if it still runs, and what it started."""
        process = self.process
        if process is None:
            return
        if process.poll() is None:
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
        process.wait()
        with contextlib.suppress(OSError, ValueError):
            if process.stdin:
                process.stdin.close()


def _write(pipe: IO[bytes], data: bytes, hold: bool) -> None:
    # ssh may be gone before it has read everything: its exit status says so, not this pipe.
    with contextlib.suppress(OSError, ValueError):
        pipe.write(data)
        pipe.flush()
    if hold:
        return
    with contextlib.suppress(OSError, ValueError):
        pipe.close()
