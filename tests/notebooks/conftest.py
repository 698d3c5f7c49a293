"""What the tests of notebooks share: small notebooks, written as JupyterLab would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def code(source: str, *tags: str, printed: str | None = "", count: int | None = 1) -> NotebookNode:
    """A code cell; `printed` is the output that it was committed with."""
    cell = new_code_cell(source, execution_count=count)
    cell.metadata.tags = list(tags)
    if printed:
        cell.outputs = [new_output("stream", name="stdout", text=printed)]
    return cell


def prose(source: str) -> NotebookNode:
    return new_markdown_cell(source)


Writer = Callable[[str, list[NotebookNode]], Path]


@pytest.fixture
def write_notebook(tmp_path: Path) -> Writer:
    """Writes a notebook of these cells into a folder of its own, and gives its path."""

    def write(name: str, cells: list[NotebookNode]) -> Path:
        path = tmp_path / name
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write
