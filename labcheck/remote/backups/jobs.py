"""What starts backups and drills of restoring: timers, cron, and the scripts that these call."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from labcheck.remote import procfs
from labcheck.remote.backups import commands
from labcheck.remote.backups.commands import Json, matching, run, text_of
from labcheck.remote.procfs import GONE

BACKUP = re.compile(
    r"\brestic\b[^\n]*\sbackup\b|\bborg\s[^\n]*create\b|\bborgmatic\b|\b(duplicity|duply|kopia|pgbackrest|wal-g|barman"
    r"|rsnapshot|tarsnap|pg_dump|pg_dumpall|pg_basebackup|mysqldump|mariadb-dump|mongodump)\b"
)
RESTORE = re.compile(r"\brestic\b[^\n]*\s(restore|dump)\b|\bborg\s[^\n]*extract\b|\bcreatedb\b")
TOOLS = re.compile(
    r"\b(restic|borg|borgmatic|duplicity|duply|kopia|pgbackrest|wal-g|barman|rsnapshot|tarsnap|pg_dump|pg_dumpall"
    r"|pg_basebackup|mysqldump|mariadb-dump|mongodump)\b"
)
# Where timers lie. `systemctl list-unit-files` also works out what is enabled, and takes seconds for it.
UNITS = (
    "/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient", "/run/systemd/generator",
    "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
)  # fmt: skip
OWN = re.compile(r"/(usr/local|opt|etc|home|root|srv)/")  # where what is not packaged lies


def scripts(words: list[str], depth: int = 0) -> dict[str, str]:
    """The scripts of this server's own that a command line names, and those that these name in turn."""
    texts: dict[str, str] = {}
    for word in words:
        path = (
            word
            if word.startswith("/")
            else (shutil.which(word, path=commands.PATH) or "")
            if word.strip("./")
            else ""
        )
        if not OWN.match(path) or path in texts:
            continue
        text = text_of(path)
        if text.startswith("#!"):
            texts[path] = text
            if depth < 3:
                texts = {**texts, **scripts(re.findall(r"[\w./-]+", code(text)), depth + 1)}
    return texts


def code(text: str) -> str:
    """A script without its comments, and with its long lines put together."""
    return "\n".join(
        line for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")
    )


def kind(words: str, found: dict[str, str]) -> str:
    whole = "\n".join([words, *map(code, found.values())])
    if BACKUP.search(whole):
        return "backup"
    return "drill" if RESTORE.search(whole) else ""


def properties(names: list[str], keys: str) -> list[dict[str, str]]:
    """What systemd says of units, in their order."""
    if not names:
        return []
    completed = run("systemctl", "show", *(f"-p{name}" for name in keys.split()), "--", *names)
    blocks = completed.stdout.strip("\n").split("\n\n") if completed and completed.returncode == 0 else []
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


def by_timers() -> list[Json]:
    paths = (path for folder in UNITS for path in matching(f"{folder}/*.timer"))
    names = sorted({Path(path).name for path in paths if not path.endswith("@.timer")})
    timers = properties(names, "Id Unit ActiveState UnitFileState")
    timers = [timer for timer in timers if timer.get("Unit")]
    described = properties(
        [timer["Unit"] for timer in timers],
        "Id ExecStart Environment EnvironmentFiles Result ExecMainExitTimestampMonotonic",
    )
    services = {service["Id"]: service for service in described}
    jobs = []
    for timer in timers:
        service = services.get(timer["Unit"], {})
        words = " ".join(re.findall(r"argv\[\]=(.*?) ; ignore_errors", service.get("ExecStart", "")))
        texts = scripts(shlex.split(words) if words.count('"') % 2 == 0 else words.split())
        if not (job_kind := kind(words, texts)):
            continue
        ended = int(service.get("ExecMainExitTimestampMonotonic") or 0) / 1e6
        up = time.clock_gettime(time.CLOCK_MONOTONIC)
        stamp = Path(f"/var/lib/systemd/timers/stamp-{timer['Id']}")
        files = re.findall(r"(/\S+) \(ignore_errors", service.get("EnvironmentFiles", ""))
        jobs.append({
            "kind": job_kind, "by": "timer", "name": timer["Id"], "unit": timer["Unit"],
            "enabled": timer.get("UnitFileState") in ("enabled", "enabled-runtime", "static"),
            "active": timer.get("ActiveState") == "active",
            "ended": round(time.time() - up + ended) if ended else None,
            "triggered": round(stamp.stat().st_mtime) if stamp.exists() else None,
            "result": service.get("Result", "") if ended else "",
            "tools": tools(words, texts), "_words": words, "_scripts": texts,
            "_settings": settings([service.get("Environment", ""), *map(text_of, files)], texts),
        })  # fmt: skip
    return jobs


def names_of_processes() -> Iterator[str]:
    for process in procfs.processes():
        with contextlib.suppress(*GONE):
            yield process.name()


def by_cron() -> list[Json]:
    jobs = []
    places = ["/etc/crontab", *matching("/etc/cron.d/*"), *matching("/var/spool/cron/crontabs/*")]
    lines = [(place, line) for place in places for line in code(text_of(place)).splitlines()]
    lines += [(path, path) for path in matching("/etc/cron.*ly/*")]
    runs = not {"cron", "crond"}.isdisjoint(names_of_processes())
    for place, line in lines:
        texts = scripts(line.split())
        if what := kind(line, texts):
            jobs.append({
                "kind": what, "by": "cron", "name": place, "unit": "", "enabled": runs, "active": runs,
                "ended": None, "triggered": None, "result": "", "tools": tools(line, texts),
                "_words": line, "_scripts": texts, "_settings": settings([], texts),
            })  # fmt: skip
    return jobs


def tools(words: str, found: dict[str, str]) -> list[str]:
    return sorted(set(TOOLS.findall("\n".join([words, *map(code, found.values())]))))


ASSIGNED = re.compile(
    r"(?m)(?:^|[\s;\"'])(?:export\s+)?((?:RESTIC|AWS|B2|BORG|RCLONE)_\w+)=(\"[^\"\n]*\"|'[^'\n]*'|[^\s;\"']*)"
)


def settings(texts: list[str], texts_of: dict[str, str]) -> dict[str, str]:
    """What a job has in its environment: its unit's, its scripts' and of the files that these read."""
    texts = [*texts, *texts_of.values()]
    for script in texts_of.values():
        texts += [
            text_of(path) for path in re.findall(r"(?m)(?:^|[;&\s])(?:\.|source)\s+(/[\w./-]+)", code(script))
        ]
    pairs = [pair for text in texts for pair in ASSIGNED.findall(text)]
    return {name: value.strip("\"'") for name, value in pairs if "$" not in value}


def jobs() -> list[Json]:
    return [*by_timers(), *by_cron()]


def public(job: Json) -> Json:
    return {name: value for name, value in job.items() if not name.startswith("_")}
