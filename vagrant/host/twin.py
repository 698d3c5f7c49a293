"""A second machine like the first, copied while that runs, so that two things can be proved at once.

With libvirt alone, which can copy a running machine's disk as it is at one moment.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import chapters, children, computer, tools
from .machine import Machine
from .say import Problem, step

MEMORY = 2.5e9  # bytes: the server's, and what QEMU takes for itself
COPYING = 300.0  # seconds; 1.6 GB took five

BACKUP = """\
<domainbackup mode='push'>
  <disks><disk name='vda' type='file'><target file='{target}'/><driver type='qcow2'/></disk></disks>
</domainbackup>
"""


def possible(machine: Machine) -> bool:
    """Whether this computer can have a second one beside it."""
    choices, free = machine.choices(), computer.free_memory()
    return choices is not None and choices.provider == "libvirt" and (free is None or free > MEMORY)


@contextmanager
def of(machine: Machine) -> Iterator[Machine]:
    """Such a machine, running, while the block lasts. Raises Problem."""
    twin = Machine(machine.checkout, f"{machine.name}-2")
    remove(twin)  # of a run that was cut off
    try:
        copy(machine, twin)
        twin.up()
        chapters.settle(twin)
        yield twin
    finally:
        remove(twin)


def virsh(*arguments: str | Path) -> str:
    """What it says. Raises Problem."""
    ended = children.quick(tools.libvirt_group([*tools.VIRSH, *map(str, arguments)]), limit=60)
    if ended.returncode != 0:
        raise Problem(f"virsh {arguments[0]} failed: {ended.stderr.strip()}", "run the same command again")
    return ended.stdout


def copy(machine: Machine, twin: Machine) -> None:
    """Define `twin`, switched off, with the disk of `machine` as it is now. Raises Problem."""
    with step("copying the server while it runs"), tempfile.TemporaryDirectory() as name:
        # What programs have written and the server still keeps in memory would be missing from its disk.
        machine.ssh("server", "sync", limit=60)
        domain = ElementTree.fromstring(virsh("dumpxml", "--inactive", machine.domain()))
        source = domain.find("devices/disk/source[@file]")
        title = domain.find("name")
        assert source is not None and title is not None
        target = Path(source.attrib["file"]).with_name(f"{twin.domain()}.img")
        order = Path(name) / "order.xml"
        order.write_text(BACKUP.format(target=target), encoding="utf-8")
        virsh("backup-begin", machine.domain(), order)
        until = time.monotonic() + COPYING
        while "None" not in virsh("domjobinfo", machine.domain()):
            if time.monotonic() > until:
                virsh("domjobabort", machine.domain())
                raise Problem(f"the disk was not copied within {COPYING:.0f} s", "run the same command again")
            time.sleep(0.5)
        title.text, source.attrib["file"] = twin.domain(), str(target)
        # libvirt gives it an identity and an address of its own.
        for path, child in ((".", "uuid"), ("devices/interface", "mac"), ("devices/disk", "backingStore")):
            for parent in domain.findall(path):
                for own in parent.findall(child):
                    parent.remove(own)
        order.write_text(ElementTree.tostring(domain, encoding="unicode"), encoding="utf-8")
        virsh("define", order)
        remember(machine, twin, virsh("domuuid", twin.domain()).strip())


def remember(machine: Machine, twin: Machine, identity: str) -> None:
    """Let Vagrant and the lab know the twin: by the same keys as the machine, and as provisioned."""
    shutil.copytree(
        machine.dotfile / "machines" / machine.name,
        twin.dotfile / "machines" / twin.name,
        ignore=shutil.ignore_patterns("index_uuid"),  # by which Vagrant tells one machine from another
    )
    for file in (twin.dotfile / "machines" / twin.name).glob("*/id"):
        file.write_text(identity, encoding="utf-8")
    shutil.copy(machine.choices_file, twin.choices_file)
    shutil.copy(machine.known_hosts, twin.known_hosts)
    twin.remember("identity", identity)
    twin.remember("provisioned", twin.provisioning_inputs())


def remove(twin: Machine) -> None:
    """Take it away with its disk, as far as it is there."""
    twin.hang_up()
    twin.remove_domain()
    shutil.rmtree(twin.folder, ignore_errors=True)
