"""Facts about processes and the units that start them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result


@dataclass(frozen=True)
class Process:
    """A process as the kernel knows it.

    Capabilities are bit masks; `unit` is the systemd service that it runs in, "" in a login's session.
    """

    pid: int
    parent: int
    name: str
    uids: frozenset[int]  # real, effective, saved, file system
    groups: frozenset[int]
    capabilities: int  # permitted, effective and ambient together
    arguments: str
    contained: bool  # in a container's process namespace
    unit: str = ""


@dataclass(frozen=True)
class Processes:
    all: tuple[Process, ...]

    def by_pid(self, pid: int) -> Process | None:
        return next((process for process in self.all if process.pid == pid), None)

    def below(self, pids: Iterable[int]) -> tuple[Process, ...]:
        """These processes and everything that they started."""
        descendants = set(pids)
        size = 0
        while len(descendants) != size:
            size = len(descendants)
            descendants |= {process.pid for process in self.all if process.parent in descendants}
        return tuple(process for process in self.all if process.pid in descendants)


# Control groups of version 2, or systemd's own of version 1.
_IN_UNIT = re.compile(r"/proc/(\d+)/cgroup:(?:0:|\d+:name=systemd):.*/([^/]+\.service)(?:/|$)")
_FIELDS = ("Name", "PPid", "Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapAmb", "NSpid")


def parse_processes(result: Result) -> Processes:
    status: dict[int, dict[str, str]] = {}
    arguments: dict[int, str] = {}
    units: dict[int, str] = {}
    part = ""
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            part = line[3:]
        elif part == "status":
            path, _, rest = line.partition("/status:")
            name, _, value = rest.partition(":")
            status.setdefault(int(path.removeprefix("/proc/")), {})[name] = value.strip()
        elif part == "units" and (found := _IN_UNIT.match(line)):
            units[int(found[1])] = found[2]
        elif part == "arguments" and line.strip():
            pid, _, text = line.strip().partition(" ")
            if not pid.isdigit():
                raise Unreadable(f"a line of ps is not understood: {line.strip()!r}")
            arguments[int(pid)] = text.strip()
    if part != "end":
        raise Unreadable("the list of processes came back incomplete")
    # A process that ended while the list was read has only half an entry.
    whole = {pid: fields for pid, fields in status.items() if set(_FIELDS) <= set(fields)}
    if 1 not in whole:
        raise Unreadable("the list of processes holds no process 1")
    return Processes(
        tuple(
            _process(pid, fields, arguments.get(pid, ""), units.get(pid, ""))
            for pid, fields in sorted(whole.items())
        )
    )


def _process(pid: int, fields: dict[str, str], arguments: str, unit: str) -> Process:
    groups = {int(word) for word in (fields["Gid"] + " " + fields["Groups"]).split()}
    capabilities = 0
    for name in ("CapPrm", "CapEff", "CapAmb"):
        capabilities |= int(fields[name], 16)
    return Process(
        pid,
        int(fields["PPid"]),
        fields["Name"],
        frozenset(int(word) for word in fields["Uid"].split()),
        frozenset(groups),
        capabilities,
        arguments,
        len(fields["NSpid"].split()) > 1,
        unit,
    )


processes = Fact(
    "processes",
    f"echo '== status'; grep -sHE '^({'|'.join(_FIELDS)}):' /proc/[0-9]*/status\n"
    "echo '== units'; grep -sHE '^(0:|[0-9]+:name=systemd):.*[.]service' /proc/[0-9]*/cgroup\n"
    "echo '== arguments'; ps -ww -eo pid=,args= || exit; echo '== end'",
    parse_processes,
)


@dataclass(frozen=True)
class Unit:
    """A systemd unit. `starts_at_boot` is what systemd says of the unit file: enabled, disabled, masked, …"""

    name: str
    present: bool
    active: bool
    starts_at_boot: str
    main_pid: int


UNITS = ("supervisor", "supervisord", "ufw", "nftables", "netfilter-persistent", "firewalld")


def parse_units(result: Result) -> dict[str, Unit]:
    if result.exit_status == 127:
        raise Unreadable("systemctl is not installed on the server")
    if result.exit_status != 0:
        raise Unreadable(f"systemctl ended with status {result.exit_status}: {result.stderr.strip()}")
    by_name = {}
    for block in result.stdout.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not {"Id", "LoadState", "ActiveState"} <= set(fields):
            raise Unreadable("systemctl's answer is not understood")
        name = fields["Id"].removesuffix(".service")
        by_name[name] = Unit(
            name,
            fields["LoadState"] != "not-found",
            fields["ActiveState"] == "active",
            fields.get("UnitFileState", ""),
            int(fields.get("MainPID", "0") or 0),
        )
    return by_name


units = Fact(
    "units",
    "systemctl show -p Id,LoadState,ActiveState,UnitFileState,MainPID "
    + " ".join(f"{name}.service" for name in UNITS),
    parse_units,
)
