"""What holds for the checks of all items."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from labcheck import checks
from labcheck.checklist import ITEMS
from labcheck.checks.model import Criterion

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in Path(checks.__file__).parent.glob("item_*.py"))


@pytest.mark.parametrize(
    "criterion",
    [criterion for item in ITEMS for criterion in item.criteria],
    ids=lambda criterion: criterion.name,
)
def test_a_criterion_asks_for_what_it_judges_by(criterion: Criterion) -> None:
    wanted = set(inspect.signature(criterion.judge).parameters) - {"target"}
    assert set(criterion.needs) == wanted


def test_an_item_is_on_the_checklist_by_the_number_of_its_module() -> None:
    items = {name: getattr(import_module(f"labcheck.checks.{name}"), "ITEM", None) for name in MODULES}
    assert [item for item in items.values() if item] == list(ITEMS)
    assert all(name.startswith(f"item_{item.number:02}_") for name, item in items.items() if item)


def test_an_item_has_its_tests_in_one_file() -> None:
    tests = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")}
    assert {f"test_item_{item.number:02}.py" for item in ITEMS} <= set(tests)
    for name, text in tests.items():
        imported = re.findall(r"(?m)^(?:from|import) .*\b(item_\d\d)_", text)
        assert {f"test_{each}.py" for each in imported} <= {name}
