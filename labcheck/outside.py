"""Looking at the server from the internet: what is asked of the probe, and what its answers mean.

The probe (remote/probe.py) travels to the place to look from ("vantage") on standard input, and answers all
questions in one round trip. Without a vantage it runs on this computer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from labcheck.errors import Unreachable, Unreadable
from labcheck.facts import Fact
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.network import (
    SshConnection,
    host_keys,
    interface_addresses,
    listening_sockets,
    ssh_connection,
)
from labcheck.remote import probe
from labcheck.result import Result
from labcheck.ssh import Connection
from labcheck.watching import Watch

T = TypeVar("T")
S = TypeVar("S")

HEALTH_PATHS = ("/health/live", "/health/ready", "/health")
# Ten doors that are left open by mistake on many servers, whether or not anything listens there now.
CONTROL_PORTS = (23, 2375, 3000, 3306, 5432, 6379, 8000, 8080, 9090, 27017)
NOBODY = "no-such-account"
PROBE_TIMEOUT = (
    40.0  # s: the probe's own limits end it after about 15; the rest is for a slow guest's start of Python
)


@dataclass(frozen=True)
class Question(Generic[T]):
    """Something that can only be known from outside. `parse` reads the probe's whole answer.

    `part` is what the probe has to look at for it, beside the names, and `needs` is what the server itself
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
    accounts: tuple[str, ...] = ("root", NOBODY)  # who is named when sshd is asked what a login needs
    tcp: tuple[int, ...] = (80, 443, *CONTROL_PORTS)
    udp: tuple[int, ...] = (443,)
    reference: str = ""  # a host where every port answers
    paths: tuple[str, ...] = HEALTH_PATHS
    tries: int = 3  # at most so many for a good answer from a path
    chat_path: str = "/api/chat"  # where requests are limited
    chat_key: str = field(default="", repr=False)
    until_refused: bool = False  # ask there until it was one too many
    headers: dict[str, str] = field(default_factory=dict)  # to be sent with the paths
    mark: str = ""  # what is sent to each address, for the server to see arrive
    own: tuple[str, ...] = ()  # addresses that are known to lead to the server
    wanted: tuple[str, ...] = ("sent", "doors", "web")


# ---- answers -----------------------------------------------------------------------------------


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

    `took`: somebody's port 80 took it; `answers`: somebody is there at all. `arrived`: the addresses in the
    headers of the packets that the server saw arrive.
    """

    took: bool
    answers: bool
    arrived: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Owners:
    """What became of what was sent to each address. `problem` is why the server could not watch it arrive;
    `lost` is how many packets came too fast for it to look at."""

    sent: dict[str, Sent]
    problem: str = ""
    lost: int = 0

    def lead_here(self, own: Collection[str]) -> tuple[str, ...]:
        """The addresses at which the server is: what was sent there arrived, at one of its `own`."""
        return tuple(address for address, each in self.sent.items() if each.arrived & set(own))


@dataclass(frozen=True)
class Door:
    address: str
    protocol: str
    port: int
    state: str  # tcp: open, closed, filtered, unreachable; udp: open, closed, silent, unreachable

    @property
    def name(self) -> str:
        return f"{self.port}/{self.protocol}"

    @property
    def ipv(self) -> int:
        return 6 if ":" in self.address else 4


@dataclass(frozen=True)
class Doors:
    """The server's doors, and which of the same doors the vantage could open on the reference host."""

    doors: tuple[Door, ...]
    proven: frozenset[tuple[int, str, int]]  # (4 or 6, protocol, port)
    unproven_because: str

    def is_proven(self, door: Door) -> bool:
        return (door.ipv, door.protocol, door.port) in self.proven


@dataclass(frozen=True)
class Knock:
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
    version: str
    alpn: str
    names: tuple[str, ...]
    issuer: str
    not_before: float | None
    not_after: float | None
    now: float
    old: dict[str, str]  # "TLSv1" → accepted, refused, or "unreadable: …"


@dataclass(frozen=True)
class Try:
    status: int | None
    seconds: float
    body: str
    location: str
    hsts: str
    edge: dict[str, str]
    error: str
    well: bool
    request_id: str = ""  # as the answer's X-Request-ID has it


@dataclass(frozen=True)
class Got:
    address: str
    path: str
    tries: tuple[Try, ...]

    @property
    def best(self) -> Try:
        return min(self.tries, key=lambda item: (not item.well, item.status is None, item.seconds))


@dataclass(frozen=True)
class Redirect:
    address: str
    answer: Try


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
        return probe.quota(dict(self.fields))


@dataclass(frozen=True)
class Website:
    handshakes: tuple[Handshake, ...]
    redirects: tuple[Redirect, ...]
    gets: tuple[Got, ...]


def _value(answer: dict[str, Any], name: str) -> Any:
    part = answer.get(name)
    if not isinstance(part, dict):
        raise Unreadable("the look from outside gave an answer that is not understood")
    if "unreadable" in part:
        raise Unreadable(str(part["unreadable"]))
    return part["value"]


def _records(server: str, item: dict[str, Any]) -> Records:
    four, six = item["A"], item["AAAA"]
    # One name has one status for all types: NXDOMAIN, or not.
    status = four["status"] if four["status"] != "NOERROR" else six["status"]
    ttls = [part["ttl"] for part in (four, six) if part["ttl"] is not None]
    return Records(
        server, status, tuple(four["addresses"]), tuple(six["addresses"]),
        tuple(dict.fromkeys([*four["aliases"], *six["aliases"]])), min(ttls) if ttls else None,
    )  # fmt: skip


def _parse_resolver(answer: dict[str, Any]) -> Records:
    return _records("the resolver", _value(answer, "resolver"))


def _parse_authority(answer: dict[str, Any]) -> tuple[Records, ...]:
    items = _value(answer, "authority")
    silent = [item["unreadable"] for item in items if "unreadable" in item]
    if silent:
        raise Unreadable("; ".join(silent))
    return tuple(_records(item["server"], item) for item in items)


def _blind(answer: dict[str, Any]) -> dict[int, str]:
    """Why silence over IPv4 or over IPv6 says nothing: the vantage reaches nobody over it."""
    reasons: dict[int, str] = {}
    routes = _value(answer, "routes")
    reference = answer["reference"]
    for ipv in (4, 6):
        if not routes[str(ipv)]:
            reasons[ipv] = f"the place to look from has no IPv{ipv} network"
        elif "value" in reference and not any(
            item["state"] == "open" for item in reference["value"] if (":" in item["address"]) == (ipv == 6)
        ):
            reasons[ipv] = f"the place to look from reaches nobody over IPv{ipv}, not even the reference host"
    return reasons


def _sighted(answer: dict[str, Any], silent: list[str]) -> None:
    """Silence of these addresses counts only if the vantage is not blind in their family."""
    blind = _blind(answer)
    reasons = dict.fromkeys(
        blind[ipv] for ipv in (4, 6) if ipv in blind and any((":" in a) == (ipv == 6) for a in silent)
    )
    if reasons:
        raise Unreadable("; ".join(reasons))


NOT_WATCHED: Mapping[str, Any] = {
    "problem": "the server was not asked to watch what arrives", "lost": 0, "addresses": {}
}  # fmt: skip


def _parse_owners(answer: dict[str, Any]) -> Owners:
    sent: dict[str, dict[str, bool]] = _value(answer, "sent")
    watched = answer.get("watched", NOT_WATCHED)
    found = {
        address: Sent(each["took"], each["answers"], frozenset(watched["addresses"].get(address, ())))
        for address, each in sent.items()
    }
    _sighted(answer, [address for address, each in found.items() if not each.answers and not each.arrived])
    return Owners(found, watched["problem"], watched["lost"])


def _parse_doors(answer: dict[str, Any]) -> Doors:
    doors = tuple(Door(i["address"], i["protocol"], i["port"], i["state"]) for i in _value(answer, "doors"))
    reference = answer["reference"]
    if "unreadable" in reference:
        return Doors(doors, frozenset(), str(reference["unreadable"]))
    seen = [Door(i["address"], i["protocol"], i["port"], i["state"]) for i in reference["value"]]
    proven = frozenset((door.ipv, door.protocol, door.port) for door in seen if door.state == "open")
    return Doors(doors, proven, "the place to look from cannot open this port on the reference host either")


def _parse_logins(answer: dict[str, Any]) -> tuple[Knock, ...]:
    knocks = tuple(
        Knock(i["address"], i["port"], i["account"], tuple(i["offered"]), i["error"])
        for i in _value(answer, "logins")
    )
    if not any(item.offered for item in knocks):
        _sighted(answer, [item.address for item in knocks])
    return knocks


def _parse_limit(answer: dict[str, Any]) -> tuple[Counted, ...]:
    answers = tuple(
        Counted(i["address"], i["status"], i["fields"], i["error"], i["forged"])
        for i in _value(answer, "limit")
    )
    _sighted(answer, [item.address for item in answers if item.error])
    return answers


def _try(item: dict[str, Any]) -> Try:
    return Try(
        item.get("status"), item.get("seconds", 0.0), item.get("body", ""), item.get("location", ""),
        item.get("hsts", ""), item.get("edge", {}), item.get("error", ""), item.get("well", False),
        item.get("request_id", ""),
    )  # fmt: skip


def _parse_website(answer: dict[str, Any]) -> Website:
    site = _value(answer, "web")
    silent = [i["address"] for i in [*site["handshakes"], *site["redirects"]] if i.get("error")]
    _sighted(answer, silent)
    shakes = []
    for item in site["handshakes"]:
        old = {
            version: state["value"] if "value" in state else f"unreadable: {state['unreadable']}"
            for version, state in item.get("old", {}).items()
        }
        shakes.append(
            Handshake(
                item["address"],
                item["error"],
                item["untrusted"],
                item.get("version") or "",
                item.get("alpn") or "",
                tuple(item.get("names", ())),
                item.get("issuer", ""),
                item.get("not_before"),
                item.get("not_after"),
                item.get("now", 0.0),
                old,
            )
        )
    return Website(
        tuple(shakes),
        tuple(Redirect(item["address"], _try(item)) for item in site["redirects"]),
        tuple(Got(i["address"], i["path"], tuple(_try(one) for one in i["tries"])) for i in site["gets"]),
    )


def _parse_edge(answer: dict[str, Any]) -> dict[str, str]:
    """Headers by which a network in front of the server shows itself; none where nothing answered."""
    gets = answer.get("web", {}).get("value", {}).get("gets", [])
    return {
        name: text for item in gets for one in item["tries"] for name, text in one.get("edge", {}).items()
    }


resolver = Question("resolver", _parse_resolver)
authority = Question("authority", _parse_authority)
owners = Question("owners", _parse_owners, "sent")
doors = Question("doors", _parse_doors, "doors")
logins = Question("logins", _parse_logins, "logins", (accounts,))
limit = Question("limit", _parse_limit, "limit")
website = Question("website", _parse_website, "web")
edge = Question("edge", _parse_edge, "web")

ALL_ROUTES = {"value": {"4": True, "6": True}}

# What the server itself must say before it can be looked at from outside.
NEEDS: tuple[Fact[Any], ...] = (host_keys, interface_addresses, listening_sockets, ssh_connection)


@dataclass(frozen=True)
class Answers:
    """`answers[question]` is what was seen, or raises Unreadable."""

    raw: dict[str, Any]
    unreadable: str = ""

    def __getitem__(self, question: Question[T]) -> T:
        if self.unreadable:
            raise Unreadable(self.unreadable)
        return question.parse(self.raw)


# ---- asking ------------------------------------------------------------------------------------


class Facts(Protocol):
    """gather's Look: the fact's value, or Unreadable."""

    def __getitem__(self, fact: Fact[T], /) -> T: ...


def _known(look: Facts, fact: Fact[T], otherwise: S) -> T | S:
    try:
        return look[fact]
    except Unreadable:
        return otherwise


def is_public(address: str) -> bool:
    """Whether an address can be on the internet. Documentation's can: the lab's internet is made of them."""
    ip = ipaddress.ip_address(address)
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
    inside = any(
        ip in ipaddress.ip_network(network)
        for network in private
        if ip.version == ipaddress.ip_network(network).version
    )
    return not (inside or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def questions(
    look: Facts,
    *,
    domain: str,
    reference: str = "",
    hostname: str = "",
    wanted: tuple[str, ...] = Questions.wanted,
    chat_path: str = Questions.chat_path,
    chat_key: str = "",
) -> Questions:
    """What to ask, after what the server says of itself; what it could not say is left out.

    `hostname` is where ssh connects to, in case the server does not know its public address (NAT). `wanted`
    are the parts of the questions that there are; `chat_path` and `chat_key` say where and as whom to ask how
    often one may.
    """
    own = [*_known(look, interface_addresses, ()), hostname]
    candidates = dict.fromkeys(address for address in own if _is_address(address) and is_public(address))
    sockets = [item for item in _known(look, listening_sockets, ()) if not item.loopback]
    ssh: SshConnection | None = _known(look, ssh_connection, None)
    tcp = {item.port for item in sockets if item.protocol == "tcp"}
    udp = {item.port for item in sockets if item.protocol == "udp"}
    ssh_port = ssh.port if ssh else 22
    sshds = {item.port for item in sockets if item.protocol == "tcp" and item.program == "sshd"}
    people: Accounts | None = _known(look, accounts, None)
    someone = next((item.name for item in people.all if item.is_a_person), None) if people else None
    return Questions(
        domain=domain,
        candidates=tuple(candidates),
        host_keys=_known(look, host_keys, ()),
        ssh_port=ssh_port,
        ssh_ports=tuple(sorted(sshds or {ssh_port})),
        accounts=("root", *([someone] if someone else []), NOBODY),
        # SSH's ports are not tried: that counts as an attempt to log in, and whoever logged in knows them.
        tcp=tuple(sorted({80, 443, *CONTROL_PORTS, *tcp} - {ssh_port, *sshds})),
        udp=tuple(sorted({443, *udp})),
        reference=reference,
        chat_path=chat_path,
        chat_key=chat_key,
        wanted=wanted,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def program(questions: Questions) -> str:
    """The probe with its questions: Python source for `python3 -`."""
    source = Path(probe.__file__).read_text(encoding="utf-8")
    asked = {name: getattr(questions, name) for name in questions.__dataclass_fields__}
    return f"{source}\nmain(json.loads({json.dumps(json.dumps(asked))}))\n"


def look_and_watch(
    questions: Questions, vantage: Connection | None, server: Connection, own: Collection[str]
) -> Answers:
    """The same, in two round trips: first the server sees what is sent to its addresses arrive.

    `own` are the addresses that the server has. Never raises.
    """
    rest = tuple(part for part in questions.wanted if part != "sent")
    if not {"sent", "doors"} & set(questions.wanted):
        return look(questions, vantage)
    with Watch(server) as watch:
        first = look(replace(questions, wanted=("sent",), mark=watch.mark), vantage)
        addresses = list(first.raw.get("sent", {}).get("value", ()))
        seen = watch.arrived(len(addresses))
    if first.unreadable:
        return first
    watched = {
        "problem": seen.problem,
        "lost": seen.lost,
        "addresses": {address: seen.addresses.get(number, ()) for number, address in enumerate(addresses)},
    }
    both = {**first.raw, "watched": watched}
    if not rest:
        return Answers(both)
    with contextlib.suppress(Unreadable):
        questions = replace(questions, own=_parse_owners({**both, "routes": ALL_ROUTES}).lead_here(own))
    second = look(replace(questions, wanted=rest), vantage)
    return second if second.unreadable else Answers({**second.raw, "sent": both["sent"], "watched": watched})


def look(questions: Questions, vantage: Connection | None) -> Answers:
    """Asks everything in one round trip. Never raises: a vantage that cannot look makes all unreadable."""
    source = program(questions)
    if vantage is None:
        try:
            done = subprocess.run(
                [sys.executable, "-"],
                input=source,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=PROBE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Answers({}, f"the look from this computer took longer than {PROBE_TIMEOUT:.0f} s")
        result = Result(done.stdout, done.stderr, done.returncode)
    else:
        try:
            result = vantage.run("python3 -", stdin=source, timeout=PROBE_TIMEOUT)
        except Unreachable as error:
            return Answers({}, f"the place to look from cannot be reached: {error}")
    return read(result)


def read(result: Result) -> Answers:
    """The probe's output as answers."""
    if result.exit_status == 0:
        try:
            raw = json.loads(result.stdout)
        except ValueError:
            raw = None
        if isinstance(raw, dict):
            return Answers(raw)
    if result.exit_status == 127:
        return Answers({}, "python3 is not installed where the look goes out from")
    said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return Answers({}, f"the look from outside ended with status {result.exit_status}: {said}")
