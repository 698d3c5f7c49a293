"""When a server can be used again: its application, and its certificates."""

from __future__ import annotations

import subprocess

import pytest

from vagrant.host import (
    certificates,
    readiness,
)
from vagrant.host.machine import Machine


@pytest.mark.parametrize(("status", "says"), [(0, "answers"), (124, "no answer within 120 s")])
def test_application_is_waited_for_after_a_boot_and_may_be_broken(
    made: Machine, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    commands = []

    def ssh(_: Machine, host: str, command: str, **limits: float) -> subprocess.CompletedProcess[str]:
        commands.append((host, command, limits))
        return subprocess.CompletedProcess([], status, "", "")

    monkeypatch.setattr(Machine, "ssh", ssh)
    assert says in readiness.wait_for_application(made)
    ((host, command, limits),) = commands
    assert host == "server" and "http://127.0.0.1:8000/health/live" in command
    assert limits["limit"] > 120


# `openssl x509 -noout -startdate -enddate`, OpenSSL 3.0.15 on Debian 12.
DATES = "notBefore=Nov 24 04:00:00 2026 GMT\nnotAfter=Nov 24 16:00:00 2026 GMT\n"


def test_a_certificate_is_stale_in_its_last_third_and_before_its_life() -> None:
    begin, end = certificates.parse_lifetime(DATES)
    assert end - begin == 12 * 3600
    hour = 3600
    assert not certificates.is_stale(begin, end, begin + 7 * hour)
    assert certificates.is_stale(begin, end, begin + 9 * hour)
    assert certificates.is_stale(begin, end, end + hour)
    assert certificates.is_stale(begin, end, begin - hour)


def test_no_certificate_is_no_lifetime() -> None:
    with pytest.raises(ValueError, match="Could not read certificate"):
        certificates.parse_lifetime("Could not read certificate from <stdin>\n")
