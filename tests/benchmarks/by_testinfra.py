"""The six items judged with pytest-testinfra: by its modules where it has some, else by commands.

`Observations` is what a session's fixtures would be: each is made once in a run, for all criteria. A
criterion gives what it finds wrong, a line each; the criteria have the names and the meaning of labcheck's.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import xmlrpc.client
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from testinfra.host import Host  # type: ignore[import-untyped]

HEALTH_PATHS = ("/health/live", "/health/ready", "/health")
CONTROL_PORTS = (23, 2375, 3000, 3306, 5432, 6379, 8000, 8080, 9090, 27017)
GROUPS_THAT_ARE_ROOT = {
    "root", "docker", "lxd", "incus", "incus-admin", "libvirt", "disk", "shadow", "kvm",
    "sudo", "admin", "wheel",
}  # fmt: skip
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
SESSIONS = frozenset({"sshd", "sudo", "su", "bash", "sh", "systemd", "(sd-pam)"})
SERVED = re.compile(r"\s([\w.]+:(?:app|application|create_app)\b)")
GOOD, ABSENT = {"healthy", "ok", "alive", "ready"}, {"not_configured"}
ALL_CONFIG = xmlrpc.client.dumps((), "supervisor.getAllConfigInfo").replace("'", '"')


@dataclass(frozen=True)
class Records:
    """One name server's answer for the domain."""

    status: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    user: str
    program: str
    arguments: str


@dataclass(frozen=True)
class Handshake:
    """What openssl says of one address; `protocol` is empty where no server spoke TLS."""

    protocol: str
    verified: bool
    begin: datetime | None
    end: datetime | None
    now: datetime


@dataclass(frozen=True)
class Fetch:
    path: str
    status: int
    seconds: float
    hsts: str
    body: str


class Observations:
    """The server and the place to look from, as testinfra shows them."""

    def __init__(self, server: Host, internet: Host, *, domain: str, account: str, port: int, reference: str):
        self.server = server
        self.internet = internet
        self.domain = domain
        self.account = account
        self.port = port
        self.reference = reference

    def as_root(self, command: str, *arguments: str) -> Any:
        """A command of the server's root: its result."""
        with self.server.sudo():
            return self.server.run(command, *arguments)

    # ---- names ----

    def ask(self, where: str) -> Records:
        answer = self.internet.check_output(
            f"dig +noall +comments +answer {where} {self.domain} A {self.domain} AAAA"
        )
        status = re.findall(r"status: (\w+)", answer)
        answers = [line.split() for line in answer.splitlines() if line and not line.startswith(";")]
        addresses = sorted(fields[4] for fields in answers if fields[3] in ("A", "AAAA"))
        return Records(next((word for word in status if word != "NOERROR"), "NOERROR"), tuple(addresses))

    @cached_property
    def resolver(self) -> Records:
        return self.ask("")

    @cached_property
    def authorities(self) -> list[Records]:
        """The answers of the zone's own servers."""
        zone = self.internet.check_output(f"dig +noall +answer +authority {self.domain} SOA").split()[0]
        names = self.internet.check_output(f"dig +short {zone} NS").split()
        servers = []
        for name in names:
            address = self.internet.check_output(f"dig +short {name} A {name} AAAA").split()[0]
            servers.append(self.ask(f"+norecurse @{address}"))
        return servers

    # ---- addresses and ports ----

    @cached_property
    def own_addresses(self) -> list[str]:
        listed = self.server.check_output("ip -o addr show scope global")
        return re.findall(r"inet6? ([0-9a-f.:]+)", listed)

    @cached_property
    def public_addresses(self) -> list[str]:
        networks = [ipaddress.ip_network(network) for network in PRIVATE]
        return [a for a in self.own_addresses if not any(ipaddress.ip_address(a) in n for n in networks)]

    @cached_property
    def visited(self) -> list[str]:
        """Where visitors of the domain go; before there is a record, the server's own addresses."""
        return list(self.resolver.addresses) or self.public_addresses

    @cached_property
    def ssh_port(self) -> int:
        return int(self.server.check_output("echo $SSH_CONNECTION").split()[3])

    @cached_property
    def own_key(self) -> str:
        words = self.server.file("/etc/ssh/ssh_host_ed25519_key.pub").content_string.split()
        return " ".join(words[:2])

    @cached_property
    def shown_keys(self) -> dict[str, str]:
        """The SSH host key that each address shows to the internet."""
        addresses = {a for records in (*self.authorities, self.resolver) for a in records.addresses}
        addresses |= set(self.public_addresses)
        scan = f"ssh-keyscan -T 6 -p {self.ssh_port} -t ed25519 {' '.join(sorted(addresses))}"
        lines = [line.split(None, 1) for line in self.internet.run(scan).stdout.splitlines()]
        return {
            re.sub(r"^\[(.+)\]:\d+$", r"\1", name): key for name, key in lines if not name.startswith("#")
        }

    @cached_property
    def listening(self) -> set[tuple[str, int]]:
        """Protocol and port of the sockets that are not on loopback."""
        sockets = set()
        for socket in self.server.socket.get_listening_sockets():
            kind, _, place = socket.partition("://")
            address, _, port = place.rpartition(":")
            if kind in ("tcp", "udp") and not address.startswith(("127.", "::1")):
                sockets.add((kind, int(port)))
        return sockets

    def port_states(self, addresses: list[str]) -> dict[tuple[str, str, int], str]:
        """What the internet finds at each address: open, closed or silent. All are tried at the same time."""
        own = self.listening
        tcp = sorted({self.ssh_port, 80, 443, *CONTROL_PORTS} | {port for kind, port in own if kind == "tcp"})
        udp = sorted({443} | {port for kind, port in own if kind == "udp"})
        ports = ",".join(map(str, tcp))
        urls = [f"http://{f'[{a}]' if ':' in a else a}:{{{ports}}}/" for a in addresses]
        states = {}
        tried = self.internet.run(
            "curl -s -Z --parallel-immediate --parallel-max 200 --connect-timeout 1.6 --max-time 3 "
            "-w '%{url} %{exitcode} %{time_connect}\\n' "
            + " ".join(f"-o /dev/null {shlex.quote(url)}" for url in urls)
        )
        for line in tried.stdout.splitlines():
            url, code, seconds = line.split()
            address, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
            state = "open" if float(seconds) else "closed" if code == "7" else "silent"
            states["tcp", address.strip("[]"), int(port)] = state
        send = r"exec 3<>/dev/udp/$port; printf '\r\n' >&3 || { echo $port closed; exit; }"
        read = "timeout 1.6 head -c 1 <&3; code=$?; if [ $code = 124 ]; then echo $port silent; exit; fi"
        report = "if [ $code = 0 ]; then echo $port open; else echo $port closed; fi"
        each = f"for port in {' '.join(f'{a}/{p}' for a in addresses for p in udp)}; do"
        script = f"{each} ( {send}; {read} >/dev/null; {report} ) 2>/dev/null & done; wait"
        for line in self.internet.run("bash -c %s", script).stdout.splitlines():
            target, _, state = line.partition(" ")
            address, _, port = target.partition("/")
            states["udp", address, int(port)] = state
        return states

    @cached_property
    def own_ports(self) -> dict[tuple[str, str, int], str]:
        mine = [a for a in self.public_addresses if self.shown_keys.get(a, self.own_key) == self.own_key]
        return self.port_states(mine)

    @cached_property
    def proven(self) -> set[tuple[bool, str, int]]:
        """The ports that the internet can open where every port answers: IPv6 or not, protocol, port."""
        found = self.port_states(sorted(self.internet.addr(self.reference).ip_addresses))
        return {
            (":" in address, kind, port) for (kind, address, port), state in found.items() if state == "open"
        }

    # ---- the packet filter ----

    @cached_property
    def rules(self) -> dict[int, list[str]]:
        with self.server.sudo():
            return {version: self.server.iptables.rules(version=version) for version in (4, 6)}

    @cached_property
    def nft(self) -> str:
        return str(self.as_root("nft list ruleset").stdout)

    def drops(self, version: int) -> bool:
        family = "inet|ip" if version == 4 else "inet|ip6"
        tables = re.findall(rf"^table (?:{family}) \S+ \{{\n(.*?)^\}}", self.nft, re.M | re.S)
        by_nft = any(re.search(r"hook input\b[^\n]*policy drop", table) for table in tables)
        return "-P INPUT DROP" in self.rules[version] or by_nft

    def setting(self, path: str, name: str) -> str:
        """The last value of NAME=… in a file; empty where there is none."""
        file = self.server.file(path)
        if not file.exists:
            return ""
        found = re.findall(rf"^{name}=(.*)$", file.content_string, re.M)
        return found[-1].strip("\"' ") if found else ""

    def unit(self, name: str) -> dict[str, str]:
        properties: dict[str, str] = self.server.service(name).systemd_properties
        return properties

    # ---- TLS and HTTP ----

    @cached_property
    def handshakes(self) -> dict[str, Handshake]:
        return {address: self.handshake(address) for address in self.visited}

    def handshake(self, address: str) -> Handshake:
        to = f"-connect '{f'[{address}]' if ':' in address else address}:443' -servername {self.domain}"
        printed = self.internet.run(
            f"said=$(timeout 5 openssl s_client {to} -verify_hostname {self.domain} -alpn h2,http/1.1"
            ' </dev/null 2>/dev/null); date +%s; echo "$said" | grep -aE "^New, |Verify return code";'
            ' echo "$said" | openssl x509 -noout -startdate -enddate'
        ).stdout
        protocol = re.search(r"^New, (TLSv[\d.]+), Cipher is (?!\(NONE\))", printed, re.M)
        dates = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", printed, re.M))
        clock = re.search(r"^(\d{10})$", printed, re.M)
        assert clock, printed
        return Handshake(
            protocol[1] if protocol else "",
            "Verify return code: 0 (ok)" in printed,
            read_date(dates.get("notBefore")),
            read_date(dates.get("notAfter")),
            datetime.fromtimestamp(int(clock[1]), UTC),
        )

    def speaks(self, address: str, version: str) -> bool:
        """Whether the server takes a client of an old version, which this one is known to speak."""
        to = f"-connect '{f'[{address}]' if ':' in address else address}:443' -servername {self.domain}"
        ciphers = "-cipher ALL:@SECLEVEL=0"
        assert self.internet.check_output(f"openssl ciphers -s -{version} ALL:@SECLEVEL=0")
        tried = self.internet.run(f"timeout 5 openssl s_client {to} -{version} {ciphers} </dev/null")
        return bool(tried.rc == 0)

    @cached_property
    def redirects(self) -> dict[str, tuple[int, str]]:
        answers = {}
        for address in self.visited:
            to = f"--resolve {self.domain}:80:{address}"
            printed = self.internet.run(
                f"curl -s -m 4 {to} -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{self.domain}/"
            ).stdout.partition(" ")
            answers[address] = (int(printed[0]), printed[2].strip())
        return answers

    @cached_property
    def health(self) -> dict[str, list[Fetch]]:
        """The health endpoints through the proxy: thrice at the first address, once at the others."""
        at_home = [address for address, shake in self.handshakes.items() if shake.protocol]
        return {a: self.get(a, 3 if a == at_home[0] else 1) for a in at_home}

    def get(self, address: str, tries: int) -> list[Fetch]:
        fields = "%{http_code} %{time_total} %{time_appconnect} %header{strict-transport-security}"
        requested = [path for path in HEALTH_PATHS for _ in range(tries)]
        printed = self.internet.run(
            f"curl -s -k -m 2 --resolve {self.domain}:443:{address} -w '\\n== {fields}\\n' "
            + " ".join(f"https://{self.domain}{path}" for path in requested)
        ).stdout
        parts = re.findall(r"(.*?)\n== (\d+) ([\d.]+) ([\d.]+) ([^\n]*)\n", printed, re.S)
        return [
            Fetch(path, int(status), float(whole) - float(tls), hsts.strip(), body.strip())
            for path, (body, status, whole, tls, hsts) in zip(requested, parts, strict=True)
        ]

    # ---- processes and accounts ----

    @cached_property
    def processes(self) -> dict[int, Process]:
        listed = self.server.check_output("ps -ww -eo pid=,ppid=,user:32=,comm:32=,args=")
        rows = (line.split(None, 4) for line in listed.splitlines())
        return {
            int(row[0]): Process(int(row[0]), int(row[1]), row[2], row[3], row[4] if len(row) > 4 else "")
            for row in rows
        }

    def below(self, pids: set[int]) -> set[int]:
        """These processes and everything that they started."""
        size = 0
        while len(pids) != size:
            size = len(pids)
            pids = pids | {process.pid for process in self.processes.values() if process.parent in pids}
        return pids & set(self.processes)

    @cached_property
    def application(self) -> list[Process]:
        """What listens on its port, what serves the same, what its account runs, and all below."""
        shown = self.as_root(f"ss -Hltnp 'sport = :{self.port}'").stdout
        pids = {int(pid) for pid in re.findall(r"pid=(\d+)", shown)}
        served = {word for pid in pids for word in SERVED.findall(self.processes[pid].arguments)}
        for process in self.processes.values():
            if process.program in SESSIONS:
                continue
            if process.user == self.account or served & set(SERVED.findall(process.arguments)):
                pids.add(process.pid)
        return [self.processes[pid] for pid in sorted(self.below(pids))]

    @cached_property
    def status(self) -> dict[int, dict[str, str]]:
        """The kernel's own words on each process of the application."""
        texts = {p.pid: self.server.file(f"/proc/{p.pid}/status").content_string for p in self.application}
        return {pid: dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M)) for pid, text in texts.items()}

    @cached_property
    def accounts(self) -> list[str]:
        """The accounts behind the application; before anything runs, the one that is meant for it."""
        names = {process.user for process in self.application} - {"root"}
        if self.server.user(self.account).exists:
            names.add(self.account)
        return sorted(names)

    # ---- Supervisor ----

    @cached_property
    def supervised(self) -> list[Any] | None:
        """Supervisor's programs as testinfra lists them; None where it does not run."""
        if self.unit("supervisor").get("ActiveState") != "active":
            return None
        with self.server.sudo():
            services: list[Any] = self.server.supervisor.get_services()
        return services

    @property
    def own_programs(self) -> list[Any]:
        """The group named like the account; where there is none, all that Supervisor runs."""
        every = self.supervised or []
        return [one for one in every if one.name.startswith(f"{self.account}:")] or every

    @cached_property
    def loaded_programs(self) -> dict[str, dict[str, Any]]:
        """What the running supervisord has loaded, by program; supervisorctl does not tell it all."""
        asked = "curl -s --unix-socket /run/supervisor.sock -H 'Content-Type: text/xml'"
        answer = self.as_root(f"{asked} --data {shlex.quote(ALL_CONFIG)} http://supervisor/RPC2").stdout
        programs: Any = xmlrpc.client.loads(answer)[0][0]
        return {program["name"]: program for program in programs}

    @cached_property
    def written_programs(self) -> RawConfigParser:
        """Supervisor's files."""
        parser = RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
        folder = "/etc/supervisor/conf.d"
        with self.server.sudo():
            for name in sorted(self.server.file(folder).listdir()):
                if name.endswith(".conf"):
                    parser.read_string(self.server.file(f"{folder}/{name}").content_string)
        return parser


def read_date(text: str | None) -> datetime | None:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC) if text else None


# ---- item 1 ----


def the_zone_has_the_name(observed: Observations) -> Iterator[str]:
    if len(set(observed.authorities)) != 1:
        yield "the zone's own servers differ"
    if not observed.authorities[0].addresses:
        yield f"the authority says {observed.authorities[0].status}"


def the_world_has_heard(observed: Observations) -> Iterator[str]:
    if observed.resolver.addresses != observed.authorities[0].addresses:
        yield "the resolver says something else than the authority"


def each_address_is_this_server(observed: Observations) -> Iterator[str]:
    for address in sorted(
        {a for records in (*observed.authorities, observed.resolver) for a in records.addresses}
    ):
        key = observed.shown_keys.get(address)
        if key != observed.own_key and (key or address not in observed.own_addresses):
            yield f"{address} is another host"


# ---- item 2 ----


def the_certificate_is_trusted(observed: Observations) -> Iterator[str]:
    if not observed.handshakes:
        yield "the domain leads nowhere"
    for address, shake in observed.handshakes.items():
        if not shake.protocol:
            yield f"no TLS at {address}"
        elif not shake.verified:
            yield f"the certificate at {address} is not trusted"
        elif shake.protocol not in ("TLSv1.2", "TLSv1.3"):
            yield f"{shake.protocol} at {address}"
        elif not shake.begin or not shake.end or shake.end - shake.now <= (shake.end - shake.begin) / 4:
            yield f"a quarter or less of its lifetime is left at {address}"


def old_versions_are_refused(observed: Observations) -> Iterator[str]:
    for address, shake in observed.handshakes.items():
        for version in ("tls1", "tls1_1"):
            if shake.protocol and observed.speaks(address, version):
                yield f"{version} is accepted at {address}"


def http_leads_to_https(observed: Observations) -> Iterator[str]:
    for address, (status, location) in observed.redirects.items():
        if status not in (301, 302, 307, 308) or not location.startswith(f"https://{observed.domain}/"):
            yield f"{address}, 80/tcp: {status} {location}"


def hsts_is_noted(observed: Observations) -> Iterator[str]:
    """A choice: it comes with the answers, and is not judged."""
    yield from (f"nothing came from {address}" for address, answers in observed.health.items() if not answers)


# ---- item 3 ----


def the_endpoints_answer(observed: Observations) -> Iterator[str]:
    if not observed.health:
        yield "no server answers over https"
    for address, answers in observed.health.items():
        for path in HEALTH_PATHS:
            best = min((fetch for fetch in answers if fetch.path == path), key=lambda fetch: fetch.seconds)
            if problem := unwell(best):
                yield f"{path} at {address}: {problem}"


def unwell(answer: Fetch) -> str:
    if answer.status != 200:
        return f"status {answer.status}"
    try:
        body = json.loads(answer.body)
        word, parts = body["status"], body.get("components", {})
    except (ValueError, KeyError, TypeError):
        return "the body is no JSON object with a status"
    if word not in GOOD:
        return str(word)
    if bad := [name for name, part in parts.items() if part["status"] not in GOOD | ABSENT]:
        return f"{word} although {', '.join(bad)} is not"
    if answer.seconds > 1:
        return "slower than 1 s"
    return "" if parts or answer.path != "/health" else "no component is named"


def the_application_itself_answers(observed: Observations) -> Iterator[str]:
    for address, answers in observed.health.items():
        if all(fetch.status == 200 for fetch in answers) and len({fetch.body for fetch in answers}) == 1:
            yield f"all paths at {address} give the very same body"


# ---- item 6 ----


def stray_ports(observed: Observations) -> dict[tuple[str, str, int], str]:
    allowed = {("tcp", observed.ssh_port), ("tcp", 80), ("tcp", 443), ("udp", 443)}
    return {port: state for port, state in observed.own_ports.items() if (port[0], port[2]) not in allowed}


def only_the_three_answer(observed: Observations) -> Iterator[str]:
    for (kind, address, port), state in stray_ports(observed).items():
        if state == "open":
            yield f"{port}/{kind} answers at {address}"
        elif (":" in address, kind, port) not in observed.proven:
            yield f"{port}/{kind} cannot be opened on the reference host either"


def nothing_else_is_let_through(observed: Observations) -> Iterator[str]:
    for (kind, address, port), state in stray_ports(observed).items():
        version = 6 if ":" in address else 4
        rejects = any(
            "-j REJECT" in rule and "ufw-user-limit" not in rule for rule in observed.rules[version]
        )
        if state == "closed" and observed.drops(version) and not rejects and " reject" not in observed.nft:
            yield f"{port}/{kind} is let through at {address}, and no program listens"


def the_filter_is_loaded(observed: Observations) -> Iterator[str]:
    for version in (4, 6):
        if not observed.drops(version):
            yield f"everything is let in over IPv{version}"


def it_comes_back_at_boot(observed: Observations) -> Iterator[str]:
    enabled = observed.setting("/etc/ufw/ufw.conf", "ENABLED")
    if enabled or any("ufw" in rule for rule in observed.rules[4]):
        if enabled != "yes" or observed.unit("ufw").get("UnitFileState") != "enabled":
            yield "ufw does not come back"
    elif not any(
        observed.unit(name).get("UnitFileState") == "enabled"
        for name in ("nftables", "netfilter-persistent", "firewalld")
    ):
        yield "no firewall is set up to start"


# ---- item 7 ----


def it_runs_under_its_own_account(observed: Observations) -> Iterator[str]:
    if not observed.application:
        yield "no process of the application runs"
    for process in observed.application:
        if process.user != observed.account or set(observed.status[process.pid]["Uid"].split()) == {"0"}:
            yield f"{process.program} runs under {process.user}"


def it_may_not_use_sudo(observed: Observations) -> Iterator[str]:
    for name in observed.accounts:
        if "is not allowed to run sudo" not in observed.as_root("sudo -n -l -U %s", name).stdout:
            yield f"{name} may use sudo"


def it_is_in_no_group_that_is_root(observed: Observations) -> Iterator[str]:
    for name in observed.accounts:
        if GROUPS_THAT_ARE_ROOT & set(observed.server.user(name).groups):
            yield f"{name} is in a group that is root"
    for group in GROUPS_THAT_ARE_ROOT & set(live_groups(observed)):
        yield f"a process is in the group {group}"


def live_groups(observed: Observations) -> list[str]:
    numbers = {
        n for fields in observed.status.values() for n in (fields["Gid"] + " " + fields["Groups"]).split()
    }
    if not numbers:
        return []
    listed = observed.server.check_output(f"getent group {' '.join(sorted(numbers))}")
    return [line.partition(":")[0] for line in listed.splitlines()]


def it_has_no_capabilities(observed: Observations) -> Iterator[str]:
    for pid, fields in observed.status.items():
        if "0" not in fields["Uid"].split() and any(
            int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")
        ):
            yield f"process {pid} has capabilities"


def no_account_logs_in_by_password(observed: Observations) -> Iterator[str]:
    for name in observed.accounts:
        with observed.server.sudo():
            if not observed.server.user(name).password.startswith(("!", "*")):
                yield f"{name} has a password"


# ---- item 9 ----


def its_programs_run(observed: Observations) -> Iterator[str]:
    if not observed.supervised:
        yield "Supervisor does not run, or has no program"
    for program in observed.own_programs:
        if not program.is_running:
            yield f"{program.name} is {program.status}"


def nothing_runs_beside_it(observed: Observations) -> Iterator[str]:
    inside = observed.below({program.pid for program in observed.supervised or [] if program.pid})
    for process in observed.application:
        if process.pid not in inside:
            yield f"{process.program} is no child of Supervisor"
    if observed.supervised is not None and not observed.application:
        yield "no process of the application runs"


def it_restarts_and_stops_whole(observed: Observations) -> Iterator[str]:
    for program in observed.own_programs:
        name = program.name.rpartition(":")[2]
        section = f"program:{name}"
        if not observed.written_programs.has_section(section):
            yield f"{name} is in none of Supervisor's files"
            continue
        if observed.written_programs.get(section, "autorestart", fallback="unexpected") not in (
            "true",
            "unexpected",
        ):
            yield f"{name} does not restart"
        if observed.written_programs.get(section, "stopasgroup", fallback="false") != "true":
            yield f"{name} does not stop as a group"
        if (
            not observed.loaded_programs[name]["killasgroup"]
            or not observed.loaded_programs[name]["autostart"]
        ):
            yield f"{name} was loaded without killasgroup or autostart"


def it_starts_at_boot(observed: Observations) -> Iterator[str]:
    if observed.unit("supervisor").get("UnitFileState") != "enabled":
        yield "Supervisor does not start at boot"


Criterion = Callable[[Observations], Iterator[str]]

ITEMS: dict[int, tuple[Criterion, ...]] = {
    1: (the_zone_has_the_name, the_world_has_heard, each_address_is_this_server),
    2: (the_certificate_is_trusted, old_versions_are_refused, http_leads_to_https, hsts_is_noted),
    3: (the_endpoints_answer, the_application_itself_answers),
    6: (only_the_three_answer, nothing_else_is_let_through, the_filter_is_loaded, it_comes_back_at_boot),
    7: (
        it_runs_under_its_own_account,
        it_may_not_use_sudo,
        it_is_in_no_group_that_is_root,
        it_has_no_capabilities,
        no_account_logs_in_by_password,
    ),
    9: (its_programs_run, nothing_runs_beside_it, it_restarts_and_stops_whole, it_starts_at_boot),
}


def judge(observed: Observations) -> dict[int, dict[str, list[str]]]:
    """What is wrong, by item and criterion. Every criterion is looked at, also where another has failed."""
    return {
        number: {one.__name__: list(one(observed)) for one in criteria} for number, criteria in ITEMS.items()
    }
