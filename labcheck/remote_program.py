"""Programs of remote/: how one gets to a host with the modules that it imports, and what it printed there.

A program is a module with a function `main`. It travels as one text, together with the modules of remote/
that it imports, directly or through another one: they are imported from memory there (sent_modules.py).
"""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from labcheck.errors import Unreadable
from labcheck.remote import sent_modules
from labcheck.remote.output import last_line
from labcheck.result import Result
from labcheck.ssh import Connection

T = TypeVar("T")

_PACKAGE = "labcheck.remote"
_ABOVE = Path(__file__).parents[1]
_FROM_STDIN = "exec bash -c '(( EUID )) && exec sudo -n python3 -IS -; exec python3 -IS -'"


def program(name: str, *arguments: object, **named: object) -> str:
    """Python source that runs `main` of the module `name` of remote/ with these arguments.

    They are what Python can write down and read again: text, numbers, lists, dictionaries.
    """
    lines = [
        Path(sent_modules.__file__).read_text(encoding="utf-8"),
        f"make_importable({_sources(f'{_PACKAGE}.{name}')!a})",
        f"from {_PACKAGE}.{name} import main",
        f"main(*{arguments!a}, **{named!a})",
        "",
    ]
    return "\n".join(lines)


def command(name: str, *arguments: object, **named: object) -> str:
    """What runs that program on the server, as a command of bash."""
    return "python3 -IS -c " + shlex.quote(program(name, *arguments, **named))


def run_as_root(server: Connection, name: str, *arguments: object, timeout: float = 120) -> Result:
    """Run that program as root; `timeout` is in seconds.

    It is read from standard input: what is given to it is in no command line, and in no file. Raises
    Unreachable.
    """
    return server.run(_FROM_STDIN, stdin=program(name, *arguments), timeout=timeout)


@cache
def _sources(module: str) -> dict[str, str]:
    """The source of a module, of the packages around it, and of what these import of remote/; by path."""
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or path in sources:
            continue
        sources[path] = (_ABOVE / path).read_text(encoding="utf-8")
        waiting += [name.rpartition(".")[0], *_imported(sources[path])]
    return dict(sorted(sources.items()))


def _path(module: str) -> str | None:
    """Where a module of the checker is; None for what is no module of it."""
    base = module.replace(".", "/")
    return next((path for path in (f"{base}/__init__.py", f"{base}.py") if (_ABOVE / path).is_file()), None)


def _imported(source: str) -> Iterator[str]:
    """The names of remote/ that a module imports; `from a import b` gives both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{_PACKAGE}."))


def printed(result: Result, what: str) -> str:
    """What the program printed. Raises Unreadable where it did not run to its end; `what` names it."""
    if result.exit_status == 127:
        raise Unreadable("python3 is not installed on the server")
    if result.exit_status != 0:
        last = last_line(result.stderr)
        raise Unreadable(f"{what} ended with status {result.exit_status}: {last}")
    return result.stdout


def answer(result: Result, shape: type[T], what: str) -> T:
    """The JSON that the program printed, as this dataclass or other type; `what` names the program's task.

    Raises Unreadable where it did not run to its end, where it printed no JSON, and where a field is missing
    or of another type.
    """
    text = printed(result, what)
    try:
        # Not by msgspec itself: json.dumps writes NaN, and file names that are no UTF-8.
        read = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"what {what} says is not understood: {error}") from None
    return shaped(read, shape, what)


def shaped(value: Any, shape: type[T], what: str) -> T:
    """What json.loads gave, as this type. Nothing is converted that would have to be guessed: "1" is no
    number. Fields that the type does not have are left out. Raises Unreadable."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise Unreadable(f"what {what} says is not understood: {error}") from None
