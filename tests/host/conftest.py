"""What several tests of lab.py use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.host.checkout import ROOT, make_checkout
from vagrant.host.machine import Machine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the lab's program in it, and a Vagrant that takes for ever to switch off."""
    return make_checkout(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Machine:
    """A machine in a checkout whose path has a blank in it."""
    checkout = tmp_path / "a checkout"
    (checkout / "vagrant").mkdir(parents=True)
    shutil.copy(ROOT / "vagrant" / "lab.env", checkout / "vagrant" / "lab.env")
    return Machine(checkout, "lab")
