"""Programs that a test needs, and a computer may not have.

Without one its tests are skipped, with the reason; with LAB_SERVICES=required they fail.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skips the test, or fails it where everything has to be there."""
    if os.environ.get("LAB_SERVICES") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str) -> Path:
    """Where it is: the newest of Debian's PostgreSQLs, which are not in the PATH, else what the PATH has."""
    packaged = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    versions = sorted(packaged, key=lambda path: float(path.parts[-3]), reverse=True)
    found = versions[0] if versions else shutil.which(name)
    if found is None:
        absent(f"{name} is not installed: sudo apt-get install {package}")
    return Path(found)
