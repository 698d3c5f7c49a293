"""What to say when a program failed: what its words mean, and the next step."""

from __future__ import annotations

import re
from pathlib import Path

from .progress import Problem
from .subprocesses import Ended

# What programs say when something common is wrong -> what that means, and the next step.
KNOWN_FAILURES = (
    (re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.I), "the disk is full",
     "free some space, then run the same command again: it goes on where it stopped"),
    (re.compile(r"Cannot allocate memory|Out of memory", re.I), "there is not enough memory for the server",
     "close other programs or stop other virtual machines, then run the same command again"),
    (re.compile(r"Temporary failure (in name resolution|resolving)|Could not resolve host|"
                r"Network is unreachable", re.I), "a name on the network could not be resolved or reached",
     "check this computer's network and proxy settings, then run the same command again"),
    (re.compile(r"certificate verify failed|SSLCertVerificationError|CERTIFICATE_VERIFY_FAILED", re.I),
     "a TLS certificate on the way was not trusted",
     "if a company proxy stands in between, put its CA into /usr/local/share/ca-certificates/*.crt, run "
     "update-ca-certificates, then run the same command again"),
    (re.compile(r"wait_for timeout .* exceeded|no IP address", re.I),
     "libvirt gave the server no address in time",
     "run the same command again; if it stays so, make the server anew: make destroy, then make lab"),
    (re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES", re.I), "a package is not the one that was locked",
     "empty pip's cache (python3 -m pip cache purge); if it happens again, the package index is wrong"),
)  # fmt: skip


# Vagrant's own words about a script that failed in the guest; what the script said last stands above them.
GUEST_SCRIPT_FAILED = "The SSH command responded with a non-zero exit status. Vagrant"


def failure(what: str, ended: Ended, log: Path) -> Problem:
    """What to say when a program failed: the known meaning of its words, else its last telling line."""
    where = f"the whole output is in {log}"
    for pattern, meaning, next_step in KNOWN_FAILURES:
        if pattern.search(ended.text):
            return Problem(f"{what} failed: {meaning}", next_step, where)
    if ended.status == 124:
        return Problem(
            f"{what} took too long and was stopped", "run the same command again: it goes on", where
        )
    rows = [text.strip() for text in ended.tail]
    if GUEST_SCRIPT_FAILED in rows:
        rows = rows[: rows.index(GUEST_SCRIPT_FAILED)][-1:]
    telling = [text for text in rows if re.search(r"error|fail|cannot|could not|unable|denied", text, re.I)]
    last = telling[-1] if telling else " ".join(rows[-4:]) or "it printed nothing"
    return Problem(f"{what} failed (exit status {ended.status}): {last}", where)
