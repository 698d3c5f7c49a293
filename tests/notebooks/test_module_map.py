"""Every item of the source module is done somewhere: module_map.tsv says in which chapter and cells."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
ALL_CHAPTERS = sorted(path.name[:2] for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


@dataclass(frozen=True)
class Row:
    """One line of the map: the cells of one chapter that do one item of the module."""

    line: int
    item: str
    chapter: str
    cells: tuple[str, ...]


def table(name: str, columns: list[str]) -> list[list[str]]:
    """The rows of a tab-separated file below its heading, checked to have these columns."""
    heading, *rows = (line.split("\t") for line in (HERE / name).read_text(encoding="utf-8").splitlines())
    assert heading == columns, f"{name} has the columns {heading}"
    for number, row in enumerate(rows, start=2):
        assert len(row) == len(columns), f"{name}, line {number} has {len(row)} columns of {len(columns)}"
    return rows


@cache
def module_map() -> list[Row]:
    rows = table("module_map.tsv", ["id", "chapter", "cells", "comment"])
    return [
        Row(number, item, chapter, tuple(cells.split()))
        for number, (item, chapter, cells, _) in enumerate(rows, start=2)
    ]


@cache
def outline() -> list[tuple[str, str]]:
    """(item, chapter) for every item of the module and each chapter that has to teach it."""
    rows = table("module_outline.tsv", ["id", "kind", "chapter", "text"])
    return [(item, chapter) for item, _, chapters, _ in rows for chapter in chapters.split()]


@cache
def cell_ids(chapter: str) -> set[str]:
    """The ids of a chapter's cells."""
    (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    return {cell.id for cell in nbformat.read(path, as_version=4).cells}


def test_the_outline_has_169_items_in_chapters_of_the_course() -> None:
    assert len({item for item, _ in outline()}) == 169
    assert {chapter for _, chapter in outline()} <= set(ALL_CHAPTERS)


def test_the_map_has_one_row_for_each_item_and_chapter() -> None:
    mapped = Counter((row.item, row.chapter) for row in module_map())
    wanted = Counter(outline())
    assert not (missing := sorted((wanted - mapped).elements())), f"not in the map: {missing}"
    assert not (unknown := sorted((mapped - wanted).elements())), f"unknown or twice in the map: {unknown}"


@pytest.mark.parametrize("chapter", ALL_CHAPTERS)
def test_a_chapter_does_all_of_its_items(chapter: str) -> None:
    ids = cell_ids(chapter)
    rows = [row for row in module_map() if row.chapter == chapter]
    empty = [row.item for row in rows if not row.cells]
    gone = [f"line {row.line}: {cell}" for row in rows for cell in row.cells if cell not in ids]
    assert not empty, f"nowhere does chapter {chapter} do {empty}"
    assert not gone, f"not among the cells of chapter {chapter}: {gone}"


def test_no_item_of_the_module_is_without_a_cell() -> None:
    done = {row.item for row in module_map() if row.cells}
    assert not (missing := sorted({item for item, _ in outline()} - done)), f"done nowhere: {missing}"


def test_the_cells_in_the_map_have_names_that_can_be_read() -> None:
    """An id that JupyterLab invented (eight hex digits) does not say what the cell is about."""
    for row in module_map():
        for cell in row.cells:
            assert re.fullmatch(r"[a-z][a-z0-9-]{2,63}", cell), f"line {row.line}: {cell!r}"
            assert not re.fullmatch(r"[0-9a-f]{8}", cell), f"line {row.line}: {cell!r}"
