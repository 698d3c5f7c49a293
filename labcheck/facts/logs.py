"""Facts about log files: which process writes to which, what they hold, and which accounts may read them."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result

TAIL = 128 * 1024
"""Bytes that are read from the end of each log: some four hundred lines."""


@dataclass(frozen=True)
class Held:
    """A log file that a process holds open for writing, or where its standard output or error goes.

    `path` is what the kernel calls it now: "/var/log/app.log.1" after a rotation, "pipe:[7]" where it is no
    file, "" where it does not tell. Of a log, `written_last` says whether the last that happened to it was a
    write, at `written_at` (s since 1970), and not that it was renamed or removed.
    """

    pid: int
    fd: int
    path: str
    deleted: bool = False
    written_last: bool = False
    written_at: float = 0.0

    @property
    def log(self) -> str:
        """The name under which people look for what it holds: without a rotation's suffix. "" for no log."""
        return own_name(self.path) if _is_log(self.path) else ""

    @property
    def rotated(self) -> bool:
        return bool(self.log) and (self.deleted or self.path != self.log)


@dataclass(frozen=True)
class File:
    """A file or a folder; `born` is in seconds since 1970, None where the file system does not say it."""

    mode: int
    uid: int
    gid: int
    size: int
    born: int | None

    @property
    def folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class LogFiles:
    """`now` is the server's clock, read first. `files` has the logs that are held, by their own names
    (`Held.log`), what lies beside them under longer names, and the folders above. `lines` has the whole lines
    at the end of each log that begins as JSON does; the others are in `texts`.
    """

    now: float
    held: tuple[Held, ...]
    files: dict[str, File]
    lines: dict[str, tuple[str, ...]]
    texts: frozenset[str]

    def beside(self, log: str) -> tuple[str, ...]:
        """The predecessors of a log: files whose names begin with its own."""
        return tuple(sorted(name for name in self.files if name.startswith((f"{log}.", f"{log}-"))))

    def open_to_everyone(self, log: str) -> bool:
        """Whether an account without any right of its own can read it: every folder above lets it in."""
        above = [name for name, file in self.files.items() if file.folder and log.startswith(f"{name}/")]
        enterable = all(self.files[name].mode & stat.S_IXOTH for name in above)
        return enterable and bool(self.files[log].mode & stat.S_IROTH)


def own_name(path: str) -> str:
    return path.rpartition(".log")[0] + ".log"


def _is_log(path: str) -> bool:
    return path.startswith("/") and re.search(r"\.log([-.][^/]*)?$", path) is not None


_STAT = re.compile(r"([0-9a-f]+) (\d+) (\d+) (\d+) (\d+|-) (\d+\.\d+) (\d+\.\d+) (/.*)")
_LINK = re.compile(r"/proc/(\d+)/fd/(\d+) (.*)")
_GONE = " (deleted)"


def parse_log_files(result: Result) -> LogFiles:
    head, found, rest = result.stdout.partition("== tails\n")
    if not found or not rest.endswith("\n== end\n"):
        raise Unreadable("the list of log files came back incomplete")
    parts: dict[str, list[str]] = {}
    name = ""
    for line in head.splitlines():
        if line.startswith("== "):
            name, _, value = line[3:].partition(" ")
            parts[name] = [value] if value else []
        else:
            parts[name].append(line)
    if set(parts) != {"clock", "held", "files", "logs"}:
        raise Unreadable("the list of log files came back incomplete")
    try:
        now = float(parts["clock"][0])
    except (IndexError, ValueError):
        raise Unreadable("the server's bash is too old to say what its clock says (5.0 does)") from None
    files: dict[str, File] = {}
    times: dict[str, tuple[float, float]] = {}
    for line in parts["files"]:
        match = _STAT.fullmatch(line)
        if not match:
            raise Unreadable(f"a line of stat is not understood: {line!r}")
        mode, uid, gid, size, born, written, changed, path = match.groups()
        if path.startswith("/proc/"):
            times[path] = float(written), float(changed)
        else:
            known = int(born) if born not in ("-", "0") else None
            files[path] = File(int(mode, 16), int(uid), int(gid), int(size), known)
    kinds = [line.split(" ", 1) for line in parts["logs"]]
    json_logs = [path for kind, path in kinds if kind == "json"]
    return LogFiles(
        now,
        tuple(_held(parts["held"], times)),
        files,
        _tails(rest.removesuffix("\n== end\n"), json_logs),
        frozenset(path for kind, path in kinds if kind == "text"),
    )


def _held(lines: list[str], times: dict[str, tuple[float, float]]) -> list[Held]:
    held = []
    for line in lines:
        match = _LINK.fullmatch(line)
        if not match:
            raise Unreadable(f"a line of find is not understood: {line!r}")
        pid, fd, path = match.groups()
        link = f"/proc/{pid}/fd/{fd}"
        if not _is_log(path.removesuffix(_GONE)):
            held.append(Held(int(pid), int(fd), path))
        elif link in times:  # else its process ended while we looked
            written, changed = times[link]
            gone = path.endswith(_GONE)
            name = path.removesuffix(_GONE)
            held.append(Held(int(pid), int(fd), name, gone, written >= changed, written))
    return held


def _tails(text: str, paths: list[str]) -> dict[str, tuple[str, ...]]:
    """What `tail -v` printed of these files, in this order."""
    tails = {}
    for path, following in zip(paths, [*paths[1:], ""], strict=False):
        head, mark = f"==> {path} <==\n", f"\n==> {following} <==\n"
        if not text.startswith(head) or (following and text.count(mark) != 1):
            raise Unreadable(f"the end of {path} could not be read: was it rotated just now? Check again")
        content, _, rest = text.removeprefix(head).partition(mark if following else "\0\0")
        text = mark[1:] + rest
        # A line that is being written, and the rest of one that began further up, are no whole lines.
        lines = content.split("\n")[1 if len(content.encode()) >= TAIL else 0 : -1]
        tails[path] = tuple(lines)
    return tails


# Three programs, whatever there is to see: find, stat and tail. `-perm -200` on a link in /proc is "open for
# writing". Of a log that does not begin as JSON does, nothing is read: it may hold anything.
log_files = Fact(
    "log_files",
    rf"""shopt -s nullglob
echo "== clock $EPOCHREALTIME"
echo '== held'
declare -A logs=() names=()
links=() json=()
while read -r link name; do
  printf '%s %s\n' "$link" "$name"
  if [[ $name == /*.log* ]]; then
    links+=("$link")
    name=${{name%' (deleted)'}}
    logs[${{name%.log*}}.log]=1
  fi
done < <(find /proc/[0-9]*/fd -type l \( -path '*/fd/[12]' -o -perm -200 \( -lname '/*.log' -o \
  -lname '/*.log[-. ]*' \) \) -printf '%p %l\n')
for log in "${{!logs[@]}}"; do
  for name in "$log" "$log"[-.]*; do names[$name]=1; done
  while log=${{log%/*}}; [[ $log ]]; do names[$log]=1; done
done
echo '== files'
if [[ ${{#links[@]}} -gt 0 ]]; then
  stat -L --printf='%f %u %g %s %W %.9Y %.9Z %n\n' -- "${{links[@]}}" "${{!names[@]}}"
fi
echo '== logs'
for log in "${{!logs[@]}}"; do
  if [[ ! -f $log || ! -s $log ]]; then continue; fi
  IFS= read -r -d '' -n 1 first < "$log"
  if [[ $first == [\{{[:space:]] ]]; then json+=("$log"); echo "json $log"; else echo "text $log"; fi
done
echo '== tails'
if [[ ${{#json[@]}} -gt 0 ]]; then tail -v -c {TAIL} -- "${{json[@]}}"; fi
echo
echo '== end'""",
    parse_log_files,
    sudo=True,
    late=True,
)
