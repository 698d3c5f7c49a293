"""The program that looks for backups, and that brings one back: it runs on the server, as root.

It needs Python 3.9, nothing of labcheck, and of other programs what the server's own backups use. A look
changes nothing: it reads what starts backups, asks the store as they do, without taking a lock, and asks it
to delete something that does not exist, to hear whether it would. Passwords and keys are in no answer.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from labcheck.remote import procfs, timestamps
from labcheck.remote.procfs import GONE
from labcheck.remote.secrets import hide, secret_parts

Json = dict[str, Any]

ASK = 40  # seconds for one question to a store, on a slow server that is busy with something better
LINES = 50000  # of a snapshot's list of files
ENTRIES = 20000  # files that are looked at for open dumps
NOBODY = "0" * 64  # the name of a snapshot that there cannot be

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
SERVERS = {"postgres": "PostgreSQL", "mysqld": "MySQL", "mariadbd": "MariaDB", "mongod": "MongoDB"}
OWN = re.compile(r"/(usr/local|opt|etc|home|root|srv)/")  # where what is not packaged lies
USED = re.compile(r"(?:postgres(?:ql)?|mysql|mariadb|mongodb)(?:\+\w+)?://(?:[^@/\s\0]*@)?\[?([^\]/:\s\0]+)")
DATABASE_FILE = re.compile(r"/(home|srv|opt|data|var/www)/.*\.(db|sqlite3?)$")
LOOPBACK = re.compile(r"localhost$|127\.|::1$")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DUMP = re.compile(rb"PGDMP|-- *\r?\n-- PostgreSQL database|-- MySQL dump|-- MariaDB dump|/\*M?!999999")
NAMED = re.compile(r"\.(dump|pgdump|sql|bak|backup)(\.(gz|xz|zst|bz2))?$")


def run(*command: str, seconds: float = ASK, **more: Any) -> subprocess.CompletedProcess[str] | None:
    """What a command printed, or None if it is not there or takes too long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, **more,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def text_of(path: str) -> str:
    """A small text file, or nothing."""
    try:
        file = Path(path)
        if file.is_file() and file.stat().st_size < 256 * 1024:
            return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        pass
    return ""


def matching(pattern: str) -> list[str]:
    return glob.glob(pattern)  # noqa: PTH207


# ---- what makes backups ------------------------------------------------------------------------


def scripts(words: list[str], depth: int = 0) -> dict[str, str]:
    """The scripts of this server's own that a command line names, and those that these name in turn."""
    found: dict[str, str] = {}
    for word in words:
        path = (
            word
            if word.startswith("/")
            else (shutil.which(word, path=PATH) or "")
            if word.strip("./")
            else ""
        )
        if not OWN.match(path) or path in found:
            continue
        text = text_of(path)
        if text.startswith("#!"):
            found[path] = text
            if depth < 3:
                found = {**found, **scripts(re.findall(r"[\w./-]+", code(text)), depth + 1)}
    return found


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


def properties(names: list[str], wanted: str) -> list[dict[str, str]]:
    """What systemd says of units, in their order."""
    if not names:
        return []
    asked = run("systemctl", "show", *(f"-p{name}" for name in wanted.split()), "--", *names)
    blocks = asked.stdout.strip("\n").split("\n\n") if asked and asked.returncode == 0 else []
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


def by_timers() -> list[Json]:
    paths = (path for folder in UNITS for path in matching(f"{folder}/*.timer"))
    names = sorted({Path(path).name for path in paths if not path.endswith("@.timer")})
    timers = properties(names, "Id Unit ActiveState UnitFileState")
    timers = [timer for timer in timers if timer.get("Unit")]
    said = properties(
        [timer["Unit"] for timer in timers],
        "Id ExecStart Environment EnvironmentFiles Result ExecMainExitTimestampMonotonic",
    )
    services = {service["Id"]: service for service in said}
    jobs = []
    for timer in timers:
        service = services.get(timer["Unit"], {})
        words = " ".join(re.findall(r"argv\[\]=(.*?) ; ignore_errors", service.get("ExecStart", "")))
        found = scripts(shlex.split(words) if words.count('"') % 2 == 0 else words.split())
        if not (what := kind(words, found)):
            continue
        ended = int(service.get("ExecMainExitTimestampMonotonic") or 0) / 1e6
        up = time.clock_gettime(time.CLOCK_MONOTONIC)
        stamp = Path(f"/var/lib/systemd/timers/stamp-{timer['Id']}")
        files = re.findall(r"(/\S+) \(ignore_errors", service.get("EnvironmentFiles", ""))
        jobs.append({
            "kind": what, "by": "timer", "name": timer["Id"], "unit": timer["Unit"],
            "enabled": timer.get("UnitFileState") in ("enabled", "enabled-runtime", "static"),
            "active": timer.get("ActiveState") == "active",
            "ended": round(time.time() - up + ended) if ended else None,
            "triggered": round(stamp.stat().st_mtime) if stamp.exists() else None,
            "result": service.get("Result", "") if ended else "",
            "tools": tools(words, found), "_words": words, "_scripts": found,
            "_settings": settings([service.get("Environment", ""), *map(text_of, files)], found),
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
        found = scripts(line.split())
        if what := kind(line, found):
            jobs.append({
                "kind": what, "by": "cron", "name": place, "unit": "", "enabled": runs, "active": runs,
                "ended": None, "triggered": None, "result": "", "tools": tools(line, found),
                "_words": line, "_scripts": found, "_settings": settings([], found),
            })  # fmt: skip
    return jobs


def tools(words: str, found: dict[str, str]) -> list[str]:
    return sorted(set(TOOLS.findall("\n".join([words, *map(code, found.values())]))))


ASSIGNED = re.compile(
    r"(?m)(?:^|[\s;\"'])(?:export\s+)?((?:RESTIC|AWS|B2|BORG|RCLONE)_\w+)=(\"[^\"\n]*\"|'[^'\n]*'|[^\s;\"']*)"
)


def settings(texts: list[str], found: dict[str, str]) -> dict[str, str]:
    """What a job is told by its environment: its unit's, its scripts' and of the files that these read."""
    texts = [*texts, *found.values()]
    for script in found.values():
        texts += [
            text_of(path) for path in re.findall(r"(?m)(?:^|[;&\s])(?:\.|source)\s+(/[\w./-]+)", code(script))
        ]
    pairs = [pair for text in texts for pair in ASSIGNED.findall(text)]
    return {name: value.strip("\"'") for name, value in pairs if "$" not in value}


# ---- where they go -----------------------------------------------------------------------------


class Store:
    """A restic repository, as the server's own job speaks to it."""

    def __init__(self, job: Json) -> None:
        self.job = job
        self.told: dict[str, str] = job["_settings"]
        whole = "\n".join([job["_words"], *map(code, job["_scripts"].values())])
        options = re.findall(r"(?:-o|--option)[ =](?:([\w.]+)=)('[^']*'|\"[^\"]*\"|\S+)", whole)
        self.options = {name: value.strip("\"'") for name, value in options}
        named = re.search(r"(?:\s-r|--repo)[ =]('[^']*'|\"[^\"]*\"|[^\s$]+)", whole)
        self.where = named[1].strip("\"'") if named else self.told.get("RESTIC_REPOSITORY", "")
        if not self.where and "RESTIC_REPOSITORY_FILE" in self.told:
            self.where = text_of(self.told["RESTIC_REPOSITORY_FILE"]).strip()
        file = re.search(r"(?:\s-p|--password-file)[ =](/[^\s'\"]+)", whole)
        self.password = file[1] if file else self.told.get("RESTIC_PASSWORD_FILE", "")
        self.command = self._command()

    def _command(self) -> list[str]:
        for path, text in self.job["_scripts"].items():
            lines = [line for line in code(text).splitlines() if "restic" in line]
            if len(lines) <= 2 and re.search(
                r"\brestic\b.*\"\$@\"\s*$", code(text).rstrip().rpartition("\n")[2]
            ):
                return [path]  # a command that only knows where and with what
        options = [part for name, value in self.options.items() for part in ("-o", f"{name}={value}")]
        repository = ["-r", self.where] if self.where else []
        return ["restic", *options, *repository, *(["-p", self.password] if self.password else [])]

    def environment(self) -> dict[str, str]:
        known = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        return {**known, "PATH": PATH, "HOME": "/root", **self.told}

    def ask(self, *words: str, seconds: float = ASK) -> subprocess.CompletedProcess[str]:
        done = run(*self.command, *words, seconds=seconds, env=self.environment())
        if done is None:
            raise Problem(f"restic gave no answer within {seconds:.0f} s, or is not installed")
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "NOTICE" not in line and line.strip()]
            raise Problem(self.masked((said or ["it said nothing"])[-1][:200]))
        return done

    def masked(self, text: str) -> str:
        """The text without passwords, and without the accounts before them in an address."""
        text = re.sub(r"://[^/@\s]+@", "://••••@", text)
        return hide(text, (value for name, value in self.told.items() if secret_parts(name, value)))

    def ssh(self) -> list[str]:
        """How the job reaches the store over SSH; empty if it does not."""
        option = {"rclone": "rclone.program", "sftp": "sftp.command"}.get(self.where.partition(":")[0], "")
        program = self.options.get(option, "")
        words = shlex.split(program)
        if words and words[0].rpartition("/")[2] == "ssh":
            return words
        if found := re.match(r"sftp:(?://)?(?:([^@/:]+)@)?([^:/]+)(?::(\d+))?", self.where):
            user = ["-l", found[1]] if found[1] else []
            return ["ssh", *(["-p", found[3]] if found[3] else []), *user, found[2]]
        return []

    def host(self) -> str:
        """The machine that it is on: "" for this one, "?" where that is not understood."""
        if words := self.ssh():
            asked = run(words[0], "-G", *words[1:], env=self.environment())
            names = (
                dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line) if asked else {}
            )
            return names.get("hostname", "?")
        if found := re.match(
            r"(?:rest|s3):(?:https?://)?(?:[^/@]*@)?\[?([^/\]]+?)\]?(?::\d+)?(?:/|$)", self.where
        ):
            return found[1]
        if re.match(r"(b2|azure|gs|swift):", self.where):
            return self.where.partition(":")[0]
        if self.where.startswith("rclone:"):
            return "?"
        return "" if self.where else "?"


class Problem(Exception):
    """The store does not say it, and this is why."""


def own_addresses() -> set[str]:
    listed = run("ip", "-o", "address")
    return set(re.findall(r"inet6? ([\d.a-f:]+)", listed.stdout)) if listed else set()


def addresses(host: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def place(store: Store) -> Json:
    """Whether the copies are on another machine: elsewhere, here, or unknown."""
    host = store.host()
    if host == "?":
        return {"place": "unknown", "host": ""}
    if not host:
        path = store.where.partition("local:")[2] or store.where
        mounted = run("findmnt", "-no", "FSTYPE", "-T", path)
        network = bool(mounted and re.match(r"nfs|cifs|smb|fuse\.sshfs|ceph|glusterfs", mounted.stdout))
        return {"place": "elsewhere" if network else "here", "host": path}
    found = addresses(host)
    if host in ("b2", "azure", "gs", "swift"):
        return {"place": "elsewhere", "host": host}
    if not found:
        return {"place": "unknown", "host": host}
    return {"place": "here" if found & own_addresses() else "elsewhere", "host": host}


def refuses(store: Store) -> Json:
    """What the store says to a shell, and to deleting a snapshot that does not exist."""
    words = store.ssh()
    if not words:
        return {"shell": None, "delete": "unknown"}
    asked = run(*words, "echo labcheck-has-a-shell", seconds=15, env=store.environment())
    shell = None if asked is None else "labcheck-has-a-shell" in asked.stdout
    if store.where.startswith("sftp:"):
        return {"shell": shell, "delete": "allowed"}
    status = deleting(words, store)
    return {
        "shell": shell,
        "delete": {"403": "refused", "404": "allowed", "200": "allowed"}.get(status, "unknown"),
    }


def deleting(words: list[str], store: Store) -> str:
    """The HTTP status of deleting what is not there, over rclone's HTTP/2 on standard input and output."""
    folder = tempfile.mkdtemp(prefix="labcheck-")
    path = f"{folder}/socket"
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(1)
            listening.settimeout(10)
            curl = subprocess.Popen(
                ["curl", "-s", "--max-time", "15", "--http2-prior-knowledge", "--unix-socket", path,
                 "-X", "DELETE", "-o", os.devnull, "-w", "%{http_code}", f"http://localhost/snapshots/{NOBODY}"],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            other, _ = listening.accept()
            remote = store.where.partition(":")[2]
            arguments = store.options.get("rclone.args", "serve restic --stdio").split()
            ssh = subprocess.Popen(
                [*words, *arguments, remote], stdin=other.fileno(), stdout=other.fileno(),
                stderr=subprocess.DEVNULL, env=store.environment(),
            )  # fmt: skip
            other.close()
        status = curl.communicate(timeout=20)[0]
        ssh.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            ssh.wait(3)
        ssh.kill()
        ssh.wait()
        return status
    except (OSError, subprocess.TimeoutExpired):
        return ""
    finally:
        shutil.rmtree(folder)


def snapshots(store: Store) -> list[Json]:
    """Of all copies: id, time, and by whom; the newest last."""
    listed = json.loads(store.ask("snapshots", "--json", "--no-lock", "--no-cache").stdout or "[]") or []
    found = [
        {"id": it["id"], "time": timestamps.seconds(it["time"]), "host": it.get("hostname", "")}
        for it in listed
    ]
    return sorted(found, key=lambda it: it["time"])


def files(store: Store, snapshot: str) -> list[Json]:
    """The files of a copy, with their sizes."""
    listed = store.ask("ls", "--json", "--no-lock", "--no-cache", snapshot, seconds=60).stdout.splitlines()[
        :LINES
    ]
    nodes = [json.loads(line) for line in listed if line.startswith("{")]
    return [
        {"path": it["path"], "size": it.get("size", 0)}
        for it in nodes
        if it.get("type") == "file" and it.get("path")
    ]


def described(job: Json, ask: bool) -> Json | None:
    """Where a job's store is, and with `ask` what it says: that logs in there. None for an unknown kind."""
    if "restic" not in job["tools"]:
        return None
    store = Store(job)
    told: Json = {
        "job": job["name"],
        "where": store.masked(store.where),
        **place(store),
        "problem": "",
        "newest": None,
    }
    told |= {"count": 0, "size": None, "dumps": [], "passwords": None}
    told |= {"shell": None, "delete": "unknown", "asked": ask}
    told["open"] = sorted({path for path in secret_files(store) if everybody_reads(path)})
    if not ask:
        return told
    # Each question opens the store anew, which a password makes slow on purpose: so they go side by side.
    with ThreadPoolExecutor() as beside:
        refused = beside.submit(refuses, store)
        listed = beside.submit(store.ask, "key", "list", "--json", "--no-lock", "--no-cache")
        try:
            kept = snapshots(store)
            told["count"] = len(kept)
            if kept:
                newest = kept[-1]
                told["newest"] = newest["time"]
                held = files(store, newest["id"])
                told["size"] = sum(it["size"] for it in held)
                told["dumps"] = [it for it in held if NAMED.search(it["path"])][:20]
            keys = json.loads(listed.result().stdout)
            told["passwords"] = [{"host": it["hostName"], "ours": it["current"]} for it in keys]
        except (Problem, ValueError, KeyError) as problem:
            told["problem"] = (
                str(problem) if isinstance(problem, Problem) else "restic's answer is not understood"
            )
        told |= refused.result()
    return told


def secret_files(store: Store) -> list[str]:
    """The files that open the store: its password's, and the keys of the SSH connection."""
    found = [store.password, store.told.get("RESTIC_PASSWORD_FILE", "")]
    if words := store.ssh():
        asked = run(words[0], "-G", *words[1:], env=store.environment())
        found += re.findall(r"(?m)^identityfile (.+)$", asked.stdout) if asked else []
    if "RESTIC_PASSWORD" in store.told:
        found += list(store.job["_scripts"])
    paths = [Path(path).expanduser() for path in found if path]
    return [str(path) for path in paths if path.exists()]


# ---- what lies about ---------------------------------------------------------------------------


def everybody_reads(path: str) -> bool:
    return bool(Path(path).stat().st_mode & stat.S_IROTH) and everybody_enters(
        str(Path(path).resolve().parent)
    )


def everybody_enters(place: str) -> bool:
    """Whether no folder on the way keeps other accounts out."""
    folder = Path(place).resolve()
    return folder.is_dir() and all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


PLACES = (
    "/var/backups", "/var/tmp", "/tmp", "/srv", "/opt", "/home", "/backup", "/backups", "/mnt", "/data",
    "/var/lib",
)  # fmt: skip


def open_dumps() -> list[str]:
    """Dumps of databases that every account of this server may read."""
    found: list[str] = []
    seen = 0
    for place in filter(everybody_enters, PLACES):
        for folder, inside, names in os.walk(place):
            deepest = len(Path(folder).relative_to(place).parts) >= 3
            inside[:] = [] if deepest else [name for name in inside if mode(folder, name) & stat.S_IXOTH]
            for name in names:
                seen += 1
                if seen > ENTRIES:
                    return found
                path = Path(folder, name)
                readable = mode(folder, name)
                with contextlib.suppress(OSError, EOFError):
                    if stat.S_ISREG(readable) and readable & stat.S_IROTH and is_dump(path):
                        found.append(str(path))
    return found


def mode(folder: str, name: str) -> int:
    """Of a file itself, not of where it points; 0 where it has gone."""
    try:
        return Path(folder, name).lstat().st_mode
    except OSError:
        return 0


def is_dump(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as file:
            head = file.read(64)
    return bool(DUMP.match(head))


def state() -> Json:
    """What remembers: database servers and SQLite files here, and database servers elsewhere."""
    here: set[str] = set()
    elsewhere: set[str] = set()
    for process in procfs.processes():
        with contextlib.suppress(OSError):
            name = process.name()
            if name in SERVERS:
                here.add(SERVERS[name])
            elif name == "chroma" or b"chromadb" in process.command_line():
                here.add("Chroma")
            here.update(str(path) for _, path in process.open_files() if DATABASE_FILE.match(str(path)))
            elsewhere.update(host for value in process.environment().values() for host in USED.findall(value))
    own = own_addresses()
    away = [host for host in elsewhere if not LOOPBACK.match(host) and not addresses(host) & own]
    return {"here": sorted(here), "elsewhere": sorted(away)}


# ---- the look ----------------------------------------------------------------------------------


def jobs() -> list[Json]:
    return [*by_timers(), *by_cron()]


def public(job: Json) -> Json:
    return {name: value for name, value in job.items() if not name.startswith("_")}


def look(ask: bool = False) -> Json:
    """What is known here; with `ask`, of the stores as well."""
    found = jobs()
    makers = [job for job in found if job["kind"] == "backup"]
    return {
        "now": time.time(),
        "host": socket.gethostname(),
        "state": state(),
        "jobs": [public(job) for job in found],
        "stores": [it for job in makers if (it := described(job, ask))],
        "dumps": open_dumps(),
    }


# ---- bringing one back -------------------------------------------------------------------------


AS_POSTGRES = ("runuser", "-u", "postgres", "--", "env", "-C", "/")


def psql(database: str, command: str) -> list[str]:
    done = run(
        *AS_POSTGRES, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", command, "--", database, seconds=120,
    )  # fmt: skip
    if done is None or done.returncode != 0:
        raise Problem(
            (done.stderr.strip().splitlines() or ["it said nothing"])[-1] if done else "psql took too long"
        )
    return done.stdout.splitlines()


def tables(database: str) -> dict[str, set[str]]:
    """Each table's rows, as sums: what is the same has the same."""
    named = """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
    found: dict[str, set[str]] = {}
    for name in psql(database, named):
        # Rows that are the same twice count twice.
        rows = f"SELECT md5(t::text) || row_number() OVER (PARTITION BY md5(t::text)) FROM {name} t"
        found[name] = {
            hashlib.blake2b(row.encode(), digest_size=8).hexdigest() for row in psql(database, rows)
        }
    return found


def exercise() -> Json:
    """Let the server's own job make a backup now; bring it back into a scratch database; compare."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever asked may be gone: it is put back all the same
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
        earlier = {it["id"] for it in snapshots(store)}
        databases = psql(
            "postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn"
        )
        before = {name: tables(name) for name in databases if name != "postgres"}
        done = run("systemctl", "start", job["unit"], seconds=300)
        state = properties([job["unit"]], "Result ExecMainStatus")[0]
        new = [it for it in snapshots(store) if it["id"] not in earlier]
        answer: Json = {
            "refused": "",
            "unit": job["unit"],
            "result": state.get("Result", ""),
            "new": bool(new),
        }
        answer |= {"ended_well": bool(done and done.returncode == 0), "tables": [], "dumps": 0}
        if not new:
            return answer
        held = [it["path"] for it in files(store, new[-1]["id"]) if NAMED.search(it["path"])]
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
        done = subprocess.run(
            [*AS_POSTGRES, "pg_restore", "--exit-on-error", "--no-owner", "--no-acl", "--dbname", scratch],
            stdin=dump, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise Problem(f"pg_restore: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1][:200]}")
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


def main(what: str) -> None:
    os.nice(10)  # restic works hard on purpose before it opens a store: what serves users goes first
    print(json.dumps(exercise() if what == "exercise" else look(ask=what == "stores")))
