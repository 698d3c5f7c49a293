"""A machine: what it was chosen to be, and whether it is there."""

from __future__ import annotations

from pathlib import Path

from vagrant.host.machine import Machine
from vagrant.host.state import Choices

ROOT = Path(__file__).resolve().parents[2]


def test_choices_come_back_as_they_were_and_broken_ones_not_at_all(made: Machine) -> None:
    chosen = Choices("libvirt", "qemu", "debian12", "shipshape/debian12", "1.0.1")
    made.state.choose(chosen)
    assert made.state.choices() == chosen
    made.state.choices_file.write_text('{"provider": ')
    assert made.state.choices() is None


def test_a_machine_that_vagrant_has_only_begun_is_none(tmp_path: Path) -> None:
    (tmp_path / "vagrant").mkdir()
    (tmp_path / "vagrant" / "lab.env").write_text((ROOT / "vagrant" / "lab.env").read_text("utf-8"))
    machine = Machine(tmp_path, "test")
    identity = machine.dotfile / "machines" / "test" / "docker" / "id"
    identity.parent.mkdir(parents=True)
    identity.write_text("preparing")
    assert machine.identity() == ""
    identity.write_text("0123abcd")
    assert (machine.identity(), machine.provider.name) == ("0123abcd", "docker")
