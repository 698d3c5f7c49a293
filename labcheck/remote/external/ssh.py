"""What sshd offers to accounts that have proved nothing."""

from __future__ import annotations

import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labcheck.remote.external.answers import Json, Unseen
from labcheck.remote.output import last_line

LOGIN_TIMEOUT = 8  # s, for a key exchange and one refusal after it: 2 s on a busy emulated host


def probe_login(address: str, port: int, account: str, known_hosts: str) -> Json:
    """What sshd offers to an account before anything is proved: one attempt, with the method `none`.

    ssh itself sees to it that only the host with the right key is asked at all.
    """
    probe: Json = {"address": address, "port": port, "account": account, "offered": [], "error": ""}
    options = {
        "BatchMode": "yes",
        "PreferredAuthentications": "none",
        "ConnectTimeout": str(LOGIN_TIMEOUT - 1),
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": "server",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "none",
        "UpdateHostKeys": "no",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-F", "none", "-T", "-n", "-p", str(port), "-l", account]
    command += [f"-o{name}={value}" for name, value in options.items()]
    try:
        completed = subprocess.run(
            [*command, "--", address, "exit"], capture_output=True, text=True, timeout=LOGIN_TIMEOUT
        )
    except FileNotFoundError:
        raise Unseen("ssh is not installed at the vantage") from None
    except subprocess.TimeoutExpired:
        return {**probe, "error": "no answer"}
    if completed.returncode == 0:
        return {**probe, "offered": ["none"]}
    reason = last_line(completed.stderr, f"exit status {completed.returncode}")
    if refused := re.search(r"Permission denied \(([\w,-]*)\)", reason):
        return {**probe, "offered": refused[1].split(",")}
    for pattern, error in (
        (r"Connection refused", "refused"),
        (r"timed out", "no answer"),
        (r"No route to host|Network is unreachable|Cannot assign", "unreachable"),
        (r"Host key verification failed|no matching host key|No .* host key is known", "another host"),
        (
            r"Connection (closed|reset)|kex_exchange|Not allowed at this time",
            "closed before anything was said",
        ),
    ):
        if re.search(pattern, reason):
            return {**probe, "error": error}
    return {**probe, "error": reason}


def probe_logins(addresses: list[str], ports: list[int], accounts: list[str], keys: list[str]) -> list[Json]:
    """Each account at each port of each address; at one where the first gets no answer, no other is tried.

    Addresses are asked at the same time, accounts one after the other: sshd turns crowds away.
    """
    if not keys:
        raise Unseen("the server's SSH host keys are not known, so no sshd is asked what a login needs")

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as pool:
        known_hosts = Path(folder, "known_hosts")
        known_hosts.write_text("".join(f"server {key}\n" for key in keys))

        def at(address: str, port: int) -> list[Json]:
            probes: list[Json] = []
            for account in accounts:
                probes.append(probe_login(address, port, account, str(known_hosts)))
                if probes[-1]["error"]:
                    break
            return probes

        asked = [pool.submit(at, address, port) for address in addresses for port in ports]
        return [item for each in asked for item in each.result()]
