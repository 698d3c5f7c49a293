"""`make test-fast`: format, lint, types, shell scripts, and the tests that need no machine."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import subprocesses
from .environment import Environment
from .progress import line, seconds, step
from .test_reports import skipped


def shell_scripts(checkout: Path) -> list[str]:
    """Every shell script of the checkout, by its name or its first line."""
    scripts = []
    for top in ("vagrant", "tests", ".ci", ".devcontainer"):
        for path in sorted((checkout / top).rglob("*")):
            if not path.is_file() or path.suffix in (".py", ".pyc", ".png"):
                continue
            with path.open("rb") as file:
                first = file.readline(80)
            if path.suffix == ".sh" or (
                first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"/sh"))
            ):
                scripts.append(str(path.relative_to(checkout)))
    return scripts


def without_plugins() -> list[str]:
    """Options of pytest that spare it the plug-ins for notebooks and servers: a second at each start."""
    return [word for name in ("nbval", "pytest11.testinfra") for word in ("-p", f"no:{name}")]


@dataclass(frozen=True)
class Checked:
    """What one program said of the checkout, and how long it took, in seconds."""

    title: str
    seconds: float
    ended: subprocesses.Ended
    log: Path
    report: Path | None = None  # JUnit's

    @property
    def passed(self) -> bool:
        return self.ended.status == 0

    def failures(self) -> list[str]:
        """Its title, with the lines in which pytest sums up what failed; nothing if it passed."""
        summed_up = [text for text in self.ended.tail if text.startswith(("FAILED ", "ERROR "))]
        return [] if self.passed else [self.title, *summed_up]

    def skipped(self) -> Counter[str]:
        return skipped(self.report) if self.report else Counter()


def run(
    checkout: Path,
    environment: Environment,
    log: Path,
    stopped: threading.Event | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Checked]:
    """Format, lint, types, shell scripts and the tests that need no machine, until `stopped`.

    In three lanes: the tests of the first wait for an sshd and for time limits most of the time. All step
    back for the servers beside them, on which everything else waits. `environ` is added to the environment.
    """
    python = str(environment.python)
    pytest = [python, "-m", "pytest", "-q", "-m", "not vm", "-p", "no:cacheprovider", *without_plugins()]
    checker = [f"tests/{each}" for each in ("checks", "facts", "labcheck", "labkit", "remote")]
    lanes = (
        [("tests of labcheck and labkit", [*pytest, *checker])],
        [("tests of lab_app", [*pytest, "tests/app"])],
        [
            ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
            ("ruff check", [python, "-m", "ruff", "check", "."]),
            ("mypy: labcheck, labkit and lab_app", [python, "-m", "mypy"]),
            ("mypy: vagrant/host", [python, "-m", "mypy", "vagrant/host"]),
            ("shellcheck", [str(environment.program("shellcheck")), "-x", *shell_scripts(checkout)]),
            (
                "the other tests that need no machine",
                [*pytest, *(f"--ignore={path}" for path in (*checker, "tests/app"))],
            ),
        ],
    )
    logs = [log, log.with_stem(f"{log.stem}-2"), log.with_stem(f"{log.stem}-3")]
    with step("format, lint, types, shell scripts, and the tests that need no machine") as current:

        def run_lane(lane: list[tuple[str, list[str]]], log: Path, ours: threading.Event) -> list[Checked]:
            checked: list[Checked] = []
            for title, command in lane:
                if ours.is_set() or (stopped is not None and stopped.is_set()):
                    break
                began = time.monotonic()
                report = None
                if "pytest" in command:
                    report = log.with_suffix(".xml")
                    report.unlink(missing_ok=True)
                    command = [*command, f"--junitxml={report}"]
                ended = subprocesses.run(
                    subprocesses.stepping_back(command), log=log, step=current, env=environ, cwd=checkout
                )
                checked.append(Checked(title, time.monotonic() - began, ended, log, report))
            return checked

        checked_lanes = subprocesses.side_by_side(
            *(partial(run_lane, *each) for each in zip(lanes, logs, strict=True))
        )
        checks = [one for lane in checked_lanes for one in lane]
        current.failed = any(not one.passed for one in checks)
    return checks


def show(checks: list[Checked]) -> int:
    """A line for each, and the last words of what failed; 1 if anything did."""
    for check in checks:
        summary = f": {check.ended.tail[-1].strip('= ')}" if check.ended.tail and check.passed else ""
        line(f"  {'ok' if check.passed else '!!'}  {check.title}{summary}  ({seconds(check.seconds)})")
        if not check.passed:
            for text in check.ended.tail:
                line(f"        {text}")
            line(f"        (the whole output is in {check.log})")
    return 0 if all(check.passed for check in checks) else 1
