"""Item 13: a client that asks too often is refused, by every process and whatever address it claims.

The read-only check asks nothing: the access logs say whether a client has been refused. Where none has, only
the exercise finds out: it asks, as the same client, until it was once too often, with empty questions, which
cost nothing and are counted all the same. That client may ask again a minute later; without a key in
labcheck.toml only the address of the vantage is counted. The lab's chapter is 06_security, section "Rate
limit".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from labcheck.checks.application import called, serving_processes
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.errors import Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import Counted
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.app_processes import refusals
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Processes, processes
from labcheck.facts.stores import Store, shared_stores
from labcheck.gather import gather
from labcheck.remote.external.rate_limit import MOST, QUOTA
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, unknown
from labcheck.wait import GaveUp, wait_until

STARTING = 60.0
"""Seconds for the application to be back behind its proxy: a start takes 18 to 29 on an emulated machine."""

_WHY = "one program that asks without end costs money, and keeps all other users out"
_ALONE = "each process counts for itself: with three of them the limit is three times as high"
_ONE_STORE = "give every process the same REDIS_URL in its environment, and restart them"
_EXPECTED = "429 Too Many Requests with Retry-After, for one request more than the limit"


def _as_whom(target: Target) -> str:
    return "with the key from labcheck.toml" if target.chat_key else "without a key"


@criterion(refused=refusals)
def requests_were_refused(refused: dict[str, int], target: Target) -> Iterator[Finding]:
    """The access logs have a request to the path that was one too many. No request is made for it."""
    if count := refused.get(target.chat_path):
        yield passed(f"{target.chat_path} has refused requests with 429", detail=f"{count} in its logs")
    else:
        yield unknown(
            f"no log has a request to {target.chat_path} that was refused with 429",
            next="see whether one is: labcheck --item 13 --exercise",
            until_exercised=True,
        )


def no_time_to_come_back(path: str) -> Finding:
    return failed(
        f"{path} refuses with 429, and does not say when to come back",
        expected=_EXPECTED,
        why="a client that does not know how long to wait tries again at once, and again",
        next="send Retry-After with every 429",
    )


@criterion(stores=shared_stores, running=processes, sockets=listening_sockets, known=accounts)
def the_processes_count_together(
    stores: tuple[Store, ...],
    running: Processes,
    sockets: tuple[Socket, ...],
    known: Accounts,
    target: Target,
) -> Iterator[Finding]:
    """Where several processes answer, each has the same store in its environment, and is connected to it."""
    serving = serving_processes(running, sockets, known, target)
    if not serving:
        yield failed(
            "no process of the application listens",
            expected="the application, with a limit for each client",
            why=_WHY,
        )
        return
    if len(serving) == 1:
        yield passed("one process answers, and counts for itself")
        return
    stores_of = {process.pid: [store for store in stores if store.pid == process.pid] for process in serving}
    good = True
    for process in serving:
        if not stores_of[process.pid]:
            good = False
            yield failed(
                f"{called(process)} has no store in its environment that it could share",
                expected=f"each of the {len(serving)} processes counts in the same Redis",
                why=_ALONE,
                next=_ONE_STORE,
            )
    if not good:
        return
    common = set.intersection(*({store.place for store in stores_of[process.pid]} for process in serving))
    if not common:
        yield failed(
            f"the {len(serving)} processes that answer do not share a store",
            expected="each of them counts in the same Redis",
            why=_ALONE,
            next=_ONE_STORE,
        )
        return
    listening = {socket.port for socket in sockets if socket.protocol == "tcp"}
    for process in serving:
        store = next(store for store in stores_of[process.pid] if store.place in common)
        if store.connected:
            continue
        good = False
        if store.is_local and store.port not in listening:
            yield failed(
                f"no program listens at {store.host}:{store.port}, where {called(process)} would count",
                expected=f"each of the {len(serving)} processes counts in the same Redis",
                why=_ALONE,
                next="start the store: systemctl status redis-server",
            )
        else:
            yield unknown(
                f"{called(process)} has no connection to its store that could be seen; without one it counts "
                "for itself",
                next=f"does the store answer, and is {store.variable} right? The application's log says so",
            )
    if good:
        yield passed(f"{len(serving)} processes are connected to the same store, {min(common)}")


# ---- exercise ----------------------------------------------------------------------------------


def how_far_it_goes(answers: Sequence[Counted], target: Target) -> Iterator[Finding]:
    """What came of asking until it was once too often, and of claiming to be another client after that."""
    plain = [answer for answer in answers if not answer.forged]
    allowed, how = plain[0].quota or QUOTA, f"{target.chat_path} {_as_whom(target)}"
    if answers[0].error:
        yield failed(
            f"{target.chat_path} cannot be asked over https: {answers[0].error}",
            expected=f"{target.chat_path} answers through the proxy",
            why=_WHY,
            next="first the application, then the proxy in front of it",
        )
    elif answers[0].status in (404, 405):
        yield unknown(
            f"{target.chat_path} is no path that takes questions (status {answers[0].status})",
            next='name the right one in labcheck.toml: [chat] path = "…"',
        )
    elif error := next((answer.error for answer in answers if answer.error), ""):
        yield unknown(f"{target.chat_path} stopped answering: {error}")
    elif plain[-1].status == 429:
        if "retry-after" not in plain[-1].fields:
            yield no_time_to_come_back(target.chat_path)
        else:
            yield passed(
                f"after {allowed} requests {_as_whom(target)}, the next one is refused with Retry-After",
                detail=f"refused at request {len(plain)}",
            )
        yield from _forged([answer for answer in answers if answer.forged])
    elif allowed > MOST:
        yield unknown(f"the limit of {allowed} requests is higher than what is sent here ({MOST})")
    elif plain[0].quota or all(it.status in (401, 403) or it.status in range(200, 300) for it in plain):
        yield failed(
            f"{len(plain)} requests to {how} (status {plain[-1].status}), and none was refused",
            expected=_EXPECTED,
            why="keys are guessed at full speed" if plain[-1].status in (401, 403) else _WHY,
            next="count each request, also one that is turned away, and all processes in one store",
            detail="left, by its own account: "
            + "; ".join(answer.fields.get("ratelimit", "not stated") for answer in plain),
        )
    else:
        yield unknown(
            f"{len(plain)} requests to {how} all ended with status {plain[-1].status}: whether those are "
            "counted that get an answer is not known",
            next="name a key in labcheck.toml: [chat] key_from = the environment variable that holds it",
        )


def _forged(answers: Sequence[Counted]) -> Iterator[Finding]:
    for answer in answers:
        if answer.status == 429:
            yield passed("a forged X-Forwarded-For gains nothing")
        else:
            yield failed(
                "a client that was refused is let in again with a forged X-Forwarded-For",
                expected="429 as before: what a client says of its address is not believed",
                why="one line in each request makes the limit void",
                next="let the proxy set X-Forwarded-For itself, and the application believe that proxy alone",
                detail=f"status {answer.status}",
            )


def another_client(answer: Counted) -> Finding:
    """What the server's own request got, while the client outside was refused."""
    if answer.error:
        return unknown(f"whether another client is let in: no answer on the server itself ({answer.error})")
    if answer.status == 429:
        return failed(
            "while one client is refused, another one is, too",
            expected="each client has a count of its own",
            why="the first client that asks too often shuts all others out",
            next="count by user, or by the address that the proxy hands on (uvicorn --proxy-headers)",
        )
    return passed("another client has a count of its own")


def one_too_many_is_refused(server: Connection, ctx: Context) -> Iterator[Finding]:
    """One client asks until it is refused, then with a forged address; meanwhile another one asks once."""
    target = ctx.target
    plan = planning.plan(
        gather(server, questions.NEEDS),
        domain=target.domain,
        reference=target.reference,
        wanted=("limit",),
        chat_path=target.chat_path,
        chat_key=target.chat_key,
    )

    def of_the_application() -> tuple[Counted, ...]:
        attempts = probing.ask(replace(plan, until_refused=True), ctx.vantage)[questions.limit]
        tried.append(attempts)
        return attempts if not attempts or (attempts[0].status or 0) < 500 else ()

    # It may just be starting again: the exercise of item 9 has killed a process of it.
    tried: list[tuple[Counted, ...]] = []
    with contextlib.suppress(GaveUp):
        wait_until(of_the_application, what="the application to answer", timeout=STARTING, every=2)
    answers = tried[-1]
    if not answers:
        raise Unreadable(f"{target.domain} has no address to ask at")
    yield from how_far_it_goes(answers, target)
    if any(answer.status == 429 for answer in answers):
        here = replace(plan, candidates=("127.0.0.1",), chat_key="", reference="")
        yield another_client(probing.ask(here, server)[questions.limit][0])


ITEM = Item(
    number=13,
    title="Rate limiting enabled",
    short="Rate limit",
    chapter="06_security",
    section="Rate limit",
    criteria=(requests_were_refused, the_processes_count_together),
    exercise=one_too_many_is_refused,
)
