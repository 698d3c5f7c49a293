"""Which mutants run, which of them share a server, and how the servers are shared out among machines."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "mutants"
PRELUDE = (Path(__file__).parent / "prelude.sh").read_text(encoding="utf-8")
SEED = "LAB_MUTANTS_SEED"

# Seconds on an emulated server: to restore it and look at it; more where processes of the application start
# anew, where something is made to happen, and where that is a reboot (item 6).
SERVER, RESTART, EXERCISE, REBOOT = 40, 50, 30, 150


@dataclass(frozen=True)
class Mutant:
    """A way for a server to be wrong, read from the head of its script.

    `restarts`: it starts processes of the application anew, for which it has to wait. `files`: the paths that
    it names.
    """

    name: str
    script: str
    host: str
    item: int
    depth: str
    says: str
    also: frozenset[int]
    apart: frozenset[int]
    restarts: bool
    files: frozenset[str]

    def goes_with(self, other: Mutant) -> bool:
        """Whether both show on one server, at one look: neither can hide why the other's item fails."""
        looks = self.depth == other.depth == "look"
        return looks and not self.disturbs(other) and not other.disturbs(self)

    def disturbs(self, other: Mutant) -> bool:
        """It changes the other's verdict or files, or the application for which the other waits."""
        unwell = 3 in self.also and other.restarts
        starts = self.restarts and other.restarts
        return other.item in self.apart | self.also or unwell or starts or bool(self.files & other.files)

    def cost(self) -> int:
        """Seconds, beside those of its server."""
        exercise = EXERCISE if self.depth == "exercise" else 0
        reboot = REBOOT if exercise and self.item == 6 else 0
        return exercise + reboot + (RESTART if self.restarts else 0)


def read(path: Path) -> Mutant:
    script = path.read_text(encoding="utf-8")
    head = dict(re.findall(r"(?m)^# ([a-z ]+): (.+)$", script))
    also, apart = (frozenset(map(int, re.findall(r"\d+", head.get(name, "")))) for name in ("also", "apart"))
    code = re.sub(r"(?m)^#.*$", "", script)
    return Mutant(
        name=path.stem,
        script=PRELUDE + script,
        host=head.get("on", "server"),
        item=int(head["item"]),
        depth=head["depth"],
        says=head["says"],
        also=also,
        apart=apart,
        restarts="supervisorctl" in script,
        files=frozenset(re.findall(r"/(?:etc|home|var)/[\w./-]+", code)),
    )


MUTANTS = [read(path) for path in sorted(FOLDER.glob("*.sh"))]


def seed() -> str:
    """What chooses: LAB_MUTANTS_SEED, else the commit's hash, whatever is changed and not committed."""
    if given := os.environ.get(SEED):
        return given
    asked = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(asked, cwd=FOLDER, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no-git"
    return answer.stdout.strip() if answer.returncode == 0 else "no-commit"


def chosen(mutants: Sequence[Mutant], seed: str) -> list[Mutant]:
    """One of each item; which one, the seed says, for each item by itself, so that all come round."""
    picked = []
    for item in sorted({mutant.item for mutant in mutants}):
        of_it = [mutant for mutant in mutants if mutant.item == item]
        number = int.from_bytes(hashlib.sha256(f"{seed} {item}".encode()).digest())
        picked.append(of_it[number % len(of_it)])
    return picked


def together(mutants: Sequence[Mutant]) -> list[list[Mutant]]:
    """On few servers: each on the first where it disturbs no other and none disturbs it."""
    servers: list[list[Mutant]] = []
    for mutant in mutants:
        fits = (server for server in servers if all(mutant.goes_with(other) for other in server))
        if (server := next(fits, None)) is None:
            servers.append([mutant])
        else:
            server.append(mutant)
    return servers


def cost(server: Sequence[Mutant]) -> int:
    """Seconds that a server with these mutants takes, about."""
    return SERVER + sum(mutant.cost() for mutant in server)


def shares(servers: Sequence[list[Mutant]], count: int) -> list[list[list[Mutant]]]:
    """The servers for each of `count` machines that run side by side, equal in cost, in their order.

    The dearest first, each to the machine that has least to do so far.
    """
    numbers: list[list[int]] = [[] for _ in range(count)]
    busy = [0] * count
    for number in sorted(range(len(servers)), key=lambda number: -cost(servers[number])):
        least = busy.index(min(busy))
        numbers[least].append(number)
        busy[least] += cost(servers[number])
    return [[servers[number] for number in sorted(mine)] for mine in numbers]


def share(text: str) -> tuple[int, int]:
    """`1/2`, the first of two shares, checked. Raises ValueError."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"{text} is no share: 1/2 is the first of two, 2/2 the second")
    return int(match[1]), int(match[2])
