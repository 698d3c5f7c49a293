"""Whether a container boots on this computer: one is tried before a machine is made."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .. import subprocesses
from ..progress import step
from .docker_daemon import docker, instead
from .provider import Unusable

CONTAINER = Path(__file__).resolve().parents[2] / "container"

BOOT_LIMIT = 60.0  # seconds for the probe; it needs three
PROBE = "shipshape-probe-"


def privileges() -> list[str]:
    """The options in vagrant/container/privileges."""
    rows = (CONTAINER / "privileges").read_text(encoding="utf-8").splitlines()
    return [row for row in rows if row and not row.startswith("#")]


def probe(image: str) -> None:
    """Boot one: mounts, control groups, loop devices, a running systemd; without a disk to live on.

    Raises Unusable.
    """
    remove_probes()
    name = f"{PROBE}{os.getpid()}"
    environment = ["--env=container=docker", "--env=LAB_PROBE=yes"]
    options = ["--detach", "--name", name, "--tty", "--pull=never", "--volume=/pool"]
    with step("a container boots") as current:
        started = docker("run", *options, *environment, *privileges(), image, limit=60)
        try:
            reason = started.stderr.strip() if started.returncode != 0 else booted(name)
        finally:
            docker("rm", "--force", "--volumes", name)
        current.result = "yes" if not reason else "no"
        current.failed = bool(reason)
    if reason:
        raise Unusable(f"a container does not boot on this computer: {reason}", *instead())


def booted(name: str) -> str:
    """Wait until systemd in the container is up; what went wrong, or nothing."""
    deadline = time.monotonic() + BOOT_LIMIT
    while True:
        state = docker("exec", name, "systemctl", "is-system-running").stdout.strip()
        if state in ("running", "degraded"):
            return ""
        alive = docker("inspect", "--format", "{{.State.Running}}", name).stdout.strip() == "true"
        if not alive or time.monotonic() > deadline:
            log = docker("logs", "--tail", "5", name)
            rows = subprocesses.ESCAPES.sub("", log.stdout + log.stderr).split("\n")
            words = [row.strip() for row in rows if row.strip()]
            return words[-1] if words else f"systemd is {state or 'not there'} after {BOOT_LIMIT:.0f} s"
        time.sleep(0.2)


def remove_probes() -> None:
    """Those of programs that were killed: each has the number of its program in its name."""
    listed = docker("ps", "--all", "--filter", f"name=^{PROBE}", "--format", "{{.Names}}").stdout.split()
    for name in listed:
        if not is_alive(int(name.removeprefix(PROBE))):
            docker("rm", "--force", "--volumes", name, limit=60)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
