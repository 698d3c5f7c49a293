"""Item 7 as pure functions: processes, accounts and their rights in, findings out."""

from __future__ import annotations

import pytest

from labcheck.checks import item_07_account as account
from labcheck.facts.processes import Processes
from tests.checks.findings import verdict
from tests.checks.supervised import (
    BARE,
    INIT,
    KNOWN,
    LINE,
    RUNNING,
    SOCKETS,
    TARGET,
    with_second,
    with_worker,
)


def test_application_that_does_not_run_fails() -> None:
    not_running = Processes((INIT,))
    assert verdict(account.it_runs_under_its_own_account(not_running, (), BARE, target=TARGET)) == "FAIL"


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (RUNNING, "PASS"),
        (with_worker(uids=frozenset({0})), "FAIL"),
        (with_second(uids=frozenset({0}), parent=1), "FAIL"),
        (with_second(uids=frozenset({0}), parent=1, contained=True), "PASS"),
        (with_second(uids=frozenset({0}), parent=1, name="sudo", arguments=f"sudo -u aiapp {LINE}"), "PASS"),
    ],
)
def test_application_process_that_is_root_s_fails(running: Processes, expected: str) -> None:
    assert verdict(account.it_runs_under_its_own_account(running, SOCKETS, KNOWN, target=TARGET)) == expected


def test_a_group_that_the_running_process_alone_has_fails() -> None:
    running = with_worker(groups=frozenset({1001, 998}))
    (finding,) = account.it_is_in_no_group_that_is_root(running, SOCKETS, KNOWN, target=TARGET)
    assert finding.verdict.value == "FAIL" and "docker" in finding.observed


def test_sudo_rule_fails_and_is_shown() -> None:
    rules = {"aiapp": ("(root) NOPASSWD: /usr/bin/systemctl",)}
    (finding,) = account.it_may_not_use_sudo(RUNNING, SOCKETS, KNOWN, rules, target=TARGET)
    assert finding.verdict.value == "FAIL" and "systemctl" in finding.observed


def test_a_capability_fails() -> None:
    running = with_worker(capabilities=0x400)
    assert verdict(account.it_has_no_capabilities(running, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


@pytest.mark.parametrize(("state", "expected"), [("locked", "PASS"), ("set", "FAIL"), ("empty", "FAIL")])
def test_password_passes_only_if_it_is_locked(state: str, expected: str) -> None:
    states = {"aiapp": state}
    assert (
        verdict(account.no_account_logs_in_by_password(RUNNING, SOCKETS, KNOWN, states, target=TARGET))
        == expected
    )
