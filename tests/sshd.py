"""What the tests share: a running sshd and how to reach it."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from labcheck.ssh import Connection

# With the number of this process in their names: two runs at once, of two checkouts, do not meet.
MAY, MAY_NOT = f"labkit-may-{os.getpid()}", f"labkit-maynot-{os.getpid()}"
SUDOERS = Path(f"/etc/sudoers.d/{MAY}")


def shell(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Sshd:
    """A running sshd, and the folder with its keys and configuration."""

    port: int
    folder: Path

    def config(self, **changes: str) -> Path:
        """An ssh_config for `Host server`; keywords change or add options."""
        options = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": MAY,
            "IdentityFile": str(self.folder / "id"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
            **changes,
        }
        lines = ["Host server", *(f"  {key} {value}" for key, value in options.items())]
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".config")
        with os.fdopen(handle, "w") as file:
            file.write("\n".join(lines) + "\n")
        return Path(name)

    def connection(self, **changes: str) -> Connection:
        return Connection("server", config=self.config(**changes))
