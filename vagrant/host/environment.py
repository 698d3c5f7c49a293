"""The checkout's own virtual environment: made from requirements.lock, and anew when that changes."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from . import failures, subprocesses
from .progress import Problem, step


class Environment:
    """`.venv` of a checkout."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.folder = checkout / ".venv"
        self.lock = checkout / "requirements.lock"
        self.stamp = self.folder / ".lab-stamp"

    def program(self, name: str) -> Path:
        """Where a program of the environment is."""
        return (
            self.folder
            / ("Scripts" if os.name == "nt" else "bin")
            / (name + (".exe" if os.name == "nt" else ""))
        )

    @property
    def python(self) -> Path:
        return self.program("python")

    def fingerprint(self) -> str:
        """What the environment is made of: the lock, this project's metadata, the Python's minor version."""
        parts = hashlib.sha256()
        for source in (self.lock, self.checkout / "pyproject.toml"):
            parts.update(source.read_bytes())
        parts.update(f"{sys.version_info.major}.{sys.version_info.minor} {self.checkout}".encode())
        return parts.hexdigest()

    def is_ready(self) -> bool:
        """Whether it was made whole from the present lock."""
        if not (self.stamp.exists() and self.python.exists() and self.lock.exists()):
            return False
        return self.stamp.read_text(encoding="ascii").strip() == self.fingerprint()

    def make(self, log: Path) -> None:
        """Make it, or bring it to the present lock. What pip has fetched already is in its cache."""
        if not self.lock.exists():
            raise Problem("requirements.lock is missing", "restore it: git checkout requirements.lock")
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        with step("Python packages into .venv, from requirements.lock") as current:
            fits = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
            usable = (
                subprocesses.quick([str(self.python), "-c", fits]).returncode == 0
                and subprocesses.quick([*pip, "--version"]).returncode == 0
            )
            # Most modules are never imported here: Python compiles each when it first is.
            install = [*pip, "install", "--progress-bar=off", "--no-compile"]
            commands = [
                [*install, "--no-deps", "--require-hashes", "-r", str(self.lock)],
                [*install, "--no-deps", "--no-build-isolation", "-e", str(self.checkout)],
            ]
            if not usable:
                commands.insert(0, [sys.executable, "-m", "venv", "--clear", str(self.folder)])
            for command in commands:
                ended = subprocesses.run(command, log=log, step=current, cwd=self.checkout)
                if ended.status != 0:
                    raise failures.failure("making .venv", ended, log)
            self.stamp.write_text(self.fingerprint() + "\n", encoding="ascii")
