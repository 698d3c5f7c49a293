"""Item 6 as pure functions: open ports and the packet filter in, findings out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcheck.checks import item_06_firewall as firewall
from labcheck.checks.model import Target
from labcheck.external.model import Port, PortScan
from labcheck.facts.network import FirewallFiles, PacketFilter, Socket, SshConnection
from labcheck.facts.processes import Unit
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")
IPV4 = "198.51.100.10"
SSH = SshConnection("198.51.100.2", IPV4, 22)
UVICORN = Socket("tcp", "0.0.0.0", 8000, "uvicorn", (800,))
FILTER = PacketFilter({4: True, 6: True}, {4: False, 6: False}, True, frozenset())
FILES = FirewallFiles(True, True, False, frozenset())
UFW = {"ufw": Unit("ufw", True, True, "enabled", 0)}


def scan(state: str, *, proven: bool = True) -> PortScan:
    return PortScan(
        (Port(IPV4, "tcp", 8000, state),), frozenset({(4, "tcp", 8000)} if proven else ()), "no reference"
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (scan("filtered"), "PASS"),
        (scan("open"), "FAIL"),
        (scan("open", proven=False), "FAIL"),  # that it opened needs no proof
        (scan("filtered", proven=False), "UNKNOWN"),
        (PortScan((), frozenset(), ""), "UNKNOWN"),
    ],
)
def test_port_counts_as_closed_only_where_an_open_one_could_be_seen(seen: PortScan, expected: str) -> None:
    assert verdict(firewall.only_the_three_answer(seen, (UVICORN,), SSH, target=TARGET)) == expected


def test_open_port_is_named_with_the_program_behind_it() -> None:
    finding = next(iter(firewall.only_the_three_answer(scan("open"), (UVICORN,), SSH, target=TARGET)))
    assert "8000/tcp" in finding.observed and "uvicorn on 0.0.0.0" in finding.observed


def test_port_that_the_filter_lets_through_to_no_program_fails() -> None:
    assert verdict(firewall.nothing_else_is_let_through(FILTER, scan("closed"), SSH)) == "FAIL"
    rejecting = replace(FILTER, rejects={4: True, 6: True})
    assert not list(firewall.nothing_else_is_let_through(rejecting, scan("closed"), SSH))
    naming = replace(FILTER, rejected=frozenset({(4, "tcp", 8000)}))
    assert not list(firewall.nothing_else_is_let_through(naming, scan("closed"), SSH))
    other = replace(FILTER, rejected=frozenset({(4, "tcp", 8001)}))
    assert verdict(firewall.nothing_else_is_let_through(other, scan("closed"), SSH)) == "FAIL"


def test_packet_filter_for_one_family_alone_fails_and_names_the_other() -> None:
    (finding,) = firewall.the_filter_is_loaded(replace(FILTER, drops={4: True, 6: False}))
    assert finding.verdict.value == "FAIL" and "IPv6" in finding.observed and "IPv4" not in finding.observed


@pytest.mark.parametrize(
    ("files", "unit", "expected"),
    [
        (FILES, "enabled", "PASS"),
        (FILES, "disabled", "FAIL"),
        (replace(FILES, ufw_enabled=False), "enabled", "FAIL"),
        (replace(FILES, ufw_enabled=None), "", "FAIL"),
    ],
)
def test_packet_filter_that_nothing_loads_at_boot_fails(
    files: FirewallFiles, unit: str, expected: str
) -> None:
    units = {"ufw": replace(UFW["ufw"], starts_at_boot=unit)}
    assert verdict(firewall.it_comes_back_at_boot(FILTER, files, units)) == expected
