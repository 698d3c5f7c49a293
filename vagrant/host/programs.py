"""The programs that the tests use: announced, installed on Debian and Ubuntu, and none of them started."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import computer, subprocesses, tools
from .computer import System
from .progress import Problem, gibibytes, line

MB = 1_000_000


@dataclass(frozen=True)
class Program:
    """`name` shows that the package is there; `tests` is what is tested with it.

    `also`: another program that does as well, of whatever package. `download` and `disk`: MB on a bare
    Debian 12, without what those before it bring already.
    """

    name: str
    package: str
    tests: str
    download: int = 0
    disk: int = 0
    also: str = ""


PROGRAMS = {
    program.name: program
    for program in (
        Program("git", "git", "the rules about the project's files, and what a repository remembers", 11, 52),
        Program("ssh", "openssh-client", "every connection of labcheck", 2, 7),
        Program("sshd", "openssh-server", "what labcheck sees and does over SSH", 2, 5),
        Program("sudo", "sudo", "what labcheck does as root, and what it says where it may not", 2, 7),
        Program("pkill", "procps", "servers that are paused, stopped and killed", 1, 2),
        Program("mount", "mount", "a full disk, and a resolver that never answers", 1, 1),
        Program("ip", "iproute2", "what is seen of a server from outside", 2, 5),
        Program("curl", "curl", "what a store of backups lets a key delete", 1, 2),
        Program("openssl", "openssl", "HTTPS, with certificates that are made for it", 2, 3),
        Program("jq", "jq", "the searches in the chapter on logs", 1, 1),
        Program("logrotate", "logrotate", "logs that are rotated while a server writes them", 1, 1),
        Program("initdb", "postgresql", "the application with PostgreSQL", 64, 262),
        Program("redis-server", "redis-server", "the application with Redis", 2, 7),
        Program("promtool", "prometheus", "the alert rules of the chapters", 23, 333),
        Program("restic", "restic", "backups in a real store", 8, 22),
        Program("rclone", "rclone", "a store that lets a key append and not delete", 15, 58),
        Program("caddy", "caddy", "the front of the stand-in provider", 12, 38),
        Program("strace", "strace", "a race in that front, made certain", 1, 3),
        Program("ssh-audit", "ssh-audit", "the algorithms that the finished server's sshd offers", 1, 1),
        Program("chromium", "chromium", "the padlock that a browser shows", 196, 682, also="google-chrome"),
        Program("certutil", "libnss3-tools", "the authorities that the browser trusts", 2, 5),
        Program("qemu-system-x86_64", "qemu-system-x86", "the probe for hardware virtualisation", 26, 125),
    )
}

# While packages are installed: Debian's way to have no server started, and PostgreSQL's to have none made.
# Both go again; by its comment, ours of a run that was killed differs from a file of the administrator's.
POLICY = Path("/usr/sbin/policy-rc.d")
OURS = "# of shipshape, while it installs the programs of its tests"
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/shipshape.conf")
UNIT = re.compile(r"^(?:/usr)?/lib/systemd/system/([^/@]+\.(?:service|socket|timer|path))$", re.M)


def find(name: str) -> str | None:
    """Where a program is; of Debian's PostgreSQLs, which are not in the PATH, the newest.

    A browser in a snap (Ubuntu's) is none: it can read no folder but its own.
    """
    if name in PROGRAMS and (also := PROGRAMS[name].also):
        paths = (tools.which(each) for each in (name, also))
        return next((path for path in paths if path and "snap" not in Path(path).resolve().parts), None)
    packaged = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    versions = sorted(packaged, key=lambda path: float(path.parts[-3]), reverse=True)
    return str(versions[0]) if versions else tools.which(name)


def states() -> dict[str, str]:
    """What dpkg says of each package that it knows: installed, unpacked, half-configured, …"""
    answer = subprocesses.quick(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    return dict(row.split(" ", 1) for row in answer.stdout.splitlines())


def missing() -> list[Program]:
    """What is not there, and what an interrupted installation left half done."""
    known = states()
    whole = ("installed", "not-installed", "config-files")
    return [
        program
        for program in PROGRAMS.values()
        if find(program.name) is None or known.get(program.package, "not-installed") not in whole
    ]


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1", "yes")


def command() -> str:
    """What installs them, and nothing else."""
    return "python3 vagrant/lab.py programs"


def for_the_tests(system: System, log: Path, *, installs: bool) -> dict[str, str]:
    """Install what is missing, as far as it can be had; the environment that the tests are to run in.

    Without `installs` the person hears what would install them. What is not there in the end is no reason not
    to test the rest: the tests that need it are skipped, but in continuous integration they fail.
    """
    absent = missing()
    if absent and system.family == "debian":
        announce(absent, installs)
        if installs:
            try:
                install(absent, log)
            except Problem as problem:
                line(f"  !!  not installed: {problem.sentence}")
                for text in problem.next_steps:
                    line(f"      next: {text}")
            absent = missing()
    return {"LAB_SERVICES": "required"} if in_ci() or (installs and not absent) else {}


def announce(absent: list[Program], installs: bool) -> None:
    """Say what is missing, what for, what it takes, and what becomes of it."""
    line("  programs that tests use, and this computer does not have:")
    for program in absent:
        line(f"    {program.package:<16} {program.tests}")
    download, disk = takes(absent)
    size = f"download up to {gibibytes(download)}, disk up to {gibibytes(disk)}"
    if not installs:
        line(f"  without them their tests are skipped; to install them ({size}), type: {command()}")
        return
    starts = "nothing of it is started, now or at a boot"
    if POLICY.exists() and not is_ours() and not forbids():
        starts = f"{POLICY}, which is here already, says what of it is started"
    line(f"  in all: {size}; {starts}")


def takes(absent: list[Program]) -> tuple[float, float]:
    """Bytes to download and bytes on the disk."""
    return sum(each.download for each in absent) * MB, sum(each.disk for each in absent) * MB


def install(absent: list[Program], log: Path) -> None:
    """Install them, or those of them that the archive has; start none. Raises Problem."""
    packages = [program.package for program in absent]
    tools.may_become_root(command())
    needed, free = takes(absent)[1], computer.free_disk(Path("/usr"))
    if free < needed:
        raise Problem(
            f"too little room in /usr: {gibibytes(needed)} are needed, {gibibytes(free)} are free",
            "free some space, then run the same command again",
        )
    with nothing_starts(packages):
        try:
            tools.install(packages, log)
        except Problem:
            there = [package for package, known in tools.candidates(packages).items() if known]
            if not there or len(there) == len(packages):
                raise
            line(f"  !!  this system's archive does not have {', '.join(set(packages) - set(there))}")
            tools.install(there, log)


@contextlib.contextmanager
def nothing_starts(packages: list[str]) -> Iterator[None]:
    """What is installed meanwhile starts nothing, now or at a boot; also where it is interrupted."""
    files = {}
    if not POLICY.exists() or is_ours():
        files[POLICY] = f"#!/bin/sh\n{OURS}\nexit 101\n"
    if "postgresql" in packages and not CLUSTERS.exists():
        files[CLUSTERS] = f"{OURS}\ncreate_main_cluster = false\n"
    before = {package for package, state in states().items() if state == "installed"}
    try:
        for path, text in files.items():
            as_root(["install", "-D", "-m", "755", "/dev/stdin", str(path)], stdin=text)
        yield
    finally:
        units = units_of(set(states()) - before)
        if units and tools.which("systemctl"):
            as_root(["systemctl", "--quiet", "disable", *units])
        for path in files:
            as_root(["rm", "-f", str(path)])


def is_ours() -> bool:
    return OURS in POLICY.read_text(encoding="utf-8", errors="replace")


def forbids() -> bool:
    """Whether the administrator's policy lets nothing start either, as that of a container's image does."""
    return os.access(POLICY, os.X_OK) and subprocesses.quick([str(POLICY), "ssh", "start"]).returncode == 101


def units_of(packages: set[str]) -> list[str]:
    """What systemd would start of these packages at a boot."""
    if not packages:
        return []
    listed = subprocesses.quick(["dpkg-query", "-L", *sorted(packages)])
    return sorted(set(UNIT.findall(listed.stdout)))


def as_root(command: list[str], stdin: str = "") -> None:
    answer = subprocesses.quick(tools.as_root(command), stdin=stdin)
    if answer.returncode != 0:
        why = answer.stderr.strip() or f"exit status {answer.returncode}"
        raise Problem(f"{' '.join(command)} failed: {why}", "mend that, then run the same command again")
