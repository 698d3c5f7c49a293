"""The README's minutes for each chapter are those that docs/chapter_minutes.py computes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs import chapter_minutes

README = (chapter_minutes.ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = {name: int(number) for name, number in re.findall(r"(?m)^\| \[`(\d\d_\w+)`\]\S+ \| (\d+) \|", README)}


def test_minutes_in_the_readme_are_at_most_five_from_those_that_are_computed() -> None:
    """A word more must not change the README at once."""
    computed = chapter_minutes.table()
    assert list(SHOWN) == list(computed)
    assert not {name: (SHOWN[name], each) for name, each in computed.items() if abs(SHOWN[name] - each) > 5}


def test_minutes_are_those_of_words_predictions_and_seconds(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["**Predict.** " + "word " * 749]},  # 5 minutes and a thought
        {"cell_type": "code", "source": ["word " * 400], "outputs": ["word " * 999]},  # 4 minutes
    ]
    notebook = tmp_path / "00_a.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    assert chapter_minutes.minutes(notebook, waiting=0) == 10
    assert chapter_minutes.minutes(notebook, waiting=1) == 15
