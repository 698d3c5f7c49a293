"""Chapter 11: all items in the module's words and in both depths, a reboot, what it shows and removes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from labcheck import config
from labcheck.checklist import ITEMS
from tests.notebooks.test_module_map import table
from tests.notebooks.test_shape import PATHS, Chapter, kind, read

NUMBERS = [str(item.number) for item in ITEMS]


@pytest.fixture(scope="module")
def checklist() -> Chapter:
    (path,) = [path for path in PATHS if path.name.startswith("11_")]
    return read(path)


def source(chapter: Chapter, name: str) -> str:
    return str(next(cell.source for cell in chapter.cells if cell.id == name))


def test_table_has_the_module_s_items_in_the_module_s_words(checklist: Chapter) -> None:
    words = [
        text
        for item, _, _, text in table("module_outline.tsv", ["id", "kind", "chapter", "text"])
        if item.startswith("deployment-checklist.")
    ]
    rows = re.findall(r"(?m)^\| (\d+) \| ([^|]+) \|", source(checklist, "fifteen"))
    assert rows == list(zip(NUMBERS, words, strict=False))  # further items follow the module's
    assert len(rows) == len(words)


def test_all_items_are_checked_in_both_depths_before_and_after_a_reboot(checklist: Chapter) -> None:
    checks = [cell.source.removeprefix("%check ") for cell in checklist.code if kind(cell) == "check"]
    rebooted = checks.index("6 --exercise --reboot")
    assert {"all", "all --exercise"} <= set(checks[:rebooted])
    assert "all --exercise" in checks[rebooted:]  # which looks first


def test_the_labcheck_toml_that_it_shows_is_read_by_labcheck(
    checklist: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = re.findall(r"(?s)```toml\n(.*?)```", source(checklist, "labcheck-words"))
    monkeypatch.setenv("APP_KEY", "a key")
    read = config.parse(tomllib.loads(shown), Path("labcheck.toml"))
    assert (read.target.domain, read.target.chat_key) == ("app.example.org", "a key")
    assert read.target.budget == 20
    assert read.vantage is not None


def test_every_account_and_key_that_it_makes_is_removed_in_it(checklist: Chapter) -> None:
    text = "\n".join(cell.source for cell in checklist.code)
    made = set(re.findall(r"-f (~/\.ssh/\w+)", text)) | set(re.findall(r"> (~/\.ssh/\w+)\b", text))
    (removed,) = [set(line.split()[2:]) for line in text.splitlines() if line.startswith("rm -f ~/.ssh/")]
    assert made <= removed
    assert "userdel --remove you" in text
    assert "rm -f /etc/sudoers.d/you" in text
