"""Item 12: no account gets in over SSH with a password, and root not at all.

On the server, sshd itself says what its files mean for every account and address that they tell apart:
drop-ins, Match blocks and its command line included; and whether a file is younger than what it has read.
The exercise tries: from outside, one attempt with the method `none` for each kind of account says what the
running sshd offers. Where the two differ, what runs is not what is written.

The read-only check leaves nothing but its own login in the server's log, the exercise three failed ones at
each address and port. The lab's chapter is 06_security, section "SSH".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import LoginProbe
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.ssh import PASSWORDS, Case, Sshd, Sshds, sshds
from labcheck.gather import gather
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, unknown

_WHY = "passwords are guessed, day and night, on every server that takes them"
_STALE = "it goes by the old ones until it is reloaded, or the server starts anew"
_RELOAD = "sudo sshd -t && sudo systemctl reload ssh"


def listening(daemons: Sshds, sockets: tuple[Socket, ...]) -> list[tuple[frozenset[int], Sshd]]:
    """Each sshd that listens, after its ports. Raises Unreadable for a port whose sshd could not be asked."""
    ports: dict[int, set[int]] = {}
    for socket in sockets:
        if socket.program == "sshd" and socket.protocol == "tcp":
            if not socket.pids:
                raise Unreadable(f"whose socket {socket.port}/tcp is, only root may see")
            for pid in set(socket.pids) - daemons.sessions:
                ports.setdefault(pid, set()).add(socket.port)
    known = [(frozenset(ports[one.pid]), one) for one in daemons.listening if one.pid in ports]
    # systemd may hold the same socket, as the one who opened it.
    lost = [min(ports[pid]) for pid in set(ports) - {one.pid for _, one in known} - {1}]
    if lost or not known:
        where = f"on port {min(lost)}" if lost else "among the programs that listen"
        raise Unreadable(f"no sshd {where} could be asked what it does")
    return sorted(known, key=lambda each: sorted(each[0]))


def called(ports: frozenset[int]) -> str:
    return f"sshd on port {', '.join(map(str, sorted(ports)))}"


def cases(sshd: Sshd, ports: frozenset[int]) -> list[Case]:
    """What it was asked about that can happen at its own ports."""
    named = {one.port for one in sshd.cases if one.port}
    return [one for one in sshd.cases if (one.port in ports if one.port else bool(ports - named))]


def concerning(wrong: list[Case], every: list[Case], known: Accounts) -> str:
    """For which accounts something is wrong, in words; none where it is for every account."""
    if len(wrong) == len(every):
        return ""
    daemons = list(dict.fromkeys(_case(one, known) for one in wrong))
    return f" {'; '.join(daemons[:3])}{f'; and {len(daemons) - 3} more' if len(daemons) > 3 else ''}"


def _case(case: Case, known: Accounts) -> str:
    people = [
        name for name in case.accounts if (it := known.by_name(name)) and (it.is_a_person or not it.uid)
    ]
    names = people or list(case.accounts)
    words = [f"for {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else ""]
    words += [f"from {case.address}" if case.address else "", f"at port {case.port}" if case.port else ""]
    return " ".join(word for word in words if word) or "at other ports"


def judged(
    daemons: Sshds, sockets: tuple[Socket, ...], known: Accounts, fault_of: Callable[[Case], str]
) -> Iterator[str]:
    """A sentence for each sshd and each word that `fault_of` has for one of its cases."""
    for ports, sshd in listening(daemons, sockets):
        every = cases(sshd, ports)
        for word in sorted(set(map(fault_of, every)) - {""}):
            wrong = [one for one in every if fault_of(one) == word]
            yield f"by its files, {called(ports)} has {word}{concerning(wrong, every, known)}"


def no_account_is_offered_a_password(probes: tuple[LoginProbe, ...], target: Target) -> Iterator[Finding]:
    """The running sshd offers neither of the methods that end in a password, to any account from outside."""
    answered = [item for item in probes if item.offered]
    if not answered:
        reasons = "; ".join(dict.fromkeys(f"{item.address}: {item.error}" for item in probes))
        yield unknown(
            f"no sshd answered from {target.vantage} ({reasons or 'no address of the server is known'})",
            next="check from a host that SSH is open to: labcheck --from HOST",
        )
        return
    reached = {(item.address, item.port) for item in answered}
    silent = [item for item in probes if item.error and (item.address, item.port) in reached]
    for item in silent:
        yield unknown(
            f"sshd at {item.address} stopped answering before {item.account} was tried: {item.error}",
            next="it turns away clients that connect too often (ufw limit, fail2ban, sshd's own "
            "PerSourcePenalties): wait a minute",
        )
    offers: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for item in answered:
        bad = tuple(method for method in item.offered if method in PASSWORDS or method == "none")
        if bad:
            offers.setdefault((item.port, bad), []).append(item.account)
    for (port, methods), names in sorted(offers.items()):
        account_names = ", ".join(dict.fromkeys(names))
        yield failed(
            f"port {port} lets {account_names} in without any proof"
            if "none" in methods
            else f"port {port} offers {' and '.join(methods)} to {account_names}",
            expected="publickey alone, for every account",
            why=_WHY,
            next="PasswordAuthentication no and KbdInteractiveAuthentication no, in the file that is read "
            f"first (ls /etc/ssh/sshd_config.d), then: {_RELOAD}",
        )
    if not offers and not silent:
        account_names = ", ".join(dict.fromkeys(item.account for item in answered))
        yield passed(f"from outside, {account_names} are offered no password")


def _takes(case: Case) -> str:
    words = []
    if "password" in case.passwords:
        words.append("PasswordAuthentication yes")
    if "keyboard-interactive" in case.passwords:
        words.append("KbdInteractiveAuthentication yes")
    if case.settings["permitemptypasswords"] == "yes":
        words.append("PermitEmptyPasswords yes")
    return ", ".join(words)


@criterion(daemons=sshds, sockets=listening_sockets, known=accounts)
def no_file_lets_a_password_in(
    daemons: Sshds, sockets: tuple[Socket, ...], known: Accounts
) -> Iterator[Finding]:
    """By its own account, no listening sshd would take a password from any address, nor an empty one."""
    wrong = list(judged(daemons, sockets, known, _takes))
    for observed in wrong:
        yield failed(
            observed,
            expected="no to each of these, for every account from every address",
            why=_WHY,
            next="sudo grep -riE '^ *(password|kbd|permitempty|match)' /etc/ssh/sshd_config* shows where: of "
            f"two values the first that is read counts; correct it, then: {_RELOAD}",
        )
    if not wrong:
        yield passed("by its files, sshd takes no password from anyone anywhere")


def _root_may(one: Case) -> str:
    value = one.settings["permitrootlogin"] if not one.accounts or "root" in one.accounts else "no"
    return "" if value == "no" else f"PermitRootLogin {value}"


@criterion(daemons=sshds, sockets=listening_sockets, known=accounts)
def root_does_not_log_in(daemons: Sshds, sockets: tuple[Socket, ...], known: Accounts) -> Iterator[Finding]:
    """PermitRootLogin is no, for root from every address: not even with a key."""
    wrong = list(judged(daemons, sockets, known, _root_may))
    for observed in wrong:
        yield failed(
            observed,
            expected="PermitRootLogin no",
            why="it may do everything, its name is known, and the log does not say which person it was",
            next=f"first prove that another account gets in, with sudo; PermitRootLogin no, then: {_RELOAD}",
        )
    if not wrong:
        yield passed("root does not log in")


@criterion(daemons=sshds, sockets=listening_sockets)
def it_has_read_its_files(daemons: Sshds, sockets: tuple[Socket, ...]) -> Iterator[Finding]:
    """None of its files has changed since it read them."""
    for ports, sshd in listening(daemons, sockets):
        files = [path for path in sshd.changed if not path.endswith("/")]
        if files and not sshd.since_start:
            yield failed(
                f"{called(ports)} was not reloaded after {', '.join(files)} changed",
                expected="an sshd that runs with what its files say",
                why=_STALE,
                next=_RELOAD,
            )
        elif sshd.changed:
            observed = f"{sshd.changed[0]} changed, perhaps after {called(ports)} read it"
            yield unknown(observed, next=_RELOAD, until_exercised=True)
        else:
            yield passed("it has read its files since they changed")


def what_is_offered_is_what_is_written(
    daemons: Sshds, sockets: tuple[Socket, ...], probes: tuple[LoginProbe, ...]
) -> Iterator[Finding]:
    """What is offered from outside is what sshd, by its files, offers to that account and address."""
    sshd_by_port = listening(daemons, sockets)
    different: dict[tuple[int, str], list[str]] = {}
    for item in probes:
        if item.offered and item.offered != ("none",):
            possible = {
                case.passwords
                for ports, sshd in sshd_by_port
                if item.port in ports
                for case in cases(sshd, ports)
                if not case.accounts or item.account in case.accounts
            }
            offered = PASSWORDS & set(item.offered)
            if possible and offered not in possible:
                words = " and ".join(sorted(offered)) or "no password"
                different.setdefault((item.port, words), []).append(item.account)
    for (port, words), names in sorted(different.items()):
        yield failed(
            f"sshd on port {port} was not reloaded: it offers {words} to {', '.join(dict.fromkeys(names))}, "
            "and by its files it would not",
            expected="an sshd that runs with what its files say",
            why=_STALE,
            next=_RELOAD,
        )


# ---- exercise ----------------------------------------------------------------------------------


def it_offers_what_it_says(server: Connection, ctx: Context) -> Iterator[Finding]:
    """Three kinds of account try to log in from outside, with the method `none`, and hear what they need."""
    target = ctx.target
    observed = gather(server, [*questions.NEEDS, accounts, sshds])
    asked = planning.plan(observed, domain=target.domain, reference=target.reference, wanted=("logins",))
    probes = probing.ask(asked, ctx.vantage)[questions.logins]
    yield from no_account_is_offered_a_password(probes, target)
    yield from what_is_offered_is_what_is_written(observed[sshds], observed[listening_sockets], probes)


ITEM = Item(
    number=12,
    title="SSH password auth disabled",
    short="SSH passwords",
    chapter="06_security",
    section="SSH",
    criteria=(
        no_file_lets_a_password_in,
        root_does_not_log_in,
        it_has_read_its_files,
    ),
    exercise=it_offers_what_it_says,
    leaves="three logins that fail, at each address and port",
)
