"""Waiting with a reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labcheck.wait import GaveUp, NotYet, wait_until


def test_wait_until_returns_the_first_true_value() -> None:
    values: Iterator[int | None] = iter([None, 0, 7, 8])
    assert wait_until(lambda: next(values), what="a number", timeout=60, every=0.01) == 7


def test_wait_until_gives_up_with_what_was_seen_last() -> None:
    def never() -> bool:
        raise NotYet("still red")

    with pytest.raises(GaveUp, match=r"gave up waiting for green after 0.05 s; last seen: still red"):
        wait_until(never, what="green", timeout=0.05, every=0.01)


def test_wait_until_swallows_no_other_error() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0, what="nothing", timeout=1)
