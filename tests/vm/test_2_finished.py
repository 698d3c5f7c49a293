"""The server as the last chapter leaves it: its items pass, from both sides, and blind spots are named."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from labcheck.config import Config
from labcheck.ssh import Connection
from labkit import browser
from tests import needed

from .conftest import ITEMS, Said, must, run_labcheck, ssh_audit

pytestmark = pytest.mark.vm

OUTSIDE = (1, 2, 3)
"""Items that are judged from outside alone."""


@pytest.fixture(scope="module")
def finished() -> Said:
    return run_labcheck("--exercise")


@pytest.mark.parametrize("number", ITEMS)
def test_the_item_passes_in_both_depths(finished: Said, number: int) -> None:
    assert finished.verdict(number) == "PASS", finished.words(number)


def test_labcheck_ends_with_0_and_has_skipped_nothing(finished: Said) -> None:
    assert finished.exit_status == 0
    assert "SKIP" not in finished.verdicts().values()


@pytest.mark.parametrize("family", ["4", "6"])
def test_client_gets_an_answer_over_tls_1_3_and_http_2(internet: Connection, family: str) -> None:
    output = must(
        internet,
        f"curl -{family} -sv -o /dev/null -w '%{{http_code}} %{{http_version}}'"
        " https://app.lab.example/health 2>&1",
    )
    assert output.endswith("200 2"), output
    assert "TLSv1.3" in output


@pytest.fixture(scope="module")
def browsers(target: Config) -> tuple[browser.Seen, browser.Seen]:
    """One that trusts the lab's authority, and one that does not."""
    needed.program("chromium", "certutil")
    (_, trusting), (_, other) = browser.visitors(target)
    return trusting, other


def test_a_browser_that_trusts_the_authority_shows_a_padlock(
    browsers: tuple[browser.Seen, browser.Seen],
) -> None:
    trusting, _ = browsers
    assert trusting.has_padlock, trusting.lines()
    assert trusting.tls.startswith("TLS 1.3, ")
    assert trusting.http == "h2"
    name, *above = trusting.chain
    assert name == "app.lab.example" and above[-1].startswith("Lab Encrypt"), trusting.chain


def test_a_browser_that_does_not_trust_it_shows_a_warning(
    browsers: tuple[browser.Seen, browser.Seen],
) -> None:
    _, untold = browsers
    assert (untold.has_padlock, untold.error) == (False, "net::ERR_CERT_AUTHORITY_INVALID")


def test_the_certificate_came_over_acme_from_the_labs_authority(
    server: Connection, internet: Connection
) -> None:
    issued = must(
        server, "sudo find /var/lib/caddy/.local/share/caddy/certificates -name app.lab.example.json"
    )
    assert "ca.lab.example-acme-local-directory" in issued
    url = json.loads(must(server, f"sudo cat {issued.strip()}"))["issuer_data"]["url"]
    assert url.startswith("https://ca.lab.example/acme/")
    issuer = must(
        internet,
        "openssl s_client -connect app.lab.example:443 -servername app.lab.example </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer",
    )
    authority = must(
        internet, "openssl x509 -noout -subject -in /usr/local/share/ca-certificates/lab-internet.crt"
    )
    assert authority.partition("=")[2].split()[0] in issuer


@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_visitors_get_the_security_headers_and_no_word_of_the_application_server(
    internet: Connection, path: str
) -> None:
    headers = must(internet, f"curl -s -o /dev/null -D - https://app.lab.example{path}").lower()
    for name in (
        "strict-transport-security: max-age=",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "content-security-policy: frame-ancestors 'none'",
    ):
        assert headers.count(name) == 1, headers
    assert "uvicorn" not in headers


def test_ssh_audit_finds_no_failure(server: Connection) -> None:
    assert ssh_audit(server) == []


def test_sshd_opens_no_windows_and_ends_a_connection_after_three_failures(server: Connection) -> None:
    settings = must(server, "sudo sshd -T").splitlines()
    assert {"x11forwarding no", "maxauthtries 3"} <= set(settings)


def test_sudo_rules_cannot_be_listed_by_other_accounts(server: Connection) -> None:
    refused = server.run("sudo -u nobody ls /etc/sudoers.d")
    assert refused.exit_status != 0 and "Permission denied" in refused.stderr


def test_three_processes_of_the_released_version_take_turns(server: Connection, internet: Connection) -> None:
    headers = must(internet, "curl -s -o /dev/null -D - 'https://app.lab.example/?[1-30]'")
    assert set(re.findall(r"(?im)^x-backend: (\d+)", headers)) == {"8000", "8001", "8002"}
    versions = must(server, "curl -s 'http://127.0.0.1:[8000-8002]/' | jq -r .version")
    assert versions.split() == ["0.2.0"] * 3


# Every secret of the two files ends in a long row of hexadecimal digits. They are compared as patterns
# from standard input: in a command line they would be found.
SECRETS = """\
secrets=$(sudo grep -ohE '[0-9a-f]{32,}' /home/aiapp/app/.env /etc/prometheus/metrics.key)
test "$(wc -l <<< "$secrets")" = 6 || exit
sudo grep -rlF -f - --exclude metrics.key /var/log /etc <<< "$secrets" || test $? = 1 || exit
commands=$(ps axww -o args=)
grep -F -f <(echo "$secrets") <<< "$commands" || test $? = 1
"""


def test_secrets_are_in_no_log_and_no_command_line(server: Connection) -> None:
    lines = must(
        server,
        SECRETS,
    )
    assert lines == ""


@pytest.mark.parametrize("address", ["198.51.100.10", "2001:db8:100::10"])
def test_address_with_too_many_failed_logins_is_banned_and_never_the_vantage(
    server: Connection, internet: Connection, address: str
) -> None:
    source = re.search(r"\bsrc (\S+)", must(internet, f"ip route get {address}"))
    assert source
    ignored = re.findall(r"(?m)^[|`]- (\S+)", must(server, "sudo fail2ban-client get sshd ignoreip"))
    assert any(ip_address(source[1]) in ip_network(network) for network in ignored), ignored
    assert not any(ip_address("198.51.100.54") in ip_network(network) for network in ignored)


@pytest.fixture
def account_without_sudo(server: Connection) -> Iterator[str]:
    must(
        server,
        "sudo useradd -m -s /bin/bash watcher && sudo install -d -o watcher -m 700 ~watcher/.ssh &&"
        " sudo install -o watcher -m 600 ~/.ssh/authorized_keys ~watcher/.ssh/",
    )
    yield "watcher"
    must(server, "sudo userdel -rf watcher 2>/dev/null; ! id watcher 2>/dev/null")


def test_refused_sudo_makes_the_inside_unknown_and_the_outside_is_still_judged(
    account_without_sudo: str, other_configuration: Callable[..., Path]
) -> None:
    report = run_labcheck(configuration=other_configuration(user=account_without_sudo))
    assert report.exit_status == 2
    for number in OUTSIDE:
        assert report.verdict(number) == "PASS", report.words(number)
    for number in range(4, 16):
        assert report.verdict(number) == "UNKNOWN", report.words(number)
        assert "sudo" in report.words(number)


def test_refused_key_makes_everything_that_needs_the_server_unknown(
    other_configuration: Callable[..., Path], tmp_path: Path
) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    report = run_labcheck(configuration=other_configuration(key=key))
    assert report.exit_status == 2
    for number in range(4, 16):
        assert report.verdict(number) == "UNKNOWN", report.words(number)
        assert "refused every key" in report.words(number)
    assert "FAIL" not in report.verdicts().values()


# Only the SSH connection that looks still works; the server undoes it by itself after two minutes. It is done
# from there because the container may not change its own network.
CUT = """set -euo pipefail
undo='for tool in iptables ip6tables; do ip netns exec internet $tool -P OUTPUT ACCEPT; '
undo+='ip netns exec internet $tool -F OUTPUT; done'
systemd-run --quiet --unit=lab-network-back --property=Type=oneshot --on-active=120 /bin/bash -ec "$undo"
for tool in iptables ip6tables; do
  ip netns exec internet $tool -A OUTPUT -p tcp --sport 22 -j ACCEPT
  ip netns exec internet $tool -P OUTPUT DROP
done
"""


@pytest.fixture
def vantage_without_network(server: Connection) -> Iterator[None]:
    cut = server.run("sudo -n bash -s", stdin=CUT, timeout=60)
    assert cut.exit_status == 0, cut.stderr
    yield
    must(
        server, "sudo systemctl start lab-network-back.service && sudo systemctl stop lab-network-back.timer"
    )


def test_vantage_without_a_network_makes_the_outside_unknown_and_the_inside_is_still_judged(
    vantage_without_network: None,
) -> None:
    # The other half of 10, 11 and 14 is there, too: the pager, the store, the collector.
    inside, outside = (5, 7, 8, 9, 12, 13, 15), (*OUTSIDE, 4, 6)
    report = run_labcheck("--item", *map(str, (*inside, *outside)))
    assert report.exit_status == 2, report.text
    for number in outside:
        assert report.verdict(number) == "UNKNOWN", report.words(number)
    for number in inside:
        assert report.verdict(number) == "PASS", report.words(number)


COUNTED = """\
log=$(mktemp)
sudo journalctl -t sshd -t sshd-session --since "@%d" -o short > "$log"
grep -c 'Accepted publickey' "$log"
for mode in normal aggressive; do
  fail2ban-regex "$log" "sshd[mode=$mode]" | sed -n 's/^Lines: .* \\([0-9]*\\) matched.*/\\1/p'
done
sudo fail2ban-client get sshd banip
rm "$log"
"""
"""How many logins there were, and how many lines fail2ban's filter would count, as Debian ships it.

By the program's name and not by its unit, which journald no longer finds where a process has ended already.
"""


def test_read_only_check_is_one_login_and_is_not_counted(
    server: Connection, other_configuration: Callable[..., Path], pytestconfig: pytest.Config
) -> None:
    checks = 100 if pytestconfig.getoption("--many-looks") else 5
    elsewhere = other_configuration(vantage=False)
    begin = int(must(server, "sleep 1.1; date +%s"))  # the test's own login came in a second before that
    with ThreadPoolExecutor(3) as pool:  # a look waits for a resolver that this computer may not have
        for report in pool.map(lambda _: run_labcheck(configuration=elsewhere), range(checks)):
            assert report.verdict(12) == "PASS", report.words(12)
            must(server, "true")  # the test's own connection stays open: another one would be counted
    logins, normal, aggressive, *banned = must(server, COUNTED % begin).split()
    assert (int(logins), int(normal), int(aggressive), banned) == (checks, 0, 0, [])


NEW_SERVER = "/usr/local/lib/shipshape/new-server"
SECRETS_ON_THE_NEW_SERVER = """\
set -euo pipefail
cd /run/shipshape/new-server/root
patterns=$(mktemp -p /run)
{ cut -d= -f2- /home/aiapp/app/.env | grep -oE '[A-Za-z0-9_-]{16,}'
  cat /etc/aiapp-backup/password /etc/prometheus/*.key
  # Whole lines, but for the first, which every key has; the last can be no more than comment and padding.
  grep -hE '^.{70}$' /etc/aiapp-backup/key /etc/ssh/ssh_host_*_key | grep -v '^b3BlbnNzaC1rZXktdjEA'
} > $patterns
wc -l < $patterns
grep -rlaFf $patterns etc home root srv usr/local var || [ $? = 1 ]
rm $patterns
"""
"""How many patterns were looked for, and the files on the new server's disk in which one of them is."""


@pytest.fixture
def new_server(server: Connection) -> Iterator[None]:
    must(server, f"sudo {NEW_SERVER} start", timeout=600)
    yield
    must(server, f"sudo {NEW_SERVER} stop")
    leftovers = (
        "ip -netns internet link show new-server0; ip netns pids new-server; ls -d /run/shipshape/new-server"
    )
    assert server.run(leftovers).stdout == ""


def test_server_that_a_backup_is_restored_to_has_no_data_and_no_secret_of_this_one(
    server: Connection, new_server: None
) -> None:
    looked_for, *leftovers = must(
        server, f"sudo bash -s <<'END'\n{SECRETS_ON_THE_NEW_SERVER}\nEND", timeout=300
    ).splitlines()
    assert int(looked_for) > 20 and leftovers == []
    log_in = "sudo nsenter --target $(machinectl show new-server -p Leader --value) --all bash -c"
    ask = "cd / && runuser -u postgres -- psql -qAtXc 'SELECT datname FROM pg_database'"
    databases = must(server, f'{log_in} "{ask}"').split()
    assert sorted(databases) == ["postgres", "template0", "template1"]
