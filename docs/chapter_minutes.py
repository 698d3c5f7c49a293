"""Prints how many minutes a learner needs for each chapter, for the table in the README.

    python docs/chapter_minutes.py

Reading, thinking and waiting, added up: prose at 150 words a minute, code at 100, a minute for each
**Predict.**, and the seconds that the cells took in docs/measurements.md. People read English non-fiction at
about 238 words a minute (Brysbaert 2019, doi:10.1016/j.jml.2019.104047); text to work with takes longer, and
so does code. The two speeds are a choice, not a measurement. Rounded up to five minutes.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROSE, CODE = 150, 100
"""Words a minute."""
PREDICTION = 1.0
"""Minutes to think about a prediction, before its answer is unfolded."""


def seconds() -> list[int]:
    """What the cells of the chapters took, 00 first."""
    text = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"The chapters' cells, in seconds of that run, 00 to \d\d: ([\d, ]+);", text)
    return [int(number) for number in row.split(",")]


def minutes(notebook: Path, waiting: int) -> int:
    """Minutes for one chapter, whose cells take `waiting` seconds; a multiple of 5."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = {
        kind: ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]
        for kind in ("markdown", "code")
    }
    words = {kind: sum(len(text.split()) for text in of_kind) for kind, of_kind in texts.items()}
    predictions = sum(text.count("**Predict.**") for text in texts["markdown"])
    whole = words["markdown"] / PROSE + words["code"] / CODE + predictions * PREDICTION + waiting / 60
    return math.ceil(whole / 5) * 5


def table() -> dict[str, int]:
    """A chapter's name -> its minutes; the cells of a chapter that was not measured yet take no time."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    waiting = itertools.chain(seconds(), itertools.repeat(0))
    return {path.stem: minutes(path, each) for path, each in zip(notebooks, waiting, strict=False)}


if __name__ == "__main__":
    rows = table()
    for name, each in rows.items():
        print(f"{each:4}  {name}")
    print(f"{sum(rows.values()):4}  in all, {sum(rows.values()) / 60:.1f} hours")
