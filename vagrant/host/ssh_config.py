"""The ssh_config through which OpenSSH reaches a machine: read from Vagrant's, and written as ours."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from . import subprocesses
from .progress import Problem


def quoted(value: Path | str) -> str:
    """A value for ssh_config: in quotes where it holds blanks, with forward slashes on Windows too."""
    text = str(value).replace("\\", "/")
    return f'"{text}"' if " " in text else text


def parse(text: str) -> dict[str, str]:
    """HostName, Port, User and IdentityFile of what `vagrant ssh-config` prints. Raises Problem."""
    options: dict[str, str] = {}
    for row in text.splitlines():
        key, _, value = row.strip().partition(" ")
        if key in ("HostName", "Port", "User", "IdentityFile"):
            # Several keys may be offered, the machine's own first.
            options.setdefault(key, shlex.split(value)[0] if value.startswith('"') else value)
    if len(options) != 4:
        raise Problem("vagrant ssh-config does not say how to reach the server", "start it: make lab")
    return options


def control_path(folder: Path) -> str:
    """A short path for the shared connections of the machine whose files are in `folder`.

    A socket's path may have about a hundred characters.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    place = Path(runtime) if runtime and os.access(runtime, os.W_OK) else Path.home() / ".ssh"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return str(place / f"shipshape-{mark}-%n")


def written(vagrants: Mapping[str, str], *, folder: Path, known_hosts: Path, internet: str) -> str:
    """The file for the hosts `server` and `internet`.

    `vagrants`: how Vagrant reaches the server. `internet`: the other one's address beside it.
    """
    common = [f"UserKnownHostsFile {quoted(known_hosts)}", "StrictHostKeyChecking yes",
              f"IdentityFile {quoted(vagrants['IdentityFile'])}", "IdentitiesOnly yes", "LogLevel ERROR",
              "ServerAliveInterval 5", "ServerAliveCountMax 6", "ConnectTimeout 10"]  # fmt: skip
    if subprocesses.POSIX:  # OpenSSH on Windows cannot share connections
        common += ["ControlMaster auto", f"ControlPath {quoted(control_path(folder))}", "ControlPersist 10m"]
    hosts = {
        "server": [f"HostName {vagrants['HostName']}", f"Port {vagrants['Port']}", f"User {vagrants['User']}",
                   "HostKeyAlias server"],
        "internet": [f"HostName {internet}", "User root", "ProxyJump server", "HostKeyAlias internet"],
    }  # fmt: skip
    blocks = ["# Written by vagrant/lab.py, and anew whenever the machine's address may have changed."]
    for host, own in hosts.items():
        blocks += [f"\nHost {host}", *(f"  {option}" for option in own + common)]
    return "\n".join(blocks) + "\n"


def take_key(source: Path, target: Path) -> None:
    """Log in with another machine's key: after a copy of its disk has become this one's.

    Both are files that `written` made.
    """
    key = re.compile(r"(?m)^(\s*IdentityFile) .*$")
    other = key.search(source.read_text(encoding="utf-8"))
    assert other is not None
    target.write_text(key.sub(lambda _: other[0], target.read_text(encoding="utf-8")), encoding="utf-8")
