"""Item 12 as pure functions: what is offered outside, and what sshd makes of its files, in; findings out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcheck.checks import item_12_ssh as ssh
from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.external.model import NO_ACCOUNT, LoginProbe
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.ssh import Case, Sshds, sshds
from labcheck.facts.ssh import Sshd as Seen
from labcheck.gather import gather
from labcheck.remote.external.ssh import probe_logins
from labcheck.ssh import Connection
from tests.checks.findings import verdict
from tests.sshd import MAY, Sshd

TARGET = Target(host="server", domain="app.lab.example", vantage="the stand-in internet")
IPV4, IPV6 = "198.51.100.10", "2001:db8:100::10"
KNOWN = Accounts(
    (
        Account("root", 0, frozenset({"root"}), "/root", "/bin/bash"),
        Account("daemon", 1, frozenset({"daemon"}), "/usr/sbin", "/usr/sbin/nologin"),
        Account("vagrant", 1000, frozenset({"vagrant"}), "/home/vagrant", "/bin/bash"),
        Account("transfer", 1002, frozenset({"transfer"}), "/srv", "/usr/sbin/nologin"),
    ),
    {},
)
SETTINGS = {
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "permitemptypasswords": "no",
    "permitrootlogin": "no",
}
HARD = Case((), "", None, SETTINGS)
SSHD = Seen(257, (HARD,), (), False)
SOCKETS = (Socket("tcp", "0.0.0.0", 22, "sshd", (257,)), Socket("tcp", "::", 22, "sshd", (257,)))


def case_of(accounts: str = "", address: str = "", port: int | None = None, **settings: str) -> Case:
    return Case(tuple(accounts.split()), address, port, SETTINGS | settings)


def running(*cases: Case) -> Sshds:
    return Sshds((replace(SSHD, cases=cases or (HARD,)),), frozenset({500}))


def offers(
    account: str = "root", offered: str = "publickey", address: str = IPV4, error: str = ""
) -> LoginProbe:
    return LoginProbe(address, 22, account, tuple(offered.split()), error)


# ---- from outside ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        ("publickey password", "offers password to root"),
        ("publickey keyboard-interactive", "offers keyboard-interactive to root"),
        ("none", "lets root in without any proof"),
    ],
)
def test_login_method_that_ends_in_a_password_fails_and_names_the_account(offered: str, says: str) -> None:
    probes = (offers(offered=offered), offers(NO_ACCOUNT))
    (finding,) = ssh.no_account_is_offered_a_password(probes, target=TARGET)
    assert finding.verdict.value == "FAIL" and says in finding.observed and NO_ACCOUNT not in finding.observed


def test_account_that_does_not_exist_counts_as_much_as_one_that_does() -> None:
    probes = (offers(), offers("vagrant"), offers(NO_ACCOUNT, "publickey password"))
    assert verdict(ssh.no_account_is_offered_a_password(probes, target=TARGET)) == "FAIL"


def test_keys_alone_pass_and_an_address_family_without_sshd_does_not_matter() -> None:
    probes = (
        offers(),
        offers("vagrant"),
        offers(NO_ACCOUNT),
        offers(offered="", address=IPV6, error="refused"),
    )
    (finding,) = ssh.no_account_is_offered_a_password(probes, target=TARGET)
    assert finding.verdict.value == "PASS" and "root, vagrant, no-such-account" in finding.observed


@pytest.mark.parametrize("error", ["refused", "no answer", "another host", "closed before anything was said"])
def test_sshd_that_does_not_answer_is_unknown(error: str) -> None:
    (finding,) = ssh.no_account_is_offered_a_password((offers(offered="", error=error),), target=TARGET)
    assert finding.verdict.value == "UNKNOWN" and error in finding.observed
    assert verdict(ssh.no_account_is_offered_a_password((), target=TARGET)) == "UNKNOWN"


def test_an_sshd_that_stops_answering_leaves_the_rest_unknown() -> None:
    probes = (offers(), offers("vagrant"), offers(NO_ACCOUNT, "", error="no answer"))
    (finding,) = ssh.no_account_is_offered_a_password(probes, target=TARGET)
    assert finding.verdict.value == "UNKNOWN" and "before no-such-account was tried" in finding.observed
    worse = (offers(offered="publickey password"), *probes[1:])
    assert verdict(ssh.no_account_is_offered_a_password(worse, target=TARGET)) == "FAIL"


# ---- by its files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (case_of(passwordauthentication="yes"), "has PasswordAuthentication yes"),
        (case_of(kbdinteractiveauthentication="yes"), "has KbdInteractiveAuthentication yes"),
        (case_of(permitemptypasswords="yes"), "has PermitEmptyPasswords yes"),
        (case_of(challengeresponseauthentication="yes"), "has KbdInteractiveAuthentication yes"),
    ],
)
def test_sshd_setting_that_allows_a_password_fails(case: Case, says: str) -> None:
    (finding,) = ssh.no_file_lets_a_password_in(running(case), SOCKETS, KNOWN)
    assert finding.verdict.value == "FAIL" and finding.observed == f"by its files, sshd on port 22 {says}"


def test_a_second_factor_after_the_key_passes() -> None:
    case = case_of(
        kbdinteractiveauthentication="yes", authenticationmethods="publickey,keyboard-interactive:pam"
    )
    assert verdict(ssh.no_file_lets_a_password_in(running(case), SOCKETS, KNOWN)) == "PASS"


def test_a_match_block_fails_and_says_for_whom_and_from_where() -> None:
    accounts = case_of("daemon vagrant", "203.0.113.99")
    guest = case_of("daemon vagrant", "10.0.0.0", passwordauthentication="yes")
    service = case_of("transfer", "203.0.113.99", passwordauthentication="yes")
    (finding,) = ssh.no_file_lets_a_password_in(running(accounts, guest, service), SOCKETS, KNOWN)
    assert finding.observed.endswith("yes for vagrant from 10.0.0.0; for transfer from 203.0.113.99")


def test_a_match_block_for_a_port_counts_where_sshd_listens_on_it() -> None:
    daemons = running(case_of(port=2222, passwordauthentication="yes"), case_of())
    assert verdict(ssh.no_file_lets_a_password_in(daemons, SOCKETS, KNOWN)) == "PASS"
    both = (*SOCKETS, Socket("tcp", "0.0.0.0", 2222, "sshd", (257,)))
    assert verdict(ssh.no_file_lets_a_password_in(daemons, both, KNOWN)) == "FAIL"
    others = running(case_of(port=22), case_of(passwordauthentication="yes"))
    assert verdict(ssh.no_file_lets_a_password_in(others, SOCKETS, KNOWN)) == "PASS"


@pytest.mark.parametrize("value", ["yes", "without-password", "forced-commands-only"])
def test_root_login_fails_even_with_a_key(value: str) -> None:
    assert (
        verdict(ssh.root_does_not_log_in(running(case_of(permitrootlogin=value)), SOCKETS, KNOWN)) == "FAIL"
    )
    only_root = running(case_of("vagrant", permitrootlogin=value), case_of("root"))
    assert verdict(ssh.root_does_not_log_in(only_root, SOCKETS, KNOWN)) == "PASS"


def test_sshd_of_which_nothing_is_known_is_unreadable() -> None:
    second = Socket("tcp", "0.0.0.0", 2222, "sshd", (800,))
    dropbear = Socket("tcp", "0.0.0.0", 22, "dropbear", (800,))
    unseen = Socket("tcp", "0.0.0.0", 22, "sshd", ())
    beside_it = Socket("tcp", "127.0.0.1", 22, "sshd", (800,))
    for sockets in ((*SOCKETS, second), (*SOCKETS, beside_it), (dropbear,), (), (unseen,)):
        with pytest.raises(Unreadable):
            list(ssh.no_file_lets_a_password_in(running(), sockets, KNOWN))


def test_a_port_that_a_logged_in_person_forwards_is_no_sshd() -> None:
    forwarded = Socket("tcp", "127.0.0.1", 8888, "sshd", (500,))
    assert verdict(ssh.no_file_lets_a_password_in(running(), (*SOCKETS, forwarded), KNOWN)) == "PASS"


def test_a_socket_that_systemd_opened_for_sshd_is_sshd_s() -> None:
    opened = (Socket("tcp", "*", 22, "sshd", (257, 1)),)
    assert verdict(ssh.no_file_lets_a_password_in(running(), opened, KNOWN)) == "PASS"


def test_sshds_on_the_same_port_are_both_judged() -> None:
    inner = Seen(800, (case_of(passwordauthentication="yes"),), (), False)
    both = Sshds((*running().listening, inner), frozenset())
    sockets = (Socket("tcp", IPV4, 22, "sshd", (257,)), Socket("tcp", "127.0.0.1", 22, "sshd", (800,)))
    assert verdict(ssh.no_file_lets_a_password_in(both, sockets, KNOWN)) == "FAIL"


# ---- what runs is what is written --------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "since_start", "expected"),
    [
        ((), False, "PASS"),
        ((), True, "PASS"),  # nothing has changed since it was started: it cannot but have read it
        (("/etc/ssh/sshd_config",), False, "FAIL"),
        (("/etc/ssh/sshd_config",), True, "UNKNOWN"),  # perhaps it was reloaded meanwhile
        (("/etc/ssh/sshd_config.d/",), False, "UNKNOWN"),  # a file was taken away, or an editor looked in
    ],
)
def test_sshd_file_that_is_younger_than_its_reading_fails(
    changed: tuple[str, ...], since_start: bool, expected: str
) -> None:
    daemons = Sshds((replace(SSHD, changed=changed, since_start=since_start),), frozenset())
    findings = list(ssh.it_has_read_its_files(daemons, SOCKETS))
    assert verdict(findings) == expected


def test_sshd_that_offers_more_than_its_files_was_not_reloaded() -> None:
    probes = (offers(), offers("vagrant", "publickey password"))
    (finding,) = ssh.what_is_offered_is_what_is_written(running(), SOCKETS, probes)
    assert finding.verdict.value == "FAIL"
    assert "was not reloaded: it offers password to vagrant" in finding.observed


def test_sshd_that_offers_less_than_its_files_was_not_reloaded() -> None:
    daemons = running(case_of(passwordauthentication="yes"))
    (finding,) = ssh.what_is_offered_is_what_is_written(daemons, SOCKETS, (offers(),))
    assert "it offers no password to root" in finding.observed


def test_login_methods_are_compared_with_the_settings_for_that_account() -> None:
    daemons = running(case_of("root"), case_of("vagrant", "10.0.0.0", passwordauthentication="yes"))
    same = (offers(), offers("vagrant", "publickey password"), offers(NO_ACCOUNT, "publickey password"))
    assert not list(ssh.what_is_offered_is_what_is_written(daemons, SOCKETS, same))
    (finding,) = ssh.what_is_offered_is_what_is_written(
        daemons, SOCKETS, (offers("root", "publickey password"),)
    )
    assert "to root" in finding.observed


def test_a_real_sshd_offers_what_it_says_that_it_offers(sshd: Sshd, shared: Connection) -> None:
    observed = gather(shared, [sshds, listening_sockets])
    here = tuple(socket for socket in observed[listening_sockets] if socket.port == sshd.port)
    key = " ".join((sshd.folder / "host.pub").read_text().split()[:2])
    seen = probe_logins(["127.0.0.1"], [sshd.port], ["root", MAY, NO_ACCOUNT], [key])
    probes = tuple(LoginProbe(i["address"], i["port"], i["account"], tuple(i["offered"]), "") for i in seen)
    assert not list(ssh.what_is_offered_is_what_is_written(observed[sshds], here, probes))
    (finding,) = ssh.no_file_lets_a_password_in(observed[sshds], here, KNOWN)
    assert "KbdInteractiveAuthentication yes" in finding.observed
    (finding,) = ssh.root_does_not_log_in(observed[sshds], here, KNOWN)
    assert "PermitRootLogin without-password" in finding.observed
