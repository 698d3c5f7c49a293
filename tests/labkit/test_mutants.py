"""The mutants' heads say all that the run on the virtual machine needs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from labkit.checklist import ITEMS

MUTANTS = sorted((Path(__file__).parents[1] / "vm" / "mutants").glob("*.sh"))
FIELDS = ("item", "depth", "looks right because", "but", "says", "also")


def head(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^# ([a-z ]+): (.+)$", path.read_text(encoding="utf-8"), re.M))


def test_each_item_has_at_least_three_mutants() -> None:
    counted = Counter(int(head(path)["item"]) for path in MUTANTS)
    assert all(counted[item] >= 3 for item in range(1, 16)), counted


def test_each_mutant_says_what_it_breaks_and_what_must_be_said() -> None:
    for path in MUTANTS:
        fields = head(path)
        assert set(FIELDS) <= set(fields), path.name
        assert fields["depth"] in ("look", "exercise"), path.name
        assert fields.get("on", "server") in ("server", "internet"), path.name
        assert int(fields["item"]) in {item.number for item in ITEMS}, path.name
        assert re.fullmatch(r"none|\d+( \d+)*", fields.get("apart", "none")), path.name
        assert re.compile(fields["says"]) and re.fullmatch(r"none|\d+(, \d+)*", fields["also"]), path.name
