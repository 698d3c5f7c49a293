"""The way to the start of a chapter."""

from __future__ import annotations

import pytest

from vagrant.host import (
    chapters,
)
from vagrant.host.progress import Problem

KNOWN = ["00", "01", "02", "03"]


@pytest.mark.parametrize(
    ("chapter", "saved", "way"),
    [
        ("00", ["bare", "after-00"], ("bare", [])),
        ("02", ["bare", "after-00", "after-01", "after-02"], ("after-01", [])),
        ("03", ["bare", "after-00"], ("after-00", ["01", "02"])),
        ("02", ["bare"], ("bare", ["00", "01"])),
        ("01", ["after-00"], ("after-00", [])),
    ],
)
def test_a_chapter_is_reached_from_the_latest_earlier_snapshot(
    chapter: str, saved: list[str], way: tuple[str, list[str]]
) -> None:
    assert chapters.path_to(chapter, KNOWN, saved) == way


def test_chapter_cannot_be_reached_without_any_snapshot() -> None:
    with pytest.raises(Problem, match="snapshot of the bare server is gone"):
        chapters.path_to("02", KNOWN, ["after-02"])
