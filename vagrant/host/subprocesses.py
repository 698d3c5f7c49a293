"""Run other programs: logged, folded into a step, stopped with all their children on Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .progress import Problem, Step

T = TypeVar("T")

POSIX = os.name == "posix"
PATIENCE = 40.0  # seconds a program gets to clean up after Ctrl-C; Vagrant needs up to half a minute

RUBY_TRACE = re.compile(r"^\s+from /\S+:\d+:in ")  # where Vagrant crashes, its first line is what counts
CLEANING_UP = "interrupted: waiting until the program has cleaned up after itself"

# The colours and cursor movements of other programs have no place in a log or in a detail.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status and its last lines, standard error among them."""

    status: int
    tail: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.tail)


def stepping_back(command: Sequence[str]) -> list[str]:
    """The command, so that what runs beside it has the processors first, where that can be said."""
    return [*(["nice", "-n", "5"] if shutil.which("nice") else []), *command]


def _own_group() -> dict[str, Any]:
    """Options for a process group of its own, so that a child and its children are ended together."""
    if POSIX:
        return {"process_group": 0}
    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def _tell(child: subprocess.Popen[Any], grouped: bool, which: int) -> None:
    """Send a signal to a child and, where it has a group of its own, to all its children."""
    try:
        if POSIX and grouped:
            os.killpg(child.pid, which)
        else:
            child.send_signal(which)
    except ProcessLookupError:
        return  # it ended by itself
    except PermissionError:
        return  # it runs as root through sudo, which passes the terminal's Ctrl-C on by itself


def end(child: subprocess.Popen[Any], grouped: bool, *, patience: float = PATIENCE) -> None:
    """End a child and its children: asked first, forced after `patience` seconds or a second Ctrl-C."""
    ask = signal.SIGINT if POSIX else getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
    for which, limit in ((ask, patience), (signal.SIGTERM, 5.0)):
        _tell(child, grouped, which)
        try:
            child.wait(limit)
            break
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    if POSIX and grouped:
        _tell(child, grouped, signal.SIGKILL)  # also what a child left behind in its group
    elif child.poll() is None:
        child.kill()
    if child.poll() is None:
        try:
            child.wait(5.0)
        except subprocess.TimeoutExpired:
            return  # a process that the kernel cannot end: nothing more can be done from here


def run(
    command: Sequence[str],
    *,
    log: Path,
    step: Step | None = None,
    watch: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float | None = None,
    grouped: bool = True,
) -> Ended:
    """Run a program to its end; all it prints goes to `log`, its last line into the step's detail.

    `watch` sees every line. After `limit` seconds the program is ended and the status is 124.
    `grouped=False` is for sudo, which finds its ticket only in the terminal's own process group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=60)
    late = threading.Event()
    child: subprocess.Popen[str] | None = None
    timer: threading.Timer | None = None
    with log.open("a", encoding="utf-8") as record:
        record.write("$ " + " ".join(command) + "\n")
        try:
            with _interrupts_held_back():  # or one in the middle of this would leave the program running
                child = _start(command, env, cwd, grouped)
                _running.append((child, grouped))
            if limit is not None:
                timer = threading.Timer(limit, _give_up, (child, grouped, late))
                timer.daemon = True
                timer.start()
            assert child.stdout is not None
            for raw in child.stdout:
                text = ESCAPES.sub("", raw).rstrip()
                record.write(text + "\n")
                record.flush()
                if not text or RUBY_TRACE.match(text):
                    continue
                tail.append(text)
                if step is not None:
                    step.detail = text.rsplit("\r", 1)[-1].strip()
                if watch is not None:
                    watch(text)
            status = child.wait()
        except BaseException:
            if child is None:
                raise
            # A program that cleans up still prints, and would wait for ever for a reader.
            drain = threading.Thread(target=shutil.copyfileobj, args=(child.stdout, record), daemon=True)
            drain.start()
            if step is not None:
                step.detail = CLEANING_UP
            if watch is not None:
                watch(CLEANING_UP)
            end(child, grouped)
            drain.join(5.0)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if child is not None:
                _running.remove((child, grouped))
                if child.stdout is not None:
                    child.stdout.close()
    return Ended(124 if late.is_set() else status, tuple(tail))


def _start(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, grouped: bool
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            **(_own_group() if grouped else {}),
        )
    except FileNotFoundError:
        raise Problem(
            f"the program {command[0]} is not there", "install it, then run the same command again"
        ) from None


def _give_up(child: subprocess.Popen[str], grouped: bool, late: threading.Event) -> None:
    late.set()
    end(child, grouped, patience=5.0)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C and other signals that interrupt the main thread come at the end of this, not in its middle."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return
    signals: list[int] = []
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    held = {number: handler for number, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda which, _: signals.append(which))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    for number in signals:
        signal.raise_signal(number)


_running: list[tuple[subprocess.Popen[Any], bool]] = []  # what `run` waits for, in whichever thread


def side_by_side(*works: Callable[[threading.Event], T]) -> list[T]:
    """Do several works at once, each in a thread; what each returns, in their order.

    Ctrl-C reaches this thread alone, and the programs that the others run have process groups of their own:
    they are ended here, as when one work raises. A work looks at its event before it begins another program.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work, stopped) for work in works]
        try:
            for each in wait(futures, return_when=FIRST_EXCEPTION).done:
                each.result()  # raises what it raised
        except BaseException:
            stopped.set()
            # Again and again: a work that had just looked at its event may begin one more program.
            while wait(futures, timeout=0.1).not_done:
                for child, grouped in list(_running):
                    end(child, grouped)
            raise
    return [each.result() for each in futures]


def quick(
    command: Sequence[str], *, limit: float = 20.0, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Ask a program a short question: status 127 where it is missing, 124 where it is too slow."""
    try:
        return subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            env=None if env is None else {**os.environ, **env},
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(list(command), 127, "", f"{command[0]}: not found")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            list(command), 124, "", f"{command[0]}: no answer within {limit:.0f} s"
        )


def last_line(answer: subprocess.CompletedProcess[str], otherwise: str) -> str:
    """The last line on standard error, where a program says why it failed; `otherwise` if it is empty."""
    return (answer.stderr.strip().splitlines() or [otherwise])[-1]


def foreground(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> int:
    """Hand the terminal to a program until it ends; Ctrl-C is the program's, and we wait for it."""
    child: subprocess.Popen[Any] | None = None
    try:
        with _interrupts_held_back():
            child = subprocess.Popen(
                list(command), env=None if env is None else {**os.environ, **env}, cwd=cwd
            )
        return child.wait()
    except KeyboardInterrupt:
        if child is None:
            raise
        try:
            # At a terminal the program got the same Ctrl-C; where only this process was signalled, it did
            # not.
            child.wait(1.0)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            end(child, grouped=False, patience=15.0)
        return child.returncode if child.returncode is not None else 130
