"""Which mutants run: by the commit, together where they can be, and in equal shares. No machine is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from labcheck.checklist import ITEMS
from tests.vm import choice
from tests.vm.choice import MUTANTS, Mutant

CHECKOUT = Path(__file__).parents[2]
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
COMMITS = [hashlib.sha1(str(number).encode()).hexdigest() for number in range(300)]


def pair(one: str, other: str) -> tuple[Mutant, Mutant]:
    return BY_NAME[f"item_{one}"], BY_NAME[f"item_{other}"]


def collected(*arguments: str, **environment: str) -> list[str]:
    """What pytest says and would run, in this checkout."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-v",
         *arguments, "tests/vm/test_4_mutants.py"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
    )  # fmt: skip
    return (ended.stdout + ended.stderr).splitlines()


def those_of(lines: list[str]) -> list[str]:
    return [line for line in lines if "test_the_mutants_fail" in line]


@pytest.mark.parametrize("commit", COMMITS[:20])
def test_choice_has_one_mutant_of_each_item_and_a_server_for_all(commit: str) -> None:
    chosen = choice.chosen(MUTANTS, commit)
    assert [mutant.item for mutant in chosen] == [item.number for item in ITEMS]
    servers = choice.together(chosen)
    assert sorted(mutant.name for server in servers for mutant in server) == [m.name for m in chosen]
    for server in servers:
        assert all(one.goes_with(other) for one in server for other in server if one is not other)


def test_mutants_all_come_round_over_the_commits() -> None:
    """Of each item about equally often: none more than twice as often as its share."""
    counted = Counter(mutant.name for commit in COMMITS for mutant in choice.chosen(MUTANTS, commit))
    of_item = Counter(mutant.item for mutant in MUTANTS)
    assert set(counted) == set(BY_NAME)
    assert all(counted[mutant.name] < 2 * len(COMMITS) / of_item[mutant.item] for mutant in MUTANTS)


def test_a_commit_chooses_the_same_ones_again() -> None:
    one, again = (choice.chosen(MUTANTS, COMMITS[0]) for _ in range(2))
    assert one == again != choice.chosen(MUTANTS, COMMITS[1])


def test_the_seed_is_the_commit_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.SEED, raising=False)
    asked = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert choice.seed() == head.stdout.strip()
    monkeypatch.setenv(choice.SEED, "3f2a")
    assert choice.seed() == "3f2a"


@pytest.mark.parametrize("there_is", ["no git", "no commit"])
def test_seed_without_a_commit_is_always_the_same(
    there_is: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(choice.SEED, raising=False)
    monkeypatch.setattr(choice, "FOLDER", tmp_path)
    if there_is == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert choice.seed() == there_is.replace(" ", "-")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("01_stale_in_the_resolver", "02_no_redirect"),  # named by the first: apart
        ("07_second_one_by_root", "09_no_restart"),  # the first changes item 9 as well
        ("13_the_store_is_gone", "15_a_budget_of_a_billion"),  # it waits until the application is well
        ("04_local_time", "08_in_supervisor_s_file"),  # both start its processes anew
        ("04_for_every_account", "05_folder_not_trusted"),  # one folder
        ("06_opened_at_boot", "01_aaaa_of_another_host"),  # an exercise has its server to itself
    ],
)
def test_mutants_that_disturb_each_other_are_on_two_servers(one: str, other: str) -> None:
    first, second = pair(one, other)
    assert not first.goes_with(second) and not second.goes_with(first)
    assert choice.together([first, second]) == [[first], [second]]


def test_mutants_that_do_not_disturb_each_other_are_on_one_server() -> None:
    both = list(pair("06_port_for_later", "12_a_second_sshd"))
    assert choice.together(both) == [both]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("every", [True, False], ids=["all", "one an item"])
def test_shares_are_equal_and_leave_nothing_out(every: bool, count: int) -> None:
    """They differ by less than the dearest server."""
    servers = (
        [[mutant] for mutant in MUTANTS] if every else choice.together(choice.chosen(MUTANTS, COMMITS[0]))
    )
    shared = choice.shares(servers, count)
    assert sorted(map(str, servers)) == sorted(str(server) for mine in shared for server in mine)
    costs = [sum(choice.cost(server) for server in mine) for mine in shared]
    assert max(costs) - min(costs) <= max(choice.cost(server) for server in servers)
    for mine in shared:
        assert mine == [server for server in servers if server in mine], "in their order"


def test_mutants_that_restart_or_reboot_cost_more() -> None:
    plain, restart = pair("12_drop_in_wins", "04_local_time")
    exercise, reboot = pair("11_without_the_rows", "06_opened_at_boot")
    assert choice.cost([plain]) < choice.cost([exercise]) < choice.cost([reboot])
    assert choice.cost([plain]) < choice.cost([restart]) < choice.cost([plain]) + choice.cost([restart])


def test_pytest_prints_the_seed_and_runs_the_share_that_was_chosen() -> None:
    seed = {choice.SEED: COMMITS[7]}
    whole = collected(**seed)
    assert f"mutants: chosen by {choice.SEED}={COMMITS[7]}" in whole
    halves = [collected("--share", f"{number}/2", **seed) for number in (1, 2)]
    assert f"mutants: chosen by {choice.SEED}={COMMITS[7]}, share 1 of 2" in halves[0]
    assert sorted(those_of(whole)) == sorted(those_of(halves[0]) + those_of(halves[1]))
    assert all(those_of(half) for half in halves)
    every = collected("--all-mutants")
    assert len(those_of(every)) == len(MUTANTS) and "mutants: all of them" in every


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "half", "1/0", "1"])
def test_a_share_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} is no share: 1/2 is the first of two"):
        choice.share(wrong)
