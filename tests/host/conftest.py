"""What several tests of lab.py use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.checkout import make_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the lab's program in it, and a Vagrant that takes for ever to switch off."""
    return make_checkout(tmp_path)
