"""Programs and rights that a test needs, and a computer may not have.

Without one its tests are skipped, with a line of reason for each; with LAB_SERVICES=required they fail where
it can be installed. `make test` installs the programs, and says at its end what was not tested.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from vagrant.host import programs


def absent(reason: str) -> NoReturn:
    """Skips the test, or fails it where everything has to be there."""
    if os.environ.get("LAB_SERVICES") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, *more: str) -> Path:
    """Where a program of the list in vagrant/host/programs.py is; of `more`, only that they are there.

    Each that is missing is a line of the reason.
    """
    wanted = [programs.PROGRAMS[each] for each in (name, *more)]
    paths = [programs.find(each.name) for each in wanted]
    missing = [each for each, path in zip(wanted, paths, strict=True) if path is None]
    if missing:
        how = "is not installed (sudo apt-get install"
        absent("\n".join(f"{each.tests}: {each.name} {how} {each.package})" for each in missing))
    return Path(str(paths[0]))


def root(to: str) -> None:
    """Skips the test where it is not root, which alone may do this."""
    if os.geteuid() != 0:
        pytest.skip(f"only root may {to}")


def mounts() -> None:
    """Skips the test where nothing can be mounted: not by others than root, nor in many a container."""
    root("mount a file system")
    program("mount")
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True
    )
    if tried.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
