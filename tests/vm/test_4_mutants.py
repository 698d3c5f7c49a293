"""Servers that look right and are wrong: each mutant turns its own item red, for the right reason.

One for each item, as many on one server as do not get in each other's way: to restore a server takes longer
than to look at it. With --all-mutants each has a server of its own; every item is looked at, and no other may
turn red.

A mutant's head says which item, in which depth it shows, a pattern of what the finding says, and the items
whose verdict may change as well. `# on: internet` is for what is done there and not on the server, and
`# apart: 3` for what hides the mutants of another item.
"""

from __future__ import annotations

import re
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
    apart: frozenset[int]
    restarts: bool

    def goes_with(self, other: Mutant) -> bool:
        """Whether both show on one server, at one look."""
        looks = self.depth == other.depth == "look"
        return looks and other.item not in self.apart and self.item not in other.apart


def read(path: Path) -> Mutant:
    script = path.read_text(encoding="utf-8")
    head = dict(re.findall(r"(?m)^# ([a-z ]+): (.+)$", script))
    also, apart = (frozenset(map(int, re.findall(r"\d+", head.get(name, "")))) for name in ("also", "apart"))
    return Mutant(
        name=path.stem,
        script=PRELUDE + script,
        host=head.get("on", "server"),
        item=int(head["item"]),
        depth=head["depth"],
        says=head["says"],
        also=also,
        apart=apart,
        restarts="supervisorctl" in script,
    )


MUTANTS = [read(path) for path in sorted(FOLDER.glob("*.sh"))]


def together(mutants: list[Mutant]) -> list[list[Mutant]]:
    """On as few servers as may be."""
    servers: list[list[Mutant]] = []
    for mutant in mutants:
        fits = (server for server in servers if all(mutant.goes_with(other) for other in server))
        if (server := next(fits, None)) is None:
            servers.append([mutant])
        else:
            server.append(mutant)
    return servers


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One mutant for each item, a quick one if there is one, or with --all-mutants every one."""
    if "mutants" in metafunc.fixturenames:
        quick_first = sorted(MUTANTS, key=lambda mutant: (mutant.restarts, mutant.depth == "exercise"))
        first = {mutant.item: mutant for mutant in reversed(quick_first)}
        every = metafunc.config.getoption("--all-mutants", default=False)
        servers = (
            [[mutant] for mutant in MUTANTS]
            if every
            else together([first[number] for number in sorted(first)])
        )
        names = [", ".join(mutant.name.removeprefix("item_") for mutant in server) for server in servers]
        metafunc.parametrize("mutants", servers, ids=names)


@pytest.fixture
def finished_server() -> None:
    """The server as the last chapter left it."""
    lab("restore", chapters.snapshot_name(chapters.chapters(CHECKOUT)[-1]))


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
    wanted = {mutant.item for mutant in mutants}
    said = run_labcheck(*exercise, *(() if everything else ("--item", *map(str, sorted(wanted)))))
    for mutant in mutants:
        assert said.verdict(mutant.item) == "FAIL", f"{mutant.name}: {said.words(mutant.item)}"
        lines = said.words(mutant.item).splitlines()
        failures = "\n".join(line for line in lines if line.startswith("FAIL"))
        assert re.search(mutant.says, failures), f"{mutant.name}: {failures}"
    others = {number for number in ITEMS if number in said.verdicts()} - wanted
    others -= frozenset().union(*(mutant.also for mutant in mutants))
    changed_too = [number for number in sorted(others) if said.verdict(number) != "PASS"]
    assert not changed_too, "\n".join(f"{number}: {said.words(number)}" for number in changed_too)
