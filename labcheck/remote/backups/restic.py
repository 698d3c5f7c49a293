"""A restic repository: where it is, what is in it, and what it would let this server do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labcheck.remote import timestamps
from labcheck.remote.backups import commands
from labcheck.remote.backups.commands import ASK, Json, addresses, own_addresses, run, text_of
from labcheck.remote.backups.jobs import code
from labcheck.remote.output import last_line
from labcheck.remote.permissions import world_readable
from labcheck.remote.secrets import hide, secret_parts

LINES = 50000  # of a snapshot's list of files
NO_SUCH_COPY = "0" * 64  # the name of a snapshot that there cannot be
NAMED = re.compile(r"\.(dump|pgdump|sql|bak|backup)(\.(gz|xz|zst|bz2))?$")


class Store:
    """A restic repository, as the server's own job speaks to it."""

    def __init__(self, job: Json) -> None:
        self.job = job
        self.settings: dict[str, str] = job["_settings"]
        whole = "\n".join([job["_words"], *map(code, job["_scripts"].values())])
        options = re.findall(r"(?:-o|--option)[ =](?:([\w.]+)=)('[^']*'|\"[^\"]*\"|\S+)", whole)
        self.options = {name: value.strip("\"'") for name, value in options}
        named = re.search(r"(?:\s-r|--repo)[ =]('[^']*'|\"[^\"]*\"|[^\s$]+)", whole)
        self.where = named[1].strip("\"'") if named else self.settings.get("RESTIC_REPOSITORY", "")
        if not self.where and "RESTIC_REPOSITORY_FILE" in self.settings:
            self.where = text_of(self.settings["RESTIC_REPOSITORY_FILE"]).strip()
        file = re.search(r"(?:\s-p|--password-file)[ =](/[^\s'\"]+)", whole)
        self.password = file[1] if file else self.settings.get("RESTIC_PASSWORD_FILE", "")
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
        return {**known, "PATH": commands.PATH, "HOME": "/root", **self.settings}

    def ask(self, *words: str, seconds: float = ASK) -> subprocess.CompletedProcess[str]:
        completed = run(*self.command, *words, seconds=seconds, env=self.environment())
        if completed is None:
            raise Problem(f"restic gave no answer within {seconds:.0f} s, or is not installed")
        if completed.returncode != 0:
            lines = [line for line in completed.stderr.splitlines() if "NOTICE" not in line]
            raise Problem(self.masked(last_line("\n".join(lines))[:200]))
        return completed

    def masked(self, text: str) -> str:
        """The text without passwords, and without the accounts before them in an address."""
        text = re.sub(r"://[^/@\s]+@", "://••••@", text)
        return hide(text, (value for name, value in self.settings.items() if secret_parts(name, value)))

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
        if match := re.match(
            r"(?:rest|s3):(?:https?://)?(?:[^/@]*@)?\[?([^/\]]+?)\]?(?::\d+)?(?:/|$)", self.where
        ):
            return match[1]
        if re.match(r"(b2|azure|gs|swift):", self.where):
            return self.where.partition(":")[0]
        if self.where.startswith("rclone:"):
            return "?"
        return "" if self.where else "?"


class Problem(Exception):
    """The store does not say it, and this is why."""


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
    resolved = addresses(host)
    if host in ("b2", "azure", "gs", "swift"):
        return {"place": "elsewhere", "host": host}
    if not resolved:
        return {"place": "unknown", "host": host}
    return {"place": "here" if resolved & own_addresses() else "elsewhere", "host": host}


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
                 "-X", "DELETE", "-o", os.devnull, "-w", "%{http_code}", f"http://localhost/snapshots/{NO_SUCH_COPY}"],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            client, _ = listening.accept()
            remote = store.where.partition(":")[2]
            arguments = store.options.get("rclone.args", "serve restic --stdio").split()
            ssh = subprocess.Popen(
                [*words, *arguments, remote], stdin=client.fileno(), stdout=client.fileno(),
                stderr=subprocess.DEVNULL, env=store.environment(),
            )  # fmt: skip
            client.close()
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
    """Of all copies: id, time, and by which account; the newest last."""
    listed = json.loads(store.ask("snapshots", "--json", "--no-lock", "--no-cache").stdout or "[]") or []
    copies = [
        {"id": copy["id"], "time": timestamps.seconds(copy["time"]), "host": copy.get("hostname", "")}
        for copy in listed
    ]
    return sorted(copies, key=lambda copy: copy["time"])


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
    answer: Json = {
        "job": job["name"],
        "where": store.masked(store.where),
        **place(store),
        "problem": "",
        "newest": None,
    }
    answer |= {"count": 0, "size": None, "dumps": [], "passwords": None}
    answer |= {"shell": None, "delete": "unknown", "asked": ask}
    answer["open"] = sorted({path for path in secret_files(store) if world_readable(Path(path))})
    if not ask:
        return answer
    # Each question opens the store anew, which a password makes slow on purpose: so they go side by side.
    with ThreadPoolExecutor() as beside:
        refused = beside.submit(refuses, store)
        listed = beside.submit(store.ask, "key", "list", "--json", "--no-lock", "--no-cache")
        try:
            copies = snapshots(store)
            answer["count"] = len(copies)
            if copies:
                newest = copies[-1]
                answer["newest"] = newest["time"]
                held = files(store, newest["id"])
                answer["size"] = sum(each["size"] for each in held)
                answer["dumps"] = [each for each in held if NAMED.search(each["path"])][:20]
            keys = json.loads(listed.result().stdout)
            answer["passwords"] = [{"host": each["hostName"], "ours": each["current"]} for each in keys]
        except (Problem, ValueError, KeyError) as problem:
            answer["problem"] = (
                str(problem) if isinstance(problem, Problem) else "restic's answer is not understood"
            )
        answer |= refused.result()
    return answer


def secret_files(store: Store) -> list[str]:
    """The files that open the store: its password's, and the keys of the SSH connection."""
    named = [store.password, store.settings.get("RESTIC_PASSWORD_FILE", "")]
    if words := store.ssh():
        asked = run(words[0], "-G", *words[1:], env=store.environment())
        named += re.findall(r"(?m)^identityfile (.+)$", asked.stdout) if asked else []
    if "RESTIC_PASSWORD" in store.settings:
        named += list(store.job["_scripts"])
    paths = [Path(path).expanduser() for path in named if path]
    return [str(path) for path in paths if path.exists()]
