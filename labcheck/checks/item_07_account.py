"""Item 7: the account behind every process of the application can do nothing but run it."""

from __future__ import annotations

from collections.abc import Iterator

from labcheck.checks.application import called, processes_of_app
from labcheck.checks.model import Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts, accounts, passwords, sudo_rules
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Process, Processes, processes
from labcheck.verdict import Finding, failed, passed

# Each of these is root by another name: a container with / mounted, a raw disk, the logs of every account, …
_ROOT_GROUPS = frozenset(
    {
        "root",
        "docker",
        "lxd",
        "incus",
        "incus-admin",
        "libvirt",
        "disk",
        "shadow",
        "kvm",
        "sudo",
        "admin",
        "wheel",
    }
)
_WHY = "an attacker who finds a hole in the application gets what its account can do"


def _running(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> tuple[Process, ...]:
    return processes_of_app(running, sockets, known, target)


def _accounts(found: tuple[Process, ...], known: Accounts, target: Target) -> list[str]:
    """The accounts behind the processes; before anything runs, the one that is meant for it."""
    names = {known.name(uid) for process in found for uid in process.uids if uid}
    if known.by_name(target.account):
        names.add(target.account)
    return sorted(names)


@criterion(running=processes, sockets=listening_sockets, known=accounts)
def it_runs_under_its_own_account(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """The application runs, and all of it under one account that is not root."""
    of_app = _running(running, sockets, known, target)
    if not of_app:
        account = known.by_name(target.account)
        there = (
            f"the account {target.account} is there" if account else f"there is no account {target.account}"
        )
        yield failed(
            f"no process of the application runs, and {there}"
            if not account
            else "no process of the application runs",
            expected=f"the application runs under {target.account}, an account of its own",
            why=_WHY,
            next="" if account else f"sudo useradd --create-home --shell /bin/bash {target.account}",
        )
        return
    accounts_seen = sorted({known.name(uid) for process in of_app for uid in process.uids})
    for process in of_app:
        if 0 in process.uids:
            yield failed(
                f"{called(process)} runs as root",
                expected=f"every process of the application under {target.account}",
                why=_WHY,
                next="name the account in Supervisor's `user=`, and end what was started by hand",
            )
    strangers = [name for name in accounts_seen if name not in ("root", target.account)]
    if strangers and known.by_name(target.account):
        for name in strangers:
            yield failed(
                f"a process of the application runs under {name}",
                expected=f"every process of the application under {target.account}",
                why="a person's account can do more than the application needs",
            )
    elif "root" not in accounts_seen:
        yield passed(f"every process of the application runs under {', '.join(accounts_seen)}")


@criterion(running=processes, sockets=listening_sockets, known=accounts, rules=sudo_rules)
def it_may_not_use_sudo(
    running: Processes,
    sockets: tuple[Socket, ...],
    known: Accounts,
    rules: dict[str, tuple[str, ...]],
    target: Target,
) -> Iterator[Finding]:
    """sudo itself says that the account may run nothing."""
    names = _accounts(_running(running, sockets, known, target), known, target)
    for name in names:
        if name not in rules:
            raise Unreadable(f"sudo was not asked about {name}")
        if rules[name]:
            yield failed(
                f"sudo lets {name} run {'; '.join(rules[name])}",
                expected="no rule of sudo for this account",
                why=_WHY,
                next=f"sudo deluser {name} sudo, and look into /etc/sudoers.d",
            )
    if names and not any(rules[name] for name in names):
        yield passed(f"no sudo for {', '.join(names)}")


@criterion(running=processes, sockets=listening_sockets, known=accounts)
def it_is_in_no_group_that_is_root(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """Neither the group list nor a running process has docker, lxd, disk or the like."""
    of_app = _running(running, sockets, known, target)
    names = _accounts(of_app, known, target)
    bad: dict[str, set[str]] = {}
    for name in names:
        account = known.by_name(name)
        if account and account.groups & _ROOT_GROUPS:
            bad.setdefault(name, set()).update(account.groups & _ROOT_GROUPS)
    for process in of_app:
        live = {known.group_ids.get(gid, str(gid)) for gid in process.groups} & _ROOT_GROUPS
        if live and 0 not in process.uids:
            bad.setdefault(known.name(min(process.uids)), set()).update(live)
    for name, groups in sorted(bad.items()):
        yield failed(
            f"{name} is in the group {', '.join(sorted(groups))}",
            expected="no group but its own",
            why="such a group is root by another name",
            next=f"sudo gpasswd -d {name} {min(groups)}, then restart the application",
        )
    if names and not bad:
        yield passed("in no group that amounts to root")


@criterion(running=processes, sockets=listening_sockets, known=accounts)
def it_has_no_capabilities(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, target: Target
) -> Iterator[Finding]:
    """The kernel gives none of root's single powers to any of the processes."""
    unprivileged = [process for process in _running(running, sockets, known, target) if 0 not in process.uids]
    strong = [process for process in unprivileged if process.capabilities]
    for process in strong:
        yield failed(
            f"{called(process)} holds capabilities (mask {process.capabilities:#x})",
            expected="none",
            why="each is a part of root's power",
            next="getcap -r / finds the file that gives them; the unit's AmbientCapabilities= may, too",
        )
    if unprivileged and not strong:
        yield passed("no capabilities")


@criterion(running=processes, sockets=listening_sockets, known=accounts, states=passwords)
def no_account_logs_in_by_password(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, states: dict[str, str], target: Target
) -> Iterator[Finding]:
    """The account's password is locked."""
    names = _accounts(_running(running, sockets, known, target), known, target)
    for name in names:
        state = states.get(name)
        if state is None:
            raise Unreadable(f"the state of {name}'s password is not known")
        if state != "locked":
            yield failed(
                f"{name} has {'an empty password' if state == 'empty' else 'a password'}",
                expected="no login by password",
                why="passwords are guessed, day and night",
                next=f"sudo passwd -l {name}",
            )
    if names and all(states.get(name) == "locked" for name in names):
        yield passed("its password is locked")


ITEM = Item(
    number=7,
    title="Application runs as a non-root user",
    short="Own account",
    chapter="01_vm_setup",
    section="An account for the application",
    criteria=(
        it_runs_under_its_own_account,
        it_may_not_use_sudo,
        it_is_in_no_group_that_is_root,
        it_has_no_capabilities,
        no_account_logs_in_by_password,
    ),
)
