"""What the probe's answers mean: one parser for each question, and none of them guesses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcheck.errors import Unreadable
from labcheck.external.model import (
    Attempt,
    Counted,
    Got,
    Handshake,
    LoginProbe,
    MarksSent,
    Port,
    PortScan,
    Records,
    Redirect,
    Sent,
    Website,
)

ALL_ROUTES = {"value": {"4": True, "6": True}}


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


def parse_resolver(answer: dict[str, Any]) -> Records:
    return _records("the resolver", _value(answer, "resolver"))


def parse_authority(answer: dict[str, Any]) -> tuple[Records, ...]:
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


def parse_marks_sent(answer: dict[str, Any]) -> MarksSent:
    sent: dict[str, dict[str, bool]] = _value(answer, "sent")
    watched = answer.get("watched", NOT_WATCHED)
    found = {
        address: Sent(each["took"], each["answers"], frozenset(watched["addresses"].get(address, ())))
        for address, each in sent.items()
    }
    _sighted(answer, [address for address, each in found.items() if not each.answers and not each.arrived])
    return MarksSent(found, watched["problem"], watched["lost"])


def parse_port_scan(answer: dict[str, Any]) -> PortScan:
    ports = tuple(Port(i["address"], i["protocol"], i["port"], i["state"]) for i in _value(answer, "ports"))
    reference = answer["reference"]
    if "unreadable" in reference:
        return PortScan(ports, frozenset(), str(reference["unreadable"]))
    seen = [Port(i["address"], i["protocol"], i["port"], i["state"]) for i in reference["value"]]
    proven = frozenset((port.ipv, port.protocol, port.number) for port in seen if port.state == "open")
    return PortScan(
        ports, proven, "the place to look from cannot open this port on the reference host either"
    )


def parse_logins(answer: dict[str, Any]) -> tuple[LoginProbe, ...]:
    probes = tuple(
        LoginProbe(i["address"], i["port"], i["account"], tuple(i["offered"]), i["error"])
        for i in _value(answer, "logins")
    )
    if not any(item.offered for item in probes):
        _sighted(answer, [item.address for item in probes])
    return probes


def parse_limit(answer: dict[str, Any]) -> tuple[Counted, ...]:
    answers = tuple(
        Counted(i["address"], i["status"], i["fields"], i["error"], i["forged"])
        for i in _value(answer, "limit")
    )
    _sighted(answer, [item.address for item in answers if item.error])
    return answers


def _attempt(item: dict[str, Any]) -> Attempt:
    return Attempt(
        item.get("status"), item.get("seconds", 0.0), item.get("body", ""), item.get("location", ""),
        item.get("hsts", ""), item.get("edge", {}), item.get("error", ""), item.get("well", False),
        item.get("request_id", ""),
    )  # fmt: skip


def parse_website(answer: dict[str, Any]) -> Website:
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
        tuple(Redirect(item["address"], _attempt(item)) for item in site["redirects"]),
        tuple(
            Got(i["address"], i["path"], tuple(_attempt(one) for one in i["attempts"])) for i in site["gets"]
        ),
    )


def parse_edge(answer: dict[str, Any]) -> dict[str, str]:
    """Headers by which a network in front of the server shows itself; none where nothing answered."""
    gets = answer.get("web", {}).get("value", {}).get("gets", [])
    return {
        name: text for item in gets for one in item["attempts"] for name, text in one.get("edge", {}).items()
    }
