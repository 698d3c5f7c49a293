"""What the probe's answers mean: one parser for each question, and none of them guesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from labcheck.errors import Unreadable
from labcheck.external.model import (
    Counted,
    LoginProbe,
    MarksSent,
    Part,
    Port,
    PortScan,
    Records,
    Sent,
    Website,
)
from labcheck.remote_program import shaped

T = TypeVar("T")

ALL_ROUTES = {"value": {"4": True, "6": True}}
_WHAT = "the probe"


# ---- as the probe prints it, where that is not what a question gives ----------------------------


@dataclass(frozen=True)
class _RecordSet:
    status: str
    addresses: tuple[str, ...]
    aliases: tuple[str, ...]
    ttl: int | None


@dataclass(frozen=True)
class _Resolver:
    A: _RecordSet
    AAAA: _RecordSet


@dataclass(frozen=True)
class _NameServer:
    server: str
    A: _RecordSet | None = None
    AAAA: _RecordSet | None = None
    unreadable: str = ""


def part(answer: Mapping[str, Any], name: str, shape: type[T]) -> Part[T]:
    """A part of the answer, whose value has this shape. Raises Unreadable for another shape."""
    return shaped(answer.get(name), Part[shape], f"{_WHAT} ({name})")  # type: ignore[valid-type]


def _value(answer: Mapping[str, Any], name: str, shape: type[T]) -> T:
    return _value_of(part(answer, name, shape), name)


def _value_of(answered: Part[T], name: str) -> T:
    if answered.unreadable is not None:
        raise Unreadable(answered.unreadable)
    if answered.value is None:
        raise Unreadable(f"what {_WHAT} ({name}) says is not understood: it has no value")
    return answered.value


# ---- what it means -----------------------------------------------------------------------------


def _records(server: str, ipv4: _RecordSet, ipv6: _RecordSet) -> Records:
    # One name has one status for all types: NXDOMAIN, or not.
    status = ipv4.status if ipv4.status != "NOERROR" else ipv6.status
    return Records(
        server=server,
        status=status,
        ipv4=ipv4.addresses,
        ipv6=ipv6.addresses,
        aliases=tuple(dict.fromkeys([*ipv4.aliases, *ipv6.aliases])),
        ttl=min((each.ttl for each in (ipv4, ipv6) if each.ttl is not None), default=None),
    )


def parse_resolver(answer: dict[str, Any]) -> Records:
    resolver = _value(answer, "resolver", _Resolver)
    return _records("the resolver", resolver.A, resolver.AAAA)


def parse_authority(answer: dict[str, Any]) -> tuple[Records, ...]:
    servers = _value(answer, "authority", tuple[_NameServer, ...])
    if silent := [server.unreadable for server in servers if server.unreadable]:
        raise Unreadable("; ".join(silent))
    records = [_records(each.server, each.A, each.AAAA) for each in servers if each.A and each.AAAA]
    if len(records) < len(servers):
        raise Unreadable(f"what {_WHAT} (authority) says is not understood: a name server without records")
    return tuple(records)


def _blind(answer: dict[str, Any]) -> dict[int, str]:
    """Why silence over IPv4 or over IPv6 says nothing: the vantage reaches no host over it."""
    reasons: dict[int, str] = {}
    routes = _value(answer, "routes", dict[str, bool])
    reference = part(answer, "reference", tuple[Port, ...]).value
    for ipv in (4, 6):
        if not routes.get(str(ipv)):
            reasons[ipv] = f"the vantage has no IPv{ipv} network"
        elif reference is not None and not any(port.state == "open" for port in reference if port.ipv == ipv):
            reasons[ipv] = f"the vantage reaches no host over IPv{ipv}, not even the reference host"
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


def parse_marks_sent(answer: dict[str, Any]) -> MarksSent:
    watched = answer.get("watched", NOT_WATCHED)
    sent = {
        address: replace(each, arrived=frozenset(watched["addresses"].get(address, ())))
        for address, each in _value(answer, "sent", dict[str, Sent]).items()
    }
    _sighted(answer, [address for address, each in sent.items() if not each.answers and not each.arrived])
    return MarksSent(sent, watched["problem"], watched["lost"])


def parse_port_scan(answer: dict[str, Any]) -> PortScan:
    ports = _value(answer, "ports", tuple[Port, ...])
    reference = part(answer, "reference", tuple[Port, ...])
    if reference.unreadable is not None:
        return PortScan(ports, frozenset(), reference.unreadable)
    proven = frozenset(
        (port.ipv, port.protocol, port.number)
        for port in _value_of(reference, "reference")
        if port.state == "open"
    )
    return PortScan(ports, proven, "the vantage cannot open this port on the reference host either")


def parse_logins(answer: dict[str, Any]) -> tuple[LoginProbe, ...]:
    probes = _value(answer, "logins", tuple[LoginProbe, ...])
    if not any(probe.offered for probe in probes):
        _sighted(answer, [probe.address for probe in probes])
    return probes


def parse_limit(answer: dict[str, Any]) -> tuple[Counted, ...]:
    counted = _value(answer, "limit", tuple[Counted, ...])
    _sighted(answer, [each.address for each in counted if each.error])
    return counted


def parse_website(answer: dict[str, Any]) -> Website:
    site = _value(answer, "web", Website)
    silent = [each.address for each in site.handshakes if each.error]
    silent += [each.address for each in site.redirects if each.answer.error]
    _sighted(answer, silent)
    return site


def parse_edge(answer: dict[str, Any]) -> dict[str, str]:
    """Headers by which a network in front of the server shows itself; none where nothing answered."""
    site = part(answer, "web", Website).value
    gets = site.gets if site else ()
    return {name: text for each in gets for attempt in each.attempts for name, text in attempt.edge.items()}
