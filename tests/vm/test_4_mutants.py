"""Servers that look right and are wrong: each mutant turns its own item red, for the right reason.

One for each item, which the commit's hash chooses, so that all come round; as many on one server as do not
disturb each other: to restore a server takes longer than to look at it. LAB_MUTANTS_SEED repeats a choice.
With --all-mutants each has a server of its own; every item is looked at, and no other may turn red. With
--share 1/2 the first half of the servers, 2/2 the second: for two machines, side by side.

A mutant's head says which item, in which depth it shows, a pattern of what the finding says, and the items
whose verdict may change as well. `# on: internet` is for what is done there and not on the server, and
`# apart: 3` for what hides the mutants of another item.
"""

from __future__ import annotations

import re

import pytest

from labcheck.ssh import Connection
from vagrant.host import chapters, snapshots

from . import choice
from .choice import MUTANTS, Mutant
from .conftest import ITEMS, lab, run_labcheck

pytestmark = pytest.mark.vm


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each server."""
    if "mutants" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-mutants", default=False)
        number, count = metafunc.config.getoption("--share", default=(1, 1))
        servers = (
            [[mutant] for mutant in MUTANTS]
            if every
            else choice.together(choice.chosen(MUTANTS, choice.seed()))
        )
        servers = choice.shares(servers, count)[number - 1]
        names = [", ".join(mutant.name.removeprefix("item_") for mutant in server) for server in servers]
        metafunc.parametrize("mutants", servers, ids=names)


@pytest.fixture
def finished_server() -> None:
    lab("restore", snapshots.name_after(chapters.DEPLOYED))


def test_the_mutants_fail_their_items_and_say_why(
    finished_server: None,
    server: Connection,
    internet: Connection,
    mutants: list[Mutant],
    pytestconfig: pytest.Config,
) -> None:
    for mutant in mutants:
        if mutant.host == "internet":
            changed = internet.run("bash -s", stdin=mutant.script, timeout=240)
        else:
            changed = server.run("sudo -n bash -s", stdin=mutant.script, timeout=240)
        assert changed.exit_status == 0, mutant.name + ": " + changed.stdout + changed.stderr
    exercise = ("--exercise", "--reboot") if mutants[0].depth == "exercise" else ()
    everything = pytestconfig.getoption("--all-mutants") and not exercise
    items = {mutant.item for mutant in mutants}
    report = run_labcheck(*exercise, *(() if everything else ("--item", *map(str, sorted(items)))))
    for mutant in mutants:
        assert report.verdict(mutant.item) == "FAIL", f"{mutant.name}: {report.words(mutant.item)}"
        lines = report.words(mutant.item).splitlines()
        failures = "\n".join(line for line in lines if line.startswith("FAIL"))
        assert re.search(mutant.says, failures), f"{mutant.name}: {failures}"
    others = {number for number in ITEMS if number in report.verdicts()} - items
    others -= frozenset().union(*(mutant.also for mutant in mutants))
    changed_too = [number for number in sorted(others) if report.verdict(number) != "PASS"]
    assert not changed_too, "\n".join(f"{number}: {report.words(number)}" for number in changed_too)
