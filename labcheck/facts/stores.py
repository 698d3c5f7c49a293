"""Facts about stores that processes share: the one in each environment, and whether it is connected."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result


@dataclass(frozen=True)
class Store:
    """What an address in a process's own environment names; a password in it is never read."""

    pid: int
    variable: str
    host: str  # "" for a socket in the file system, and for an address that is not understood
    port: int
    database: str
    connected: bool | None  # None where that cannot be seen

    @property
    def place(self) -> str:
        host = "localhost" if self.is_local else self.host
        return f"{host}:{self.port}/{self.database}" if host else self.database

    @property
    def is_local(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


_PORTS = {"redis": 6379, "valkey": 6379, "memcached": 11211}
_TOLD = re.compile(r"(\d+) (\w+) ([a-z]+) (\S+)")


def parse_shared_stores(result: Result) -> tuple[Store, ...]:
    """Every process's stores; none is an empty tuple."""
    if not result.stdout.endswith("== end\n"):
        raise Unreadable("the processes' stores came back incomplete")
    addressed: list[re.Match[str]] = []
    addresses: dict[str, set[str]] = {}
    connections: set[tuple[int, str, int]] = set()
    for line in result.stdout.splitlines()[:-1]:
        kind, _, text = line.partition(" ")
        if kind == "told" and (match := _TOLD.fullmatch(text)):
            addressed.append(match)
        elif kind == "name" and len(words := text.split()) == 2:
            addresses.setdefault(words[0], set()).add(words[1])
        elif kind == "status":
            if text != "0":
                said = last_line(result.stderr)
                raise Unreadable(f"ss ended with status {text}: {said}")
        elif found := re.fullmatch(r"\d+ +\d+ +\S+ +(\S+):(\d+) *(.*)", line):
            peer = found[1].strip("[]").removeprefix("::ffff:")
            connections |= {(int(pid), peer, int(found[2])) for pid in re.findall(r"pid=(\d+)", found[3])}
        else:
            raise Unreadable(f"a line about the processes' stores is not understood: {line!r}")
    return tuple(_store(match, addresses, connections) for match in addressed)


def _store(
    match: re.Match[str], addresses: dict[str, set[str]], connections: set[tuple[int, str, int]]
) -> Store:
    pid, variable, kind, place = int(match[1]), match[2], match[3], match[4]
    if kind == "unix" or place == "-":
        return Store(pid, variable, "", 0, place, None)
    where, _, database = place.partition("/")
    host_and_port = re.fullmatch(r"\[?([^\]]+?)\]?(?::(\d+))?", where)
    if host_and_port is None:
        raise Unreadable(f"the address of a store in {variable} is not understood")
    host, port = host_and_port[1], int(host_and_port[2] or _PORTS[kind.removesuffix("s")])
    known = addresses.get(host, {host})
    connected = any((pid, address, port) in connections for address in known)
    return Store(pid, variable, host, port, database or "0", connected)


# Supervisor's own socket (SUPERVISOR_SERVER_URL) is in the environment of what it starts, and is no store.
# What stands before an @ is cut off where it is read, and with an @ elsewhere nothing is printed: it may be a
# part of the password. A name is looked up as the process would do it.
shared_stores = Fact(
    "shared_stores",
    r"""declare -A seen
filter=
while IFS= read -r -d '' entry; do
  pid=${entry#/proc/} name=${entry#*:} kind=${entry#*=} rest=${entry#*://}
  pid=${pid%%/*} name=${name%%=*} kind=${kind%%:*} host=${rest%%[/?#]*}
  if [[ $name == SUPERVISOR_* ]]; then continue; fi
  kind=${kind##*+} path=${rest#"$host"}
  if [[ $path == *@* ]]; then host= path=-; fi
  host=${host##*@} path=${path%%[?#]*}
  echo "told $pid $name $kind $host$path"
  port=${host##*:}
  if [[ $port == *[!0-9]* || -z $port ]]; then
    case $kind in memcached) port=11211 ;; *) port=6379 ;; esac
  fi
  host=${host%:"$port"}
  if [[ -z $host || -n ${seen[$host:$port]-} ]]; then continue; fi
  seen[$host:$port]=1
  filter+="${filter:+ or }dport = :$port"
  if [[ $host != *:* && $host == *[!0-9.]* ]]; then
    while read -r address _; do echo "name $host $address"; done < <(getent ahosts "$host")
  fi
done < <(grep -zsHE '^\w+=([a-z]+\+)?((redis|valkey)s?|memcached|unix)://' /proc/[0-9]*/environ)
if [[ -n $filter ]]; then
  ss -Htnp state established "( $filter )"
  echo "status $?"
fi
echo '== end'""",
    parse_shared_stores,
    sudo=True,
)
