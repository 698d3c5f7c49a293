"""Servers that look right and are wrong: each mutant turns its own item red, for the right reason.

With --all-mutants every item is looked at, and no other may turn red.

A mutant's head says which item, in which depth it shows, a pattern of what the finding says, and the items
whose verdict may change as well. `# on: internet` is for what is done there and not on the server.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from labkit.connection import Connection

from vagrant.host import chapters

from .conftest import CHECKOUT, ITEMS, lab, run_labcheck

pytestmark = pytest.mark.vm

FOLDER = Path(__file__).parent / "mutants"
PRELUDE = (Path(__file__).parent / "prelude.sh").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Mutant:
    """A way for a server to be wrong, read from the head of its script.

    `restarts`: it starts processes of the application anew, for which it has to wait.
    """

    name: str
    script: str
    host: str
    item: int
    depth: str
    says: str
    also: frozenset[int]
    restarts: bool


def read(path: Path) -> Mutant:
    script = path.read_text(encoding="utf-8")
    head = dict(re.findall(r"(?m)^# ([a-z ]+): (.+)$", script))
    also = frozenset(int(number) for number in re.findall(r"\d+", head["also"]))
    return Mutant(
        name=path.stem,
        script=PRELUDE + script,
        host=head.get("on", "server"),
        item=int(head["item"]),
        depth=head["depth"],
        says=head["says"],
        also=also,
        restarts="supervisorctl" in script,
    )


MUTANTS = [read(path) for path in sorted(FOLDER.glob("*.sh"))]


def test_every_item_has_at_least_three_mutants() -> None:
    count = Counter(mutant.item for mutant in MUTANTS)
    assert {number: count[number] >= 3 for number in ITEMS} == dict.fromkeys(ITEMS, True), count


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One mutant for each item, a quick one if there is one, or with --all-mutants every one."""
    if "mutant" in metafunc.fixturenames:
        quick_first = sorted(MUTANTS, key=lambda mutant: (mutant.restarts, mutant.depth == "exercise"))
        first = {mutant.item: mutant for mutant in reversed(quick_first)}
        every = metafunc.config.getoption("--all-mutants", default=False)
        chosen = [mutant for mutant in MUTANTS if every or mutant is first[mutant.item]]
        metafunc.parametrize("mutant", chosen, ids=lambda mutant: mutant.name)


@pytest.fixture
def finished_server() -> None:
    """The server as the last chapter left it."""
    lab("restore", chapters.snapshot_name(chapters.chapters(CHECKOUT)[-1]))


def test_the_mutant_fails_its_item_and_says_why(
    finished_server: None,
    server: Connection,
    internet: Connection,
    mutant: Mutant,
    pytestconfig: pytest.Config,
) -> None:
    if mutant.host == "internet":
        changed = internet.run("bash -s", stdin=mutant.script, timeout=240)
    else:
        changed = server.run("sudo -n bash -s", stdin=mutant.script, timeout=240)
    assert changed.exit_status == 0, changed.stdout + changed.stderr
    exercise = ("--exercise", "--reboot") if mutant.depth == "exercise" else ()
    everything = pytestconfig.getoption("--all-mutants") and not exercise
    said = run_labcheck(*exercise, *(() if everything else ("--item", str(mutant.item))))
    assert said.verdict(mutant.item) == "FAIL", said.words(mutant.item)
    failures = "\n".join(line for line in said.words(mutant.item).splitlines() if line.startswith("FAIL"))
    assert re.search(mutant.says, failures), failures
    others = {number for number in ITEMS if number in said.verdicts()} - {mutant.item} - mutant.also
    changed_too = [number for number in sorted(others) if said.verdict(number) != "PASS"]
    assert not changed_too, "\n".join(f"{number}: {said.words(number)}" for number in changed_too)
