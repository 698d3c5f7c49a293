"""Item 4: the application writes its logs to files, where they can be searched.

Taught in 04_logging, "Logs in files".
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from labcheck.checks.logs import (
    KINDS,
    NEEDS,
    AppLogs,
    Log,
    app_logs_in,
    it_writes_to_files,
    log_criterion,
    may_write,
)
from labcheck.checks.model import Context, Item
from labcheck.errors import Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import HEALTH_PATHS, Fetch, Website
from labcheck.facts.logs import TAIL
from labcheck.facts.network import SshConnection, interface_addresses, ssh_connection
from labcheck.gather import gather
from labcheck.remote import timestamps
from labcheck.remote.log_records import record
from labcheck.ssh import AS_ROOT, Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, wait_until

Record = dict[str, Any]

LATELY = 120.0  # s: longer than all requests from outside take
AHEAD = 5.0  # s that a record's time may be later than the clock, which is read first
SETTLED = 2.0  # s after which a record is in every file that it belongs into

_EVERY = ("timestamp", "level", "message", "event_type")
_REQUEST = ("request_id", "ip_address", "method", "path", "status_code", "duration_ms")
_CALL = ("model", "duration_ms", "prompt_tokens", "completion_tokens", "cost_usd")
_NUMBERS = ("status_code", "duration_ms", "prompt_tokens", "completion_tokens", "cost_usd")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_EMPTIED = ("/tmp/", "/var/tmp/", "/dev/", "/run/")

# Which of all the records each copy takes.
_BELONGS: Mapping[str, Callable[[Record], bool]] = {
    "access": lambda one: one.get("event_type") == "request",
    "error": lambda one: one.get("level") in ("ERROR", "CRITICAL"),
    "metrics": lambda one: one.get("event_type") in ("llm_call", "llm_error"),
}


def records(app_logs: AppLogs, *kinds: str) -> list[Record]:
    """What the ends of the logs of these kinds, or of all, hold as far as it is JSON."""
    lines = [line for log in app_logs.of(*kinds) for line in app_logs.files.lines.get(log.path, ())]
    return [one for line in lines if (one := record(line))]


def moment(one: Record) -> float | None:
    """A record's time in seconds since 1970; None where it has none that can be compared."""
    text = one.get("timestamp")
    if not isinstance(text, str) or not _UTC.fullmatch(text):
        return None
    try:
        return timestamps.seconds(text)
    except ValueError:
        return None


def moments(some: Sequence[Record]) -> list[float]:
    return [when for one in some if (when := moment(one)) is not None]


def ids_of(site: Website) -> set[str]:
    """The ids that the requests of this very check got, as their answers say."""
    return {one.request_id for fetch in site.gets for one in fetch.attempts if one.request_id}


def own_requests(site: Website, app_logs: AppLogs, *kinds: str) -> list[Record]:
    """The records that the requests of this check left in logs of these kinds, or in any."""
    ids = ids_of(site)
    return [one for one in records(app_logs, *kinds) if one.get("request_id") in ids]


def is_busy(app_logs: AppLogs, kind: str) -> bool:
    """Whether the ends of these logs reach back less far than this check does: then they are not at rest."""
    long = any(file.size > TAIL for log in app_logs.of(kind) if (file := app_logs.files.files.get(log.path)))
    return long and app_logs.files.now - min(moments(records(app_logs, kind)), default=0.0) < LATELY


# ---- read-only check ---------------------------------------------------------------------------


@log_criterion()
def every_process_writes_them(app_logs: AppLogs) -> Iterator[Finding]:
    """Whatever answers for the application holds a log of each kind open, in a folder that lasts."""
    good = True
    for port, pids in app_logs.behind.items():
        held = {log.kind for log in app_logs.logs if pids & {process.pid for process in log.writers}}
        if absent := [kind for kind in KINDS if kind not in held]:
            good = False
            yield failed(
                f"what answers on port {port} has no {' and no '.join(absent)} log open",
                expected="an application, access, error and metrics log, open in every process",
                why="each answers a question of its own: what happened, was asked, failed, and cost",
                next="give every process the same LOG_DIR, and restart the application",
            )
    if emptied := sorted({log.folder for log in app_logs.logs if log.path.startswith(_EMPTIED)}):
        good = False
        yield failed(
            f"logs are written to {' and '.join(emptied)}, which does not last",
            expected="a folder below /var/log, or another one that a reboot leaves alone",
            why="the log is wanted most after an unplanned reboot",
            next="set LOG_DIR=/var/log/aiapp, and restart the application",
        )
    for log in app_logs.logs:
        if any(held.path == log.path and held.deleted for held in app_logs.held_by_writers(log)):
            good = False
            yield failed(
                f"{log.path} was deleted, and a process still has it open",
                expected="the file that is written to has a name",
                why="it cannot be read, and the disk fills all the same",
                next="restart the application",
            )
    if good:
        yield passed(f"{app_logs.names()}, in every process")


@log_criterion(site=questions.website)
def what_is_asked_now_is_in_them(app_logs: AppLogs, site: Website) -> Iterator[Finding]:
    """The requests that this check has made from outside are in the access log."""
    names = app_logs.names("access")
    if not names or any(log.path in app_logs.files.texts for log in app_logs.of("access")):
        return
    if not any(one.status for fetch in site.gets for one in fetch.attempts):
        raise Unreadable("no request of this check was answered, so none can be in the log")
    there = records(app_logs, "access")
    health = [one for one in there if one.get("path") in HEALTH_PATHS]
    # Without ids, any client's request that was written down just now is as good as another.
    latest = max(moments(health), default=0.0) if not ids_of(site) else 0.0
    if (
        own_requests(site, app_logs, "access")
        or is_busy(app_logs, "access")
        or app_logs.files.now - latest <= LATELY
    ):
        yield passed(f"{names} has what was asked just now")
    elif not there or health or own_requests(site, app_logs):
        yield failed(
            f"the application has answered this check's requests, and {names} has none of them",
            expected="a record of each request, at once",
            why="a log that has stopped looks like a quiet night",
            next="see which file its process holds open: sudo ls -l /proc/PID/fd",
        )
    else:
        yield unknown(
            f"{names} has no request for a health path at all: whether it is still written cannot be seen",
            next="ask the application for something else, and check again",
        )


def lacking(one: Record, kind: str) -> list[str]:
    """The fields that a record in a log of this kind has to have, and has not, or not as a number."""
    event = one.get("event_type")
    fields = [name for name in _EVERY if not isinstance(one.get(name), str)]
    if kind == "access" or event == "request":
        fields += [name for name in _REQUEST if one.get(name) in (None, "")]
    if event == "llm_call" or (kind == "metrics" and "error" not in one):
        fields += [name for name in _CALL if name not in one]
    wrong = [name for name in _NUMBERS if isinstance(one.get(name), str | bool | list | dict)]
    return fields + [f"{name} as a number" for name in wrong]


@log_criterion()
def every_line_can_be_searched(app_logs: AppLogs) -> Iterator[Finding]:
    """Every line at the end of each log is a JSON object, with the fields of its kind."""
    good = True
    for log in app_logs.logs:
        lines = [line for line in app_logs.files.lines.get(log.path, ()) if line.strip()]
        broken = [line for line in lines if record(line) is None]
        if broken or log.path in app_logs.files.texts:
            good = False
            yield failed(
                f"{log.name} has lines that are not JSON",
                expected="a JSON object in every line",
                why="jq stops at the first one, and so does whatever collects the logs",
                next="find which other program writes to it; what is old can be put aside by a rotation",
                detail=f"the first: {broken[0][:80]}" if broken else "",
            )
        whole = [one for line in lines if (one := record(line))]
        if without := sorted({field for one in whole for field in lacking(one, log.kind)}):
            good = False
            yield failed(
                f"{log.name} has records without {', '.join(without)}",
                expected=f"{', '.join(_EVERY)}; of a request also {', '.join(_REQUEST)}",
                why="a search for what is not there finds nothing, and looks like an answer",
            )
        if log.kind == "error" and any(one.get("level") in ("DEBUG", "INFO") for one in whole):
            good = False
            yield failed(
                f"{log.name} has records of what went well",
                expected="level ERROR and above",
                why="an error log that always has something new is not read",
            )
    if good and records(app_logs):
        yield passed("every line is JSON, with the fields of its kind")


def _identity(one: Record) -> tuple[str, ...]:
    return tuple(str(one.get(name)) for name in ("timestamp", "message", "request_id"))


def _whole_since(log: Log, app_logs: AppLogs) -> float | None:
    """From when on all records of a log were read: its birth, or where the part that was read begins."""
    file = app_logs.files.files.get(log.path)
    if file is None or file.born is None:
        return None
    first = [one for line in app_logs.files.lines.get(log.path, ())[:1] if (one := record(line))]
    return max([file.born + 1.0, *(moments(first) if file.size > TAIL else [])])


@log_criterion()
def each_copy_has_its_records(app_logs: AppLogs) -> Iterator[Finding]:
    """A request, an error or a model's call that the log of everything has is in its own log as well."""
    for kind, belongs in _BELONGS.items():
        since = [_whole_since(log, app_logs) for log in app_logs.of(kind)]
        begin = max((when for when in since if when is not None), default=0.0)
        if not since or None in since:
            continue
        there = {_identity(one) for one in records(app_logs, kind)}
        lost = [
            one
            for one in records(app_logs, "application")
            if belongs(one)
            and _identity(one) not in there
            and any(begin < when < app_logs.files.now - SETTLED for when in moments([one]))
        ]
        if lost:
            yield failed(
                f"{app_logs.names(kind)} lacks records that {app_logs.names('application')} has",
                expected="a copy of each record that concerns it",
                why="a person who looks there first sees less than there is, and stops looking",
                detail=f"the first: {str(lost[0].get('message'))[:80]}",
            )


@log_criterion(site=questions.website)
def their_times_can_be_compared(app_logs: AppLogs, site: Website) -> Iterator[Finding]:
    """Timestamps have one form, in UTC, and agree with the server's clock."""
    all_of_them = records(app_logs)
    forms = sorted({re.sub(r"\d", "0", str(one["timestamp"])) for one in all_of_them if "timestamp" in one})
    if not forms:
        return
    if len(forms) > 1 or not _UTC.fullmatch(forms[0]):
        yield failed(
            f"timestamps look like {' and '.join(forms[:3])}",
            expected="one form, in UTC and with a fixed number of digits: 0000-00-00T00:00:00.000000Z",
            why="searches compare them as text: with other digits, or an offset, later is not greater",
        )
        return
    now, own = app_logs.files.now, moments(own_requests(site, app_logs, "access"))
    ahead = max(moments(all_of_them), default=now) - now
    behind = now - max(own, default=now)
    if ahead > AHEAD or behind > LATELY:
        yield failed(
            f"timestamps are {'ahead of' if ahead > AHEAD else 'behind'} the server's clock",
            expected="the server's own time, in UTC",
            why="what happened at ten is looked for at ten, and not found",
            next="is it the local time, with a Z behind it?",
            detail=f"by {ahead if ahead > AHEAD else behind:.0f} s",
        )
    elif own:
        yield passed("timestamps have one form, in UTC, and agree with the server's clock")


@log_criterion(site=questions.website, own=interface_addresses, ssh=ssh_connection)
def clients_can_be_told_apart(
    app_logs: AppLogs, site: Website, own: tuple[str, ...], ssh: SshConnection
) -> Iterator[Finding]:
    """A request through the proxy is logged with its client's address, not with the proxy's."""
    if any(one.status for fetch in site.gets for one in fetch.attempts) and not ids_of(site):
        raise Unreadable(
            "answers have no X-Request-ID: a visitor's request cannot be told from the server's own"
        )
    ours = own_requests(site, app_logs, "access")
    others = records(app_logs, "access") if is_busy(app_logs, "access") else []
    addresses = {str(one["ip_address"]) for one in ours or others if one.get("ip_address")}
    # A vantage on the server itself is a client that has the server's own address.
    of_the_server = set() if ssh.client in own or _is_loopback(ssh.client) else set(own)
    wrong = {address for address in addresses if address in of_the_server or _is_loopback(address)}
    # Of others' requests, some may be this server's own.
    if wrong and (ours or wrong == addresses):
        yield failed(
            f"requests through the proxy are logged with the ip_address {', '.join(sorted(wrong))}",
            expected="the client's address, as the proxy hands it on",
            why="every visitor looks like the same one: no search, no limit and no ban can tell them apart",
            next="let uvicorn trust the proxy: --proxy-headers, and --forwarded-allow-ips with its address",
        )
    elif addresses:
        yield passed("requests through the proxy have their client's address")


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@log_criterion()
def they_are_not_for_everyone(app_logs: AppLogs) -> Iterator[Finding]:
    """No account without a right of its own can read them, and the application can open them again."""
    files, good = app_logs.files, True
    names = [name for log in app_logs.logs for name in (log.path, *files.beside(log.path))]
    if public := [name for name in names if name in files.files and files.open_to_everyone(name)]:
        good = False
        yield failed(
            f"every account can read {', '.join(name.rpartition('/')[2] for name in public[:4])}",
            expected="mode 0640, or a folder with mode 0750",
            why="they say which user asked for what, and from where",
            next=f"sudo chmod o-r {shlex.join(public[:4])}",
        )
    for log in app_logs.logs:
        file = files.files.get(log.path)
        if file and not all(may_write(process, file) for process in log.writers):
            good = False
            yield failed(
                f"{log.path} belongs to {app_logs.known.name(file.uid)}, and the application may not open it",
                expected="a file that the application's account may write to",
                why="it is open from before: after the next restart nothing is logged",
                next=f"sudo chown {app_logs.target.account}: {log.path}",
            )
    if good:
        yield passed("only their account and its group can read them")


# ---- exercise ----------------------------------------------------------------------------------

FORGED = "192.0.2.1"  # an address that a client claims for itself
NOWHERE = "/labcheck/no-such-page"
APPEARS_WITHIN = 10.0  # s


def a_marked_request_is_found(server: Connection, ctx: Context) -> Iterator[Finding]:
    """Requests from outside with an id of their own leave one record each, in the right files alone."""
    observed = gather(server, [*NEEDS.values(), *questions.NEEDS])
    app_logs = app_logs_in(observed, ctx.target)
    mark = f"labcheck-{secrets.token_hex(8)}"
    request = replace(
        planning.plan(observed, domain=ctx.domain, reference=ctx.reference),
        wanted=("web",),
        paths=("/health/live", NOWHERE),
        attempts=1,
        tcp=(443,),
        udp=(),
        headers={"X-Request-ID": mark, "X-Forwarded-For": FORGED},
    )
    answered = answered_by_the_application(probing.ask(request, ctx.vantage)[questions.website].gets)
    if not answered:
        raise Unreadable("no marked request was answered from outside")
    ids = sorted({fetch.best.request_id or mark for fetch in answered})
    paths = [log.path for log in app_logs.logs if log.path in app_logs.files.files]
    there: dict[str, list[Record]] = {}

    def all_are_there() -> bool:
        there.update(lines_with(server, ids, paths))
        return len(_of_kind(app_logs, there, "access")) >= len(answered)

    with contextlib.suppress(GaveUp):  # then what is there by now is judged
        wait_until(all_are_there, what="the marked requests in the access log", timeout=APPEARS_WITHIN)
    yield from where_they_are(app_logs, answered, there)


def answered_by_the_application(gets: Sequence[Fetch]) -> list[Fetch]:
    """Those whose answer has a request id; where none has one, all: a proxy may answer some by itself."""
    answered = [fetch for fetch in gets if fetch.best.status is not None]
    return [fetch for fetch in answered if fetch.best.request_id] or answered


def lines_with(server: Connection, ids: Sequence[str], paths: Sequence[str]) -> dict[str, list[Record]]:
    """By log, the records with one of these ids."""
    words = shlex.join(word for request_id in ids for word in ("-e", request_id))
    result = server.run(AS_ROOT, stdin=f"LC_ALL=C grep -HF {words} -- {shlex.join(paths)}\n")
    if result.exit_status not in (0, 1):
        raise Unreadable(f"the logs could not be searched: {result.stderr.strip()}")
    there: dict[str, list[Record]] = {path: [] for path in paths}
    for line in result.stdout.splitlines():
        path = next((path for path in paths if line.startswith(f"{path}:")), "")
        entry = record(line[len(path) + 1 :])
        if path and entry and entry.get("request_id") in ids:
            there[path].append(entry)
    return there


def where_they_are(
    app_logs: AppLogs, answered: Sequence[Fetch], there: Mapping[str, Sequence[Record]]
) -> Iterator[Finding]:
    """What the requests that were answered have left. `there`: the records with their ids, by log."""
    requested = Counter((fetch.path, str(fetch.best.status)) for fetch in answered)
    good = True
    for kind in KINDS:
        rows = [entry for entry in _of_kind(app_logs, there, kind) if "status_code" in entry]
        logged = Counter((str(entry.get("path")), str(entry["status_code"])) for entry in rows)
        says = ""
        if kind in ("access", "application"):
            if absent := requested - logged:
                says = f"lacks {_a_request(absent)}"
            elif twice := logged - requested:
                says = f"has {_a_request(twice)} once too often"
        elif strangers := Counter({key: count for key, count in logged.items() if key[1] < "500"}):
            says = f"has {_a_request(strangers)} as well"
        if says:
            good = False
            yield failed(
                f"{app_logs.names(kind)} {says}, looked for by its request id",
                expected=f"one record each in {app_logs.names('access', 'application')}, and none elsewhere",
                why="with its id alone, a user's complaint has to lead to what happened",
            )
        if any(entry.get("ip_address") == FORGED for entry in rows):
            good = False
            yield failed(
                f"{app_logs.names(kind)} has the address that a client claims for itself in X-Forwarded-For",
                expected="the address that the proxy has seen",
                why="then an attacker writes the server's log",
                next="let the proxy replace that header, and the application trust no one but the proxy",
            )
    if good:
        names = app_logs.names("application", "access").replace(", ", " and ")
        yield passed(f"marked requests are in {names} under their request id, and nowhere else")


def _of_kind(app_logs: AppLogs, there: Mapping[str, Sequence[Record]], kind: str) -> list[Record]:
    return [one for log in app_logs.of(kind) for one in there.get(log.path, ())]


def _a_request(some: Counter[tuple[str, str]]) -> str:
    path, status = min(some)
    return f"a request for {path} that was answered with {status}"


ITEM = Item(
    number=4,
    title="Logs being written to files",
    short="Logs",
    chapter="04_logging",
    section="Logs in files",
    criteria=(
        it_writes_to_files,
        every_process_writes_them,
        what_is_asked_now_is_in_them,
        every_line_can_be_searched,
        each_copy_has_its_records,
        their_times_can_be_compared,
        clients_can_be_told_apart,
        they_are_not_for_everyone,
    ),
    exercise=a_marked_request_is_found,
)
