"""The fact that shows a reboot: since when a server has been up, on a machine and in a container."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result


@dataclass(frozen=True)
class Boot:
    """A server's time between two reboots: two of these differ where it was rebooted in between.

    It takes both values. A container shares the kernel of its host, whose `kernel` (boot_id) outlives the
    container's reboots: there the start of process 1 shows it. On a machine of its own that is a small number
    of ticks after the kernel's start, and may be the same after each boot: there boot_id shows it. Neither
    changes while a server is up, not even where systemd replaces itself (`systemctl daemon-reexec`).
    """

    kernel: str  # /proc/sys/kernel/random/boot_id
    first: int  # start of process 1, in clock ticks since the kernel's own start


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STARTED = 19  # of the fields behind the name, which proc(5) counts as the 22nd of all


def parse_boot(result: Result) -> Boot:
    kernel, _, stat = result.stdout.partition("\n")
    # A name in parentheses comes before the numbers, and may hold spaces and parentheses itself.
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    if result.exit_status != 0 or not _UUID.fullmatch(kernel):
        said = last_line(result.stderr, f"{kernel!r} is no boot_id")
        raise Unreadable(f"whether it was rebooted cannot be determined: {said}")
    if pid != "1" or len(fields) <= _STARTED or not fields[_STARTED].isdigit():
        raise Unreadable(
            "whether it was rebooted cannot be determined: process 1 is not understood: "
            f"{stat.strip()[:100]!r}"
        )
    return Boot(kernel, int(fields[_STARTED]))


# As root: where /proc is mounted with hidepid, no other account sees process 1.
boot = Fact("boot", "cat /proc/sys/kernel/random/boot_id /proc/1/stat", parse_boot, sudo=True)
