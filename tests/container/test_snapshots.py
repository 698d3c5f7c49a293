"""Snapshots are cheap: the server hardly pauses, only differences take room, and what was is back."""

from __future__ import annotations

import threading

import pytest

from labcheck.ssh import Connection
from tests.vm.conftest import lab, must
from vagrant.host import snapshots
from vagrant.host.machine import Machine
from vagrant.host.providers.docker import KEEPER, image_of
from vagrant.host.providers.docker_daemon import docker

from .conftest import taken

pytestmark = pytest.mark.vm

PAUSE = 1.0  # s; the contract: the server is paused for under a second
WRITER = """\
import os, time
worst, last, end = 0.0, time.monotonic(), time.monotonic() + 8
with open('/var/tmp/written', 'w') as file:
    while time.monotonic() < end:
        print(last, file=file, flush=True)
        os.fsync(file.fileno())
        now = time.monotonic()
        worst, last = max(worst, now - last), now
        time.sleep(0.01)
print(worst)
"""


# What `save` leaves that is killed in the moment in which the disk is frozen.
FREEZE = """\
. /shipshape/pool.sh && open_pool && mkdir -p /run/server
mount "$(losetup --noheadings --output NAME --associated $disk)" /run/server
exec fsfreeze --freeze /run/server
"""


def test_a_server_that_writes_is_paused_for_under_a_second(machine: Machine, server: Connection) -> None:
    worst: list[float] = []
    writer = threading.Thread(
        target=lambda: worst.append(float(server.run("python3 -", stdin=WRITER, timeout=60).stdout))
    )
    writer.start()
    snapshots.save(machine, snapshots.BARE)
    writer.join()
    assert worst[0] < PAUSE


def test_a_snapshot_takes_the_room_of_what_differs_and_brings_back_what_was(
    machine: Machine, container: str, server: Connection, internet: Connection
) -> None:
    must(server, "echo first | sudo tee /var/lib/kept > /dev/null")
    must(internet, "echo first > /var/lib/kept")
    before = taken(container)
    snapshots.save(machine, snapshots.BARE)
    assert taken(container) - before < 200e6
    must(server, "echo second | sudo tee /var/lib/kept > /dev/null")
    must(internet, "echo second > /var/lib/kept")
    lab("restore", snapshots.BARE)
    assert must(server, "cat /var/lib/kept") == "first\n", "it was written out without a sync"
    assert must(internet, "cat /var/lib/kept") == "first\n"
    must(server, "sudo rm /var/lib/kept")
    must(internet, "rm /var/lib/kept")
    snapshots.save(machine, snapshots.BARE)


@pytest.mark.parametrize("then", ["save", "restore"])
def test_a_disk_that_was_left_frozen_is_thawed(
    then: str, machine: Machine, container: str, server: Connection
) -> None:
    choices = machine.state.choices()
    assert choices is not None
    pool = f"--volumes-from={container}"
    frozen = docker("run", *KEEPER, pool, image_of(choices), "bash", "-ec", FREEZE, limit=30)
    assert frozen.returncode == 0, frozen.stderr
    if then == "save":
        snapshots.save(machine, snapshots.BARE)
    else:
        lab("restore", snapshots.BARE)
    must(server, "echo written > thawed && sync thawed && rm thawed")
