"""A bare server and the stand-in internet beside it, on the machine as it was provisioned (snapshot `bare`).

The last tests fill the server's disk and reboot it. Everything is put back; only the zone's serial moves on.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labcheck.config import Config
from labcheck.errors import Unreachable, Unreadable
from labcheck.facts.boot import boot
from labcheck.gather import gather
from labcheck.ssh import Connection
from labcheck.wait import NotYet, wait_until
from tests import needed
from tests.vm.conftest import CHECKOUT, must
from vagrant.host.settings import read_settings

pytestmark = pytest.mark.vm

LIB = "/usr/local/lib/shipshape"
MANIFEST = f"{LIB}/manifest"


@pytest.fixture(scope="module", autouse=True)
def settings(target: Config, server: Connection) -> dict[str, str]:
    """Names and addresses of the lab. What fills disks and reboots does so on a server of the lab alone."""
    assert server.run(f"test -e {target.marker}").exit_status == 0, f"{server.host} is no server of the lab"
    return read_settings(CHECKOUT / "vagrant" / "lab.env")


# ---- the server is the box's, but for what a provider gives ----


@dataclass(frozen=True)
class Manifest:
    """What record-manifest.sh writes down of a server."""

    packages: frozenset[str]
    commands: frozenset[str]
    etc: dict[str, str]  # a file below /etc, and the hash of what is in it

    @property
    def box_was_complete(self) -> bool:
        """The lab's own box brings all that a container needs; one of the catalogue had to be completed."""
        return "systemd-container" in self.packages


@dataclass(frozen=True)
class Allowed:
    """A difference that is allowed: a regular expression for the whole name, and the reason."""

    what: str
    because: str


PACKAGES: tuple[Allowed, ...] = ()
FILES = (
    Allowed("/etc/ssl/certs/ca-certificates.crt", "the trust store: the lab's authority and the host's own"),
    Allowed(
        "/etc/pip.conf", "the host's package index and time-outs, through which alone the guest gets out"
    ),
    Allowed("/etc/apt/apt.conf.d/95-host", "the host's proxy, and patience with a lock of apt's"),
    Allowed("/etc/profile.d/host-proxy.sh", "the host's proxy"),
    Allowed(
        "/etc/sysctl.d/60-emulated-processor.conf",
        "an emulated processor starts programs three times as fast with it",
    ),
)
LINKS = (Allowed("/etc/ssl/certs/.+", "the trust store, by hash and by name"),)

# A box of the catalogue lacks what runs a container, and may come with passwords switched off.
CATALOGUE_PACKAGES = (
    Allowed("systemd-container", "runs the stand-in internet"),
    Allowed("systemd-resolved", "a resolver to which a provider's network can announce itself"),
    Allowed(
        "libnss-(myhostname|mymachines|resolve)", "the resolver's and the container's way into name look-ups"
    ),
)
CATALOGUE_FILES = (
    Allowed("/etc/ssh/sshd_config.d/50-cloud-init.conf", "SSH still takes passwords, as on a new server"),
    Allowed("/etc/shadow-?", "the account vagrant has a password, as on a new server"),
    Allowed("/etc/(passwd|group|gshadow)-?", "the account that the resolver's package makes for itself"),
    Allowed("/etc/nsswitch.conf", "the resolver's package puts itself into name look-ups"),
    Allowed("/etc/resolv.conf", "the resolver's package makes it a link to its own"),
    Allowed("/etc/hosts", "localhost is ::1 as well, as on Debian"),
    Allowed("/etc/apt/apt.conf.d/10periodic", "updates at night can be switched on"),
    Allowed("/etc/ld.so.cache", "an index of the libraries, written anew after every package"),
)
CATALOGUE_LINKS = (
    Allowed("/etc/resolv.conf", "the resolver's package makes it a link to its own"),
    Allowed("/etc/systemd/system/.+", "the packages' own units start at boot"),
)


def unexplained(names: Iterable[str], allowed: Iterable[Allowed]) -> list[str]:
    return sorted(name for name in names if not any(re.fullmatch(one.what, name) for one in allowed))


def read_manifest(text: str) -> Manifest:
    parts: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            parts[line[3:]] = []
        elif parts:
            parts[next(reversed(parts))].append(line)
    files = (line.split("  ", 1) for line in parts["etc"])
    return Manifest(
        frozenset(parts["packages"]), frozenset(parts["commands"]), {path: digest for digest, path in files}
    )


SHOW = f'cd {MANIFEST}; for part in packages commands etc; do echo "== $part"; cat "$part"; done\n'


@pytest.fixture(scope="module")
def box(server: Connection) -> Manifest:
    """The server before provisioning."""
    return read_manifest(must(server, SHOW))


@pytest.fixture(scope="module")
def now(server: Connection) -> Manifest:
    """The server now, by the same script, in a mount namespace of its own where there is no record yet."""
    script = (CHECKOUT / "vagrant" / "provision" / "record-manifest.sh").read_text(encoding="utf-8")
    somewhere_empty = f"mount -t tmpfs tmpfs {LIB}; exec bash -s"
    recorded = server.run(
        f"sudo -n env LC_ALL=C.UTF-8 unshare --mount bash -euc '{somewhere_empty}'", stdin=script + SHOW
    )
    assert recorded.exit_status == 0, recorded.stderr
    return read_manifest(recorded.stdout)


@pytest.fixture(scope="module")
def of_new_packages(server: Connection, box: Manifest, now: Manifest) -> frozenset[str]:
    """Every path of the packages that provisioning installed."""
    new = sorted(now.packages - box.packages)
    return frozenset(must(server, f"dpkg-query --listfiles {' '.join(new)}").splitlines() if new else ())


def test_the_record_of_the_box_is_whole(box: Manifest) -> None:
    assert {"bash", "openssh-server", "sudo"} <= box.packages
    assert {"/usr/bin/env", "/usr/sbin/sshd"} <= box.commands
    assert {"/etc/passwd", "/etc/ssh/sshd_config"} <= set(box.etc)


def test_the_servers_packages_are_those_of_the_box(box: Manifest, now: Manifest) -> None:
    allowed = PACKAGES if box.box_was_complete else PACKAGES + CATALOGUE_PACKAGES
    assert unexplained(now.packages - box.packages, allowed) == []
    assert box.packages - now.packages == set()


def test_the_servers_commands_are_those_of_the_box(
    box: Manifest, now: Manifest, of_new_packages: frozenset[str]
) -> None:
    came_along = {Path(path).name for path in of_new_packages if re.search("/s?bin/[^/]+$", path)}
    added = {command for command in now.commands - box.commands if Path(command).name not in came_along}
    assert added == set()
    assert box.commands - now.commands == set()


def test_the_files_below_etc_are_those_of_the_box(
    box: Manifest, now: Manifest, of_new_packages: frozenset[str]
) -> None:
    allowed = FILES if box.box_was_complete else FILES + CATALOGUE_FILES
    changed = {path for path, digest in now.etc.items() if box.etc.get(path) != digest}
    assert unexplained(changed - of_new_packages, allowed) == []
    assert unexplained(set(box.etc) - set(now.etc), () if box.box_was_complete else CATALOGUE_FILES) == []


def test_no_link_below_etc_is_newer_than_the_box_but_in_the_trust_store(
    server: Connection, box: Manifest
) -> None:
    allowed = LINKS if box.box_was_complete else LINKS + CATALOGUE_LINKS
    newer = must(server, f"sudo -n find /etc -type l -newer {MANIFEST}/packages").splitlines()
    assert unexplained(newer, allowed) == []


def test_the_server_has_no_program_of_the_stand_in_internet(server: Connection, internet: Connection) -> None:
    own = must(internet, "dpkg --listfiles knot unbound caddy python3-uvicorn").splitlines()
    programs = sorted(Path(path).name for path in own if re.match("/usr/s?bin/.", path))
    assert {"knotd", "unbound", "caddy"} <= set(programs)
    for login in ("sudo -n -i", ""):
        assert server.run(f"{login} bash -lc 'type -P {' '.join(programs)}'").stdout == ""


def test_no_command_of_the_server_leads_into_the_stand_in_internet(server: Connection, now: Manifest) -> None:
    led_to = server.run("sudo -n xargs readlink --canonicalize", stdin="\n".join(sorted(now.commands))).stdout
    paths = led_to.splitlines()
    assert len(paths) == len(now.commands)
    inside = (LIB, "/run/shipshape", "/var/lib/machines")
    assert [path for path in paths if path.startswith(inside)] == []


# ---- SSH as on a new server, and no firewall ----


def test_the_server_lets_a_key_in(server: Connection) -> None:
    only_keys = Connection(server.host, config=server.config, fresh=True)  # BatchMode: nothing is asked
    assert only_keys.run("true").exit_status == 0
    assert "pubkeyauthentication yes" in must(server, "sudo -n sshd -T").splitlines()


def test_the_server_still_lets_a_password_in(
    server: Connection, internet: Connection, settings: dict[str, str]
) -> None:
    assert "passwordauthentication yes" in must(server, "sudo -n sshd -T").splitlines()
    key = " ".join(must(server, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    address = settings["LAB_SERVER_IPV4"]
    login = f"""
        cd "$(mktemp -d)" && trap 'rm -r "$PWD"' EXIT
        echo '{address} {key}' > known_hosts
        printf '#!/bin/sh\\necho vagrant\\n' > password && chmod 700 password
        SSH_ASKPASS="$PWD/password" SSH_ASKPASS_REQUIRE=force ssh -o PreferredAuthentications=password \
            -o PubkeyAuthentication=no -o UserKnownHostsFile="$PWD/known_hosts" vagrant@{address} id -un
    """
    assert must(internet, login).strip() == "vagrant"


def test_no_rule_of_a_firewall_is_loaded(server: Connection) -> None:
    listed = must(
        server,
        "sudo -n bash -euc 'iptables -S; ip6tables -S; if type -P nft >/dev/null; then nft list ruleset; fi'",
    )
    assert "-P INPUT ACCEPT" in listed.splitlines()
    lets_everything = r"-P \w+ ACCEPT|table \w+ \w+ \{|chain \w+ \{|type filter hook .* policy accept;|\}"
    assert [
        line for line in listed.splitlines() if not re.fullmatch(lets_everything, line.strip() or "}")
    ] == []


# ---- names ----


@dataclass(frozen=True)
class Answer:
    """What a name server said: NOERROR or NXDOMAIN, the addresses, and for how long it may be kept (s)."""

    status: str
    addresses: tuple[str, ...]
    ttl: int


def ask(internet: Connection, server: str, name: str, kind: str = "A") -> Answer:
    """One question to one name server, asked from the internet."""
    output = must(internet, f"dig +noall +comments +answer +authority @{server} {name} {kind}")
    status = re.search(r"status: (\w+)", output)
    assert status, output
    records = [line.split() for line in output.splitlines() if line and not line.startswith(";")]
    assert records, output
    return Answer(status[1], tuple(fields[4] for fields in records if fields[3] == kind), int(records[0][1]))


@pytest.mark.parametrize(
    "name_server", ["AUTHORITY_IPV4", "AUTHORITY_IPV6", "RESOLVER_IPV4", "RESOLVER_IPV6"]
)
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_the_zone_starts_without_the_learners_record(
    internet: Connection, settings: dict[str, str], name_server: str, kind: str
) -> None:
    assert ask(internet, settings[f"LAB_{name_server}"], settings["LAB_APP_NAME"], kind).status == "NXDOMAIN"


def test_the_server_itself_finds_the_internets_names_and_not_the_learners(
    server: Connection, settings: dict[str, str]
) -> None:
    found = must(server, f"getent ahosts {settings['LAB_CA_NAME']}").split()
    assert {settings["LAB_INTERNET_IPV4"], settings["LAB_INTERNET_IPV6"]} <= set(found)
    assert server.run(f"getent ahosts {settings['LAB_APP_NAME']}").exit_status == 2


@pytest.mark.parametrize(
    ("name", "status", "life"), [("LAB_GIT_NAME", "NOERROR", 60), ("LAB_APP_NAME", "NXDOMAIN", 10)]
)
def test_the_resolver_keeps_an_answer_and_counts_its_life_down(
    internet: Connection, settings: dict[str, str], name: str, status: str, life: int
) -> None:
    """Of "no such name" too; the authority always gives the whole life."""
    whole = ask(internet, settings["LAB_AUTHORITY_IPV4"], settings[name])
    assert whole.status == status
    lives: list[int] = []

    def counts_down() -> bool:
        kept = ask(internet, settings["LAB_RESOLVER_IPV4"], settings[name])
        assert kept.status == status
        lives.append(kept.ttl)
        return len(lives) > 1 and lives[-1] < lives[-2]

    wait_until(counts_down, what=f"a life of {name} to run down", timeout=10, every=0.5)
    assert max(lives) <= whole.ttl == life
    assert ask(internet, settings["LAB_AUTHORITY_IPV4"], settings[name]).ttl == life


@pytest.fixture
def trial_name(internet: Connection, settings: dict[str, str]) -> Iterator[str]:
    """A name that the authority does not have and the resolver does not remember, before and after."""
    name = f"trial.{settings['LAB_DOMAIN']}"
    forget = f"unbound-control flush {name}"
    must(internet, forget)
    yield name
    must(internet, update(settings, f"update delete {name}.", key="-k /root/provider.key"))
    assert ask(internet, settings["LAB_AUTHORITY_IPV4"], name).status == "NXDOMAIN"
    must(internet, forget)


def update(settings: dict[str, str], change: str, *, key: str) -> str:
    """The command line that asks the zone's authority for a change."""
    lines = (f"server {settings['LAB_AUTHORITY_IPV4']}", f"zone {settings['LAB_DOMAIN']}.", change, "send")
    return f"knsupdate {key} << 'END'\n" + "\n".join(lines) + "\nEND\n"


def test_zone_is_changed_with_the_key_and_the_resolver_follows_after_the_ttl(
    internet: Connection, settings: dict[str, str], trial_name: str
) -> None:
    authority, resolver = settings["LAB_AUTHORITY_IPV4"], settings["LAB_RESOLVER_IPV4"]
    address, key = settings["LAB_SERVER_IPV4"], "-k /root/provider.key"
    assert ask(internet, resolver, trial_name).status == "NXDOMAIN"

    must(internet, update(settings, f"update add {trial_name}. 60 A {address}", key=key))
    assert ask(internet, authority, trial_name).addresses == (address,)
    assert ask(internet, resolver, trial_name).status == "NXDOMAIN", "it has kept that there was no such name"
    must(internet, f"unbound-control flush {trial_name}")
    assert ask(internet, resolver, trial_name).addresses == (address,)

    must(internet, update(settings, f"update delete {trial_name}. A", key=key))
    assert ask(internet, authority, trial_name).status == "NXDOMAIN"
    assert ask(internet, resolver, trial_name).addresses == (address,), "it has kept the address"


@pytest.mark.parametrize("key", ["", f"-y hmac-sha256:provider:{'A' * 43}="], ids=["no key", "a wrong key"])
def test_zone_is_not_changed_without_the_key(
    internet: Connection, settings: dict[str, str], trial_name: str, key: str
) -> None:
    add = f"update add {trial_name}. 60 A {settings['LAB_SERVER_IPV4']}"
    refused = internet.run(update(settings, add, key=key))
    assert refused.exit_status == 1, refused.stdout + refused.stderr
    assert re.search("NOTAUTH|REFUSED|BADSIG", refused.stdout), refused.stdout
    assert ask(internet, settings["LAB_AUTHORITY_IPV4"], trial_name).status == "NXDOMAIN"


# ---- the certificate authority ----


def directory(server: Connection, settings: dict[str, str], *options: str) -> str:
    """The command line by which the server asks for the ACME directory."""
    return f"curl -sSf {' '.join(options)} https://{settings['LAB_CA_NAME']}/acme/local/directory"


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_the_certificate_authority_answers_and_the_servers_trust_store_vouches_for_it(
    server: Connection, settings: dict[str, str], family: str
) -> None:
    found = json.loads(must(server, directory(server, settings, family)))
    assert {"newNonce", "newAccount", "newOrder"} <= set(found)
    assert found["newOrder"].startswith(f"https://{settings['LAB_CA_NAME']}/")


def test_a_trust_store_without_the_labs_root_does_not_vouch_for_it(
    server: Connection, settings: dict[str, str]
) -> None:
    another = (
        '--capath /var/empty --cacert "$(find /usr/share/ca-certificates/mozilla -name "*.crt" | head -n 1)"'
    )
    answer = server.run(directory(server, settings, another))
    assert answer.exit_status == 60, answer.stderr  # CURLE_PEER_FAILED_VERIFICATION


# ---- the git host ----


def published(internet: Connection, settings: dict[str, str]) -> dict[str, str]:
    """The files of a fresh clone, with their hashes. The internet clones: the bare server has no git."""
    listed = must(
        internet,
        f"""set -e; cd "$(mktemp -d)"; trap 'rm -r "$PWD"' EXIT
        git clone --quiet https://{settings["LAB_GIT_NAME"]}/you/app.git .
        git status --porcelain
        find . -path ./.git -prune -o -type f -exec sha256sum {{}} +""",
    )
    return {
        path.removeprefix("./"): digest for digest, path in (line.split("  ") for line in listed.splitlines())
    }


def of_this_checkout() -> dict[str, str]:
    """What the Vagrantfile takes along: lab_app, what makes it a repository, and the chapters' prose."""
    repository = CHECKOUT / "vagrant" / "internet" / "repository"
    paths = {path: path.relative_to(CHECKOUT) for path in (CHECKOUT / "lab_app").rglob("*")}
    paths |= {path: path.relative_to(repository) for path in repository.rglob("*")}
    prose = {
        f"documents/{path.stem}.md": "\n\n".join(
            cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
        )
        for path in (CHECKOUT / "notebooks").glob("*.ipynb")
    }
    documents = {name: hashlib.sha256(f"{text}\n".encode()).hexdigest() for name, text in prose.items()}
    return documents | {
        name.as_posix(): hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for path, name in paths.items()
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.endswith((".pyc", "~", ".swp"))
    }


def test_a_clone_from_the_git_host_is_this_checkouts_application(
    internet: Connection, settings: dict[str, str]
) -> None:
    assert published(internet, settings) == of_this_checkout()


# ---- the language model ----

KEY = "sk-lab-0123456789abcdef"


def chat(server: Connection, settings: dict[str, str], *headers: str) -> tuple[int, dict[str, Any]]:
    """Ask the model one question from the server; the status and the body."""
    messages = [
        {"role": "system", "content": "The harbour opens at six. The ferry leaves at nine."},
        {"role": "user", "content": "When does the ferry leave?"},
    ]
    answer = server.run(
        "curl -sS -w '\\n%{http_code}' -H 'Content-Type: application/json' --data-binary @- "
        + "".join(f"-H '{header}' " for header in headers)
        + f"https://{settings['LAB_LLM_NAME']}/v1/chat/completions",
        stdin=json.dumps({"model": "lab-small", "messages": messages}),
    )
    assert answer.exit_status == 0, answer.stderr
    body, _, status = answer.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_the_model_answers_the_same_question_with_the_same_words(
    server: Connection, settings: dict[str, str]
) -> None:
    answers = [chat(server, settings, f"Authorization: Bearer {KEY}") for _ in range(2)]
    for status, body in answers:
        assert status == 200, body
        assert body["choices"][0]["message"]["content"] == "The ferry leaves at nine."
        del body["created"]  # a clock, not an answer
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "headers", [(), ("Authorization: Bearer sk-of-another-account",)], ids=["no key", "a wrong key"]
)
def test_a_request_without_a_key_is_refused_in_openais_words(
    server: Connection, settings: dict[str, str], headers: tuple[str, ...]
) -> None:
    status, body = chat(server, settings, *headers)
    assert status == 401
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["code"] == ("invalid_api_key" if headers else None)


# ---- the reference host, and this computer ----

ASK_PORTS = """
import socket, sys
address, *ports = sys.argv[1:]
for port in map(int, ports):
    with socket.create_connection((address, port), 5):
        print("tcp", port, "open")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((address, port))
        udp.send(b"ping")
        print("udp", port, "open" if udp.recv(100) else "silent")
"""


@pytest.mark.parametrize("family", ["IPV4", "IPV6"])
def test_the_reference_host_answers_on_any_port(
    internet: Connection, settings: dict[str, str], family: str
) -> None:
    ports = (1, 23, 443, 5432, 8000, 31337, 65535)
    result = internet.run(
        f"python3 - {settings[f'LAB_REFERENCE_{family}']} {' '.join(map(str, ports))}", stdin=ASK_PORTS
    )
    assert result.exit_status == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [f"{kind} {port} open" for port in ports for kind in ("tcp", "udp")]


FORWARDERS = re.compile(r'"(qemu[^"]*|VBox[^"]*|vmware[^"]*|vmnet[^"]*|ruby[^"]*|vagrant|ssh)"')
"""What opens a port of this computer for a virtual machine: vagrant-libvirt does so by `ssh -L`."""


def test_ports_that_lead_to_the_server_listen_on_127_0_0_1_alone(server: Connection) -> None:
    if sys.platform != "linux":
        pytest.skip("ss shows the sockets of Linux; this computer has none")
    needed.program("ip")  # which comes with ss
    output = subprocess.run(
        ["ssh", "-F", str(server.config), "-G", server.host], capture_output=True, text=True, check=True
    ).stdout
    options = dict(line.split(" ", 1) for line in output.splitlines())
    listed = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    listening = [(line.split()[3], line) for line in listed.splitlines()]
    ours = [address for address, line in listening if FORWARDERS.search(line)]
    if options["hostname"] == "127.0.0.1":
        forwarded = [address for address, _ in listening if address.endswith(f":{options['port']}")]
        assert forwarded, f"no program listens on port {options['port']}"
        ours += forwarded
    assert [address for address in ours if not address.startswith("127.0.0.1:")] == []


# ---- a full disk ----

FULL = "/var/tmp/shipshape-full-disk"
FILL = f"""set -euo pipefail
systemd-run --quiet --collect --unit=shipshape-full-disk --on-active=180 rm --force {FULL}
free=$(( $(stat --file-system --format='%f * %S' /var/tmp) ))  # with what is kept for root
fallocate --length $(( free - 64 * 1024 * 1024 )) {FULL}  # ext4 keeps its last 16 MiB for a while
status=0
dd if=/dev/zero of={FULL} bs=64k oflag=append conv=notrunc,fsync 2> /run/shipshape-dd || status=$?
said=$(< /run/shipshape-dd)
rm /run/shipshape-dd
if [[ $status != 1 || $said != *'No space left on device'* ]]; then
  echo "dd ended with $status: $said" >&2
  exit 1
fi
df --output=avail --block-size=1 /var/tmp | tail -n 1
"""


@pytest.fixture(scope="class")
def full_disk(server: Connection) -> Iterator[int]:
    """The bytes that others than root have left on the disk. After 3 min the guest undoes it by itself."""
    try:
        filled = server.run("sudo -n bash -s", stdin=FILL, timeout=120)
        assert filled.exit_status == 0, filled.stderr
        yield int(filled.stdout)
    finally:
        must(server, f"sudo -n rm --force {FULL}; sudo -n systemctl stop shipshape-full-disk.timer")
    assert int(must(server, "df --output=avail --block-size=1M /var/tmp | tail -n 1")) > 100


@pytest.mark.usefixtures("full_disk")
class TestWhileTheServersDiskIsFull:
    def test_an_ordinary_account_cannot_write_a_byte(self, server: Connection, full_disk: int) -> None:
        assert full_disk == 0
        refused = server.run("head -c 65536 /dev/zero > /var/tmp/shipshape-one-more")
        must(server, "rm --force /var/tmp/shipshape-one-more")
        assert "No space left on device" in refused.stderr

    def test_names_are_found_by_the_authority_and_by_a_resolver_that_has_forgotten_them(
        self, internet: Connection, settings: dict[str, str]
    ) -> None:
        must(internet, f"unbound-control flush_zone {settings['LAB_DOMAIN']}")
        for server in (settings["LAB_AUTHORITY_IPV4"], settings["LAB_RESOLVER_IPV4"]):
            found = ask(internet, server, settings["LAB_GIT_NAME"])
            assert found.addresses == (settings["LAB_INTERNET_IPV4"],)

    def test_the_zone_can_be_changed(
        self, internet: Connection, settings: dict[str, str], trial_name: str
    ) -> None:
        add = f"update add {trial_name}. 60 A {settings['LAB_SERVER_IPV4']}"
        must(internet, update(settings, add, key="-k /root/provider.key"))
        zone = f"/var/lib/knot/{settings['LAB_DOMAIN']}.zone"
        must(internet, f"timeout 10 bash -c 'until grep -q ^trial {zone}; do sleep 0.2; done'")

    def test_the_certificate_authority_answers(self, server: Connection, settings: dict[str, str]) -> None:
        assert "newOrder" in json.loads(must(server, directory(server, settings)))

    def test_the_repository_is_cloned(self, internet: Connection, settings: dict[str, str]) -> None:
        assert published(internet, settings) == of_this_checkout()

    def test_the_model_answers(self, server: Connection, settings: dict[str, str]) -> None:
        assert chat(server, settings, f"Authorization: Bearer {KEY}")[0] == 200

    def test_the_stand_in_internet_writes_on_its_own_disk(self, internet: Connection) -> None:
        trial = "/root/shipshape-trial"
        write = f"dd if=/dev/urandom bs=1M count=32 | tee {trial} | sha256sum && sync {trial}"
        read = f"dd if={trial} bs=1M iflag=direct | sha256sum"
        try:
            assert must(internet, write, timeout=60) == must(internet, read, timeout=60)
        finally:
            must(internet, f"rm --force {trial}")

    def test_no_block_of_that_disk_is_still_to_be_given(
        self, server: Connection, settings: dict[str, str]
    ) -> None:
        image = must(server, f"sudo -n stat --format='%b %B %s' {settings['LAB_INTERNET_IMAGE']}").split()
        blocks, block_size, size = map(int, image)
        assert blocks * block_size >= size


# ---- a reboot ----


def hang_up(connection: Connection) -> None:
    """End the shared connection, which a reboot leaves hanging; where there is none, ssh only says so."""
    command = ["ssh", "-F", str(connection.config), "-O", "exit", connection.host]
    subprocess.run(command, capture_output=True, timeout=10, check=False)


def until_it_answers(connection: Connection, command: str) -> Callable[[], str]:
    """What the host prints; NotYet while it does not answer."""

    def answer() -> str:
        try:
            return connection.run(command, timeout=20).stdout.strip()
        except Unreachable as problem:
            raise NotYet(problem.reason) from None

    return answer


@pytest.fixture(scope="module")
def key_before_the_reboot(server: Connection, internet: Connection) -> str:
    """Reboots the server; the SSH host key that the internet had before."""
    key, before = must(internet, "cat /etc/ssh/ssh_host_ed25519_key.pub"), gather(server, (boot,))[boot]
    must(server, "sudo -n systemd-run --quiet --collect --on-active=3 systemctl reboot")
    new = Connection(server.host, config=server.config, fresh=True)

    def is_back() -> bool:
        try:
            return gather(new, (boot,))[boot] != before
        except Unreadable as reason:
            raise NotYet(str(reason)) from None

    wait_until(is_back, what="the server to be back", timeout=300, every=2)
    for connection in (internet, server):
        hang_up(connection)
    return key


def test_stand_in_internet_comes_back_by_itself_after_a_reboot(
    key_before_the_reboot: str, server: Connection
) -> None:
    must(server, f"{LIB}/lab-ready 180", timeout=200)


def test_stand_in_internet_is_the_same_host_after_a_reboot_and_lets_us_in(
    key_before_the_reboot: str, internet: Connection
) -> None:
    """Its key is verified by ssh against the one that was fetched when the machine was made."""
    answer = until_it_answers(internet, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    key = wait_until(answer, what="the internet's sshd to answer", timeout=120, every=1)
    assert key == key_before_the_reboot.strip()
