"""Bringing a backup back into a scratch database, and comparing it with what is here."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from labcheck.remote.backups.commands import Json, run
from labcheck.remote.backups.jobs import jobs, properties
from labcheck.remote.backups.restic import NAMED, Problem, Store, files, snapshots
from labcheck.remote.output import last_line

AS_POSTGRES = ("runuser", "-u", "postgres", "--", "env", "-C", "/")


def psql(database: str, command: str) -> list[str]:
    completed = run(
        *AS_POSTGRES, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", command, "--", database, seconds=120,
    )  # fmt: skip
    if completed is None or completed.returncode != 0:
        raise Problem(last_line(completed.stderr) if completed else "psql took too long")
    return completed.stdout.splitlines()


def tables(database: str) -> dict[str, set[str]]:
    """Each table's rows, as sums: what is the same has the same."""
    named = """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
    rows_of: dict[str, set[str]] = {}
    for name in psql(database, named):
        # Rows that are the same twice count twice.
        rows = f"SELECT md5(t::text) || row_number() OVER (PARTITION BY md5(t::text)) FROM {name} t"
        rows_of[name] = {
            hashlib.blake2b(row.encode(), digest_size=8).hexdigest() for row in psql(database, rows)
        }
    return rows_of


def exercise() -> Json:
    """Let the server's own job make a backup now; bring it back into a scratch database; compare."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the connection may be gone: it is put back all the same
    makers = [job for job in jobs() if job["kind"] == "backup" and job["unit"] and "restic" in job["tools"]]
    if not makers:
        return {
            "refused": "there is no systemd unit with restic to start, and how to make a backup is not known"
        }
    job = makers[0]
    store = Store(job)
    folder = tempfile.mkdtemp(prefix="labcheck-", dir="/var/tmp")  # mode 0700
    scratch = f"labcheck_{os.urandom(4).hex()}"
    try:
        earlier = {copy["id"] for copy in snapshots(store)}
        databases = psql(
            "postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn"
        )
        before = {name: tables(name) for name in databases if name != "postgres"}
        completed = run("systemctl", "start", job["unit"], seconds=300)
        state = properties([job["unit"]], "Result ExecMainStatus")[0]
        new = [copy for copy in snapshots(store) if copy["id"] not in earlier]
        answer: Json = {
            "refused": "",
            "unit": job["unit"],
            "result": state.get("Result", ""),
            "new": bool(new),
        }
        answer |= {"ended_well": bool(completed and completed.returncode == 0), "tables": [], "dumps": 0}
        if not new:
            return answer
        held = [file["path"] for file in files(store, new[-1]["id"]) if NAMED.search(file["path"])]
        wanted = [part for path in held for part in ("--include", path)]
        if held:
            store.ask("restore", "--no-lock", new[-1]["id"], "--target", folder, *wanted, seconds=240)
        for path in held:
            back = brought_back(f"{folder}{path}", scratch)
            if back is None:
                continue
            answer["dumps"] += 1
            name, copied = back
            answer["tables"] += compared(
                name, copied, before.get(name, {}), tables(name) if name in before else {}
            )
        return answer
    except Problem as problem:
        return {"refused": str(problem)}
    finally:
        run(*AS_POSTGRES, "dropdb", "--if-exists", scratch)
        shutil.rmtree(folder, ignore_errors=True)


def brought_back(path: str, scratch: str) -> tuple[str, dict[str, set[str]]] | None:
    """A dump of PostgreSQL in a scratch database: of which one it is, and its rows. None for other files."""
    with Path(path).open("rb") as file:
        if file.read(5) != b"PGDMP":
            return None
    contents = run("pg_restore", "--list", path)
    named = re.search(r"(?m)^;\s+dbname: (.+)$", contents.stdout) if contents else None
    if named is None:
        raise Problem(f"{path.rpartition('/')[2]} came back, and pg_restore cannot read it")
    run(*AS_POSTGRES, "dropdb", "--if-exists", scratch)
    made = run(*AS_POSTGRES, "createdb", scratch)
    if made is None or made.returncode != 0:
        raise Problem("a scratch database could not be made")
    with Path(path).open("rb") as dump:
        completed = subprocess.run(
            [*AS_POSTGRES, "pg_restore", "--exit-on-error", "--no-owner", "--no-acl", "--dbname", scratch],
            stdin=dump, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    if completed.returncode != 0:
        raise Problem(f"pg_restore: {last_line(completed.stderr)[:200]}")
    return named[1].strip(), tables(scratch)


def compared(
    database: str, copy: dict[str, set[str]], before: dict[str, set[str]], after: dict[str, set[str]]
) -> list[Json]:
    """Of each table: rows that were here all the time and are not in the copy, and those that never were."""
    return [
        {
            "name": f"{database}: {name.removeprefix('public.')}",
            "rows": len(copy.get(name, ())),
            "missing": len((before[name] & after.get(name, set())) - copy.get(name, set())),
            "strange": len(copy.get(name, set()) - before[name] - after.get(name, set())),
        }
        for name in before
    ]
