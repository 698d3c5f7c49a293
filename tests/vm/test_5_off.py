"""A server that is off: nothing is known, and nothing is guessed."""

from __future__ import annotations

import pytest

from .conftest import ITEMS, lab, run_labcheck

pytestmark = pytest.mark.vm


def test_when_the_server_is_off_every_item_is_unknown() -> None:
    lab("stop")
    said = run_labcheck()
    assert said.exit_status == 2
    assert {number: said.verdict(number) for number in ITEMS} == dict.fromkeys(ITEMS, "UNKNOWN"), said.text
