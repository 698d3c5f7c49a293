"""Servers that look right and are wrong: each mutant turns its own item red, for the right reason, and no other."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.connection import Connection

from .conftest import BUILT, lab, run_labcheck

pytestmark = pytest.mark.vm

FOLDER = Path(__file__).parent / "mutants"


@dataclass(frozen=True)
class Mutant:
    """A way for a server to be wrong, read from the head of its script."""

    name: str
    script: str
    item: int
    depth: str
    says: str
    also: frozenset[int]


def read(path: Path) -> Mutant:
    script = path.read_text(encoding="utf-8")
    head = dict(re.findall(r"(?m)^# ([a-z ]+): (.+)$", script))
    also = frozenset(int(number) for number in re.findall(r"\d+", head["also"]))
    return Mutant(path.stem, script, int(head["item"]), head["depth"], head["says"], also)


MUTANTS = [read(path) for path in sorted(FOLDER.glob("*.sh"))]


def test_every_item_has_at_least_three_mutants() -> None:
    count = Counter(mutant.item for mutant in MUTANTS)
    assert {number: count[number] >= 3 for number in BUILT} == dict.fromkeys(BUILT, True), count


@pytest.fixture
def finished_server() -> None:
    """The server as chapter 02 left it."""
    lab("restore", "after-02")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_fails_its_item_and_says_why(
    finished_server: None, server: Connection, mutant: Mutant
) -> None:
    changed = server.run("sudo bash -s", stdin=mutant.script, timeout=180)
    assert changed.exit_status == 0, changed.stdout + changed.stderr
    depth = ("--exercise",) if mutant.depth == "exercise" else ()
    said = run_labcheck(*depth, *(("--item", str(mutant.item)) if depth else ()))
    assert said.verdict(mutant.item) == "FAIL", said.words(mutant.item)
    failures = "\n".join(line for line in said.words(mutant.item).splitlines() if line.startswith("FAIL"))
    assert re.search(mutant.says, failures), failures
    others = {number for number in BUILT if number in said.verdicts()} - {mutant.item} - mutant.also
    assert {number: said.verdict(number) for number in others} == dict.fromkeys(others, "PASS"), said.text
