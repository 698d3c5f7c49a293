"""Facts about secrets: which programs hold some, what file they come from, and where else they are.

The values never leave the server: remote/find_secrets.py searches there, and a secret is a number here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labcheck.facts import Fact
from labcheck.remote_program import answer, command
from labcheck.result import Result


@dataclass(frozen=True)
class Holder:
    """A running program with secrets in its environment, or with a file .env where it works."""

    pid: int
    account: str
    program: str
    file: str  # "" for none
    secrets: Mapping[str, int]


@dataclass(frozen=True)
class SecretFile:
    """`group` are the accounts in its group, `writers` those beside root that may change what is in a folder
    around it, and `odd` the names of secrets that are written so that they cannot be compared.
    """

    path: str
    mode: int
    owner: str
    group: tuple[str, ...]
    access_list: bool
    writers: Mapping[str, tuple[str, ...]]
    secrets: Mapping[str, int]
    odd: frozenset[str]


@dataclass(frozen=True)
class Place:
    """Where secrets are, beside that. `readers` is set for a copy alone, and `commit` of a repository."""

    kind: str  # command line, repository, unit, history, log, copy
    where: str
    secrets: frozenset[int]
    readers: frozenset[str] = frozenset()  # accounts that are no services', or "everybody"
    commit: str = ""  # which brought it


@dataclass(frozen=True)
class Secrets:
    """`hidden` are processes that not even root may read, `short` are secrets that are too short to be
    searched for; what comes after says how far the search went."""

    holders: tuple[Holder, ...]
    hidden: frozenset[int]
    files: tuple[SecretFile, ...]
    places: tuple[Place, ...]
    short: frozenset[int]
    unread: tuple[str, ...]
    unfinished: tuple[str, ...]
    partly: tuple[str, ...]
    searched: Mapping[str, int]


def parse_secrets(result: Result) -> Secrets:
    return answer(result, Secrets, "the search for secrets")


def search(**narrower: Any) -> str:
    """The command that searches; `narrower` are arguments of find_secrets.main."""
    return command("find_secrets", **narrower)


secrets = Fact("secrets", search(), parse_secrets, sudo=True, timeout=30)
