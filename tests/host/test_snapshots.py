"""Snapshots: their names, which is kept, and what is said of one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.checkout import lab
from vagrant.host import (
    chapters,
    readiness,
    snapshots,
)
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem
from vagrant.host.providers import (
    libvirt,
    virtual_machine,
)
from vagrant.host.providers.libvirt import Libvirt
from vagrant.host.providers.provider import SNAPSHOT

ROOT = Path(__file__).resolve().parents[2]


def test_names_are_those_of_our_snapshots_alone() -> None:
    text = "==> lab: \nbare\nafter-00\nafter-01\nmine\n"
    assert virtual_machine.parse_snapshots(text) == ["bare", "after-00", "after-01"]


def test_name_of_a_snapshot_is_checked_where_it_is_made() -> None:
    known = chapters.numbers(ROOT)
    assert all(SNAPSHOT.fullmatch(snapshots.name_after(chapter)) for chapter in known)
    assert libvirt.lost_its_address("the\n'inaccessible' state")


@pytest.fixture
def asked_of_vagrant(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What Vagrant is asked for, which it does not do."""
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(Machine, "change", lambda _, title, *arguments: commands.append(arguments))
    monkeypatch.setattr(readiness, "after_restore", lambda machine: None)
    return commands


def test_a_chapter_done_again_on_the_finished_server_keeps_its_snapshot(
    made: Machine, asked_of_vagrant: list[tuple[str, ...]]
) -> None:
    assert not snapshots.is_past(made, "after-00"), "of a machine of which nothing is remembered"
    snapshots.save(made, "bare")
    assert not snapshots.is_past(made, "after-00")
    for name in ("after-00", "after-01", "after-02"):
        assert not snapshots.is_past(made, name)
        snapshots.save(made, name)
    past = [snapshots.is_past(made, f"after-0{chapter}") for chapter in range(4)]
    assert past == [True, True, False, False]

    snapshots.restore(made, "after-00")
    assert not snapshots.is_past(made, "after-01"), "the learner went back, and takes another way"
    snapshots.restore(made, "bare")
    assert not snapshots.is_past(made, "after-00")
    assert len(asked_of_vagrant) == 6


def test_failed_restore_is_not_remembered_as_a_state(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made.state.remember("stands-at", "after-09")

    def fails(*_: object) -> None:
        raise Problem("vagrant snapshot restore failed")

    monkeypatch.setattr(Machine, "change", fails)
    monkeypatch.setattr(Libvirt, "saved", lambda provider, machine: ["after-01"])
    with pytest.raises(Problem, match="restore failed"):
        snapshots.restore(made, "after-01")
    assert not snapshots.is_past(made, "after-00")


RESTORE_FAILS = """#!/bin/sh
echo "$*" >> "$VAGRANT_CWD/asked"
case "$*" in
  "snapshot list") printf '==> lab: \nbare\nafter-00\n' ;;
  *) echo "it cannot be restored" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("after-07", ["snapshot restore --no-start --no-provision after-07", "snapshot list"]),
        ("mine", ["snapshot list"]),
    ],
)
def test_a_snapshot_that_is_not_there_is_said_with_those_that_are(
    checkout: Path, name: str, commands: list[str]
) -> None:
    (checkout / "bin" / "vagrant").write_text(RESTORE_FAILS)
    (checkout / ".lab" / "lab").mkdir(parents=True)
    (checkout / ".lab" / "lab" / "ssh_config").touch()
    ran = lab(checkout, "restore", name)
    assert (ran.returncode, ran.stderr) == (
        1,
        f"lab.py restore: the machine lab has no snapshot {name}\n  next: snapshots of it: bare, after-00\n",
    )
    assert (checkout / "asked").read_text().splitlines() == commands


def test_a_snapshot_that_is_there_and_cannot_be_restored_is_said_with_vagrants_reason(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text(RESTORE_FAILS)
    (checkout / ".lab" / "lab").mkdir(parents=True)
    (checkout / ".lab" / "lab" / "ssh_config").touch()
    ran = lab(checkout, "restore", "after-00")
    assert ran.returncode == 1
    assert ran.stderr.startswith("lab.py restore: vagrant snapshot restore")
    assert "it cannot be restored" in ran.stderr
