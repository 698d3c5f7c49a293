"""One machine of the lab: Vagrant changes it, plain OpenSSH reaches it.

`vagrant` costs one to eight seconds before it does anything, so it is called only to change something.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import failures, subprocesses
from .progress import Problem, Step, step
from .providers import Provider, named
from .settings import read_settings
from .state import State


class Machine:
    """The machine `name` of a checkout. Raises Problem where that is no name for one."""

    def __init__(self, checkout: Path, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", name):
            raise Problem(
                f"{name!r} is no name for a machine", "use small letters, digits and dashes: LAB_MACHINE=test"
            )
        self.checkout = checkout
        self.name = name
        self.folder = checkout / ".lab" / name
        self.state = State(self.folder)
        self.lock = checkout / ".lab" / f"{name}.lock"
        # The learner's machine is Vagrant's ordinary one: `vagrant ssh` in the checkout reaches it too.
        self.dotfile = checkout / ".vagrant" if name == "lab" else self.folder / "vagrant"
        self.log = self.folder / "log" / "vagrant.log"
        self.ssh_config = self.folder / "ssh_config"
        self.known_hosts = self.folder / "known_hosts"
        self.labcheck = self.folder / "labcheck.toml"
        self.settings = read_settings(checkout / "vagrant" / "lab.env")

    # ---- names ----

    def identity(self) -> str:
        """Vagrant's own id of the machine, empty where there is none."""
        files = sorted(self.dotfile.glob(f"machines/{self.name}/*/id")) or sorted(
            self.dotfile.glob("machines/*/*/id")
        )
        word = files[0].read_text(encoding="utf-8").strip() if files else ""
        return "" if word == "preparing" else word  # Vagrant's word for one that it has only begun

    def full_name(self) -> str:
        """The name that the Vagrantfile gives the machine among all of this computer."""
        mark = hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]
        return f"shipshape-{mark}-{self.name}"

    @property
    def provider(self) -> Provider:
        """The provider that runs it: as was chosen, or as Vagrant remembers of one that was made without
        lab.py."""
        if choices := self.state.choices():
            return named(choices.provider)
        files = sorted(self.dotfile.glob(f"machines/{self.name}/*/id"))
        return named(files[0].parent.name if files else "libvirt")

    # ---- Vagrant ----

    def environment(self) -> dict[str, str]:
        choices = self.state.choices()
        env = {
            "LAB_MACHINE": self.name,
            "VAGRANT_CWD": str(self.checkout),
            "VAGRANT_DOTFILE_PATH": str(self.dotfile),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
        }
        return env | ({"VAGRANT_DEFAULT_PROVIDER": choices.provider} if choices else {})

    def vagrant(
        self, *arguments: str, step: Step | None = None, watch: Callable[[str], None] | None = None
    ) -> subprocesses.Ended:
        return subprocesses.run(
            self.provider.command(["vagrant", *arguments]),
            log=self.log,
            step=step,
            watch=watch,
            env=self.environment(),
            cwd=self.checkout,
        )

    def change(self, title: str, *arguments: str) -> None:
        """One Vagrant command as one step. Raises Problem."""
        with step(title) as current:
            ended = self.vagrant(*arguments, step=current)
            if ended.status != 0:
                raise failures.failure(f"vagrant {' '.join(arguments)}", ended, self.log)

    # ---- OpenSSH ----

    def ssh(
        self, host: str, command: str, *, stdin: str = "", limit: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line on `server` or `internet`; no answer in time is status 124."""
        return subprocesses.quick(
            ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", host, command],
            limit=limit,
            stdin=stdin,
        )

    def answers(self, limit: float = 6.0) -> bool:
        """Whether the server answers now, over a connection that proves it. Costs under a second."""
        return self.ssh_config.exists() and self.ssh("server", "true", limit=limit).returncode == 0

    def needed(self) -> None:
        """Raises Problem where there is no running server to talk to."""
        if not self.ssh_config.exists():
            raise Problem("there is no server yet", "make it first: make lab")
        if not self.answers(limit=15.0):
            raise Problem("the server does not answer", "start it: make lab")

    def hang_up(self) -> None:
        """End shared connections: after a restore or a halt they would hang for ever."""
        if self.ssh_config.exists() and subprocesses.POSIX:
            for host in ("internet", "server"):
                subprocesses.quick(["ssh", "-F", str(self.ssh_config), "-O", "exit", host], limit=5.0)

    def wait_for(self, host: str, limit: float = 180.0) -> None:
        """Wait until `host` answers. Raises Problem with ssh's own reason."""
        deadline = time.monotonic() + limit
        while (answer := self.ssh(host, "true", limit=15.0)).returncode != 0:
            if time.monotonic() > deadline:
                reason = subprocesses.last_line(answer, "no answer")
                raise Problem(
                    f"{host} did not answer within {limit:.0f} s: {reason}",
                    f"see why: ssh -v -F {self.ssh_config} {host}",
                    "or go back to a known state: make goto CHAPTER=01",
                )
            time.sleep(0.5)
