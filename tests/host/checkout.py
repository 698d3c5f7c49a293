"""A checkout of its own with the lab's program in it, and real runs of that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOW_VAGRANT = """#!/bin/sh
sleep 300 &
echo $! > "$VAGRANT_CWD/grandchild"
echo "==> lab: Removing what takes long"
wait
"""


def make_checkout(folder: Path) -> Path:
    """The lab's program, one chapter, a machine, and a Vagrant that takes for ever to switch it off."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vagrant", folder / "vagrant", ignore=unwanted)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "00_start_here.ipynb").touch()
    identity = folder / ".vagrant" / "machines" / "lab" / "libvirt" / "id"
    identity.parent.mkdir(parents=True)
    identity.write_text("1234")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "vagrant").write_text(SLOW_VAGRANT)
    (programs / "vagrant").chmod(0o755)
    return folder


def environment(checkout: Path, **more: str) -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "MAKE"))}
    return {**names, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", **more}


def lab(checkout: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "vagrant/lab.py", *arguments],
        cwd=checkout, env=environment(checkout, **more), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
