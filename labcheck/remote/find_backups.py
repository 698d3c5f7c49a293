"""The program that looks for backups, and that brings one back: it runs on the server, as root.

It needs Python 3.9, and of other programs what the server's own backups use; its parts are in backups/. A
look changes nothing: it reads what starts backups, asks the store as they do, without taking a lock, and asks
it to delete something that does not exist, to hear whether it would. Passwords and keys are in no answer.
"""

from __future__ import annotations

import json
import os
import socket
import time

from labcheck.remote.backups.commands import Json
from labcheck.remote.backups.databases import state
from labcheck.remote.backups.dumps import open_dumps
from labcheck.remote.backups.jobs import jobs, public
from labcheck.remote.backups.restic import described
from labcheck.remote.backups.restore import exercise


def observe(ask: bool = False) -> Json:
    """What is known here; with `ask`, of the stores as well."""
    all_jobs = jobs()
    makers = [job for job in all_jobs if job["kind"] == "backup"]
    return {
        "now": time.time(),
        "host": socket.gethostname(),
        "state": state(),
        "jobs": [public(job) for job in all_jobs],
        "stores": [it for job in makers if (it := described(job, ask))],
        "dumps": open_dumps(),
    }


def main(what: str) -> None:
    os.nice(10)  # restic works hard on purpose before it opens a store: what serves users goes first
    print(json.dumps(exercise() if what == "exercise" else observe(ask=what == "stores")))
