"""Why ssh could not connect, in words, and what helps: from what the OpenSSH client prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from labcheck.errors import Unreachable
from labcheck.remote.output import last_line

# What the OpenSSH client prints, why that is, and what helps. The first that matches wins.
EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"Could not resolve hostname (?P<it>\S+?):|Could not resolve hostname",
        "its name is not known",
        "correct the name, or add a Host of that name to {config}",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed",
        "if you rebuilt the machine: {forget}; if not, do not log in: an attacker may be in between",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "its host key is not known yet",
        "log in once by hand and compare the fingerprint with what the provider shows: {command}",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        "ssh ignores the key file, which others can read",
        "chmod 600 the key file that `{command} -v` names",
    ),
    (
        r"Too many authentication failures",
        "it was offered too many keys before the right one",
        "set IdentityFile and IdentitiesOnly yes for this Host in {config}",
    ),
    (
        r"Permission denied \((?P<it>[^)]*)\)|Permission denied",
        "it refused every key that was offered",
        "check User and IdentityFile in {config}, and authorized_keys there (`{command} -v` shows both)",
    ),
    (
        r"Can't open user config file (?P<it>[^\s:]+)",
        "the ssh_config {it} is not there",
        "in the lab, `make lab` writes it; else give another one with -F",
    ),
    (
        r"Bad configuration option|terminating, \d+ bad configuration",
        "ssh does not understand the ssh_config",
        "correct {config}",
    ),
    (
        r"Connection refused",
        "the connection was refused",
        "the host is there, but no sshd listens on that port: check the port and `systemctl status ssh`",
    ),
    (
        r"timed out",
        "the connection timed out",
        "the host is off, or a firewall drops it: in the lab `make lab`, elsewhere the provider's console",
    ),
    (
        r"No route to host|Network is unreachable",
        "there is no way to it",
        "check this computer's network and the address in {config}",
    ),
    (
        r"Connection (closed|reset)|kex_exchange_identification|Broken pipe",
        "it closed the connection before the login",
        "it may still be starting, or have blocked this address for a while: wait a minute and try again",
    ),
    (
        r"no matching (host key type|key exchange method|cipher|MAC)",
        "the two OpenSSH have no method in common",
        "the host's OpenSSH and this one share no method: update the older of the two",
    ),
)


def explain(stderr: str, host: str, config: Path | None, command: str) -> Unreachable:
    """The reason and the next step that follow from what ssh printed when it could not connect.

    `config` is the ssh_config that it was given, and `command` what a person types to get to the host.
    """
    for pattern, reason, next in EXPLANATIONS:
        match = re.search(pattern, stderr)
        if not match:
            continue
        words = {
            "config": str(config) if config else "~/.ssh/config",
            "command": command,
            "it": match.groupdict().get("it") or "",
            "forget": _forget(stderr, host),
        }
        detail = _line_at(stderr, match.start()).strip("@ ")
        return Unreachable(host, reason.format(**words), next.format(**words), detail=detail)
    try_it = f"try `{command}` by hand"
    return Unreachable(host, "ssh gave up", try_it, detail=last_line(stderr, ""))


def _forget(stderr: str, host: str) -> str:
    """The command that drops a host key that is known no longer to be right."""
    place = re.search(r"Offending .* key in (.+):\d+", stderr)
    name = re.search(r"Host key for (\S+) has changed", stderr)
    file = f" -f {place[1]}" if place else ""
    return f"ssh-keygen{file} -R '{name[1] if name else host}'"


def was_lost(stderr: str) -> bool:
    """Whether exit status 255 is ssh's own. A shared connection that is lost says nothing at all."""
    own = (
        r"client_loop|closed by remote host|Connection to \S+ closed|not responding|Broken pipe|mux_client"
        r"|Connection reset by|Write failed|Read from remote host|Control socket|master is dead"
    )
    return not stderr.strip() or re.search(own, stderr) is not None


def how_to_get_ssh() -> str:
    """What installs the OpenSSH client on this computer."""
    if sys.platform == "win32":
        return "Settings, System, Optional features: add the OpenSSH client"
    if sys.platform == "darwin":
        return "it belongs to macOS: put /usr/bin into PATH"
    return "sudo apt-get install openssh-client"


def _line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].partition("\n")[0].strip().removeprefix("ssh: ")
