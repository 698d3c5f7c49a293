"""Item 1 as pure functions: what name servers say, and where marks arrive, in; findings out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcheck.checks import item_01_domain as domain
from labcheck.checks.model import Target
from labcheck.external.model import MarksSent, Records, Sent
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")
IPV4, IPV6 = "198.51.100.10", "2001:db8:100::10"
RIGHT = Records("ns1.lab.example", "NOERROR", (IPV4,), (IPV6,), (), 60)
NOTHING = Records("ns1.lab.example", "NXDOMAIN", (), (), (), None)


def test_domain_that_does_not_exist_fails() -> None:
    (finding,) = domain.the_zone_has_the_name((NOTHING,), target=TARGET)
    assert finding.verdict.value == "FAIL" and "NXDOMAIN" in finding.observed and "ns1" in finding.observed


def test_name_servers_that_differ_fail() -> None:
    other = replace(RIGHT, server="ns2.lab.example", ipv4=("198.51.100.9",))
    assert verdict(domain.the_zone_has_the_name((RIGHT, other), target=TARGET)) == "FAIL"


def test_resolver_with_a_stale_answer_fails() -> None:
    assert verdict(domain.the_world_has_heard((RIGHT,), replace(RIGHT, ipv4=("198.51.100.2",)))) == "FAIL"
    assert verdict(domain.the_world_has_heard((RIGHT,), replace(RIGHT, ttl=3))) == "PASS"


OWN = "10.0.0.5"  # the server's own address behind a provider's translation
HERE = Sent(accepted=True, answers=True, arrived=frozenset({OWN}))
ELSEWHERE = Sent(accepted=True, answers=True)
ROUTED = Sent(
    accepted=True, answers=True, arrived=frozenset({"198.51.100.99"})
)  # through this server to another
SHUT = Sent(accepted=False, answers=True)
SILENT = Sent(accepted=False, answers=False)


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "own", "expected"),
    [
        (HERE, HERE, (OWN,), "PASS"),  # behind NAT: the server itself knows neither address
        (HERE, ELSEWHERE, (OWN,), "FAIL"),
        (HERE, ROUTED, (OWN,), "FAIL"),
        (HERE, SILENT, (OWN,), "FAIL"),
        (HERE, SHUT, (OWN,), "UNKNOWN"),  # perhaps it is, and the provider lets nothing through but 443/tcp
        (HERE, SHUT, (OWN, IPV6), "PASS"),
        (HERE, SILENT, (OWN, IPV6), "PASS"),
    ],
)
def test_address_is_this_server_s_if_what_is_sent_to_it_arrives(
    ipv4: Sent, ipv6: Sent, own: tuple[str, ...], expected: str
) -> None:
    marks = MarksSent({IPV4: ipv4, IPV6: ipv6})
    assert verdict(domain.each_address_is_this_server((RIGHT,), RIGHT, marks, {}, own)) == expected


def test_a_server_that_could_not_watch_calls_no_address_anothers() -> None:
    for marks in (MarksSent({IPV4: HERE, IPV6: ELSEWHERE}, problem="only root may see"),
                  MarksSent({IPV4: HERE, IPV6: ELSEWHERE}, lost=3)):  # fmt: skip
        assert verdict(domain.each_address_is_this_server((RIGHT,), RIGHT, marks, {}, (OWN,))) == "UNKNOWN"


@pytest.mark.parametrize(
    ("records", "edge", "name"),
    [
        (replace(RIGHT, ipv4=("104.16.1.1",), ipv6=()), {}, "Cloudflare"),
        (replace(RIGHT, aliases=("d1.cloudfront.net",)), {}, "CloudFront"),
        (RIGHT, {"cf-ray": "1"}, "Cloudflare"),
    ],
)
def test_cdn_in_front_is_unknown_and_named(records: Records, edge: dict[str, str], name: str) -> None:
    marks = MarksSent({})
    findings = list(domain.each_address_is_this_server((records,), records, marks, edge, ()))
    assert verdict(findings) == "UNKNOWN" and name in findings[0].observed
