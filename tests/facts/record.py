"""Captures what the facts' commands print on a real host, as recordings for the parsers' tests.

    python tests/facts/record.py [-F ssh_config] HOST CASE [FACT...]

writes tests/facts/recordings/<fact>/<CASE>.txt for these facts, or for all of them. Each file begins with
where it comes from; then come the exit status, standard error, and standard output. What the parser must give
stands in test_recordings.py.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

from labcheck import facts
from labcheck.facts import Fact
from labcheck.result import Result
from labcheck.ssh import Connection

HERE = Path(__file__).parent / "recordings"
# What these print comes from a remote program, which is tested where it stands: tests/app, tests/remote.
OF_PROGRAMS = {"app_processes", "backups"}


def all_facts() -> list[Fact[object]]:
    names = sorted(module.name for module in pkgutil.iter_modules(facts.__path__))
    modules = [importlib.import_module(f"labcheck.facts.{name}") for name in names if name not in OF_PROGRAMS]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Fact)]


def to_text(result: Result, source: str) -> str:
    head = f"source: {source}\nexit: {result.exit_status}\n--- stderr\n{result.stderr}"
    return f"{head.rstrip()}\n--- stdout\n{result.stdout}"


def from_text(text: str) -> Result:
    head, _, stdout = text.partition("--- stdout\n")
    before, _, stderr = head.partition("--- stderr\n")
    fields = dict(line.split(": ", 1) for line in before.splitlines() if ": " in line)
    if "source" not in fields:
        raise ValueError("a recording must say where it comes from")
    return Result(stdout, stderr, int(fields["exit"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-F", dest="config", type=Path)
    parser.add_argument("host")
    parser.add_argument("case")
    known = {fact.name: fact for fact in all_facts()}
    parser.add_argument("facts", nargs="*", metavar="FACT", help="default: all of them")
    options = parser.parse_args()
    if wrong := [name for name in options.facts if name not in known]:
        parser.error(f"there is no fact {wrong[0]}, but: {', '.join(known)}")
    server = Connection(options.host, config=options.config)
    release = server.run('. /etc/os-release; echo "$PRETTY_NAME"').stdout.strip()
    for fact in (known[name] for name in options.facts or known):
        result = server.run("sudo -n env LC_ALL=C bash -s", stdin=fact.command)
        path = HERE / fact.name / f"{options.case}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_text(result, release), encoding="utf-8")
        print(path.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
