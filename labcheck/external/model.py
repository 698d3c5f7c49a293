"""What can be asked from outside, and what the answers are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.external import rate_limit

T = TypeVar("T")

HEALTH_PATHS = ("/health/live", "/health/ready", "/health")
# Ten ports that are left open by mistake on many servers, whether or not anything listens there now.
CONTROL_PORTS = (23, 2375, 3000, 3306, 5432, 6379, 8000, 8080, 9090, 27017)
NO_ACCOUNT = "no-such-account"


@dataclass(frozen=True)
class Question(Generic[T]):
    """Something that can only be known from outside. `parse` reads the probe's whole answer.

    `part` is what the probe has to ask for it, beside the names, and `needs` is what the server itself
    must say before it can be asked, beside NEEDS.
    """

    name: str
    parse: Callable[[dict[str, Any]], T]
    part: str = ""
    needs: tuple[Fact[Any], ...] = ()


@dataclass(frozen=True)
class Questions:
    domain: str
    candidates: tuple[str, ...] = ()  # addresses that the server says it has
    host_keys: tuple[str, ...] = ()  # "type base64", as the server holds them
    ssh_port: int = 22
    ssh_ports: tuple[int, ...] = (22,)  # where an sshd listens
    # The accounts that are named when sshd is asked what a login needs.
    accounts: tuple[str, ...] = ("root", NO_ACCOUNT)
    tcp: tuple[int, ...] = (80, 443, *CONTROL_PORTS)
    udp: tuple[int, ...] = (443,)
    reference: str = ""  # a host where every port answers
    paths: tuple[str, ...] = HEALTH_PATHS
    attempts: int = 3  # at most so many for a good answer from a path
    chat_path: str = "/api/chat"  # where requests are limited
    chat_key: str = field(default="", repr=False)
    until_refused: bool = False  # ask there until it was one too many
    headers: dict[str, str] = field(default_factory=dict)  # to be sent with the paths
    mark: str = ""  # what is sent to each address, for the server to see arrive
    own: tuple[str, ...] = ()  # addresses that are known to lead to the server
    wanted: tuple[str, ...] = ("sent", "ports", "web")


@dataclass(frozen=True)
class Part(Generic[T]):
    """A part of the probe's answer: its value, or why it could not be seen."""

    value: T | None = None
    unreadable: str | None = None


@dataclass(frozen=True)
class Answers:
    """`answers[question]` is what was observed, or raises Unreadable."""

    raw: dict[str, Any]
    unreadable: str = ""

    def __getitem__(self, question: Question[T]) -> T:
        if self.unreadable:
            raise Unreadable(self.unreadable)
        return question.parse(self.raw)


@dataclass(frozen=True)
class Records:
    """The answer of one name server for the domain: A and AAAA."""

    server: str
    status: str  # NOERROR, NXDOMAIN, SERVFAIL, …
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]
    aliases: tuple[str, ...]
    ttl: int | None  # s, the smaller of both


@dataclass(frozen=True)
class Sent:
    """What became of a mark that was sent to an address.

    `accepted`: a port 80 took it; `answers`: a host is there at all. `arrived`: the addresses in the
    headers of the packets that the server saw arrive.
    """

    accepted: bool
    answers: bool
    arrived: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MarksSent:
    """What became of what was sent to each address. `problem` is why the server could not watch it arrive;
    `lost` is how many packets came too fast for it to look at."""

    sent: dict[str, Sent]
    problem: str = ""
    lost: int = 0

    def lead_here(self, own: Collection[str]) -> tuple[str, ...]:
        """The addresses at which the server is: what was sent there arrived, at one of its `own`."""
        return tuple(address for address, each in self.sent.items() if each.arrived & set(own))


@dataclass(frozen=True)
class Port:
    address: str
    protocol: str
    number: int
    state: str  # tcp: open, closed, filtered, unreachable; udp: open, closed, silent, unreachable

    @property
    def name(self) -> str:
        return f"{self.number}/{self.protocol}"

    @property
    def ipv(self) -> int:
        return 6 if ":" in self.address else 4


@dataclass(frozen=True)
class PortScan:
    """The server's ports, and which of the same ports the vantage could open on the reference host."""

    ports: tuple[Port, ...]
    proven: frozenset[tuple[int, str, int]]  # (4 or 6, protocol, port)
    unproven_because: str

    def is_proven(self, port: Port) -> bool:
        return (port.ipv, port.protocol, port.number) in self.proven


@dataclass(frozen=True)
class LoginProbe:
    """What sshd offers to an account that has proved nothing; "none" if that is enough to be let in."""

    address: str
    port: int
    account: str
    offered: tuple[str, ...]
    error: str  # why there was no answer


@dataclass(frozen=True)
class Handshake:
    address: str
    error: str  # no TLS at all: refused, no answer, …
    untrusted: str  # why the certificate does not verify, or ""
    version: str = ""
    alpn: str | None = None
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_before: float | None = None
    not_after: float | None = None
    now: float = 0.0
    old: Mapping[str, Part[str]] = field(default_factory=dict)  # "TLSv1": accepted, or refused


@dataclass(frozen=True)
class Attempt:
    status: int | None = None
    seconds: float = 0.0
    body: str = ""
    location: str = ""
    hsts: str = ""
    edge: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    well: bool = False
    request_id: str = ""  # as the answer's X-Request-ID has it


@dataclass(frozen=True)
class Fetch:
    address: str
    path: str
    attempts: tuple[Attempt, ...]

    @property
    def best(self) -> Attempt:
        return min(self.attempts, key=lambda item: (not item.well, item.status is None, item.seconds))


@dataclass(frozen=True)
class Redirect:
    address: str
    answer: Attempt


@dataclass(frozen=True)
class Counted:
    """What came back for an empty question: its status, and the fields that tell of a limit."""

    address: str
    status: int | None
    fields: Mapping[str, str]
    error: str = ""
    forged: bool = False  # it claimed to come from elsewhere

    @property
    def quota(self) -> int | None:
        """How many requests there may be, where the answer says so."""
        return rate_limit.quota(dict(self.fields))


@dataclass(frozen=True)
class Website:
    handshakes: tuple[Handshake, ...]
    redirects: tuple[Redirect, ...]
    gets: tuple[Fetch, ...]
