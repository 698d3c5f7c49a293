"""The mutants' heads say all that the run on the virtual machine needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from labcheck.checklist import ITEMS

CHECKOUT = Path(__file__).parents[2]
MUTANTS = sorted((CHECKOUT / "tests" / "vm" / "mutants").glob("*.sh"))
DEPLOYED = re.compile(r"^file=/home/aiapp/app/(lab_app/.+)$", re.M)
FIELDS = ("item", "depth", "looks right because", "but", "says", "also")


def head(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^# ([a-z ]+): (.+)$", path.read_text(encoding="utf-8"), re.M))


def test_items_have_at_least_three_mutants_each() -> None:
    counted = Counter(int(head(path)["item"]) for path in MUTANTS)
    assert all(counted[item.number] >= 3 for item in ITEMS), counted


def test_mutants_say_each_what_they_break_and_what_must_be_said() -> None:
    for path in MUTANTS:
        fields = head(path)
        assert set(FIELDS) <= set(fields), path.name
        assert fields["depth"] in ("look", "exercise"), path.name
        assert fields.get("on", "server") in ("server", "internet"), path.name
        assert int(fields["item"]) in {item.number for item in ITEMS}, path.name
        assert re.fullmatch(r"none|\d+( \d+)*", fields.get("apart", "none")), path.name
        assert re.compile(fields["says"]) and re.fullmatch(r"none|\d+(, \d+)*", fields["also"]), path.name


@pytest.mark.parametrize(
    "path",
    [path for path in MUTANTS if DEPLOYED.search(path.read_text(encoding="utf-8"))],
    ids=lambda path: path.stem,
)
def test_a_mutant_still_finds_what_it_changes_in_the_application(path: Path, tmp_path: Path) -> None:
    """Its script, up to the last command on that file: what it starts anew after that is the server's."""
    script = path.read_text(encoding="utf-8")
    original = CHECKOUT / DEPLOYED.findall(script)[0]
    file = Path(shutil.copy(original, tmp_path))
    change = re.match(r'.*"\$file"[^\n]*\n', script, re.S)
    assert change, "it changes the file that it names"
    ended = subprocess.run(["bash"], input=DEPLOYED.sub(f"file={file}", change[0]), text=True, check=False)
    assert ended.returncode == 0
    changed = file.read_text(encoding="utf-8")
    assert changed != original.read_text(encoding="utf-8")
    compile(changed, path.name, "exec")
