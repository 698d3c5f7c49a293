"""The notebooks' magics: %%vm, %%vm_file, %%laptop, %check, %board, %padlock, %done.

What they print does not vary, but for %padlock, which shows what it sees.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from labcheck import checklist, report, runner
from labcheck.config import VARIABLE, Config, find, load
from labcheck.errors import ConfigError, Unreachable
from labcheck.remote.output import last_line
from labcheck.result import Result
from labcheck.ssh import AS_ROOT, Connection
from labkit import browser, dead_mans_switch
from labkit.cell import NoBash, Ran, run_cell, run_here
from labkit.tunnel import NoTunnel

CHECKOUT = Path(__file__).resolve().parents[2]
PADLOCK = CHECKOUT / "notebooks" / "pictures" / "padlock.png"
SILENCE = 2.0
"""Seconds without a word after which a cell says that it is still running."""
REFRESH = 5.0
"""Seconds after which it says so anew."""


class CellFailed(Exception):
    """A cell did not end as it should. A notebook shows the one line of it, and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CellFailed(f"%{self.prog}: {message}; {' '.join(self.format_usage().split())}")


def _expected(text: str) -> int | None:
    """An exit status, or None for "undone"."""
    return None if text == "undone" else int(text)


_expected.__name__ = "status (a number, or undone)"


def _items(text: str) -> list[int]:
    """The number of an item, or those of the whole checklist for "all"."""
    return [item.number for item in checklist.ITEMS] if text == "all" else [int(text)]


_items.__name__ = "item (a number, or all)"

_vm = _Parser(prog="%vm", add_help=False, allow_abbrev=False)
_vm.add_argument("--on", metavar="HOST", default="", help="another host of the ssh_config")
_vm.add_argument("--as", dest="account", metavar="USER", default="", help="as this account, in its home")
_vm.add_argument("--expect", metavar="N", type=_expected, default=0)
_vm.add_argument("--quiet", action="store_true", help="print nothing if it ends as expected")
_vm.add_argument("--undo", metavar="COMMAND", default="", help="what undoes it: under the dead man's switch")
_vm.add_argument("--within", metavar="SECONDS", type=int, default=60)
_vm.add_argument("--break", dest="breaks", action="store_true", help="it breaks something: only in the lab")

_vm_file = _Parser(prog="%vm_file", add_help=False, allow_abbrev=False)
_vm_file.add_argument("path", metavar="PATH")
_vm_file.add_argument("--owner", default="", help="user or user:group; default: as it was, else root:root")
_vm_file.add_argument("--mode", default="", help="such as 0640; default: as it was, else 0644")
_vm_file.add_argument("--on", metavar="HOST", default="")

_laptop = _Parser(prog="%laptop", add_help=False, allow_abbrev=False)
_laptop.add_argument("--expect", metavar="N", type=int, default=0)
_laptop.add_argument("--quiet", action="store_true", help="print nothing if it ends as expected")

_check = _Parser(prog="check", add_help=False, allow_abbrev=False)
_check.add_argument("items", metavar="N", type=_items, nargs="+", help="numbers, or: all")
_check.add_argument("--exercise", action="store_true")
_check.add_argument("--reboot", action="store_true", help="with --exercise: the server may be rebooted")

_board = _Parser(prog="board", add_help=False, allow_abbrev=False)
_board.add_argument("--exercise", action="store_true")
_done = _Parser(prog="done", add_help=False, allow_abbrev=False)
_done.add_argument("chapter", metavar="NN")


def vm(line: str, cell: str) -> None:
    """Run the cell on the server with bash; the first command that fails ends it."""
    options = _vm.parse_args(shlex.split(line))
    config = _config()
    server = config.connection(options.on) if options.on else config.server
    if options.breaks:
        _only_in_the_lab(config, server)
    if options.expect is None and not options.undo:
        raise CellFailed("%%vm: --expect undone needs --undo")
    with _output() as output:

        def run(connection: Connection) -> Ran:
            show = None if options.quiet else output.keep
            return run_cell(
                connection, cell, account=options.account, show=show, meanwhile=output.still_running
            )

        if options.undo:
            _guarded(server, run, options, output)
        else:
            _judge(_reached(lambda: run(server)), options, output)


def _judge(ran: Ran, options: argparse.Namespace, output: _Output) -> None:
    if ran.exit_status == options.expect:
        return
    if options.quiet:
        output.keep(ran.output)
    expected = f", and {options.expect} was expected" if options.expect else ""
    raise CellFailed(ran.why() + expected)


def _guarded(
    server: Connection, run: Callable[[Connection], Ran], options: argparse.Namespace, output: _Output
) -> None:
    ended: list[Ran] = []

    def change(connection: Connection) -> Result:
        ended.append(run(connection))
        return Result(ended[0].output, "", ended[0].exit_status)

    try:
        outcome = _reached(
            lambda: dead_mans_switch.guarded(
                server,
                change,
                undo=options.undo,
                within=options.within,
                expect=options.expect or 0,
                meanwhile=output.still_running,
            )
        )
    except dead_mans_switch.SwitchError as problem:
        raise CellFailed(str(problem)) from None
    if outcome.kept:
        output.keep("A new connection works: the change stays.\n")
        if options.expect is None:
            raise CellFailed("the change stays, and it was expected to lock us out")
        return
    # What undoing printed is not shown: its words differ from one distribution to the next.
    if ended and ended[0].exit_status != (options.expect or 0):
        output.keep(f"The cell failed, and was undone: {options.undo}\n")
        raise CellFailed(ended[0].why())
    # Where no login is expected to be possible, one in the last second is due to the undoing.
    late = outcome.refused == dead_mans_switch.TOO_LATE and options.expect is not None
    output.keep("A new connection came too late.\n" if late else "No new connection could be opened.\n")
    if outcome.undo and outcome.undo.exit_status:
        raise CellFailed(f"undoing it gave exit status {outcome.undo.exit_status}: {options.undo}")
    output.keep(f"The server has undone the change: {options.undo}\n")
    if late:
        more = f"give it more time: --within {2 * options.within}"
        raise CellFailed(f"the change was undone: it was not proved within {options.within} s; {more}")
    if options.expect is not None:
        raise CellFailed("the change was undone, because it would have locked you out")


def _only_in_the_lab(config: Config, server: Connection) -> None:
    if _reached(lambda: server.run(f"test -e {shlex.quote(config.marker)}")).exit_status != 0:
        raise CellFailed(f"this cell breaks something on purpose, and {server.host} is not the lab's server")


_PUT = """\
set -eu
trap 'rm -f -- "$new"' EXIT
path=$(readlink -f -- "$path" || printf %s "$path")
folder=${path%/*}
[ -d "${folder:-/}" ] || { echo "the folder $folder is not there" >&2; exit 1; }
[ ! -d "$path" ] || { echo "$path is a folder" >&2; exit 1; }
# Made readable by no other account, and renamed only when it is complete: no reader ever sees half of it.
new=$(mktemp -- "$folder/.vm_file.XXXXXX")
printf %s "$text" >"$new"
if [ -e "$path" ]; then
  chown --reference="$path" -- "$new"
  chmod --reference="$path" -- "$new"
else
  chmod 0644 -- "$new"
fi
if [ -n "$owner" ]; then chown -- "$owner" "$new"; fi
if [ -n "$mode" ]; then chmod -- "$mode" "$new"; fi
mv -f -- "$new" "$path"
stat -c '%U:%G %04a' -- "$path"
"""


def vm_file(line: str, cell: str) -> None:
    """Write the cell's text to a file on the server, as root, all of it at once."""
    options = _vm_file.parse_args(shlex.split(line))
    if not PurePosixPath(options.path).is_absolute():
        raise CellFailed(f"%%vm_file: {options.path} must begin with a /")
    config = _config()
    server = config.connection(options.on) if options.on else config.server
    text = cell if cell.endswith("\n") else cell + "\n"
    words = {"path": options.path, "owner": options.owner, "mode": options.mode, "text": text, "new": ""}
    # Everything travels on standard input: the text may hold secrets, and a command line is for all to see.
    script = "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items()) + _PUT
    result = _reached(lambda: server.run(AS_ROOT, stdin=script))
    if result.exit_status:
        reason = last_line(result.stderr, f"exit status {result.exit_status}")
        raise CellFailed(f"{options.path} was not written: {report.printable(reason)}")
    owner, mode = result.stdout.split()
    lines = text.count("\n")
    _write(f"{options.path}: {lines} {'line' if lines == 1 else 'lines'}, {owner}, {mode}\n")


def laptop(line: str, cell: str) -> None:
    """Run the cell with bash on this computer, in the checkout; the first command that fails ends it.

    labcheck finds the same server there as %check: LABCHECK_CONFIG names the file.
    """
    options = _laptop.parse_args(shlex.split(line))
    found = find()
    extra = {VARIABLE: str(found)} if found else {}
    with _output() as output:
        show = None if options.quiet else output.keep
        try:
            ran = run_here(cell, folder=CHECKOUT, environ=extra, show=show, meanwhile=output.still_running)
        except NoBash as problem:
            raise CellFailed(str(problem)) from None
        _judge(ran, options, output)


def check_items(line: str) -> None:
    """Judge items of the checklist."""
    options = _check.parse_args(shlex.split(line))
    if options.reboot and not options.exercise:
        raise CellFailed("%check: --reboot says what --exercise may do: give both")
    numbers = [number for group in options.items for number in group]
    found = _report(numbers, exercise=options.exercise, reboot=options.reboot)
    for number in numbers:
        judged = next(one for one in found.items if one.item.number == number)
        _write(report.notebook(judged) + "\n")


def board(line: str) -> None:
    """The whole checklist, a line an item: what a look tells, or with --exercise what doing proves."""
    from IPython.display import display  # IPython is there where this runs, and need not be elsewhere

    options = _board.parse_args(shlex.split(line))
    found = _report([], exercise=options.exercise)
    bundle = {"text/plain": report.board_text(found), "text/html": report.board_html(found)}
    display(bundle, raw=True)  # type: ignore[no-untyped-call,unused-ignore]


def padlock(line: str) -> None:
    """What a browser says of the connection to the site; where there is none, what one said elsewhere."""
    from IPython.display import Image, display  # IPython is there where this runs, and need not be elsewhere

    config = _config()
    if not config.target.domain:
        raise CellFailed('labcheck.toml names no site: domain = "…" in [target]')
    try:
        with _output() as output:
            output.passing("a browser opens the site")
            pages = _reached(lambda: browser.visitors(config))
            drawn = browser.picture(pages)
    except browser.NoBrowser as problem:
        _write(f"{problem}.\nThis is what one showed on another computer:\n")
        drawn = PADLOCK.read_bytes()
    except (browser.NoAnswer, NoTunnel) as problem:
        raise CellFailed(str(problem)) from None
    else:
        _write(browser.text(pages))
    display(Image(drawn, alt="what the browser says of the connection, and the page"))  # type: ignore[no-untyped-call,unused-ignore]


def done(line: str) -> None:
    """The end of a chapter: in the lab, keep the machine as it is now, unless a later chapter is done."""
    options = _done.parse_args(shlex.split(line))
    config = _config()
    if not config.tool:
        _write("This is not the lab's machine: nothing to save.\n")
        return
    environment = os.environ | ({"LAB_MACHINE": config.machine} if config.machine else {})
    try:
        with _output() as output:
            output.passing("saving the machine")
            ended = subprocess.run(
                [*config.tool, "snapshot", options.chapter],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",
                timeout=600,
            )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CellFailed(f"the machine was not saved: {problem}") from None
    if ended.returncode:
        text = (
            ended.stderr.strip() or ended.stdout.strip() or f"exit status {ended.returncode}"
        ).splitlines()
        raise CellFailed(f"the machine was not saved: {text[-1]}")
    _write(f"Chapter {options.chapter} is done, and the machine is saved.\n")


def _report(numbers: list[int], *, exercise: bool, reboot: bool = False) -> runner.Report:
    try:
        items = checklist.items(numbers)
    except ValueError as problem:
        raise CellFailed(str(problem)) from None
    context = _config().context(reboot=reboot)
    with _output() as output:
        return runner.run(items, context, exercise=exercise, progress=output.passing)


class _Output:
    """What a cell prints: text that is kept, and below it a line that passes, for the person who waits.

    Jupyter can only take away all of an output: so what is kept is printed again. What is left in the end is
    the same on every run, however long it took.
    """

    def __init__(self) -> None:
        self.kept = ""
        self.passes = False
        self.began = self.last = time.monotonic()

    def keep(self, text: str) -> None:
        self.take_back()
        self.kept += text
        _write(text)

    def passing(self, text: str) -> None:
        """Say what goes on, in the place of what was said before."""
        self.take_back()
        self.passes = True
        _write(f"{text} …\n")

    def still_running(self) -> None:
        """To be called now and then: says how long it takes, where nothing was printed for a while."""
        now = time.monotonic()
        if now - self.last >= (REFRESH if self.passes else SILENCE):
            self.passing(f"still running, {now - self.began:.0f} s so far")

    def take_back(self, *, at_once: bool = False) -> None:
        """Take the passing line away: together with what is printed next, or `at_once`."""
        from IPython.display import (
            clear_output,
        )  # IPython is there where this runs, and need not be elsewhere

        if self.passes:
            clear_output(wait=not at_once)  # type: ignore[no-untyped-call,unused-ignore]
            _write(self.kept)
        self.passes = False
        self.last = time.monotonic()


@contextmanager
def _output() -> Iterator[_Output]:
    output = _Output()
    try:
        yield output
    finally:
        output.take_back(at_once=not output.kept)


def _config() -> Config:
    try:
        return load()
    except ConfigError as problem:
        raise CellFailed(str(problem)) from None


def _reached(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Unreachable as problem:
        off = problem.reason in ("the connection was refused", "the connection timed out")
        hint = "is the machine off? make lab" if off else problem.next
        raise CellFailed(f"cannot reach {problem.host}: {problem.reason} ({hint})") from None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def register(shell: Any) -> None:
    """Give an IPython shell the magics."""
    cells: dict[str, Callable[[str, str], None]] = {"vm": vm, "vm_file": vm_file, "laptop": laptop}
    lines: dict[str, Callable[[str], None]] = {
        "check": check_items,
        "board": board,
        "padlock": padlock,
        "done": done,
    }
    for name, cell_magic in cells.items():
        shell.register_magic_function(cell_magic, "cell", name)
    for name, line_magic in lines.items():
        shell.register_magic_function(line_magic, "line", name)
