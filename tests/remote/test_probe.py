"""The probe against a real site in a network of its own, and against no network at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcheck.errors import Unreadable
from labcheck.external import arrivals, probing, questions
from labcheck.external.arrivals import Watch
from labcheck.external.model import HEALTH_PATHS, NO_ACCOUNT, Answers, Part, Questions
from labcheck.remote.external import marks, rate_limit, ssh
from labcheck.remote.external.answers import Unseen
from labcheck.result import Result
from labcheck.ssh import Connection
from tests import needed
from tests.remote.time_limits import raised
from tests.sshd import MAY, MAY_NOT, Sshd, free_port

HERE = Path(__file__).parent
GENEROUS = dict.fromkeys(("TRY_TIMEOUT", "TLS_TIMEOUT", "CONNECT_TIMEOUT"), 60.0)
ADDRESSES = ("127.0.0.1", "::1")
Ask = Callable[..., Answers]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    needed.program("openssl", "ip")
    folder = tmp_path_factory.mktemp("site")
    key, certificate = folder / "key", folder / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/O=Test Authority/CN=app",
         "-addext", "subjectAltName=DNS:app.lab.example", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "site.pem").write_text(key.read_text() + certificate.read_text())

    def run(*wrong: str, domain: str = "app.lab.example", trusted: bool = True, **changes: Any) -> Answers:
        to_ask = Questions(domain=domain, candidates=ADDRESSES, tcp=(80, 443, 8000), udp=(443,))
        to_ask = replace(to_ask, **changes)
        command = [
            "unshare",
            "--net",
            "--map-root-user",
            sys.executable,
            str(HERE / "web_server.py"),
            str(folder),
        ]
        environment = dict(os.environ)
        if trusted:
            environment["SSL_CERT_FILE"] = str(certificate)
        completed = subprocess.run(
            [*command, *wrong], input=raised(probing.program(to_ask), **GENEROUS), env=environment,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        # Loopback is the whole network of these tests: the routes to elsewhere are taken for granted.
        answers = probing.read(Result(completed.stdout, completed.stderr, completed.returncode))
        assert not answers.unreadable, answers.unreadable
        return Answers({**answers.raw, "routes": {"value": {"4": True, "6": True}}})

    return run


def test_a_good_site_is_trusted_redirects_and_answers_over_both_families(ask: Ask) -> None:
    site = ask()[questions.website]
    assert [(shake.error, shake.untrusted, shake.version) for shake in site.handshakes] == [
        ("", "", "TLSv1.3")
    ] * 2
    assert [redirect.answer.location for redirect in site.redirects] == ["https://app.lab.example/"] * 2
    assert {(fetch.address, fetch.path) for fetch in site.gets} == {
        (address, path) for address in ADDRESSES for path in HEALTH_PATHS
    }
    assert all(fetch.best.status == 200 and fetch.best.hsts for fetch in site.gets)


def test_request_headers_are_sent_and_the_id_of_each_request_is_read(ask: Ask) -> None:
    ids = {got.best.request_id for got in ask(headers={"X-Request-ID": "mine"})[questions.website].gets}
    assert ids == {"mine"}


def test_old_tls_is_refused_by_a_good_site(ask: Ask) -> None:
    site = ask()[questions.website]
    assert [shake.old for shake in site.handshakes] == [
        {"TLSv1": Part("refused"), "TLSv1_1": Part("refused")}
    ] * 2


def test_old_tls_is_seen_where_it_is_on(ask: Ask) -> None:
    site = ask("old")[questions.website]
    assert [shake.old for shake in site.handshakes] == [
        {"TLSv1": Part("accepted"), "TLSv1_1": Part("accepted")}
    ] * 2


def test_certificate_of_an_unknown_authority_is_untrusted_and_names_it(ask: Ask) -> None:
    shake = ask(trusted=False)[questions.website].handshakes[0]
    assert shake.untrusted and shake.issuer == "Test Authority"


def test_certificate_for_another_name_is_untrusted(ask: Ask) -> None:
    shake = ask(domain="other.lab.example")[questions.website].handshakes[0]
    assert "not valid for" in shake.untrusted


def test_open_port_is_distinguished_from_a_closed_one(ask: Ask) -> None:
    states = {(port.address, port.name): port.state for port in ask()[questions.port_scan].ports}
    assert {states[address, "443/tcp"] for address in ADDRESSES} == {"open"}
    assert {states[address, "8000/tcp"] for address in ADDRESSES} == {"closed"}


def test_probe_without_a_network_calls_no_port_closed() -> None:
    to_ask = Questions("app.lab.example", candidates=("198.51.100.10",), reference="ports.lab.example")
    completed = subprocess.run(
        ["unshare", "--net", "--map-root-user", sys.executable, "-"],
        input=probing.program(to_ask), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    answers = probing.read(Result(completed.stdout, completed.stderr, completed.returncode))
    for question in (questions.resolver, questions.authority, questions.marks_sent, questions.website):
        with pytest.raises(Unreadable):
            answers[question]
    assert not answers[questions.port_scan].proven


# ---- what arrives ------------------------------------------------------------------------------


def test_marks_that_are_sent_to_each_address_arrive_at_the_server(
    shared: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "GRACE", 60.0)
    with Watch(shared) as watch:
        sent = marks.send_marks([*ADDRESSES, "127.0.0.2"], "app.lab.example", watch.mark)
        seen_marks = watch.arrived(3)
    assert (seen_marks.problem, seen_marks.lost) == ("", 0)
    assert seen_marks.addresses == {number: {address} for number, address in enumerate(sent)}
    arrived = {address: seen_marks.addresses[number] for number, address in enumerate(sent)}
    watched = {"problem": "", "lost": 0, "addresses": arrived}
    routes = {"value": {"4": True, "6": True}}
    answers = Answers({"sent": {"value": sent}, "watched": watched, "routes": routes, "reference": {}})
    assert answers[questions.marks_sent].lead_here(ADDRESSES) == ADDRESSES


def test_mark_that_is_sent_elsewhere_does_not_arrive(shared: Connection) -> None:
    with Watch(shared) as watch:
        sent = marks.send_marks(["192.0.2.1"], "app.lab.example", watch.mark)
        assert watch.arrived(1).addresses == {}
    assert not sent["192.0.2.1"]["accepted"]


def test_account_that_may_not_become_root_cannot_watch_marks(sshd: Sshd) -> None:
    with Watch(sshd.connection(User=MAY_NOT)) as watch:
        seen = watch.arrived(1)
    assert seen.problem == "what arrives at the server, only root may see"


def test_server_that_is_off_cannot_watch_marks(sshd: Sshd) -> None:
    with Watch(sshd.connection(Port=str(free_port()))) as watch:
        seen = watch.arrived(1)
    assert "the connection was refused" in seen.problem


def test_mark_is_taken_where_port_80_is_open_and_nothing_else_is(ask: Ask) -> None:
    sent = ask(wanted=("sent",), mark="labcheck-1").raw["sent"]["value"]
    assert sent == {address: {"accepted": True, "answers": True} for address in ADDRESSES}


# ---- how often ---------------------------------------------------------------------------------


def statuses(answers: Answers) -> list[int | None]:
    return [answer.status for answer in answers[questions.limit]]


def test_rate_limit_is_read_with_one_request(ask: Ask) -> None:
    (answer,) = ask(wanted=("limit",))[questions.limit]
    assert (answer.status, answer.quota, answer.forged) == (401, 10, False)
    assert set(answer.fields) == {"ratelimit", "ratelimit-policy"}


def test_rate_limit_exercise_asks_once_too_often_and_once_more_with_a_forged_address(ask: Ask) -> None:
    answers = ask(wanted=("limit",), until_refused=True)
    assert statuses(answers) == [401] * 10 + [429] * 2
    assert [answer.forged for answer in answers[questions.limit]] == [False] * 11 + [True]
    assert "retry-after" in answers[questions.limit][-1].fields


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("limitless",), [401] * 11),
        (("limitless", "silent"), [401] * 11),
        (("forgetful",), [401] * 11),
        (("believing",), [401] * 10 + [429, 401]),
        (("silent",), [401] * 10 + [429] * 2),
    ],
)
def test_rate_limit_is_exceeded_by_two_requests_at_most(
    ask: Ask, wrong: tuple[str, ...], expected: list[int]
) -> None:
    assert statuses(ask(*wrong, wanted=("limit",), until_refused=True)) == expected


def test_rate_limit_counts_by_the_key_where_there_is_one(ask: Ask) -> None:
    answers = ask("believing", wanted=("limit",), until_refused=True, chat_key="key-of-labcheck")
    assert statuses(answers)[-2:] == [429, 401]
    assert "key-of-labcheck" not in str(answers.raw)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ratelimit-policy": '"chat";q=10;w=60', "ratelimit": '"chat";r=9;t=60'}, 10),
        ({"ratelimit-policy": '"burst";q=5;w=1, "day";q=1000;w=86400'}, 5),
        ({"ratelimit-policy": "10;w=60"}, 10),
        ({"ratelimit": "limit=10, remaining=9, reset=50"}, 10),
        ({"ratelimit-limit": "10", "ratelimit-remaining": "9"}, 10),
        ({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "99", "x-ratelimit-reset": "60"}, 100),
        ({"retry-after": "60", "x-ratelimit-remaining": "0"}, None),
        ({"ratelimit-policy": "none of your business"}, None),
    ],
)
def test_rate_limit_is_read_from_new_and_old_fields(fields: dict[str, str], expected: int) -> None:
    assert rate_limit.quota(fields) == expected


# ---- SSH ---------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LOGIN_TIMEOUT", 60)


def host_key(sshd: Sshd) -> str:
    return " ".join((sshd.folder / "host.pub").read_text().split()[:2])


@pytest.mark.usefixtures("patient")
def test_login_methods_are_seen_for_each_kind_of_account(sshd: Sshd) -> None:
    seen = ssh.probe_logins(["127.0.0.1"], [sshd.port], ["root", MAY, NO_ACCOUNT], [host_key(sshd)])
    offered = ["publickey", "keyboard-interactive"]  # which is on unless it is turned off
    assert [(item["account"], item["offered"], item["error"]) for item in seen] == [
        (account, offered, "") for account in ("root", MAY, NO_ACCOUNT)
    ]


@pytest.mark.usefixtures("patient")
def test_host_that_does_not_show_the_server_s_key_is_not_asked_for_login_methods(sshd: Sshd) -> None:
    other = " ".join((sshd.folder / "other.pub").read_text().split()[:2])
    (seen,) = ssh.probe_logins(["127.0.0.1"], [sshd.port], ["root", NO_ACCOUNT], [other])
    assert (seen["offered"], seen["error"]) == ([], "another host")
    with pytest.raises(Unseen, match="host keys are not known"):
        ssh.probe_logins(["127.0.0.1"], [sshd.port], ["root"], [])


@pytest.mark.usefixtures("patient")
def test_login_methods_are_not_known_where_the_port_is_closed(sshd: Sshd) -> None:
    (seen,) = ssh.probe_logins(["127.0.0.1"], [free_port()], ["root", NO_ACCOUNT], [host_key(sshd)])
    assert seen["error"] == "refused"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("stderr", "status", "offered", "error"),
    [
        ("a@b: Permission denied (publickey,password,keyboard-interactive).", 255,
         ["publickey", "password", "keyboard-interactive"], ""),
        ("", 0, ["none"], ""),
        ("kex_exchange_identification: Connection closed by remote host", 255, [], "closed before"),
        ("ssh: connect to host b port 22: Connection timed out", 255, [], "no answer"),
        ("ssh: connect to host b port 22: Network is unreachable", 255, [], "unreachable"),
        ("something new", 255, [], "something new"),
    ],
)  # fmt: skip
def test_ssh_refusal_is_understood(
    stderr: str, status: int, offered: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\necho '{stderr}' >&2\nexit {status}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    seen = ssh.probe_login("b", 22, "a", "known_hosts")
    assert seen["offered"] == offered and seen["error"].startswith(error)
