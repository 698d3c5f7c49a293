"""Item 1: the domain leads to this server, and the world has heard of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from labcheck.checks.model import Item, Target, criterion
from labcheck.external import questions
from labcheck.external.model import MarksSent, Records, Sent
from labcheck.facts.network import interface_addresses
from labcheck.verdict import Finding, failed, passed, unknown

NOT_SENT = Sent(accepted=False, answers=False)
_WHY = "visitors, and the authority that issues the certificate, go where the name leads"

# Published by these networks: https://www.cloudflare.com/ips/ and https://api.fastly.com/public-ip-list
_EDGE_NETWORKS = {
    "Cloudflare": (
        "173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18 "
        "190.93.240.0/20 188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 "
        "104.24.0.0/14 172.64.0.0/13 131.0.72.0/22 2400:cb00::/32 2606:4700::/32 2803:f800::/32 "
        "2405:b500::/32 2405:8100::/32 2a06:98c0::/29 2c0f:f248::/32"
    ),
    "Fastly": "151.101.0.0/16 199.232.0.0/16 2a04:4e42::/32",
}
_EDGE_ALIASES = {
    "cloudfront.net": "CloudFront",
    "fastly.net": "Fastly",
    "akamaiedge.net": "Akamai",
    "edgekey.net": "Akamai",
    "azureedge.net": "Azure Front Door",
    "azurefd.net": "Azure Front Door",
    "cdn.cloudflare.net": "Cloudflare",
    "b-cdn.net": "bunny.net",
    "vercel-dns.com": "Vercel",
}
_EDGE_HEADERS = {
    "cf-ray": "Cloudflare",
    "x-amz-cf-id": "CloudFront",
    "x-azure-ref": "Azure Front Door",
    "x-vercel-id": "Vercel",
}


def _said(records: Records) -> str:
    if records.status != "NOERROR":
        return records.status
    parts = [f"A {', '.join(records.ipv4)}" if records.ipv4 else "no A"]
    parts.append(f"AAAA {', '.join(records.ipv6)}" if records.ipv6 else "no AAAA")
    return " and ".join(parts)


def content_network(records: Records, edge: dict[str, str]) -> str:
    """The name of the content delivery network that stands in front, or ""."""
    for alias in records.aliases:
        for suffix, name in _EDGE_ALIASES.items():
            if alias.endswith(suffix):
                return name
    for address in (*records.ipv4, *records.ipv6):
        for name, networks in _EDGE_NETWORKS.items():
            if any(_inside(address, network) for network in networks.split()):
                return name
    return next((name for mark, name in _EDGE_HEADERS.items() if mark in edge), "")


def _inside(address: str, network: str) -> bool:
    ip, net = ipaddress.ip_address(address), ipaddress.ip_network(network)
    return ip.version == net.version and ip in net


@criterion(authority=questions.authority)
def the_zone_has_the_name(authority: tuple[Records, ...], target: Target) -> Iterator[Finding]:
    """Every server with authority over the zone gives the same addresses."""
    first = authority[0]
    if len({(item.status, item.ipv4, item.ipv6) for item in authority}) > 1:
        yield failed(
            "the zone's own servers differ: "
            + "; ".join(f"{item.server} says {_said(item)}" for item in authority),
            expected="the same answer from each of them",
            why="which server a visitor reaches then depends on chance",
            next="ask your DNS provider why the zone is not the same everywhere",
        )
    elif not first.ipv4 and not first.ipv6:
        phrase = (
            "does not exist (NXDOMAIN)" if first.status == "NXDOMAIN" else f"has no address ({_said(first)})"
        )
        yield failed(
            f"{target.domain} {phrase}, says {first.server}",
            expected="an A record (and an AAAA record) with this server's address",
            why=_WHY,
            next=f"add the A and AAAA records of {target.domain} at your DNS provider",
        )
    else:
        yield passed(f"{_said(first)} at {first.server}, TTL {first.ttl} s")


@criterion(authority=questions.authority, resolver=questions.resolver)
def the_world_has_heard(authority: tuple[Records, ...], resolver: Records) -> Iterator[Finding]:
    """The caching resolver gives what the authority gives."""
    first = authority[0]
    if not first.ipv4 and not first.ipv6 and not resolver.ipv4 and not resolver.ipv6:
        return  # nothing to hear of: the zone's own criterion says so
    if (resolver.ipv4, resolver.ipv6) == (first.ipv4, first.ipv6):
        yield passed("the caching resolver gives the same", detail=f"{resolver.ttl} s left in its cache")
    else:
        yield failed(
            f"the caching resolver still says {_said(resolver)}, {first.server} says {_said(first)}",
            expected="the same answer from both",
            why="until the old answer runs out, part of the world goes to the old place",
            next="wait for the record's TTL to run out, and check again",
            detail=f"{resolver.ttl} s left in the cache",
        )


@criterion(
    authority=questions.authority, resolver=questions.resolver, marks=questions.marks_sent,
    edge=questions.edge, own_addresses=interface_addresses,
)  # fmt: skip
def each_address_is_this_server(
    authority: tuple[Records, ...],
    resolver: Records,
    marks: MarksSent,
    edge: dict[str, str],
    own_addresses: tuple[str, ...],
) -> Iterator[Finding]:
    """What is sent to each address arrives at this server, as it sees for itself, or the address is its own.

    So address translation does not matter.
    """
    servers = (*authority, resolver)
    addresses = list(dict.fromkeys(a for item in servers for a in (*item.ipv4, *item.ipv6)))
    network = next((name for item in servers if (name := content_network(item, edge))), "")
    for address in addresses:
        sent = marks.sent.get(address, NOT_SENT)
        if sent.arrived & set(own_addresses):
            yield passed(f"{address} is this server: what is sent there arrives here")
        elif network:
            yield unknown(
                f"{address} belongs to {network}, a network in front: the origin behind it cannot be observed"
            )
        elif address in own_addresses:
            yield passed(f"{address} is on this server's own interface")
        elif marks.problem or marks.lost:
            yield unknown(marks.problem or "more arrives at this server than could be looked through")
        elif sent.accepted or sent.arrived:
            yield failed(
                f"{address} is another host: what it takes does not arrive here",
                expected="addresses of this server and of no other",
                why=_WHY,
                next="correct the record of this address at your DNS provider",
            )
        elif sent.answers:
            yield unknown(
                f"{address} answers, and takes nothing by which this server could know that it is meant",
                next="let 80/tcp in: it is needed for the redirect to https as well",
            )
        else:
            yield failed(
                f"no host at {address} answers, and it is on none of this server's interfaces",
                expected="addresses of this server and of no other",
                why=_WHY,
                next="correct the record of this address at your DNS provider",
            )


ITEM = Item(
    number=1,
    title="Domain configured and DNS propagated",
    short="Domain and DNS",
    chapter="02_https_caddy",
    section="A name",
    criteria=(the_zone_has_the_name, the_world_has_heard, each_address_is_this_server),
)
