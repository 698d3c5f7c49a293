"""A server as a provider hands it over: every check is red, and says why."""

from __future__ import annotations

import pytest

from labcheck.ssh import Connection

from .conftest import ITEMS, Said, run_labcheck, ssh_audit

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def bare() -> Said:
    return run_labcheck()


@pytest.mark.parametrize("number", ITEMS)
def test_item_fails_on_a_bare_server_and_says_what_was_observed_and_expected(bare: Said, number: int) -> None:
    item = bare.item(number)
    assert item["verdict"] == "FAIL", bare.words(number)
    for finding in item["findings"]:
        if finding["verdict"] == "FAIL":
            assert finding["observed"] and finding["expected"] and finding["why"] and finding["chapter"], (
                finding
            )


def test_bare_server_passes_nothing_and_nothing_is_guessed(bare: Said) -> None:
    assert bare.verdicts() == dict.fromkeys(ITEMS, "FAIL")


def test_labcheck_ends_with_1_on_a_bare_server(bare: Said) -> None:
    assert bare.exit_status == 1
    assert bare.report["schema"] == 2


def test_ssh_audit_finds_weak_algorithms_on_a_bare_server(server: Connection) -> None:
    assert any("ecdh-sha2-nistp256" in line for line in ssh_audit(server))
