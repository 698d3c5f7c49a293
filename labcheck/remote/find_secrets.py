"""The program that finds where the secrets of running programs lie about: it runs on the server, as root, and
what it prints are places and names, never values.

It needs git where there is a repository. It changes nothing and ends by itself, after some seconds or when it
has read enough: then it says what it did not come to. The values are in no command line and in no file of
its own, and in its answer they are hidden should a place be named after one.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import grp
import gzip
import json
import lzma
import os
import pwd
import re
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from labcheck.remote import procfs
from labcheck.remote.permissions import world_enterable
from labcheck.remote.procfs import GONE
from labcheck.remote.secrets import SHORTEST, hide, secret_parts

Json = dict[str, Any]

SECONDS = 12.0  # for the whole search
TOTAL = 256 * 1024 * 1024  # bytes that are read at most
EACH = 16 * 1024 * 1024  # bytes of one file: of a log its end, which is the newest
COPY = 1024 * 1024  # bytes of a file that lies about: a larger one is no copy of a few settings
CHUNK = 1024 * 1024
DEEPEST = 20  # folders below each other
ORIGINS = 10  # objects of a repository whose commit is looked for

# ---- what is written in a file ------------------------------------------------------------------

VARIABLE = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(?:\"(.*)\"|'(.*)'|(.*?))\s*(?:\s#.*)?")


def dotenv(text: str) -> dict[str, str]:
    """The variables of a file that a shell could read, as they are written there."""
    variables = {}
    for line in text.splitlines():
        if match := VARIABLE.fullmatch(line):
            variables[match[1]] = next((part for part in match.groups()[1:] if part is not None), "")
    return variables


# ---- readers of a file -------------------------------------------------------------------------


def account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


@functools.lru_cache(None)
def members(gid: int) -> frozenset[int]:
    """The accounts in a group, by number."""
    users = pwd.getpwall()
    try:
        names = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        names = set()
    return frozenset(it.pw_uid for it in users if it.pw_gid == gid or it.pw_name in names)


def is_person(uid: int) -> bool:
    return 1000 <= uid < 60000


def may_read(path: str, status: os.stat_result, *, strict: bool) -> list[str]:
    """The persons' and applications' accounts that may read a file, or "everybody".

    `strict` goes by the file's own mode, and not by what the folders around it keep out.
    """
    if status.st_mode & stat.S_IROTH and (strict or world_enterable(Path(path).parent)):
        return ["everybody"]
    uids = {status.st_uid} | (members(status.st_gid) if status.st_mode & stat.S_IRGRP else set())
    return sorted(account(uid) for uid in uids if is_person(uid))


def may_change(folder: Path) -> list[str]:
    """The accounts beside root that may put something else in the place of what is in a folder."""
    status = folder.stat()
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return ["everybody"]
    uids = {status.st_uid} | (members(status.st_gid) if status.st_mode & stat.S_IWGRP else set())
    return sorted(account(uid) for uid in uids if uid)


def described(path: Path) -> Json:
    """A file with secrets: which accounts may read it, and which may put another one in its place."""
    real = path.resolve()
    status = real.stat()
    writers = {str(folder): may_change(folder) for folder in real.parents}
    return {
        "path": str(path),
        "mode": stat.S_IMODE(status.st_mode),
        "owner": account(status.st_uid),
        "group": sorted(account(uid) for uid in members(status.st_gid)),
        "access_list": "system.posix_acl_access" in os.listxattr(real),
        "writers": {folder: names for folder, names in writers.items() if names},
    }


# ---- searching ---------------------------------------------------------------------------------

ROOTS = (
    "/etc", "/run/systemd", "/var/spool/cron", "/home", "/root", "/var/log", "/run/log", "/tmp", "/var/tmp",
    "/dev/shm", "/srv", "/var/www", "/var/backups", "/opt",
)  # fmt: skip
# What starts programs.
UNITS = ("/etc/systemd/", "/run/systemd/", "/etc/supervisor", "/etc/init.d/", "/etc/cron", "/var/spool/cron/")
LOG = re.compile(r"\.log(?:[.-]|$)|\.journal~?$")
HISTORY = re.compile(r"^\..*history$|^\.(?:viminfo|lesshst)$")
SKIPPED = {".venv", "venv", "node_modules", "site-packages", "__pycache__"}
PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
UNKNOWN = {".zst", ".lz4", ".zip", ".7z"}
UNREAD = (OSError, EOFError, zlib.error, lzma.LZMAError)


def kind_of(path: str) -> str:
    name = path.rpartition("/")[2]
    if "/.git/" in path:
        return "repository"
    if path.startswith(UNITS):
        return "unit"
    if HISTORY.search(name):
        return "history"
    return "log" if path.startswith(("/var/log/", "/run/log/")) or LOG.search(name) else "copy"


def why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


class Search:
    """Where the parts of secrets are, and what was not searched. Secrets have numbers."""

    def __init__(self, parts: dict[bytes, set[int]], seconds: float, total: int) -> None:
        self.parts = parts
        self.longest = max(map(len, parts), default=1)
        self.own_folders: tuple[str, ...] = ()
        self.end = time.monotonic() + seconds
        self.left = total
        self.places: dict[tuple[str, str], Json] = {}
        self.files: set[tuple[int, int]] = set()
        self.repositories: dict[str, bool] = {}  # whether it was searched
        self.objects = 0
        self.partly: list[str] = []
        self.unread: list[str] = []

    @property
    def is_over(self) -> bool:
        return self.left <= 0 or time.monotonic() > self.end

    def numbers_in(self, data: bytes) -> set[int]:
        return {number for part, numbers in self.parts.items() if part in data for number in numbers}

    def keep(self, kind: str, where: str, secrets: set[int], **more: Any) -> None:
        if secrets:
            nothing = {"kind": kind, "where": where, "secrets": [], "readers": [], "commit": "", **more}
            place = self.places.setdefault((kind, where), nothing)
            place["secrets"] = sorted(secrets.union(place["secrets"]))

    def stream(self, file: Any, most: int) -> set[int]:
        """What is in the next `most` bytes, wherever they are cut."""
        numbers: set[int] = set()
        before = b""
        while most > 0 and not self.is_over and (data := file.read(min(CHUNK, most))):
            most -= len(data)
            self.left -= len(data)
            numbers |= self.numbers_in(before + data)
            before = data[-self.longest :]
        return numbers

    def content(self, path: str, kind: str, size: int) -> set[int]:
        suffix = Path(path).suffix
        if suffix in PACKED:
            with PACKED[suffix](path) as unpacked:
                return self.stream(unpacked, EACH)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if size > EACH:
                self.partly.append(path)
                file.seek(size - EACH if kind == "log" else 0)
            return self.stream(file, EACH)

    def file(self, path: str, status: os.stat_result, kind: str = "") -> None:
        """Search a file, unless it was searched before, or is one that only root and services may read."""
        identity = (status.st_dev, status.st_ino)
        if identity in self.files or not status.st_size:
            return
        kind, readers = kind or kind_of(path), []
        if kind == "copy":
            own = path.startswith(self.own_folders)
            readers = may_read(path, status, strict=own)
            if not readers or (status.st_size > COPY and not own):
                return
        self.files.add(identity)
        if Path(path).suffix in UNKNOWN and kind == "log":
            self.unread.append(f"{path}: packed in a way that is not known here")
            return
        self.keep(kind, path, self.content(path, kind, status.st_size), readers=readers)

    def tree(self, folder: str, depth: int = 0) -> None:
        """Search the files below a folder, and remember the repositories."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except GONE:
            return
        except OSError as error:
            self.unread.append(f"{folder}: {why(error)}")
            return
        repository = {"HEAD", "objects", "refs"} <= {entry.name for entry in entries}
        if repository:
            self.repositories.setdefault(folder, False)
        if depth > DEEPEST:
            self.unread.append(f"{folder}: too deep")
            return
        for entry in entries:
            if self.is_over:
                return
            try:
                if entry.is_file(follow_symlinks=False):
                    self.file(entry.path, entry.stat(follow_symlinks=False))
                elif entry.is_dir(follow_symlinks=False) and not (
                    entry.name in SKIPPED or (repository and entry.name == "objects")
                ):
                    self.tree(entry.path, depth + 1)
            except GONE:
                continue  # it was there a moment ago
            except UNREAD as error:
                self.unread.append(f"{entry.path}: {why(error)}")

    def histories(self) -> None:
        """Search the repositories that were found since the last time."""
        for folder in [folder for folder, done in self.repositories.items() if not done]:
            try:
                self.repository(folder)
            except FileNotFoundError:
                self.unread.append(f"{folder}: git is not installed")
            except UNREAD as error:
                self.unread.append(f"{folder}: {why(error)}")
            self.repositories[folder] = True

    def repository(self, folder: str) -> None:
        """Search every object of a repository, also those that no branch leads to any more."""
        blobs: dict[str, set[int]] = {}
        every = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
        with git(folder, *every) as running:
            assert running.stdout
            while not self.is_over and len(head := running.stdout.readline().split()) == 3:
                if secrets := self.stream(running.stdout, int(head[2])):
                    blobs[head[0].decode()] = secrets
                running.stdout.read(1)
                self.objects += 1
            over = self.is_over
            if over:
                running.kill()
        if running.returncode and not over:
            self.unread.append(f"{folder}: git cannot read it")
        for asked, (name, secrets) in enumerate(sorted(blobs.items())):
            unasked = self.is_over or asked >= ORIGINS
            commit, path = ("", "in one of its objects") if unasked else origin(folder, name)
            self.keep("repository", f"{folder.removesuffix('/.git')}, {path}", secrets, commit=commit)


def git(folder: str, *arguments: str) -> subprocess.Popen[bytes]:
    """git, as the repository's owner: what its own configuration says must not be done by root."""
    owner = Path(folder).stat()
    return subprocess.Popen(
        ["git", f"--git-dir={folder}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_NO_LAZY_FETCH": "1",
        },
        user=owner.st_uid,
        group=owner.st_gid,
        extra_groups=[],
    )


def origin(folder: str, name: str) -> tuple[str, str]:
    """(commit, path) where an object came in."""
    with git(folder, "log", "--all", "--format=%h", "--name-only", "-1", f"--find-object={name}") as running:
        try:
            words = running.communicate(timeout=5)[0].decode("utf-8", "replace").split("\n")
        except subprocess.TimeoutExpired:
            running.kill()
            return "", "in one of its objects"
    return (words[0], words[2]) if len(words) > 2 else ("", "in what no branch holds any more")


# ---- the running programs ----------------------------------------------------------------------


class Program:
    """A process of this server, and the variables of its own environment: none where it is `hidden`."""

    def __init__(self, process: procfs.Process) -> None:
        self.process, self.pid = process, process.pid
        self.uid = process.uid()
        self.name = process.name()
        self.arguments = process.command_line()
        self.variables: dict[str, str] = {}
        self.folder, self.file = Path("/"), Path("/.env")
        try:
            self.contained = process.is_contained()
            self.variables = process.environment()
            self.folder = process.working_folder()
            self.file = self.folder / ".env"
            self.hidden = False
        except PermissionError:
            self.contained, self.hidden = False, True

    def writes_to(self) -> Iterator[str]:
        """The files that it adds to at their end, as to a log."""
        if self.hidden:
            return
        with contextlib.suppress(*GONE):  # it ended a moment ago
            for descriptor, path in self.process.open_files():
                with contextlib.suppress(*GONE):  # it was closed a moment ago
                    if self.process.open_flags(descriptor) & os.O_APPEND and path.is_file():
                        yield str(path)


def programs() -> list[Program]:
    """All that run in this system, those in containers left out."""
    running = []
    for process in procfs.processes():
        with contextlib.suppress(*GONE):  # it ended a moment ago, or is the kernel's own
            running.append(Program(process))
    return [program for program in running if not program.contained]


class Numbers:
    """A number for each secret value, so that equal values show, and the values do not."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.parts: dict[bytes, set[int]] = {}
        self.short: set[int] = set()

    def secrets(self, variables: dict[str, str]) -> dict[str, int]:
        """Those of these variables that hold secrets."""
        numbers = {}
        for name, value in variables.items():
            if parts := secret_parts(name, value):
                number = numbers[name] = self.of.setdefault(value, len(self.of))
                for part in parts:
                    if len(part) < SHORTEST:
                        self.short.add(number)
                    else:
                        self.parts.setdefault(part.encode("utf-8", "surrogateescape"), set()).add(number)
        return numbers

    def hide(self, text: str) -> str:
        """The text without any of the values."""
        values = {part.decode("utf-8", "surrogateescape") for part in self.parts} | set(self.of)
        written = {json.dumps(value, ensure_ascii=False)[1:-1] for value in values}
        return hide(text, (value for value in values | written if len(value) >= SHORTEST))


def observe(numbers: Numbers, seconds: float, total: int, roots: Iterable[str], only: str) -> Json:
    """What was found. `only` leaves out all programs that do not have this word in their name, for tests."""
    everything = programs()
    files: dict[Path, Json] = {}
    holders = []
    for program in everything:
        if only not in program.name:
            continue
        secrets = numbers.secrets(program.variables)
        has_file = program.file in files or program.file.is_file()
        if has_file and program.file not in files:
            variables = dotenv(program.file.read_text(encoding="utf-8", errors="surrogateescape"))
            in_file = numbers.secrets(variables)
            # What a shell makes of such a value is not known here, so it is not compared.
            odd = [name for name in in_file if re.search(r"[$`\\]", variables[name])]
            files[program.file] = {**described(program.file), "secrets": in_file, "odd": odd}
        if secrets or has_file:
            holders.append((program, secrets))
    search = Search(numbers.parts, seconds, total)
    for program in everything:
        search.keep("command line", program.name, search.numbers_in(program.arguments))
    for path in files:
        status = path.stat()
        search.files.add((status.st_dev, status.st_ino))  # where they come from is searched by itself
    folders = {str(holder.folder) for holder, _ in holders if len(holder.folder.parts) > 2}
    folders |= {pwd.getpwuid(holder.uid).pw_dir for holder, _ in holders if is_person(holder.uid)}
    search.own_folders = tuple(f"{folder}/" for folder in folders)
    for written_to in sorted({path for it in everything if only in it.name for path in it.writes_to()}):
        with contextlib.suppress(*GONE):  # rotated a moment ago
            search.file(written_to, Path(written_to).stat(), "log")
    unfinished = []
    for folder in (*sorted(folders), *roots) if numbers.parts else ():
        search.tree(folder)
        search.histories()
        unfinished += [folder] if search.is_over else []
    return {
        "holders": [
            {"pid": holder.pid, "account": account(holder.uid), "program": holder.name, "secrets": secrets,
             "file": str(holder.file) if holder.file in files else ""}
            for holder, secrets in holders
        ],
        "hidden": [program.pid for program in everything if program.hidden],
        "files": list(files.values()),
        "places": [place for _, place in sorted(search.places.items())],
        "short": sorted(numbers.short),
        "unread": search.unread,
        "unfinished": unfinished,
        "partly": search.partly,
        "searched": {"files": len(search.files), "objects": search.objects},
    }  # fmt: skip


def main(seconds: float = SECONDS, total: int = TOTAL, roots: Iterable[str] = ROOTS, only: str = "") -> None:
    os.nice(10)
    numbers = Numbers()
    try:
        answer = json.dumps(observe(numbers, seconds, total, roots, only), ensure_ascii=False)
    except Exception as error:  # noqa: BLE001  its own words might hold a value
        at = error.__traceback__
        while at and at.tb_next:
            at = at.tb_next
        sys.exit(
            f"{type(error).__name__} in {at and at.tb_frame.f_code.co_filename}, line {at and at.tb_lineno}"
        )
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    print(numbers.hide(answer))
