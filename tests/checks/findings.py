"""What the tests of the checks read in findings."""

from __future__ import annotations

from collections.abc import Iterable

from labcheck.verdict import Finding, overall


def verdict(findings: Iterable[Finding]) -> str:
    """The verdict that they add up to."""
    return overall(findings).value


def text_of(findings: Iterable[Finding]) -> str:
    """What was seen, a line for each."""
    return "\n".join(finding.observed for finding in findings)


def only(findings: Iterable[Finding]) -> Finding:
    """The one finding that there has to be."""
    (finding,) = findings
    return finding
