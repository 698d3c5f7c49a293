"""What a check is made of: items, their criteria, and what both get to know of the target.

One module per checklist item: facts in, findings out. See `criterion`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from labcheck.external.model import Question
from labcheck.facts import Fact
from labcheck.ssh import Connection
from labcheck.verdict import Finding

Need: TypeAlias = Fact[Any] | Question[Any]


@dataclass(frozen=True)
class Target:
    """The server that is judged, as far as it must be given and cannot be observed.

    `host` is its name for ssh; `reference` is a host on the vantage's side of the internet that answers on
    every port; `vantage` names the place that is asked from, in words; `lab` says that it is the lab's.
    `chat_path` is where requests are limited, and `chat_key` a user's key for it, if one is needed.
    `alerts_received` is a command on the server that prints what the receiver of its alerts has received.
    `send_error` is a command of the application that sends a test error, and `event` one of the vantage that
    prints what the collector has of an error; `budget` is what the calls of a day may cost, in dollars.
    """

    host: str
    domain: str
    account: str = "aiapp"
    app_port: int = 8000
    reference: str = ""
    vantage: str = "this computer"
    lab: bool = False
    chat_path: str = "/api/chat"
    chat_key: str = field(default="", repr=False)
    alerts_received: str = ""
    send_error: str = "python -m lab_app.send_test_error"
    event: str = ""
    budget: float = 100.0


@dataclass(frozen=True)
class Context:
    """What an exercise may use: the target, the connections, and what the person allowed."""

    target: Target
    server: Connection
    vantage: Connection | None = None
    reboot: bool = False

    @property
    def domain(self) -> str:
        return self.target.domain

    @property
    def account(self) -> str:
        return self.target.account

    @property
    def app_port(self) -> int:
        return self.target.app_port

    @property
    def reference(self) -> str:
        return self.target.reference


@dataclass(frozen=True)
class Criterion:
    """One thing to be judged, and what must be known for it: parameter name to fact or outside question."""

    needs: Mapping[str, Need]
    judge: Callable[..., Iterator[Finding]]

    @property
    def name(self) -> str:
        return self.judge.__name__

    def __call__(self, *args: Any, **known: Any) -> Iterator[Finding]:
        """Judge values, as a unit test does."""
        return self.judge(*args, **known)


def criterion(**needs: Need) -> Callable[[Callable[..., Iterator[Finding]]], Criterion]:
    """Make a criterion of a generator function: `@criterion(ufw=facts.ufw_status, scan=questions.port_scan)`.

    The function gets the value of each need under that name, and `target: Target` if it has a parameter of
    that name. It is pure. If one of its needs is Unreadable, the criterion is UNKNOWN with that reason, and
    the other criteria of the item are judged all the same. It may raise Unreadable itself.
    """
    return lambda judge: Criterion(needs, judge)


Exercise: TypeAlias = Callable[[Connection, Context], Iterator[Finding]]
"""Makes the thing happen on the server, puts everything back, and says what came of it."""


@dataclass(frozen=True)
class Item:
    """One line of the deployment checklist.

    `title` is the checklist's own wording, `short` the name in a table. `chapter` is a notebook's name
    without .ipynb, and `section` the heading in it. `leaves` says what stays in logs of the exercise that
    a log or a bill may count: it is announced.
    """

    number: int
    title: str
    short: str
    chapter: str
    section: str
    criteria: tuple[Criterion, ...]
    exercise: Exercise | None = None
    leaves: str = ""
