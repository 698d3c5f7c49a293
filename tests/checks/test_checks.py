"""What holds for the checks of all items."""

from __future__ import annotations

import inspect

import pytest

from labcheck import checklist
from labcheck.checks import item_08_secrets as secrets
from labcheck.checks import item_12_ssh as ssh
from labcheck.checks import item_13_limits as limits
from labcheck.checks.model import Criterion

# Those that no chapter teaches yet are judged by unit tests alone.
ITEMS = {item.number: item for item in (*checklist.ITEMS, secrets.ITEM, ssh.ITEM, limits.ITEM)}


@pytest.mark.parametrize(
    "criterion",
    [criterion for item in ITEMS.values() for criterion in item.criteria],
    ids=lambda criterion: criterion.name,
)
def test_a_criterion_asks_for_what_it_judges_by(criterion: Criterion) -> None:
    wanted = set(inspect.signature(criterion.judge).parameters) - {"target"}
    assert set(criterion.needs) == wanted


def test_an_item_has_the_place_on_the_checklist_that_was_kept_for_it() -> None:
    for item in checklist.ITEMS:
        built = ITEMS[item.number]
        assert (built.title, built.short) == (item.title, item.short)
        assert (built.chapter, built.section) == (item.chapter, item.section)
