"""Facts about accounts: which there are, in which groups, with which password, and what sudo lets them do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    groups: frozenset[str]
    home: str
    shell: str

    @property
    def is_a_person(self) -> bool:
        """Whether it is one to log in with, and not a service's."""
        return 1000 <= self.uid < 60000 and self.shell.rpartition("/")[2] not in ("nologin", "false")


@dataclass(frozen=True)
class Accounts:
    all: tuple[Account, ...]
    group_ids: dict[int, str]

    def by_name(self, name: str) -> Account | None:
        return next((account for account in self.all if account.name == name), None)

    def by_uid(self, uid: int) -> Account | None:
        return next((account for account in self.all if account.uid == uid), None)

    def name(self, uid: int) -> str:
        account = self.by_uid(uid)
        return account.name if account else f"uid {uid}"


def parse_accounts(result: Result) -> Accounts:
    people: list[list[str]] = []
    groups: list[list[str]] = []
    part = ""
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            part = line[3:]
        elif part == "passwd":
            people.append(_fields(line, 7))
        elif part == "group":
            groups.append(_fields(line, 4))
    if part != "end" or not people:
        raise Unreadable("the list of accounts came back incomplete")
    ids = {int(group[2]): group[0] for group in groups}
    listed = []
    for name, _, uid, gid, _, home, shell in people:
        member = {group[0] for group in groups if name in group[3].split(",")}
        listed.append(Account(name, int(uid), frozenset(member | {ids.get(int(gid), gid)}), home, shell))
    return Accounts(tuple(listed), ids)


def _fields(line: str, count: int) -> list[str]:
    fields = line.split(":")
    if len(fields) != count or not fields[2].isdigit():
        raise Unreadable(f"a line of the accounts is not understood: {line!r}")
    return fields


accounts = Fact(
    "accounts",
    "echo '== passwd'; getent passwd || exit; echo '== group'; getent group || exit; echo '== end'",
    parse_accounts,
)


def parse_passwords(result: Result) -> dict[str, str]:
    """By account: "locked", "set", or "empty"."""
    words = {"L": "locked", "LK": "locked", "P": "set", "PS": "set", "NP": "empty"}
    states = {}
    for line in result.stdout.splitlines():
        fields = line.split()
        if len(fields) < 2 or fields[1] not in words:
            raise Unreadable(f"a line of passwd -S is not understood: {line.strip()!r}")
        states[fields[0]] = words[fields[1]]
    if result.exit_status != 0 or not states:
        raise Unreadable(f"passwd -S ended with status {result.exit_status}: {result.stderr.strip()}")
    return states


# The state alone: the hash of a password never leaves the server.
passwords = Fact("passwords", "passwd -S -a", parse_passwords, sudo=True)


def parse_sudo_rules(result: Result) -> dict[str, tuple[str, ...]]:
    """By account, the commands that sudo lets it run ("(ALL) NOPASSWD: ALL"); none is an empty tuple."""
    rules: dict[str, tuple[str, ...]] = {}
    blocks = re.split(r"^== ", result.stdout, flags=re.M)
    if blocks[-1].strip() != "end":
        raise Unreadable("sudo's answer came back incomplete")
    for block in blocks[1:-1]:
        name, _, text = block.partition("\n")
        lines = text.splitlines()
        if "sudo is not installed" in text or any("is not allowed to run sudo" in line for line in lines):
            rules[name] = ()
            continue
        start = next((i for i, line in enumerate(lines) if "may run the following commands" in line), None)
        if start is None:
            raise Unreadable(f"what sudo says about {name} is not understood: {text.strip()[:100]!r}")
        rules[name] = tuple(line.strip() for line in lines[start + 1 :] if line.strip())
    return rules


# Asked of persons' accounts and of those that Supervisor's programs run under: each question starts a sudo.
sudo_rules = Fact(
    "sudo_rules",
    r"""declare -A wanted=()
while IFS=: read -r name _ uid _ _ _ shell; do
  if [[ $uid -ge 1000 && $uid -lt 60000 && $name != "${SUDO_USER:-}" ]]; then wanted[$name]=1; fi
done < <(getent passwd)
for parent in $(pgrep -x supervisord); do
  for name in $(ps -o user:32= --ppid "$parent"); do wanted[$name]=1; done
done
unset 'wanted[root]'
for name in "${!wanted[@]}"; do
  echo "== $name"
  if type -P sudo >/dev/null; then sudo -n -l -U "$name" 2>&1; else echo 'sudo is not installed'; fi
done
echo '== end'""",
    parse_sudo_rules,
    sudo=True,
    timeout=20,
)
