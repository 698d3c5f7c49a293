"""Item 6: only SSH, HTTP and HTTPS answer from outside, over IPv4 and IPv6, now and after a reboot."""

from __future__ import annotations

from collections.abc import Iterator

from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.errors import Unreachable, Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import Port, PortScan
from labcheck.facts.boot import boot
from labcheck.facts.network import (
    FirewallFiles,
    PacketFilter,
    Socket,
    SshConnection,
    firewall_files,
    listening_sockets,
    packet_filter,
    ssh_connection,
)
from labcheck.facts.processes import Unit, units
from labcheck.gather import gather
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, Verdict, failed, passed, skipped, unknown
from labcheck.wait import GaveUp, NotYet, wait_until

_SSH_FIRST = "sudo ufw allow OpenSSH (or sshd's own port)"
_WHY = "a port that is reached past the proxy has no TLS, no rate limit, and no true client address"


def _expected(ssh_port: int) -> str:
    return f"nothing but {ssh_port}/tcp, 80/tcp, 443/tcp and 443/udp"


def is_allowed(port: Port, ssh_port: int) -> bool:
    return (port.protocol, port.number) in {("tcp", ssh_port), ("tcp", 80), ("tcp", 443), ("udp", 443)}


def _behind(port: Port, sockets: tuple[Socket, ...]) -> str:
    for item in sockets:
        if (item.protocol, item.port) == (port.protocol, port.number) and not item.loopback:
            return f"{item.program or 'something'} on {item.address}"
    return "not one of this server's own sockets"


@criterion(scan=questions.port_scan, sockets=listening_sockets, ssh=ssh_connection)
def only_the_three_answer(
    scan: PortScan, sockets: tuple[Socket, ...], ssh: SshConnection, target: Target
) -> Iterator[Finding]:
    """Of the server's own sockets and ten control ports, no other answers from outside."""
    if not scan.ports:
        yield unknown("no public address of this server is known, so nothing could be tried from outside")
        return
    others = [port for port in scan.ports if not is_allowed(port, ssh.port)]
    opened: dict[tuple[str, int], list[Port]] = {}
    for port in others:
        if port.state == "open":
            opened.setdefault((port.protocol, port.number), []).append(port)
    for _, same in sorted(opened.items()):
        families = " and ".join(f"IPv{ipv}" for ipv in sorted({port.ipv for port in same}))
        yield failed(
            f"{same[0].name} answers from outside over {families}: {_behind(same[0], sockets)}",
            expected=_expected(ssh.port),
            why=_WHY,
            next=f"bind it to 127.0.0.1, and close the port: sudo ufw delete allow {same[0].name}",
        )
    unproven = [port for port in others if port.state != "open" and not scan.is_proven(port)]
    if unproven:
        names = ", ".join(dict.fromkeys(f"{port.name} over IPv{port.ipv}" for port in unproven[:3]))
        yield unknown(
            f"{names}: {scan.unproven_because}",
            next="name a host that answers on every port as `reference` under [vantage] in labcheck.toml",
        )
    elif not opened:
        families = " and ".join(f"IPv{ipv}" for ipv in sorted({port.ipv for port in scan.ports}))
        yield passed(
            f"nothing but {ssh.port}/tcp, 80/tcp and 443 answers over {families}",
            detail=f"{len(others)} ports tried",
        )


@criterion(filter=packet_filter, scan=questions.port_scan, ssh=ssh_connection)
def nothing_else_is_let_through(
    filter: PacketFilter, scan: PortScan, ssh: SshConnection
) -> Iterator[Finding]:
    """A port that refuses where all others are silent is open in the filter, and waits for a program."""
    for port in scan.ports:
        if is_allowed(port, ssh.port) or not filter.is_loaded(port.ipv) or filter.rejects[port.ipv]:
            continue
        named = (port.ipv, port.protocol, port.number) in filter.rejected
        if port.state == "closed" and not named:
            yield failed(
                f"the firewall lets {port.name} through over IPv{port.ipv}, to no program yet",
                expected=_expected(ssh.port),
                why="whatever starts listening there tomorrow is on the internet at once",
                next=f"sudo ufw delete allow {port.number}",
            )


@criterion(filter=packet_filter)
def the_filter_is_loaded(filter: PacketFilter) -> Iterator[Finding]:
    """The kernel holds rules that keep out what nothing allows, for both families."""
    without = [ipv for ipv in (4, 6) if not filter.is_loaded(ipv)]
    if without:
        families = " and ".join(f"IPv{ipv}" for ipv in without)
        yield failed(
            f"the kernel's packet filter lets everything in over {families}",
            expected="what no rule allows is dropped, over IPv4 and IPv6",
            why="every program that starts to listen is on the internet at once",
            next=f"{_SSH_FIRST}, then 80/tcp and 443, then: sudo ufw enable",
        )
    else:
        yield passed("the loaded packet filter drops the rest, over IPv4 and IPv6")


@criterion(filter=packet_filter, files=firewall_files, units=units)
def it_comes_back_at_boot(
    filter: PacketFilter, files: FirewallFiles, units: dict[str, Unit]
) -> Iterator[Finding]:
    """Something that starts at boot loads the rules again."""
    ways: list[str] = []
    problems: list[str] = []
    if filter.by_ufw or files.ufw_enabled:
        ways, problems = _ufw(files, units)
    if not ways and files.nftables_filters and _starts(units, "nftables"):
        ways = ["nftables"]
    if not ways and files.saved_rules == {4, 6} and _starts(units, "netfilter-persistent"):
        ways = ["netfilter-persistent"]
    if not ways and _starts(units, "firewalld"):
        ways = ["firewalld"]
    if ways:
        yield passed(f"{ways[0]} loads it again at boot")
    else:
        yield failed(
            "no firewall will be there after a reboot: " + ("; ".join(problems) or "none is set up to start"),
            expected="ufw (or nftables) enabled, and its unit started at boot, for IPv4 and IPv6",
            why="the next reboot opens every port, and no alert says so",
            next=f"{_SSH_FIRST}, then: sudo systemctl enable ufw && sudo ufw enable",
        )


def _starts(units: dict[str, Unit], name: str) -> bool:
    unit = units.get(name)
    return unit is not None and unit.present and unit.starts_at_boot in ("enabled", "static", "generated")


def _ufw(files: FirewallFiles, units: dict[str, Unit]) -> tuple[list[str], list[str]]:
    problems = []
    if not files.ufw_enabled:
        problems.append("ufw is not enabled")
    unit = units.get("ufw")
    if not _starts(units, "ufw"):
        problems.append(f"ufw's unit is {unit.starts_at_boot or 'missing' if unit else 'missing'}")
    return ([] if problems else ["ufw"]), problems


# In three seconds: late enough for this command's own answer to arrive.
_REBOOT = """PATH=$PATH:/usr/sbin:/sbin
if [ -d /run/systemd/system ]; then exec systemd-run --quiet --collect --on-active=3 systemctl reboot; fi
type -P reboot >/dev/null || { echo 'the program reboot is not installed' >&2; exit 1; }
trap '' HUP # which sudo may send to what is left, when this ends
(sleep 3; exec reboot) </dev/null >/dev/null 2>&1 &"""
_IS_UP = "[ ! -d /run/systemd/system ] && echo running || systemctl is-system-running --wait"


def a_reboot_keeps_it(server: Connection, ctx: Context) -> Iterator[Finding]:
    """The server is rebooted, and every criterion is judged again."""
    if not ctx.reboot:
        yield skipped("a reboot was not allowed (labcheck --exercise --reboot)")
        return
    before = gather(server, (boot,))[boot]
    asked = server.run(AS_ROOT, stdin=_REBOOT)
    if asked.exit_status != 0:
        yield unknown(f"the reboot was refused: {asked.stderr.strip()}")
        return
    new = Connection(server.host, config=server.config, fresh=True)
    latest = before

    def is_back() -> bool:
        nonlocal latest
        try:
            latest = gather(new, (boot,))[boot]
        except Unreadable as reason:
            raise NotYet(str(reason)) from None
        if latest == before:
            raise NotYet("it answers, and is still up since before")
        try:
            state = new.run(_IS_UP, timeout=120).stdout.strip()
        except Unreachable as problem:
            raise NotYet(problem.reason) from None
        if state not in ("running", "degraded"):
            raise NotYet(f"it was rebooted, and is {state or 'not up'} yet")
        return True

    try:
        wait_until(is_back, what="the server to be back", timeout=400, every=2)
        yield from wait_until(lambda: _judged(new, ctx), what="an answer from outside", timeout=120, every=3)
    except GaveUp as problem:
        if latest == before and _answers(new):
            yield unknown(
                f"the server took the request to reboot, and did not reboot: {problem}",
                next=f"reboot it by hand, then: labcheck {ctx.target.host} --item 6",
            )
            return
        yield failed(
            str(problem),
            expected="the server is back after a reboot, and so is its firewall",
            why="a reboot will come",
            next="start it at the provider's console; a container is started again by its host alone, and "
            "only where that is configured (docker run --restart=unless-stopped, lxc.start.auto = 1)",
        )


def _answers(server: Connection) -> bool:
    return bool(gather(server, (boot,)).results)


def _judged(server: Connection, ctx: Context) -> list[Finding]:
    """All criteria again, after the reboot; NotYet while the vantage is not back."""
    needs = (*questions.NEEDS, packet_filter, firewall_files, units)
    observed = gather(server, needs)
    answers = probing.ask(planning.plan(observed, domain=ctx.domain, reference=ctx.reference), ctx.vantage)
    sockets, ssh, rules = observed[listening_sockets], observed[ssh_connection], observed[packet_filter]
    if answers.unreadable:
        raise NotYet(answers.unreadable)
    scan = answers[questions.port_scan]
    findings = [
        *only_the_three_answer(scan, sockets, ssh, ctx.target),
        *nothing_else_is_let_through(rules, scan, ssh),
        *the_filter_is_loaded(rules),
        *it_comes_back_at_boot(rules, observed[firewall_files], observed[units]),
    ]
    if any(finding.verdict is Verdict.UNKNOWN for finding in findings):
        raise NotYet(next(finding.observed for finding in findings if finding.verdict is Verdict.UNKNOWN))
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        return [finding for finding in findings if finding.verdict is Verdict.FAIL]
    return [passed("after a reboot it is all the same")]


ITEM = Item(
    number=6,
    title="Firewall enabled and configured",
    short="Firewall",
    chapter="01_vm_setup",
    section="Firewall",
    criteria=(
        only_the_three_answer,
        nothing_else_is_let_through,
        the_filter_is_loaded,
        it_comes_back_at_boot,
    ),
    exercise=a_reboot_keeps_it,
)
