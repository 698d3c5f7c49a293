"""Facts about the rotation of logs: what logrotate does with which, and what starts it how often."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote.output import last_line
from labcheck.result import Result

CONFIGURATION = "/etc/logrotate.conf"
HOUR, DAY = 3600, 86400  # s


# ---- what it does ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handled:
    """What logrotate does with one log, as it says itself.

    `known`: its state has an entry, so a run has seen this log before. `refused`: why it would leave the log
    alone, or "". The rest is what a rotation would do, all of it empty where it would do nothing: `moved` is
    the predecessor's name, `copied` says that the log is copied instead, `emptied` that it is then cut off at
    its beginning, and `made` what the new file would be: mode, uid and gid.
    """

    path: str
    known: bool = True
    refused: str = ""
    moved: str = ""
    copied: bool = False
    emptied: bool = False
    made: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Rule:
    """A rule that logrotate has loaded.

    `every` is in seconds, None where age does not count. `size`: from so many bytes on a log is rotated
    without regard to its age; `at_least`: below so many it never is. `kept`: so many predecessors, None for
    all. `packs`: predecessors are compressed; None where no log shows it, since there is nothing in them.
    `skips_empty`: a log that is empty is not rotated.
    """

    pattern: str
    every: int | None
    size: int | None
    at_least: int | None
    kept: int | None
    packs: bool | None
    logs: tuple[Handled, ...]
    skips_empty: bool = False


@dataclass(frozen=True)
class Rotation:
    """`problems`: what logrotate says about files that it takes no rules from."""

    installed: bool
    rules: tuple[Rule, ...] = ()
    problems: tuple[str, ...] = ()

    def find(self, log: str) -> tuple[Rule, Handled] | None:
        """The rule for a log, and what it does with it."""
        found = ((rule, handled) for rule in self.rules for handled in rule.logs if handled.path == log)
        return next(found, None)


_AGES = {"hourly": HOUR, "weekly": 7 * DAY, "monthly": 31 * DAY, "yearly": 366 * DAY}
_RULE = re.compile(
    r"(?P<pattern>.*?)\s+(after (?P<days>\d+) days|(?P<age>hourly|weekly|monthly|yearly)|(?P<size>\d+) bytes"
    r"|forced from command line)\s",
    re.S,  # a rule may name its logs on several lines
)
# What logrotate says of a rule's limits, between commas: 3.22 as one sentence, with the number that is kept
# near its end; older ones say that first, in parentheses and on a line of its own, and nothing where all are.
_LIMIT = re.compile(
    r"\((?P<kept>\d+) rotations\)|(?P<none>\(?no old logs will be kept\)?)"
    r"|\(unlimited rotations\)|old logs are kept forever"
    r"|only log files >= (?P<at_least>\d+) bytes are rotated"
    r"|log files >= (?P<earlier>\d+) are rotated earlier"
    r"|olddir is .+|empty log files are (?P<skips>not )?rotated"
    r"|only log files older than \d+ days are rotated"
    r"|old logs mailed to .+|old logs are removed( after \d+ days)?"
)


def parse_rotation(result: Result) -> Rotation:
    parts = re.split(r"^== (?:normal|forced) (\d+)\n", result.stdout, flags=re.M)
    if len(parts) != 5 or parts[4]:
        raise Unreadable("logrotate's answer came back incomplete")
    normal, status, forced, *_ = parts
    if status == "127":
        return Rotation(installed=False)
    before, *rules = normal.split("\nrotating pattern: ")
    same = forced.split("\nrotating pattern: ")[1:]
    if "\nHandling " not in before or len(rules) != len(same):
        said = last_line(normal, "it says nothing")
        raise Unreadable(f"what logrotate says is not understood: {said}")
    problems = [line for line in before.splitlines() if line.startswith(("error: ", "Ignoring "))]
    return Rotation(
        True, tuple(_rule(*both) for both in zip(rules, same, strict=True)), tuple(dict.fromkeys(problems))
    )


def _rule(normal: str, forced: str) -> Rule:
    """From the same rule as it would be applied now, and by force: by force it does not say its age."""
    head = _RULE.match(normal.partition("\nconsidering log ")[0])
    if head is None or not forced.startswith(head["pattern"]):
        raise Unreadable(f"a rule of logrotate is not understood: {normal.splitlines()[0]!r}")
    limits = _limits(normal[head.end() :])
    size = head["size"] or limits.get("earlier")
    return Rule(
        pattern=" ".join(head["pattern"].split()),
        every=int(head["days"]) * DAY if head["days"] else _AGES.get(head["age"] or ""),
        size=int(size) if size else None,
        at_least=int(limits["at_least"]) if "at_least" in limits else None,
        kept=0 if "none" in limits else int(limits["kept"]) if "kept" in limits else None,
        packs=_packs(forced),
        logs=tuple(_handled(block, forced) for block in normal.split("\nconsidering log ")[1:]),
        skips_empty="skips" in limits,
    )


def _limits(said: str) -> dict[str, str]:
    """By the names in _LIMIT. Raises Unreadable for words that are not in it: they might be a limit."""
    first, second, *_ = [*said.splitlines(), "", ""]
    sentence = first if "empty log files are" in first else f"{first}, {second}"
    limits: dict[str, str] = {}
    for words in re.split(r",\s+", sentence.strip()):
        match = _LIMIT.fullmatch(words.strip())
        if match is None:
            raise Unreadable(f"a limit of logrotate is not understood: {words.strip()!r}")
        limits |= {name: value for name, value in match.groupdict().items() if value is not None}
    return limits


def _packs(forced: str) -> bool | None:
    # The last one: with compress and delaycompress, where there is no predecessor yet.
    shown = r"^compressing log with: |^glob finding logs to compress |^previous log \S+ does not exist$"
    if re.search(shown, forced, re.M):
        return True
    # The names that its predecessors get tell as well, whether or not there are any.
    if re.search(r"^renaming \S+\.log\.\d+\.\w+ to .*\(rotatecount ", forced, re.M):
        return True
    return False if re.search(r"^rotating log ", forced, re.M) else None


def _handled(block: str, forced: str) -> Handled:
    path, _, lines = block.partition("\n")
    lines = lines.partition("\nrotating log ")[0]
    refused = re.search(r"^error: .*|^ *log .*skipping.*", lines, re.M)
    name = re.escape(path)
    moved = re.search(rf"^renaming {name} to (.+)$", forced, re.M)
    made = re.search(rf"^creating new {name} mode = (\d+) uid = (\d+) gid = (\d+)$", forced, re.M)
    return Handled(
        path,
        known=not re.search(r"^Creating new state$", lines, re.M),
        refused=_reason(refused[0].strip()) if refused else "",
        moved=moved[1] if moved else "",
        copied=bool(re.search(rf"^copying {name} to ", forced, re.M)),
        emptied=bool(re.search(rf"^truncating {name}$", forced, re.M)),
        made=(int(made[1], 8), int(made[2]), int(made[3])) if made else None,
    )


def _reason(said: str) -> str:
    """Why a log is left alone, without the rest of the sentence."""
    return re.sub(r'^error: (skipping ".*?" because )?| Set "su" directive .*$', "", said)


# Both read the real configuration and the real state, and change neither: --debug only prints.
rotation = Fact(
    "rotation",
    f"""PATH=$PATH:/usr/sbin:/sbin
logrotate --debug {CONFIGURATION} 2>&1; echo "== normal $?"
logrotate --debug --force {CONFIGURATION} 2>&1; echo "== forced $?\"""",
    parse_rotation,
    sudo=True,
    late=True,  # so that there is something in the logs: what is done with an empty one is often nothing
)


# ---- for how long it keeps ---------------------------------------------------------------------

_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")


def parse_ages(result: Result) -> dict[str, int | None]:
    """The days of `maxage` by a rule's pattern, None where its predecessors have no limit of age.

    From logrotate's files: only from 3.22 on it prints this itself.
    """
    text, end, _ = result.stdout.rpartition("== end")
    if not end:
        raise Unreadable("logrotate's files came back incomplete")
    ages: dict[str, int | None] = {}
    everywhere: int | None = None
    for part in re.split(r"^== file ", text, flags=re.M)[1:]:
        name, _, lines = part.partition("\n")
        outside, rules = _ages(lines, everywhere)
        if name == CONFIGURATION:
            everywhere = outside
        ages = rules | ages  # a second rule for the same logs is not taken, and `aiapp.bak` comes later
    return ages


def _ages(text: str, outside: int | None) -> tuple[int | None, dict[str, int | None]]:
    """What a file says outside of its rules, and in each of them."""
    rules: dict[str, int | None] = {}
    pattern: list[str] = []
    rule, in_script = "", False
    for line in (row.strip() for row in text.splitlines()):
        word = line.split()[0] if line else ""
        age = re.match(r"maxage[\s=]+(\d+)", line)
        if in_script:
            in_script = word != "endscript"
        elif word in _SCRIPTS:
            in_script = True
        elif line.startswith("}"):
            rule = ""
        elif age and rule:
            rules[rule] = int(age[1])
        elif age:
            outside = int(age[1])
        elif not rule and ("{" in line or line.startswith(("/", '"', "'", "~", "*"))):
            before, begins, _ = line.partition("{")
            pattern.append(before)
            if begins:
                rule, pattern = " ".join(" ".join(pattern).split()), []
                rules[rule] = outside
    return outside, rules


ages = Fact(
    "ages",
    f"""for file in {CONFIGURATION} /etc/logrotate.d/*; do
  if [[ -f $file ]]; then echo "== file $file"; cat "$file"; echo; fi
done
echo '== end'""",
    parse_ages,
    sudo=True,
)


# ---- what starts it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Starter:
    """Something that starts logrotate: a timer of systemd, or an entry of cron.

    `off` is why it does not, or "". `usual`: on the usual configuration, with the usual state. `gap`: at most
    so many seconds between two starts, None where its schedule is not understood. `idle`: for so many seconds
    of the server's own running time it could have started it, and did not; None where that cannot be known.
    `failed` is how its last run ended, or "".
    """

    name: str
    by_cron: bool
    off: str
    usual: bool
    gap: int | None
    idle: float | None = None
    failed: str = ""
    at_boot: bool = True


def parse_starters(result: Result) -> tuple[Starter, ...]:
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            name, _, value = line[3:].partition(" ")
            lines = parts.setdefault(name, [value] if value else [])
        else:
            lines.append(line)
    if set(parts) != {"running", "systemd", "units", "cron", "end"}:
        raise Unreadable("what starts logrotate came back incomplete")
    running, *ran = (float(word) for word in parts["running"][0].split())
    systemd = parts["systemd"] == ["yes"]
    if systemd and (not parts["units"] or parts["units"][0] != "0"):
        raise Unreadable(f"systemctl could not be asked: {result.stderr.strip()}")
    idle = min([running, *ran]) if ran else None
    return (
        *_timers("\n".join(parts["units"][1:]), running),
        *_cron_entries(parts["cron"], systemd, idle),
    )


def _timers(shown: str, running: float) -> Iterator[Starter]:
    units: dict[str, list[tuple[str, str]]] = {}
    for block in shown.strip().split("\n\n"):
        pairs = [(name, value) for name, _, value in (line.partition("=") for line in block.splitlines())]
        units[dict(pairs).get("Id", "")] = pairs
    for name, pairs in units.items():
        timer, service = dict(pairs), dict(units.get(dict(pairs).get("Unit", ""), ()))
        command = re.search(r"argv\[\]=([^;]*logrotate[^;]*) ;", service.get("ExecStart", ""))
        if not name.endswith(".timer") or not command:
            continue
        schedule = [value for key, value in pairs if key in ("TimersCalendar", "TimersMonotonic")]
        since = [service.get("ExecMainStartTimestampMonotonic"), timer.get("ActiveEnterTimestampMonotonic")]
        active = timer.get("ActiveState", "")
        ended = service.get("Result", "")
        yield Starter(
            name,
            by_cron=False,
            off="" if active == "active" else f"it is {active or 'not there'}",
            usual=_is_usual(command[1]),
            gap=gap_of_timer(schedule, timer.get("AccuracyUSec", "0"), timer.get("RandomizedDelayUSec", "0")),
            idle=running - max(int(value or 0) for value in since) / 1e6,
            failed="" if ended in ("success", "") else ended,
            at_boot=timer.get("UnitFileState", "") not in ("disabled", "masked", "bad"),
        )


def _is_usual(command: str) -> bool:
    words = command.split()
    return CONFIGURATION in words and not any(re.match(r"-s|--state|-d|--debug", word) for word in words)


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": HOUR, "d": DAY, "w": 7 * DAY}


def _seconds(span: str) -> float | None:
    """A time span as systemd prints it: "1h 30min"."""
    if span == "0":
        return 0
    parts = re.findall(r"([\d.]+)([a-z]+)", span)
    if not parts or any(unit not in _UNITS for _, unit in parts):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def gap_of_timer(schedule: list[str], *slack: str) -> int | None:
    """The longest time between two starts. `slack` is what systemd may be late by, deliberately."""
    minutes: set[int] = set()
    spans = []
    for entry in schedule:
        calendar = re.search(r"OnCalendar=\*-\*-\* ([^:;\s]+):([^:;\s]+)(:\S+)?( [^;\s]+)? ;", entry)
        again = re.search(r"OnUnit(?:In)?[Aa]ctiveU?Sec=(.+?) ;", entry)
        if calendar:
            minutes |= set(_minutes_of_day(calendar[1], calendar[2]))
        elif again:
            spans.append(_seconds(again[1]))
        elif "OnCalendar=" in entry:
            spans.append(DAY)  # not on every day, so that there is one without a start
    late = [_seconds(one) for one in slack]
    gaps = [gap for gap in [_longest_gap(minutes), *spans] if gap is not None]
    if not gaps or None in late:
        return None
    return round(min(gaps) + sum(one for one in late if one is not None))


def _minutes_of_day(hours: str, minutes: str) -> list[int]:
    """Every minute of the day that two fields of a schedule name, of systemd or of cron; none if unknown."""
    try:
        return [60 * hour + minute for hour in _named(hours, 24) for minute in _named(minutes, 60)]
    except ValueError:
        return []


def _named(text: str, size: int) -> set[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        base, _, step = part.partition("/")
        first, _, last = base.replace("..", "-").partition("-")
        begin = 0 if first == "*" else int(first)
        end = int(last) + 1 if last else size if step or first == "*" else begin + 1
        numbers |= set(range(begin, min(end, size), int(step or 1)))
    return numbers


def _longest_gap(minutes: Iterable[int]) -> int | None:
    """Seconds between two of these minutes of every day."""
    times = sorted(minutes)
    if not times:
        return None
    return 60 * max(
        later - earlier for earlier, later in zip(times, [*times[1:], times[0] + DAY // 60], strict=True)
    )


def _cron_entries(lines: list[str], systemd: bool, idle: float | None) -> Iterator[Starter]:
    scripts: dict[str, list[str]] = {}
    for line in lines:
        file, found, text = line.partition(":")
        if not found:
            raise Unreadable(f"an entry of cron is not understood: {line!r}")
        if file.startswith(("/etc/cron.hourly/", "/etc/cron.daily/")):
            scripts.setdefault(file, []).append(text)
        elif "logrotate" in text:
            yield Starter(file, True, "", _is_usual(text), _gap_of_entry(text), idle)
    for file, texts in scripts.items():
        usual = [text for text in texts if "logrotate" in text and _is_usual(text)]
        if not any("logrotate" in text for text in texts):
            continue
        # Debian's own leaves the work to the timer wherever systemd runs.
        leaves = systemd and any("/run/systemd/system" in text for text in texts)
        gap = HOUR if "/cron.hourly/" in file else DAY
        yield Starter(
            file, True, "it does nothing where systemd runs" if leaves else "", bool(usual), gap, idle
        )


def _gap_of_entry(text: str) -> int | None:
    words = text.split()
    if words[0] in ("@hourly", "@daily", "@midnight"):
        return HOUR if words[0] == "@hourly" else DAY
    if len(words) < 6:
        return None
    if words[2:5] != ["*", "*", "*"]:
        return DAY
    return _longest_gap(_minutes_of_day(words[1], words[0]))


_PROPERTIES = (
    "Id,ActiveState,UnitFileState,Unit,TimersCalendar,TimersMonotonic,AccuracyUSec,RandomizedDelayUSec,"
    "ActiveEnterTimestampMonotonic,ExecStart,ExecMainStartTimestampMonotonic,Result"
)

# "running": for how long the kernel runs; where cron may do it, how old logrotate's state is, and for how
# long the server itself runs, which in a container is less. By the clock that times the start of processes,
# as systemd's times are: /proc/uptime may be made up for a container (lxcfs).
starters = Fact(
    "starters",
    rf"""shopt -s nullglob
started() {{ # PID: when it was started, in clock ticks since the kernel's start
  local stat fields
  stat=$(< "/proc/$1/stat")
  read -r -a fields <<< "${{stat##*) }}"
  echo "${{fields[19]}}"
}}
now=$(started "$BASHPID") # of a subshell, which starts now
running=$((now / 100))
files=(/etc/crontab /etc/cron.d/* /var/spool/cron/crontabs/root /var/spool/cron/root)
for file in /etc/cron.hourly/* /etc/cron.daily/*; do
  if [[ -x $file && ${{file##*/}} != *[!A-Za-z0-9_-]* ]]; then files+=("$file"); fi
done
echo "== cron"
entries=$(grep -sHE '^[^#]*(logrotate|/run/systemd/system)' "${{files[@]}}" /dev/null)
if [[ $entries == *logrotate* ]]; then
  printf '%s\n' "$entries"
  ran=$(find /var/lib/logrotate -maxdepth 1 -name '*status' -printf '%T@\n')
  if [[ $ran ]]; then ran="$((EPOCHSECONDS - ${{ran%%.*}})) $(((now - $(started 1)) / 100))"; fi
fi
echo "== running $running $ran"
if [[ -d /run/systemd/system ]]; then
  echo '== systemd yes'
  shown=$(systemctl show -p {_PROPERTIES} logrotate.timer logrotate.service \
    '*logrotate*.timer' '*logrotate*.service')
  echo "== units $?"; printf '%s\n' "$shown"
else
  echo '== systemd no'; echo '== units'
fi
echo '== end'""",
    parse_starters,
    sudo=True,
)
