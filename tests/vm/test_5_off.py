"""A server that is off: nothing is known, and nothing is guessed; and on again everything is as it was."""

from __future__ import annotations

import pytest

from .conftest import ITEMS, lab, run_labcheck

pytestmark = pytest.mark.vm


def test_every_item_is_unknown_when_the_server_is_off() -> None:
    lab("stop")
    said = run_labcheck()
    assert said.exit_status == 2
    assert {number: said.verdict(number) for number in ITEMS} == dict.fromkeys(ITEMS, "UNKNOWN"), said.text


def test_all_items_pass_in_both_depths_after_make_stop_and_make_lab() -> None:
    lab("up")
    said = run_labcheck("--exercise")
    wrong = [number for number in ITEMS if said.verdict(number) != "PASS"]
    assert not wrong, "\n".join(f"{number}: {said.words(number)}" for number in wrong)
