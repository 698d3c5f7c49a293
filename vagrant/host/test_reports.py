"""What tests say at their end: failures and skipped tests of pytest's JUnit reports, and the last table."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .progress import line, seconds


@dataclass(frozen=True)
class Failure:
    """A test or a cell that failed: its name, what its report says first, and all that it says."""

    name: str
    says: str
    why: tuple[str, ...]

    def lines(self) -> list[str]:
        """At most fifty lines of it."""
        why = self.why if len(self.why) <= 50 else (*self.why[:10], "…", *self.why[-35:])
        return [self.name, *(f"  {text}" for text in why)]


@dataclass(frozen=True)
class StageResult:
    """How long something took, in seconds, whether it went well, and what did not."""

    title: str
    seconds: float
    passed: bool
    failures: tuple[str, ...] = ()  # a line for each
    skipped: Counter[str] = field(default_factory=Counter)  # for each reason, how many tests

    def lines(self) -> list[str]:
        """For the table at the end: a reader of nothing else still learns what failed."""
        shown = [*self.failures[:10], *(["…"] if len(self.failures) > 10 else [])]
        first = f"  {'ok' if self.passed else '!!'}  {seconds(self.seconds):>12}  {self.title}"
        return [first, *(f"{'':20}{text}" for text in shown)]


def failures(report: Path) -> list[Failure]:
    """What failed and why, from a JUnit report; a cell that was not run because of another is no news."""
    if not report.exists():
        return []
    failed: list[Failure] = []
    for case in ElementTree.parse(report).iter("testcase"):
        for each in (*case.iter("failure"), *case.iter("error")):
            why = (each.text or each.get("message") or "").strip().splitlines() or ["no reason is given"]
            if not why[0].startswith("not run: "):
                says = ((each.get("message") or "").strip() or why[0]).splitlines()[0]
                failed.append(Failure(f"{case.get('classname')}::{case.get('name')}", says, tuple(why)))
    return failed


def skipped(report: Path) -> Counter[str]:
    """How many tests were not run for each reason, from a JUnit report; a line of reason is one."""
    if not report.exists():
        return Counter()
    cases = ElementTree.parse(report).iter("skipped")
    return Counter(reason for case in cases for reason in (case.get("message") or "no reason").splitlines())


def concluded(passed: bool, reasons: Counter[str]) -> str:
    """Say what was not tested, a line for each reason; a word for the last line."""
    for reason, count in reasons.most_common():
        line(f"  --  not tested ({count} test{'s' * (count > 1)}): {reason}")
    if not passed:
        return "failed"
    return "passed, but for what is named above" if reasons else "passed"
