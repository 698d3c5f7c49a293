"""What to ask from outside, after what the server says of itself."""

from __future__ import annotations

import ipaddress
from typing import Protocol, TypeVar

from labcheck.errors import Unreadable
from labcheck.external.model import (
    CONTROL_PORTS,
    NO_ACCOUNT,
    Questions,
)
from labcheck.facts import Fact
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.network import (
    SshConnection,
    host_keys,
    interface_addresses,
    listening_sockets,
    ssh_connection,
)

T = TypeVar("T")
S = TypeVar("S")


class Facts(Protocol):
    """gather's Observation: the fact's value, or Unreadable."""

    def __getitem__(self, fact: Fact[T], /) -> T: ...


def _known(observed: Facts, fact: Fact[T], otherwise: S) -> T | S:
    try:
        return observed[fact]
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


def plan(
    observed: Facts,
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
    are the parts of the questions that there are; `chat_path` and `chat_key` say where and with which key to
    ask how often one may.
    """
    own = [*_known(observed, interface_addresses, ()), hostname]
    candidates = dict.fromkeys(address for address in own if _is_address(address) and is_public(address))
    sockets = [item for item in _known(observed, listening_sockets, ()) if not item.loopback]
    ssh: SshConnection | None = _known(observed, ssh_connection, None)
    tcp = {item.port for item in sockets if item.protocol == "tcp"}
    udp = {item.port for item in sockets if item.protocol == "udp"}
    ssh_port = ssh.port if ssh else 22
    sshds = {item.port for item in sockets if item.protocol == "tcp" and item.program == "sshd"}
    people: Accounts | None = _known(observed, accounts, None)
    person = next((item.name for item in people.all if item.is_a_person), None) if people else None
    return Questions(
        domain=domain,
        candidates=tuple(candidates),
        host_keys=_known(observed, host_keys, ()),
        ssh_port=ssh_port,
        ssh_ports=tuple(sorted(sshds or {ssh_port})),
        accounts=("root", *([person] if person else []), NO_ACCOUNT),
        # SSH's ports are not tried: that counts as an attempt to log in, and the person who logged in knows
        # them.
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
