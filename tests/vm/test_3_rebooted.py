"""After a reboot everything is as it was, without a hand."""

from __future__ import annotations

import pytest

from .conftest import BUILT, run_labcheck

pytestmark = pytest.mark.vm


def test_the_server_reboots_and_the_firewall_is_still_shut() -> None:
    said = run_labcheck("--item", "6", "--exercise", "--reboot")
    assert said.verdict(6) == "PASS", said.words(6)
    assert "exercise" in {finding["depth"] for finding in said.item(6)["findings"]}


def test_after_the_reboot_all_items_pass() -> None:
    said = run_labcheck()
    assert {number: said.verdict(number) for number in BUILT} == dict.fromkeys(BUILT, "PASS"), said.text
