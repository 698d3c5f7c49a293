"""The rules about cost that a learner puts on the server do what the chapter says: promtool tests them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.needed import program

CHAPTER = Path(__file__).parents[2] / "notebooks" / "08_errors_and_cost.ipynb"


def files() -> dict[str, str]:
    """What the chapter's `%%vm_file` cells write, by path."""
    cells = nbformat.read(CHAPTER, as_version=4).cells
    pairs = [cell.source.split("\n", 1) for cell in cells if cell.source.startswith("%%vm_file ")]
    return {head.split()[1]: text for head, text in pairs}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program("promtool")
    for path, text in files().items():
        if path.startswith("/etc/prometheus/rules/"):
            file = tmp_path / path.removeprefix("/etc/prometheus/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return tmp_path / "rules"


def passes(folder: Path) -> bool:
    done = subprocess.run(["promtool", "test", "rules", "budget.yml"], cwd=folder / "tests", check=False)
    return done.returncode == 0


def test_the_rules_pass_their_tests(folder: Path) -> None:
    assert passes(folder)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("0.8 * max(app_daily_budget_usd)", "max(app_daily_budget_usd)"),
        ("> max(app_daily_budget_usd)", "> 100 * max(app_daily_budget_usd)"),
        ("sum(increase(app_llm_cost_usd_total[24h]))", "max(increase(app_llm_cost_usd_total[24h]))"),
        ("sum(increase(app_llm_cost_usd_total[24h]))", "sum(app_llm_cost_usd_total)"),
        ("[15m])) > 0 unless", "[15m])) < 0 unless"),
    ],
)
def test_a_wrong_rule_fails_them(folder: Path, right: str, wrong: str) -> None:
    file = folder / "cost.yml"
    text = file.read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    assert not passes(folder)
