"""The answer that chapter 03 shows comes from the chapters' own text: a change of that text shows here."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import nbformat

from lab_app import documents
from vagrant.host.inputs import chapter_texts

ROOT = Path(__file__).resolve().parents[2]


def load_model() -> ModuleType:
    """The stand-in language model's own program."""
    spec = importlib.util.spec_from_file_location("llm", ROOT / "vagrant" / "internet" / "llm.py")
    assert spec and spec.loader
    sys.modules["llm"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_answer_that_is_shown_follows_from_the_text_of_the_chapters(tmp_path: Path) -> None:
    chapter = nbformat.read(ROOT / "notebooks" / "03_health_checks.ipynb", as_version=4)
    cell = next(cell for cell in chapter.cells if cell.id == "answer")
    question = re.search(r'"message": "(.+?)"', cell.source)
    assert question
    for text in chapter_texts(ROOT):
        name, _, prose = text.partition("\n\n")
        (tmp_path / f"{name}.md").write_text(prose, encoding="utf-8")
    model = load_model()
    where = model.embed(question[1])

    def distance(passage: documents.Passage) -> float:
        return -sum(a * b for a, b in zip(where, model.embed(passage.text), strict=True))

    nearest = sorted(documents.passages_of(tmp_path), key=distance)[: documents.NEAREST]
    given = [("system", passage.text) for passage in nearest]
    answer = model.compose([*given, ("user", question[1])])
    shown = " ".join("".join(cell.outputs[0].text).split())
    assert f"{answer} from {nearest[0].document}" in shown
