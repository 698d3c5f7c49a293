"""What a check can end in: four verdicts, the finding that carries one, and how findings add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum


class Verdict(Enum):
    """PASS and FAIL are said of what was seen; UNKNOWN says that it could not be seen."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"
    SKIP = "SKIP"


class Depth(Enum):
    """LOOK is read-only; EXERCISE makes the thing happen and puts everything back."""

    LOOK = "look"
    EXERCISE = "exercise"


@dataclass(frozen=True)
class Finding:
    """One thing that was seen, or could not be.

    `observed` and `expected` hold nothing that changes from one check of an unchanged server to the next
    (no durations, no remaining lifetimes): those go into `detail`, which notebooks do not print.
    `until_exercised` marks what only an exercise can tell: once it has, nothing is left unknown.
    """

    verdict: Verdict
    observed: str
    expected: str = ""
    why: str = ""
    next: str = ""
    detail: str = ""
    depth: Depth = Depth.LOOK
    until_exercised: bool = False

    def exercised(self) -> Finding:
        return replace(self, depth=Depth.EXERCISE)


def passed(observed: str, *, detail: str = "") -> Finding:
    """The server is as it should be, and this was seen."""
    return Finding(Verdict.PASS, observed, detail=detail)


def failed(observed: str, *, expected: str, why: str, next: str = "", detail: str = "") -> Finding:
    """The server is not as it should be: what was seen and expected, why it matters, what to do next."""
    return Finding(Verdict.FAIL, observed, expected, why, next, detail)


def unknown(reason: str, *, next: str = "", detail: str = "", until_exercised: bool = False) -> Finding:
    """It could not be observed; `reason` completes the sentence "could not look: …"."""
    return Finding(Verdict.UNKNOWN, reason, next=next, detail=detail, until_exercised=until_exercised)


def skipped(reason: str) -> Finding:
    """It does not apply to this server, for this reason."""
    return Finding(Verdict.SKIP, reason)


def overall(findings: Iterable[Finding]) -> Verdict:
    """The verdict of an item: one failure fails it, then one blind spot leaves it unknown.

    No findings at all is UNKNOWN: a check that saw nothing proved nothing.
    """
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS, Verdict.SKIP):
        if verdict in verdicts:
            return verdict
    return Verdict.UNKNOWN
