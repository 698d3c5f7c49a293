"""The hashes of what a server is made from."""

from __future__ import annotations

import json

import pytest

from vagrant.host.inputs import provisioning_inputs
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem


def test_the_hash_of_provisioning_follows_its_files_and_the_hosts_settings(
    made: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.checkout / "lab_app").mkdir()
    before = provisioning_inputs(made.checkout)
    assert provisioning_inputs(made.checkout) == before
    (made.checkout / "lab_app" / "main.py").write_text("x = 1\n")
    changed = provisioning_inputs(made.checkout)
    assert changed != before
    (made.checkout / "lab_app" / "__pycache__").mkdir()
    (made.checkout / "lab_app" / "__pycache__" / "main.pyc").write_bytes(b"x")
    assert provisioning_inputs(made.checkout) == changed
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert provisioning_inputs(made.checkout) != changed


def test_the_hash_of_provisioning_follows_the_chapters_prose_and_not_their_outputs(made: Machine) -> None:
    chapter = made.checkout / "notebooks" / "01_door.ipynb"
    chapter.parent.mkdir()

    def write(prose: str, output: str) -> str:
        cells = [{"cell_type": "markdown", "source": [prose]}, {"cell_type": "code", "outputs": [output]}]
        chapter.write_text(json.dumps({"cells": cells}))
        return provisioning_inputs(made.checkout)

    first = write("A door.", "open")
    assert write("A door.", "shut") == first
    assert write("Two doors.", "open") != first
    chapter.write_text("{")
    with pytest.raises(Problem, match=r"01_door\.ipynb is no notebook"):
        provisioning_inputs(made.checkout)
