"""What may import what: the layers of docs/draw_architecture.py, and the picture that is drawn from them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from docs import draw_architecture as drawing

AGAIN = "python docs/draw_architecture.py"


@pytest.fixture(scope="module")
def imports() -> drawing.Imports:
    return drawing.imports()


def test_no_modules_import_each_other_in_a_circle(imports: drawing.Imports) -> None:
    assert not (found := drawing.circle(imports)), " imports ".join(found)


def test_every_module_stands_in_a_box(imports: drawing.Imports) -> None:
    assert not (found := drawing.homeless(imports)), f"give them a box in PARTS: {', '.join(found)}"


def test_every_box_has_its_modules(imports: drawing.Imports) -> None:
    missing = [
        each
        for box in drawing.BOXES
        for each in box.modules
        if not any(f"{module}.".startswith(f"{each}.") for module in imports)
    ]
    assert not missing, f"no longer there, take them out of PARTS: {', '.join(missing)}"


def test_every_arrow_leads_downwards(imports: drawing.Imports) -> None:
    assert not (found := drawing.not_downwards(drawing.arrows(imports))), "\n".join(found)


def test_the_committed_picture_is_what_the_code_imports(imports: drawing.Imports) -> None:
    assert drawing.PICTURE.read_text(encoding="utf-8") == drawing.picture(imports), f"draw it anew: {AGAIN}"


def test_a_circle_is_found() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}
    found = drawing.circle(graph)
    assert found[0] == found[-1] and all(later in graph[earlier] for earlier, later in pairwise(found))


@pytest.mark.parametrize(
    ("module", "other", "wrong"),
    [
        ("labcheck.facts.ssh", "labcheck.checks.item_12_ssh", ["facts imports checks"]),
        ("labcheck.report", "labcheck.config", ["report imports config"]),  # side by side
        ("labcheck.checks.item_12_ssh", "labcheck.facts.ssh", []),
        ("labcheck.checks.item_12_ssh", "labcheck.checks.model", []),  # in one box
    ],
)
def test_an_import_that_does_not_lead_downwards_is_found(module: str, other: str, wrong: list[str]) -> None:
    graph = {module: frozenset({other}), other: frozenset[str]()}
    assert drawing.not_downwards(drawing.arrows(graph)) == wrong


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    checks, gather, facts = (
        drawing.box_of(f"labcheck.{each}") for each in ("checks.model", "gather", "facts.ssh")
    )
    assert checks and gather and facts
    every = {(checks, gather), (gather, facts), (checks, facts)}
    assert drawing.needed(every) == [(checks, gather), (gather, facts)]


def test_an_import_for_the_type_checker_alone_is_not_counted(imports: drawing.Imports) -> None:
    assert "host.machine" not in imports["host.providers.provider"]
    assert "host.providers" in imports["host.machine"]
