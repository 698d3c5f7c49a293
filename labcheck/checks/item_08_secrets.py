"""Item 8: the application has its secrets from its environment, and they are nowhere else.

The search is made on the server by remote/find_secrets.py. What leaves it are names and places, and a number
for each secret, so that two can be compared. The lab's chapter is 06_security, section "Secrets".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labcheck.checks.application import called, processes_of_app, serving
from labcheck.checks.model import Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Process, Processes, processes
from labcheck.facts.secrets import Holder, Place, SecretFile, Secrets, secrets
from labcheck.verdict import Finding, failed, passed, unknown

_SHOWN = 5  # places of one kind: where there are more, the repair is the same

_WHY = {
    "command line": "every account sees the command lines of all processes",
    "repository": "every clone has it, and .gitignore takes nothing back",
    "unit": "it is readable by all, it is shown by status commands, and it gets into backups",
    "history": "an attacker in this account finds it, years later",
    "log": "logs are read by many, shipped and kept",
    "copy": "a copy is forgotten, and outlives every change of rights",
    "program": "an attacker in that account has it, too",
}
_NEXT = {
    "command line": "hand it over in the environment; then replace it by a new one at its issuer",
    "repository": "replace it by a new one at its issuer: that is all that helps",
    "unit": "let it name the file of secrets, and not hold them; then replace them by new ones",
    "history": "remove the line, and replace it by a new one at its issuer",
    "log": "stop logging it, remove the lines, and replace it by a new one at its issuer",
    "copy": "remove it; if others may have read it, replace the secret by a new one at its issuer",
    "program": "end it, and start it without them",
}


@dataclass(frozen=True)
class _Application:
    """The application's processes that answer requests, and those of all its processes that hold secrets."""

    serving: tuple[Process, ...]
    holders: tuple[Holder, ...]
    files: tuple[SecretFile, ...]

    @property
    def names(self) -> dict[int, str]:
        """What each of its secrets is called."""
        by_name = [it.secrets for it in self.files] + [it.secrets for it in self.holders]
        return {number: name for each in by_name for name, number in each.items()}

    @property
    def accounts(self) -> frozenset[str]:
        """The accounts that may know them, root among them."""
        return frozenset(it.account for it in self.holders) | {"root"}

    def of(self, process: Process) -> Holder | None:
        return next((it for it in self.holders if it.pid == process.pid), None)


def application(
    observed: Secrets, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> _Application:
    its = processes_of_app(running, sockets, known, target)
    pids = {process.pid for process in its}
    holders = tuple(holder for holder in observed.holders if holder.pid in pids)
    paths = {holder.file for holder in holders}
    return _Application(
        serving(its, sockets), holders, tuple(file for file in observed.files if file.path in paths)
    )


@criterion(observed=secrets, running=processes, sockets=listening_sockets, known=accounts)
def they_come_from_the_environment(
    observed: Secrets, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Each process that answers has all secrets of its file in its own environment, and as they are there."""
    app = application(observed, running, sockets, known, target)
    if not app.serving:
        yield failed(
            "no process of the application listens",
            expected="the application, with its secrets in its environment",
            why="what a program works with shows in its process alone",
        )
        return
    good = True
    for process in app.serving:
        holder = app.of(process)
        if process.pid in observed.hidden:
            raise Unreadable(f"the environment of {called(process)} is closed, also to root")
        for problem, next in _problems(holder, app.files):
            good = False
            yield failed(
                f"{called(process)} {problem}",
                expected="each secret in the environment of the running process",
                why="a secret in code or in an old process cannot be replaced where it leaks",
                next=next,
            )
    if good:
        names = ", ".join(sorted({name for it in app.holders for name in it.secrets}))
        yield passed(f"{names} in the environment of what runs")


def _problems(holder: Holder | None, files: tuple[SecretFile, ...]) -> Iterator[tuple[str, str]]:
    """(what is wrong, what to do) with what a process has in its environment."""
    file = next((it for it in files if holder and it.path == holder.file), None)
    has, in_file = (holder.secrets if holder else {}), (file.secrets if file else {})
    load = "export the file's variables before the program starts: set -a; . ./.env; exec …"
    if not has and not in_file:
        yield "has no secret in its environment", "give it its provider's key there: OPENAI_API_KEY"
    for name, number in in_file.items():
        assert file
        if name not in has:
            yield f"has no {name} in its environment, and {file.path} has one", load
        elif number != has[name] and name not in file.odd:
            yield (
                f"has another {name} than {file.path}",
                "restart it: until then it works with the old one, which may be the one that leaked",
            )


@criterion(observed=secrets, running=processes, sockets=listening_sockets, known=accounts)
def their_file_is_the_account_s_alone(
    observed: Secrets, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """The file is the account's or root's, and no other account may read it or put another in its place."""
    app = application(observed, running, sockets, known, target)
    for file in app.files:
        if not file.secrets:
            continue
        problems = list(_open(file, app.accounts))
        for problem in problems:
            yield failed(
                f"{file.path} {problem}",
                expected="a file that the application's account alone may read",
                why="every other account and program on the server reads or replaces the secrets",
                next=f"sudo chown {target.account}: {file.path} && sudo chmod 600 {file.path}",
            )
        if not problems:
            yield passed(f"{file.path} is the account's alone")


def _named(names: Iterable[str]) -> str:
    """In words: the program on the server says `everybody` where no account is left out."""
    return ", ".join(sorted("every account" if name == "everybody" else name for name in names))


def _open(file: SecretFile, allowed: frozenset[str]) -> Iterator[str]:
    mode = f"mode {file.mode:04o}"
    if file.owner not in allowed:
        yield f"belongs to {file.owner}"
    if file.mode & 0o007:
        yield f"is open to every account ({mode})"
    elif file.mode & 0o070 and (others := set(file.group) - allowed):
        yield f"is open to a group with {', '.join(sorted(others))} in it ({mode})"
    if file.access_list:
        yield "has an access list, which lets others in beside its mode"
    for folder, writers in file.writers.items():
        if others := set(writers) - allowed:
            yield f"can be replaced: {_named(others)} may change what is in {folder}"


@criterion(observed=secrets, running=processes, sockets=listening_sockets, known=accounts)
def they_are_nowhere_else(
    observed: Secrets, running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """In no repository, command line, unit, history, log, open copy, or program of another account."""
    app = application(observed, running, sockets, known, target)
    names = app.names
    if not names:
        return  # nothing to search for: the first criterion says so
    problems: dict[str, list[Finding]] = {}
    for place in (*observed.places, *_strangers(observed, app)):
        named = sorted({names[number] for number in place.secrets if number in names})
        subject = f"{', '.join(named)} {'is' if len(named) == 1 else 'are'}"
        if named and not (place.kind == "copy" and place.readers <= app.accounts):
            problems.setdefault(place.kind, []).append(
                failed(
                    f"{subject} in {_place(place)}",
                    expected="nowhere but in the environment, and in the file that it comes from",
                    why=_WHY[place.kind],
                    next=_NEXT[place.kind],
                    detail=f"it came with commit {place.commit}" if place.commit else "",
                )
            )
    blind = list(_not_searched(observed, names))
    yield from (finding for each in problems.values() for finding in each[:_SHOWN])
    yield from map(unknown, blind)
    if not problems and not blind:
        yield passed(
            "nowhere else: no repository, command line, unit, history, log or open copy has them",
            detail=_how_far(observed),
        )


def _place(place: Place) -> str:
    readers = _named(place.readers)
    words = {
        "command line": "the command line of",
        "repository": "the repository",
        "unit": "what starts programs:",
        "history": "a shell's history:",
        "log": "the log",
        "copy": f"a copy that {readers} may read:",
        "program": f"the environment of a program of {readers}:",
    }
    return f"{words[place.kind]} {place.where}"


def _strangers(observed: Secrets, app: _Application) -> Iterator[Place]:
    """Programs of other accounts that hold the application's secrets, and files of theirs that do."""
    for holder in observed.holders:
        if holder.account not in app.accounts:
            secrets = frozenset(holder.secrets.values())
            yield Place("program", holder.program, secrets, frozenset({holder.account}))
    for file in observed.files:
        if file not in app.files:
            yield Place("copy", file.path, frozenset(file.secrets.values()), frozenset({file.owner}))


def _not_searched(observed: Secrets, names: dict[int, str]) -> Iterator[str]:
    """What keeps the search from being whole."""
    if short := sorted(names[number] for number in observed.short if number in names):
        yield f"{', '.join(short)} has a part of less than 8 characters, which cannot be searched for"
    for heading, entries in (
        ("the search did not come to", observed.unfinished),
        ("unread:", observed.unread),
    ):
        if entries:
            more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
            yield f"{heading} {', '.join(entries[:3])}{more}"


def _how_far(observed: Secrets) -> str:
    parts = [f"{observed.searched['files']} files and {observed.searched['objects']} objects of git searched"]
    if observed.partly:
        parts.append(f"of {len(observed.partly)} large ones 16 MiB each")
    left_out = "installed packages, databases, large files that are no logs, packed parts of the journal"
    return ", ".join([*parts, f"not searched: {left_out}"])


ITEM = Item(
    number=8,
    title="Secrets in environment variables",
    short="Secrets",
    chapter="06_security",
    section="Secrets",
    criteria=(
        they_come_from_the_environment,
        their_file_is_the_account_s_alone,
        they_are_nowhere_else,
    ),
)
