"""After a reboot everything is as it was, without a hand."""

from __future__ import annotations

import pytest

from labcheck.wait import NotYet, wait_until

from .conftest import ITEMS, Said, run_labcheck

pytestmark = pytest.mark.vm


def test_the_server_reboots_and_the_firewall_is_still_shut() -> None:
    report = run_labcheck("--item", "6", "--exercise", "--reboot")
    assert report.verdict(6) == "PASS", report.words(6)
    assert "exercise" in {finding["depth"] for finding in report.item(6)["findings"]}


def test_all_items_pass_after_the_reboot() -> None:
    """Within two minutes: Supervisor takes a program for RUNNING only after some seconds."""

    def all_pass() -> Said:
        report = run_labcheck()
        if others := {number for number in ITEMS if report.verdict(number) != "PASS"}:
            raise NotYet("\n".join(f"{number}: {report.words(number)}" for number in sorted(others)))
        return report

    assert wait_until(all_pass, what="the items to pass", timeout=120).exit_status == 0


def test_all_items_pass_after_the_reboot_when_they_are_exercised_too() -> None:
    report = run_labcheck("--exercise")
    wrong = [number for number in ITEMS if report.verdict(number) != "PASS"]
    assert not wrong, "\n".join(f"{number}: {report.words(number)}" for number in wrong)
