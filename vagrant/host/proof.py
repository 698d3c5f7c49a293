"""What `make test-fast` and `make test` run, in their order."""

from __future__ import annotations

import sys
from pathlib import Path

from . import children
from .environment import Environment
from .machine import Machine
from .say import line, step

# A defined order: what shows the bare server comes before what changes it.
ON_THE_MACHINE = ("tests/vm", "tests/provision")
NO_TESTS = 5  # pytest's exit status where nothing was collected


def shell_scripts(checkout: Path) -> list[str]:
    """Every shell script of the checkout, by its name or its first line."""
    found = []
    for top in ("vagrant", "tests", ".ci"):
        for path in sorted((checkout / top).rglob("*")):
            if not path.is_file() or path.suffix in (".py", ".pyc", ".png"):
                continue
            with path.open("rb") as file:
                first = file.readline(80)
            if path.suffix == ".sh" or (
                first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"/sh"))
            ):
                found.append(str(path.relative_to(checkout)))
    return found


def fast(checkout: Path, environment: Environment, log: Path) -> int:
    """Format, lint, types, shell scripts and the tests that need no machine; 1 if anything is wrong."""
    python = str(environment.python)
    stages = [
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("mypy: labkit and lab_app", [python, "-m", "mypy"]),
        ("mypy: vagrant/host", [python, "-m", "mypy", "vagrant/host"]),
        ("shellcheck", [str(environment.program("shellcheck")), *shell_scripts(checkout)]),
        ("tests that need no machine", [python, "-m", "pytest", "-q", "-m", "not vm"]),
    ]
    wrong = []
    for title, command in stages:
        with step(title) as current:
            ended = children.run(command, log=log, step=current, cwd=checkout)
            current.failed = ended.status != 0
            current.result = ended.tail[-1].strip("= ") if ended.tail and not current.failed else ""
        if ended.status != 0:
            wrong.append(title)
            for text in ended.tail:
                line(f"        {text}")
    if wrong:
        line(f"wrong: {', '.join(wrong)} (the whole output is in {log})")
    return 1 if wrong else 0


def on_the_machine(machine: Machine, environment: Environment, context: dict[str, str], log: Path) -> int:
    """The tests that need the machine, each line as it comes; pytest's exit status."""
    command = [str(environment.python), "-m", "pytest", "-v", "--durations=15", "-m", "vm", *ON_THE_MACHINE]
    ended = children.run(
        command, log=log, watch=line, env={**context, "PYTHONUNBUFFERED": "1"}, cwd=machine.checkout
    )
    if ended.status == NO_TESTS:
        sys.stderr.write("no test for the machine was found\n")
    return ended.status
