"""Item 2 as pure functions: handshakes and redirects in, findings out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcheck.checks import item_02_https as https
from labcheck.checks.model import Target
from labcheck.external.model import Attempt, Handshake, Part, Redirect, Website
from tests.checks.findings import verdict

TARGET = Target(host="server", domain="app.lab.example")
IPV4 = "198.51.100.10"
SHAKE = Handshake(IPV4, "", "", "TLSv1.3", "h2", ("app.lab.example",), "Lab Encrypt", 0, 12, 3,
                  {"TLSv1": Part("refused"), "TLSv1_1": Part("refused")})  # fmt: skip


def site(shake: Handshake = SHAKE, redirect: str = "https://app.lab.example/") -> Website:
    return Website((shake,), (Redirect(IPV4, Attempt(308, 0.1, "", redirect, "", {}, "", well=False)),), ())


def test_a_certificate_with_a_quarter_left_or_less_fails() -> None:
    assert verdict(https.the_certificate_is_trusted(site(), target=TARGET)) == "PASS"
    assert verdict(https.the_certificate_is_trusted(site(replace(SHAKE, now=9)), target=TARGET)) == "FAIL"


@pytest.mark.parametrize("days", [90, 64, 45, 160 / 24])
def test_a_certificate_that_waits_for_the_time_that_its_authority_names_passes(days: float) -> None:
    """Let's Encrypt's window for ARI ends 1 % of the lifetime after its last third, or its last half."""
    ideal = 1 / 3 if days >= 10 else 1 / 2
    part_left, half_a_day = ideal - 0.01, 0.5
    now = days * (1 - part_left) + half_a_day  # the client's next look after the window's end
    findings = https.the_certificate_is_trusted(site(replace(SHAKE, not_after=days, now=now)), target=TARGET)
    assert verdict(findings) == "PASS"


def test_certificate_findings_do_not_change_with_time() -> None:
    early, late = (
        list(https.the_certificate_is_trusted(site(replace(SHAKE, now=now)), target=TARGET)) for now in (1, 4)
    )
    assert [finding.observed for finding in early] == [finding.observed for finding in late]


@pytest.mark.parametrize(
    ("state", "expected"),
    [(Part("refused"), "PASS"), (Part("accepted"), "FAIL"), (Part(unreadable="no answer"), "UNKNOWN")],
)
def test_old_tls_version_fails_if_accepted_and_is_unknown_if_not_tried(
    state: Part[str], expected: str
) -> None:
    assert verdict(https.old_versions_are_refused(site(replace(SHAKE, old={"TLSv1": state})))) == expected


@pytest.mark.parametrize(
    "location",
    ["", "http://app.lab.example/", "https://app.lab.example.evil.example/", "https://other.example/"],
)
def test_a_redirect_to_anywhere_else_fails(location: str) -> None:
    assert verdict(https.http_leads_to_https(site(SHAKE, location), target=TARGET)) == "FAIL"
