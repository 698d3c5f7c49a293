"""Facts about sshd: what each listening one permits, as sshd itself makes it out from its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result

PASSWORDS = frozenset({"password", "keyboard-interactive"})
"""The methods that end in a password: PAM asks for it in the second one."""


@dataclass(frozen=True)
class Case:
    """What sshd says that it does for these accounts from this address at this port of its own.

    Empty (None) stands for whatever no Match block names: each account, any address, all other ports.
    """

    accounts: tuple[str, ...]
    address: str
    port: int | None
    settings: Mapping[str, str]

    @property
    def passwords(self) -> frozenset[str]:
        """The methods that end in a password and can be tried before any other one was passed."""
        on = {"password"} if self.settings["passwordauthentication"] == "yes" else set()
        # Before OpenSSH 8.7, either of two names switches the other method on.
        if "yes" in (self.settings.get(f"{name}authentication") for name in ("kbdinteractive", _OLDER)):
            on.add("keyboard-interactive")
        ways = self.settings.get("authenticationmethods", "any").split()
        if ways == ["any"]:
            return frozenset(on)
        return frozenset(on & {re.split("[,:]", way)[0] for way in ways})


@dataclass(frozen=True)
class Sshd:
    """A listening sshd. `changed` are those of its files and folders that changed after it had read them;
    or, where `since_start` says that this is all that is known, after it was started."""

    pid: int
    cases: tuple[Case, ...]
    changed: tuple[str, ...]
    since_start: bool


@dataclass(frozen=True)
class Sshds:
    """Those that listen for logins, and the processes of people who are logged in: they listen, too, where
    a port is forwarded."""

    listening: tuple[Sshd, ...]
    sessions: frozenset[int]


_OLDER = "challengeresponse"
_NEEDED = ("passwordauthentication", "permitrootlogin", "permitemptypasswords")
_KEYWORDS = (
    *_NEEDED,
    "kbdinteractiveauthentication",
    f"{_OLDER}authentication",
    "authenticationmethods",
)


def parse_sshds(result: Result) -> Sshds:
    """Those in the server's own network; none is an empty tuple."""
    *text, end = result.stdout.splitlines() or [""]
    if end != "== end":
        raise Unreadable("what sshd says of itself came back incomplete")
    sessions = {int(line.removeprefix("== session ")) for line in text if line.startswith("== session ")}
    blocks = re.split("^== sshd ", "\n".join(line for line in text if "== session" not in line), flags=re.M)
    return Sshds(tuple(_sshd(block, result.stderr) for block in blocks[1:]), frozenset(sessions))


def _sshd(block: str, stderr: str) -> Sshd:
    pid, *lines = block.splitlines()
    cases: list[Case] = []
    settings: dict[str, str] = {}
    times: dict[str, int] = {}
    known: dict[str, int] = {}
    for line in lines:
        if not line.startswith("== "):
            name, _, settings[name] = line.partition(" ")
            continue
        _, kind, text = line.split(" ", 2)
        if kind == "unreadable":
            raise Unreadable(f"what sshd would do is not known: {text}")
        if kind == "asked":
            accounts, address, port = text.split("|")
            if port and not port.isdigit():
                raise Unreadable(f"what sshd would do is not known: a Match block asks for the port {port}")
            settings = {}
            names = tuple(accounts.split(",")) if accounts else ()
            cases.append(Case(names, address, int(port) if port else None, settings))
        elif kind == "status" and text != "0":
            problem = last_line(stderr)
            raise Unreadable(f"sshd -T ended with status {text}: {problem}")
        elif kind == "file":
            time, _, path = text.partition(" ")
            times[path] = int(time)
        elif kind in ("read", "started"):
            known[kind] = int(text)
    if not (cases and times and known) or any(set(_NEEDED) - set(one.settings) for one in cases):
        raise Unreadable("what sshd says of itself is not understood")
    since = known.get("read", known.get("started", 0))
    changed = tuple(sorted(path for path, time in times.items() if time > since))
    return Sshd(int(pid), tuple(cases), changed, "read" not in known)


# sshd keeps its arguments in its title, and `/proc/PID/exe -T` with the same ones says what it would do if it
# read its files now. Where they hold Match blocks, it is asked for all accounts and addresses that the blocks
# can tell apart, each time for one of those that are alike. What it does follow from what it has read, which
# was when it last wrote its pidfile: at its start, and at each reload.
sshds = Fact(
    "sshds",
    r"""shopt -s nullglob
scan() { # FILE: keep the patterns of the Match blocks in it, and in what it includes
  local line words word path paths
  [[ -z ${files[$1]-} && -r $1 ]] || return 0
  files[$1]=1
  while IFS= read -r line || [[ -n $line ]]; do
    IFS=$' \t="' read -r -a words <<< "$line"
    case ${words[0],,} in
      include)
        for word in "${words[@]:1}"; do
          [[ $word == /* ]] || word=/etc/ssh/$word
          if [[ $word == *[*?]* && -d ${word%/*} ]]; then files[${word%/*}/]=1; fi
          set +f; paths=($word); set -f
          for path in "${paths[@]}"; do scan "$path"; done
        done ;;
      match) matching=1; keep "${words[@]:1}" ;;
    esac
  done < "$1"
}
keep() { # [KIND PATTERNS]…
  local kind word words
  while (($#)) && [[ $1 != \#* ]]; do
    kind=${1,,}
    shift
    [[ -n $kind && $kind != all && $kind != invalid-user ]] || continue
    IFS=, read -r -a words <<< "${1-}"
    shift
    for word in "${words[@]#!}"; do
      case $kind in
        user | group) patterns+=("$word") ;;
        address) keep_address "$word" ;;
        localport) ports+=("$word") ;;
        *) echo "== unreadable a Match block asks for $kind" ;;
      esac
    done
  done
}
keep_address() { # PATTERN: one that it holds
  local it=${1%/*} dots
  if [[ $it == *[*?]* ]]; then
    it=${it//[*?]/1}
    dots=${it//[^.]/}
    for ((; ${#dots} < 3; )); do it+=.1 dots+=.; done
    if [[ $it == *:* || $it != $1 ]]; then echo "== unreadable a Match block asks for the address $1"; fi
  fi
  addresses+=("$it")
}
alike() { # put those accounts together that no pattern tells apart, and root by itself
  local name uid gid members word pattern mark hit
  local -A called=() member=() found=()
  while IFS=: read -r name _ gid members; do
    called[$gid]=$name
    for word in ${members//,/ }; do member[$word]+=" $name"; done
  done < <(getent group)
  while IFS=: read -r name _ uid gid _; do
    mark=$((uid == 0))
    for pattern in "${patterns[@]}"; do
      hit=0
      for word in "$name" ${called[$gid]-} ${member[$name]-}; do
        if [[ $word == $pattern ]]; then hit=1; fi
      done
      mark+=$hit
    done
    found[$mark]+=${found[$mark]:+,}$name
  done < <(getent passwd)
  accounts=("${found[@]}")
}
ask() { # ACCOUNTS ADDRESS PORT [SPEC]
  local out status name value
  echo "== asked $1|$2|$3"
  out=$("/proc/$pid/exe" "${arguments[@]}" -T ${4:+-C "$4"})
  status=$?
  while read -r name value; do
    case $name in
      KEYWORDS) echo "$name $value" ;;
      pidfile) pidfile=$value ;;
    esac
  done <<< "$out"
  echo "== status $status"
}
read_at() { # when it last read its files, or else when it was started
  local clock
  if [[ -r $pidfile && $(< "$pidfile") == "$pid" ]]; then
    stat -c '== read %Y' "$pidfile"
    return
  fi
  # A subshell starts now: so much later than sshd, by one clock. A container's btime may be made up (lxcfs).
  printf -v clock '%(%s)T' -1
  echo "== started $((clock - ($(ticks "$BASHPID") - $(ticks "$pid") + 99) / 100))"
}
ticks() { # PID: when it was started, in clock ticks
  local stat fields
  stat=$(< "/proc/$1/stat")
  read -r -a fields <<< "${stat##*) }"
  echo "${fields[19]}"
}
set -f
for pid in $(pgrep -x sshd); do
  IFS= read -r -d '' title < "/proc/$pid/cmdline"
  [[ /proc/$pid/ns/net -ef /proc/self/ns/net ]] || continue
  if [[ $title == sshd:\ [!/]* ]]; then echo "== session $pid"; fi
  [[ $title =~ ^sshd:\ /[^\ ]*(.*)\ \[listener\] ]] || continue
  read -r -a arguments <<< "${BASH_REMATCH[1]}"
  echo "== sshd $pid"
  if [[ ! /proc/$pid/root -ef / ]]; then echo '== unreadable it runs in a container'; continue; fi
  declare -A files=()
  patterns=() addresses=() ports=() accounts=('') matching='' pidfile='' config=/etc/ssh/sshd_config
  for ((n = 0; n < ${#arguments[@]}; n++)); do
    case ${arguments[n]} in -f) config=${arguments[n + 1]} ;; -f*) config=${arguments[n]#-f} ;; esac
  done
  scan "$config"
  if [[ ${#patterns[@]} -gt 0 ]]; then alike; fi
  if [[ ${#addresses[@]} -gt 0 ]]; then addresses+=(127.0.0.1 10.99.99.99 203.0.113.99 2001:db8::99)
  else addresses=(''); fi
  ports+=('')
  if ((${#accounts[@]} * ${#addresses[@]} * ${#ports[@]} > MOST)); then
    echo '== unreadable its Match blocks tell more than MOST cases apart'
    continue
  fi
  for similar in "${accounts[@]}"; do for address in "${addresses[@]}"; do for port in "${ports[@]}"; do
    from=${address:-203.0.113.99} user=${similar%%,*}
    spec=user=${user:-root},host=$from,addr=$from,laddr=127.0.0.1,lport=${port:-1},rdomain=
    ask "$similar" "$address" "$port" "${matching:+$spec}"
  done; done; done
  stat -c '== file %Z %n' "${!files[@]}"
  read_at
done
echo '== end'""".replace("KEYWORDS", " | ".join(_KEYWORDS)).replace("MOST", "24"),
    parse_sshds,
    sudo=True,
    timeout=25,
)
