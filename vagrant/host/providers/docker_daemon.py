"""Docker's daemon: asked, started, and answering to this account; and lxcfs beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .. import computer, record, subprocesses
from ..progress import agrees, line, step
from ..tools import as_root, in_group, is_root, is_running, may_become_root, which
from .libvirt import Libvirt
from .provider import Unusable

PID_FILE = Path("/var/run/docker.pid")
START_LIMIT = 60.0  # seconds for the daemon to answer; it needs two


def docker(*arguments: str, limit: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Ask Docker something short, as a member of its group."""
    return subprocesses.quick(in_group("docker", ["docker", *arguments]), limit=limit)


def answers() -> str:
    """The daemon's version; empty where none answers."""
    answer = docker("version", "--format", "{{.Server.Version}}")
    return answer.stdout.strip().partition("+")[0] if answer.returncode == 0 else ""


def instead() -> tuple[str, ...]:
    """What a person can type whose computer runs no container, if there is something."""
    emulates = Libvirt().fits(computer.system())
    return ("or take an emulated machine: LAB_PROVIDER=libvirt make lab",) if emulates else ()


def stale_pid_file() -> bool:
    """Whether a killed daemon left its file, and another program has its number now: it would not start."""
    try:
        number = int(PID_FILE.read_text(encoding="ascii"))
        return (Path(f"/proc/{number}") / "comm").read_text(encoding="utf-8").strip() != "dockerd"
    except (OSError, ValueError):
        return False


def start_docker(log: Path) -> None:
    """See that the daemon runs, through systemd or, where there is none, as a daemon. Raises Unusable."""
    if answers() or "permission denied" in docker("version").stderr:
        return
    may_become_root("dockerd   (or start Docker in your system's way)")
    daemon: subprocess.Popen[bytes] | None = None  # where it is started here
    with step("starting Docker") as current:
        log.parent.mkdir(parents=True, exist_ok=True)
        if Path("/run/systemd/system").exists():
            ended = subprocesses.run(
                as_root(["systemctl", "start", "docker"]), log=log, step=current, limit=60, grouped=False
            )
            if ended.status != 0:
                raise Unusable(f"Docker does not start: {ended.text}", f"see {log} and: journalctl -u docker")
        elif which("dockerd") is None:
            raise Unusable(
                "Docker does not answer, and it is not this computer's", "start it, then try again"
            )
        elif not is_running("dockerd"):
            if stale_pid_file():
                subprocesses.quick(as_root(["rm", "-f", str(PID_FILE)]))
            daemon = detach(which("dockerd") or "dockerd", log=log)
        deadline = time.monotonic() + START_LIMIT
        while docker("version").returncode != 0:
            if "permission denied" in docker("version").stderr:
                return
            if time.monotonic() > deadline or (daemon is not None and daemon.poll() is not None):
                reasons = re.findall(
                    r'(?m)level=(?:fatal|error).*msg="(.*)"|^failed.*$', log.read_text(errors="replace")
                )
                raise Unusable(
                    f"Docker's daemon does not run here: {reasons[-1] if reasons else 'no answer'}",
                    f"see {log}",
                )
            time.sleep(0.2)


LXCFS = Path("/var/lib/lxcfs")


def lxcfs_answers() -> bool:
    return subprocesses.quick(["head", "-c1", str(LXCFS / "proc" / "meminfo")], limit=5.0).stdout != ""


def start_lxcfs(log: Path) -> None:
    """See that lxcfs runs, where it can: without it `free` in a container shows the host's memory."""
    program = which("lxcfs")
    if program is None or not Path("/dev/fuse").exists() or lxcfs_answers():
        return
    if Path("/run/systemd/system").exists():
        subprocesses.quick(as_root(["systemctl", "restart", "lxcfs"]))
        return
    # What a killed one left is a mount that answers nothing.
    subprocesses.quick(as_root(["umount", "-l", str(LXCFS)]))
    subprocesses.quick(as_root(["mkdir", "-p", str(LXCFS)]))
    detach(program, str(LXCFS), log=log)
    deadline = time.monotonic() + 5
    while not lxcfs_answers() and time.monotonic() < deadline:
        time.sleep(0.1)


def detach(program: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that outlives this program; what it says goes to `log`. It, or the sudo that runs it."""
    record.remember("daemons", [Path(program).name])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            as_root([program, *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def join_docker_group() -> None:
    """Ask an account that is not in the group, which is as good as root. It holds at the next login. Raises
    Unusable."""
    if os.name != "posix" or is_root() or answers():
        return
    user = os.environ.get("USER") or subprocesses.quick(["id", "-un"]).stdout.strip()
    line("  Docker answers to root and to the group `docker` alone, and that group is as good as root here.")
    if not (sys.stdin.isatty() and agrees(f"  Put {user} into that group?")):
        raise Unusable(
            f"{user} may not talk to Docker",
            f"put yourself into its group: sudo usermod -aG docker {user}",
            *instead(),
        )
    may_become_root(f"usermod -aG docker {user}")
    record.remember("groups", ["docker"])
    answer = subprocesses.quick(as_root(["usermod", "-aG", "docker", user]))
    if answer.returncode != 0 or shutil.which("sg") is None:
        raise Unusable(
            f"{user} cannot be added to the group docker: {answer.stderr.strip() or 'no sg here'}",
            f"type: sudo usermod -aG docker {user}",
        )
