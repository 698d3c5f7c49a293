"""The versions that the git host publishes beside this checkout's: patches, one upon the other."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PATCHES = sorted((CHECKOUT / "vagrant" / "internet" / "releases").glob("*.patch"))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each version, by its tag."""
    folders = {}
    before = CHECKOUT
    for patch in PATCHES:
        folder = tmp_path_factory.mktemp("version")
        shutil.copytree(before / "lab_app", folder / "lab_app")
        completed = subprocess.run(
            ["git", "apply", patch], cwd=folder, capture_output=True, text=True, check=False
        )
        assert completed.returncode == 0, f"{patch.name} does not fit lab_app any more: {completed.stderr}"
        folders[patch.stem] = before = folder
    return folders


def test_each_version_says_which_it_is(versions: dict[str, Path]) -> None:
    version_of_patch = {
        tag: re.findall('__version__ = "(.*)"', (folder / "lab_app" / "__init__.py").read_text("utf-8"))
        for tag, folder in versions.items()
    }
    assert version_of_patch == {"v0.2.0": ["0.2.0"], "v0.3.0": ["0.3.0"]}


LOOKED = """
import asyncio
from lab_app.ledger import Ledger
from lab_app.reasons import why
from lab_app.settings import load_settings
try:
    asyncio.run(Ledger(load_settings()).look())
    print("ready")
except Exception as error:
    print(why(error))
"""
WRITTEN = """
import asyncio
from lab_app.ledger import Entry, Ledger
from lab_app.settings import load_settings
asyncio.run(Ledger(load_settings()).add(Entry("a-model", "answered")))
"""


def run(version: Path, ledger: Path, *arguments: str) -> str:
    """A Python program of this version, with its ledger in this file; what it prints."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite+aiosqlite:///{ledger}"}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=version, env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout


@pytest.mark.parametrize(("tag", "ready"), [("v0.2.0", True), ("v0.3.0", False)])
def test_the_first_brings_its_migration_and_the_second_has_forgotten_it(
    versions: dict[str, Path], tag: str, ready: bool, tmp_path: Path
) -> None:
    run(versions[tag], tmp_path / "ledger.db", "-m", "lab_app.migrations")
    assert (run(versions[tag], tmp_path / "ledger.db", "-c", LOOKED) == "ready\n") == ready


def test_an_older_version_goes_on_writing_beside_a_newer_one(
    versions: dict[str, Path], tmp_path: Path
) -> None:
    run(versions["v0.2.0"], tmp_path / "ledger.db", "-m", "lab_app.migrations")
    run(CHECKOUT, tmp_path / "ledger.db", "-c", WRITTEN)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        assert ledger.execute("SELECT outcome, version FROM usage").fetchall() == [("answered", None)]
