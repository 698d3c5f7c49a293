"""Facts about addresses, sockets, SSH, and the loaded packet filter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result

_MISSING = 127


# ---- sockets -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Socket:
    """A listening socket. `pids` is empty where only root may see whose it is."""

    protocol: str
    address: (
        str  # as ss prints it, without brackets and interface: "*" and "0.0.0.0" and "::" are all addresses
    )
    port: int
    program: str
    pids: tuple[int, ...]

    @property
    def loopback(self) -> bool:
        return self.address.startswith("127.") or self.address in ("::1", "::ffff:127.0.0.1")

    @property
    def everywhere(self) -> bool:
        return self.address in ("*", "0.0.0.0", "::")


_USER = re.compile(r'\("((?:[^"\\]|\\.)*)",pid=(\d+),fd=\d+\)')


def parse_listening_sockets(result: Result) -> tuple[Socket, ...]:
    if result.exit_status == _MISSING:
        raise Unreadable("ss is not installed on the server (apt install iproute2)")
    if result.exit_status != 0:
        raise Unreadable(f"ss ended with status {result.exit_status}: {result.stderr.strip()}")
    return tuple(dict.fromkeys(_socket(line) for line in result.stdout.splitlines() if line.strip()))


def _socket(line: str) -> Socket:
    words = line.split(None, 6)
    if len(words) < 6 or words[0] not in ("tcp", "udp"):
        raise Unreadable(f"a line of ss is not understood: {line.strip()!r}")
    address, _, port = words[4].rpartition(":")
    if not port.isdigit() or not address:
        raise Unreadable(f"a line of ss is not understood: {line.strip()!r}")
    address = re.sub(r"%[^\]:]+", "", address).strip("[]")
    users = _USER.findall(words[6]) if len(words) == 7 else []
    pids = tuple(dict.fromkeys(int(pid) for _, pid in users))
    # systemd hands a socket on (Ubuntu 24.04's sshd): the program behind it is the better name.
    names = [name for name, _ in users if name != "systemd"] or [name for name, _ in users]
    return Socket(words[0], address, int(port), names[0] if names else "", pids)


listening_sockets = Fact("listening_sockets", "ss -Htulnp", parse_listening_sockets)


# ---- addresses ---------------------------------------------------------------------------------


def parse_interface_addresses(result: Result) -> tuple[str, ...]:
    if result.exit_status == _MISSING:
        raise Unreadable("ip is not installed on the server (apt install iproute2)")
    if result.exit_status != 0:
        raise Unreadable(f"ip ended with status {result.exit_status}: {result.stderr.strip()}")
    addresses = []
    for line in result.stdout.splitlines():
        if not line.strip():
            continue
        match = re.match(r"\d+:\s+\S+\s+(inet6?)\s+([0-9a-f.:]+)[/ ]", line)
        if match is None:
            raise Unreadable(f"a line of ip is not understood: {line.strip()!r}")
        addresses.append(match[2])
    return tuple(addresses)


interface_addresses = Fact("interface_addresses", "ip -o addr show scope global", parse_interface_addresses)


# ---- SSH ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SshConnection:
    """The two ends of the connection that this very check came in by."""

    client: str
    address: str
    port: int


def parse_ssh_connection(result: Result) -> SshConnection:
    words = result.stdout.split()
    if len(words) != 4 or not words[3].isdigit():
        raise Unreadable("the server does not know which SSH connection this is")
    return SshConnection(words[0], words[2], int(words[3]))


# sudo takes the variable away, so it is read from the processes above; by the shell alone, without a program.
ssh_connection = Fact(
    "ssh_connection",
    r"""pid=$BASHPID
for _ in 1 2 3 4 5 6 7 8; do
  while IFS= read -r -d '' entry; do
    if [[ $entry == SSH_CONNECTION=* ]]; then printf '%s\n' "${entry#*=}"; exit 0; fi
  done 2>/dev/null < "/proc/$pid/environ"
  while IFS=$': \t' read -r name value _; do
    if [[ $name == PPid ]]; then pid=$value; break; fi
  done < "/proc/$pid/status"
  [[ $pid -gt 1 ]] || exit 1
done""",
    parse_ssh_connection,
)


def parse_host_keys(result: Result) -> tuple[str, ...]:
    keys = []
    for line in result.stdout.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].startswith(("ssh-", "ecdsa-")):
            keys.append(f"{words[0]} {words[1]}")
    if not keys:
        raise Unreadable("no SSH host key was found in /etc/ssh on the server")
    return tuple(keys)


host_keys = Fact("host_keys", "cat /etc/ssh/ssh_host_*_key.pub", parse_host_keys)


# ---- packet filter -----------------------------------------------------------------------------


@dataclass(frozen=True)
class PacketFilter:
    """The rules that the kernel holds. `drops` says, by family, whether what no rule allows is kept out.

    A rule that rejects answers "refused" as a port does where no program listens: then a refusal proves
    nothing. `rejects` says, by family, whether there is one that names no port; `rejected` has those ports
    that are named, as `accepts` has those that are let in from anywhere: (family, protocol, port).
    """

    drops: dict[int, bool]
    rejects: dict[int, bool]
    by_ufw: bool
    accepts: frozenset[tuple[int, str, int]]
    rejected: frozenset[tuple[int, str, int]] = frozenset()

    def is_loaded(self, ipv: int) -> bool:
        return self.drops.get(ipv, False)


def parse_packet_filter(result: Result) -> PacketFilter:
    parts: dict[str, list[str]] = {}
    status: dict[str, str] = {}
    name = ""
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            _, name, *rest = line.split()
            if rest:
                status[name] = rest[0]
            else:
                parts[name] = []
        elif name:
            parts[name].append(line)
    if not {"iptables", "ip6tables", "nft"} <= set(status):
        raise Unreadable("the packet filter's rules came back incomplete")
    for tool, code in status.items():
        # Without the program, nothing can have been loaded by it; any other failure hides something.
        if code not in ("0", str(_MISSING)):
            raise Unreadable(f"{tool} ended with status {code}: {last_line(result.stderr)}")
    if all(code == str(_MISSING) for code in status.values()):
        return PacketFilter({4: False, 6: False}, {4: False, 6: False}, False, frozenset())
    nft = "\n".join(parts["nft"])
    tables = {4: parts["iptables"], 6: parts["ip6tables"]}
    return PacketFilter(
        {ipv: _iptables_drop(tables[ipv]) or _nft_drops(nft, ipv) for ipv in (4, 6)},
        {ipv: _iptables_reject(tables[ipv]) or _nft_rejects(nft, status) for ipv in (4, 6)},
        any("ufw-" in line or "ufw6-" in line for lines in tables.values() for line in lines),
        frozenset((ipv, *port) for ipv in (4, 6) for port in _named(tables[ipv], "ACCEPT")),
        frozenset((ipv, *port) for ipv in (4, 6) for port in _named(tables[ipv], "REJECT")),
    )


def _iptables_drop(lines: list[str]) -> bool:
    policy = any(line.split()[:3] in (["-P", "INPUT", "DROP"], ["-P", "INPUT", "REJECT"]) for line in lines)
    # Rules are read in order: one that lets everything in makes the rest, and the policy, void.
    for line in lines:
        if re.fullmatch(r"-A INPUT -j ACCEPT", line.strip()):
            return False
        if re.fullmatch(r"-A INPUT -j (DROP|REJECT.*)", line.strip()):
            return True
    return policy


def _iptables_reject(lines: list[str]) -> bool:
    """Whether INPUT, or a chain that it leads to without naming a port, has a rule that rejects.

    ufw always has such a chain, for `ufw limit`: only rules for the limited port lead to it.
    """
    rules = [line.split() for line in lines if line.startswith("-A ") and "--dport" not in line]
    visited: set[str] = set()
    chains = ["INPUT"]
    while chains:
        visited.add(chain := chains.pop())
        targets = {
            words[number + 1]
            for words in rules
            if words[1] == chain
            for number, word in enumerate(words)
            if word in ("-j", "-g")
        }
        if "REJECT" in targets:
            return True
        chains += targets - visited
    return False


def _nft_rejects(ruleset: str, status: dict[str, str]) -> bool:
    """Whether a rule of nftables rejects; the tables of an iptables that is there are judged as its own."""
    tables = re.findall(r"^table (\w+ \S+) \{\n(.*?)^\}", ruleset, re.M | re.S)
    known = {"ip filter"} if status["iptables"] == "0" else set()
    known |= {"ip6 filter"} if status["ip6tables"] == "0" else set()
    return any(re.search(r"\breject\b", text) for name, text in tables if name not in known)


def _nft_drops(ruleset: str, ipv: int) -> bool:
    families = ("inet", "ip") if ipv == 4 else ("inet", "ip6")
    for table in re.finditer(r"^table (\w+) (\S+) \{\n(.*?)^\}", ruleset, re.M | re.S):
        if table[1] not in families:
            continue
        for chain in re.finditer(r"chain \S+ \{\n(.*?)^\t\}", table[3], re.M | re.S):
            if re.search(r"hook input\b[^;]*; policy drop;", chain[1]):
                return True
            if re.search(r"hook input\b", chain[1]) and re.search(
                r"^\t\t(counter \S+ \S+ \S+ \S+ )?(drop|reject)", chain[1], re.M
            ):
                return True
    return False


def _named(lines: list[str], target: str) -> set[tuple[str, int]]:
    """The ports that rules with this target name, wherever a packet comes from."""
    ports = set()
    for line in lines:
        words = line.split()
        if (
            words[:1] == ["-A"]
            and ("-j", target) in pairwise(words)
            and "--dport" in words
            and "-p" in words
            and "-s" not in words
        ):
            port = words[words.index("--dport") + 1]
            if port.isdigit():
                ports.add((words[words.index("-p") + 1], int(port)))
    return ports


packet_filter = Fact(
    "packet_filter",
    "for tool in 'iptables -S' 'ip6tables -S' 'nft list ruleset'; do\n"
    '  echo "== ${tool%% *}"; $tool; echo "== ${tool%% *} $?"\ndone',
    parse_packet_filter,
    sudo=True,
)


# ---- what brings the packet filter back at boot ------------------------------------------------


@dataclass(frozen=True)
class FirewallFiles:
    """What is read at boot: None where the file or the line is not there."""

    ufw_enabled: bool | None
    ufw_ipv6: bool | None
    nftables_filters: bool  # /etc/nftables.conf has a chain on the input hook
    saved_rules: frozenset[int]  # families with rules saved for netfilter-persistent


def parse_firewall_files(result: Result) -> FirewallFiles:
    lines = result.stdout.splitlines()

    def yes(name: str) -> bool | None:
        found = [line.split("=", 1)[1].strip("\"' ").lower() for line in lines if line.startswith(f"{name}=")]
        return found[-1] == "yes" if found else None

    if "end" not in lines:
        raise Unreadable("the firewall's files came back incomplete")
    saved = frozenset(ipv for ipv in (4, 6) if f"saved {ipv}" in lines)
    return FirewallFiles(yes("ENABLED"), yes("IPV6"), "nftables input" in lines, saved)


firewall_files = Fact(
    "firewall_files",
    r"""for file in /etc/default/ufw /etc/ufw/ufw.conf; do
  [[ -e $file ]] || continue
  while IFS= read -r line; do
    if [[ $line == ENABLED=* || $line == IPV6=* ]]; then printf '%s\n' "$line"; fi
  done < "$file"
done
nft=/etc/nftables.conf
if [[ -e $nft && $(< $nft) == *"hook input"*drop* ]]; then echo 'nftables input'; fi
if [[ -e /etc/iptables/rules.v4 && $(< /etc/iptables/rules.v4) == *"INPUT DROP"* ]]; then echo 'saved 4'; fi
if [[ -e /etc/iptables/rules.v6 && $(< /etc/iptables/rules.v6) == *"INPUT DROP"* ]]; then echo 'saved 6'; fi
echo end""",
    parse_firewall_files,
    sudo=True,
)
