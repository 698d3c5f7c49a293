"""Item 14: an unexpected error reaches the collector, and nothing private with it.

The read-only check asks which collector each process has. The exercise has the collector look at its key,
with an empty envelope, which is no event; sends one test error as the application would (labcheck.toml:
[errors] send); and asks the collector for it ([errors] event: a command that prints an event of this id as
JSON). The lab's chapter is 08_errors_and_cost, section "Errors".
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from labcheck.checks.application import called, serving_processes
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.facts import app_processes as inside
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.app_processes import Sent, Tracked, tracking
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Process, Processes, processes
from labcheck.gather import gather
from labcheck.remote.output import last_line
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, wait_until

_WHY = (
    "an error in a log is found by a person who looks for it; in the meantime users meet it, again and again"
)
_EXPECTED = "each process of the application was told where its errors go: SENTRY_DSN"
_PRIVATE = "the collector is another company's computer: user text and credentials do not go there"


@criterion(tracked=tracking, running=processes, sockets=listening_sockets, known=accounts)
def each_process_was_told_where(
    tracked: tuple[Tracked, ...],
    running: Processes,
    sockets: tuple[Socket, ...],
    known: Accounts,
    target: Target,
) -> Iterator[Finding]:
    """Each process that answers has a collector's address in its own environment, and all have the same."""
    serving = serving_processes(running, sockets, known, target)
    if not serving:
        yield failed("no process of the application listens", expected=_EXPECTED, why=_WHY)
        return
    places = {process: _of(process, tracked) for process in serving}
    for process, place in places.items():
        if place is None:
            yield failed(
                f"{called(process)} was told of no collector",
                expected=_EXPECTED,
                why=_WHY,
                next="put the collector's SENTRY_DSN into its environment, and restart it",
            )
    names = {f"{place.collector}, project {place.project}" for place in places.values() if place}
    if len(names) > 1:
        yield failed(
            f"the processes send their errors to different places: {'; '.join(sorted(names))}",
            expected="one project for one application",
            why="a person who looks in one place sees a part of them",
            next="restart the processes that were started with the old address",
        )
    elif names and None not in places.values():
        yield passed(f"{_all(len(serving))} told of {min(names)}")


def _of(process: Process, tracked: tuple[Tracked, ...]) -> Tracked | None:
    return next((it for it in tracked if it.pid == process.pid), None)


def _all(number: int) -> str:
    return "the process was" if number == 1 else f"all {number} processes were"


@criterion(tracked=tracking)
def each_address_is_a_collectors(tracked: tuple[Tracked, ...]) -> Iterator[Finding]:
    """The address that the processes have is that of a collector at all."""
    for error in sorted({place.error for place in tracked} - {""}):
        yield failed(
            f"the address in SENTRY_DSN: {error}",
            expected="https://key@host/project",
            why="what cannot be handed over is dropped, and no alert says so",
            next="copy SENTRY_DSN from the project's settings again, and restart the application",
        )


def the_collector_takes_their_key(
    tracked: tuple[Tracked, ...], serving_pids: Collection[int]
) -> Iterator[Finding]:
    """An empty envelope, sent with the key and the certificates that the process itself goes by, is taken."""
    asked = [place for place in tracked if place.pid in serving_pids]
    answers = {(place.collector, place.status, place.error) for place in asked}
    for name, status, error in sorted(answers, key=str):
        if error:
            yield failed(
                f"{name or 'the address in SENTRY_DSN'}: {error}",
                expected="a collector that answers this server",
                why="what cannot be handed over is dropped, and no alert says so",
                next="from the server: curl -v https://COLLECTOR/ (SSL_CERT_FILE: the authorities)",
            )
        elif status in (401, 403, 404):
            yield failed(
                f"{name} refuses the key or does not know the project (status {status})",
                expected="a collector that takes this application's errors",
                why="each of them is refused, and the application does not complain",
                next="copy SENTRY_DSN from the project's settings again, and restart the application",
            )
        elif status == 200:
            yield passed(f"{name} takes the key")
        else:
            yield unknown(f"{name} answers an empty envelope with status {status}", until_exercised=True)


# ---- exercise ----------------------------------------------------------------------------------

_SENT = re.compile(r"event ([0-9a-f-]{32,36}),? request_id ([\w.-]+),? release (\S+)")


def was_sent(sent: Sent) -> tuple[str, str, str] | Finding:
    """The event's id, its request's, and the release; or what was wrong with sending it."""
    match = _SENT.search(sent.output)
    if sent.status == 0 and match:
        return match[1].replace("-", ""), match[2], match[3]
    reason = last_line(sent.output)
    if "No module named" in reason or sent.status == -1:
        return unknown(
            f"a test error cannot be sent: {reason}",
            next='name a command for it in labcheck.toml: [errors] send = "python -m …"',
        )
    return failed(
        f"a test error of the application's account is not taken: {reason}",
        expected="it arrives, as an error of the application would",
        why="the errors of your users do not arrive either",
        next="try it by hand, as the account: python -m lab_app.send_test_error",
    )


def what_arrived(
    event: Mapping[str, Any], request: str, release: str, running: str, leaked: tuple[str, ...]
) -> Iterator[Finding]:
    """A test error as the collector has it: with what finds it again, and without what is private."""
    data = event.get("data", event)
    tags = data.get("tags", {})
    tags = dict(tags) if isinstance(tags, list) else tags
    missing = [
        name
        for name, value in (("request id", tags.get("request_id")), ("release", data.get("release")))
        if value != {"request id": request, "release": release}[name]
    ]
    if missing:
        yield failed(
            f"a test error arrives without its {' and '.join(missing)}",
            expected="a request id that is in the log, and the release that it came from",
            why="without them the log's lines are not found, and it is not known whether it is mended",
            next="set both where the error is handed over",
        )
    elif running and release != running:
        yield failed(
            f"a test error says release {release}, and {running} is running",
            expected="the release that is running",
            why="an error that is mended looks as if it came back",
            next="restart the processes, or take the release from where they take it",
        )
    else:
        yield passed("a test error arrives with its request id and release", detail=f"release {release}")
    private = list(_private(data, request, leaked))
    for what, next in private:
        yield failed(
            f"with a test error, {what} left this server",
            expected="what kind of error, and where",
            why=_PRIVATE,
            next=next,
        )
    if not private:
        yield passed("and without local variables, headers, bodies or secrets")


def _private(data: Mapping[str, Any], request: str, leaked: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is there that should not be, and what keeps it here."""
    exception = data.get("exception", {})
    values = exception.get("values", []) if isinstance(exception, dict) else exception
    frames = [frame for each in values for frame in (each.get("stacktrace") or {}).get("frames", ())]
    if any(frame.get("vars") for frame in frames):
        yield "its local variables", "sentry_sdk.init(include_local_variables=False)"
    asked = data.get("request", {})
    if parts := [part for part in ("headers", "data", "cookies", "query_string", "env") if asked.get(part)]:
        yield f"the request's {', '.join(parts)}", "send no part of a request, or remove it in before_send"
    if any(f"private-{request}" in str(each.get("value", "")) for each in values):
        yield "what the exception says", "remove its value in before_send: it may quote what a user wrote"
    if leaked:
        yield f"the value of {', '.join(leaked)}", "find where it comes from; then replace it at its issuer"


def a_test_error_arrives(server: Connection, ctx: Context) -> Iterator[Finding]:
    """Send one as the application would, and see what the collector has of it."""
    observed = gather(server, [tracking, processes, listening_sockets, accounts])
    sockets = observed[listening_sockets]
    serving = serving_processes(observed[processes], sockets, observed[accounts], ctx.target)
    place = next((it for process in serving if (it := _of(process, observed[tracking]))), None)
    if place is None:
        raise Unreadable("no process has an address for its errors")
    taken = inside.ask(server, tuple[Tracked, ...], "taken")
    yield from the_collector_takes_their_key(taken, {process.pid for process in serving})
    command = shlex.split(ctx.target.send_error)
    sent = was_sent(inside.ask(server, Sent, "send", place.pid, command))
    if isinstance(sent, Finding):
        yield sent
        return
    number, request, release = sent
    if not ctx.target.event:
        yield unknown(
            f"a test error was handed over, and {place.collector} cannot be asked for it",
            next='name a command that prints an event as JSON in labcheck.toml: [errors] event = "…"',
        )
        return
    asked = ctx.vantage or server
    try:
        event = wait_until(lambda: _event(asked, ctx.target.event, number), timeout=30, what="the event")
    except GaveUp:
        yield failed(
            f"a test error was handed over, and {place.collector} does not have it",
            expected="it can be found there within 30 s",
            why="a person who looks there sees no errors, and believes that there are none",
        )
        return
    leaked = inside.ask(server, tuple[str, ...], "leaked", place.pid, json.dumps(event))
    yield from what_arrived(event, request, release, _running(server, ctx.app_port), leaked)


def _event(asked: Connection, command: str, number: str) -> Mapping[str, Any] | None:
    """What the collector has of an event; None where it has none yet."""
    answer = asked.run(f"{command} {number}", timeout=20)
    if answer.exit_status:
        return None
    try:
        event = json.loads(answer.stdout)
    except ValueError:
        raise Unreadable(f"what {command} prints is not JSON") from None
    return event if isinstance(event, dict) else None


def _running(server: Connection, port: int) -> str:
    """The version that the application itself names, or nothing."""
    answer = server.run(f"curl -s -m 5 http://127.0.0.1:{port}/", timeout=20)
    match = re.search(r'"version": ?"([^"]+)"', answer.stdout)
    return match[1] if match else ""


ITEM = Item(
    number=14,
    title="Error tracking set up",
    short="Error tracking",
    chapter="08_errors_and_cost",
    section="Errors",
    criteria=(each_process_was_told_where, each_address_is_a_collectors),
    exercise=a_test_error_arrives,
)
