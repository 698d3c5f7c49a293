"""Figures of costs: the sums that they draw, and that they say what they show."""

from __future__ import annotations

import pytest

from labkit.figures.costs import Call, draw_commitment, draw_spending, sums

CALLS = [Call("answered", 0.001), Call("cached", 0.0), Call("answered", 0.003), Call("cancelled", 0.0005)]


def test_an_answer_from_the_cache_saves_what_an_answer_costs_on_average() -> None:
    paid, without = sums(CALLS)
    assert paid == pytest.approx([0, 0.001, 0.001, 0.004, 0.0045])
    assert without == pytest.approx([0, 0.001, 0.003, 0.006, 0.0065])


def test_a_ledger_without_an_answer_has_a_picture_all_the_same() -> None:
    assert sums([Call("cached", 0.0)]) == ([0, 0], [0, 0])
    assert "0 of 0 answers" in draw_spending([])


def test_the_picture_of_the_ledger_counts_the_cache_and_is_the_same_every_time() -> None:
    picture = draw_spending(CALLS)
    assert "1 of 4 answers came from the cache" in picture
    assert picture == draw_spending(CALLS)


def test_the_picture_of_a_contract_names_its_price() -> None:
    picture = draw_commitment(60)
    assert "a year with 30% off: $504" in picture and "a year with 50% off: $360" in picture
