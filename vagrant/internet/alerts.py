"""The stand-in internet's alert receiver: a small pager that takes Alertmanager's webhooks.

Served as `uvicorn alerts:app`, one process; needs starlette and nothing else. Messages are kept in the file
that ALERTS_DATABASE names. A key is an inbox: a program that sends with `Authorization: Bearer KEY` writes
into it, and one that asks with the same key reads it. Its owner makes it up: 32 to 128 letters, digits,
hyphens.

POST /messages            a webhook of Alertmanager (version 4): one message for a group of alerts
POST /heartbeat?within=S  the sender lives. If nothing comes for S seconds (or minutes: `5m`), the inbox gets
                          a message that says so, and another one when the heart beats again
GET  /messages?after=N    what came after message N, as JSON: the messages, and the state of the heartbeat
GET  /screen?after=N      the same for people: a line for each message, as on a telephone's screen

What is not understood is refused with 4xx and kept nowhere. An inbox holds the newest 1,000 messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

KEY = re.compile(r"[A-Za-z0-9-]{32,128}")
WITHIN = re.compile(r"([1-9]\d{0,5})(s|m|h|)")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
MAX_BODY = 256 * 1024  # bytes
MOST_MESSAGES = 1000  # in an inbox
MOST_INBOXES = 100
EVERY = 0.5  # seconds between looks for hearts that stopped
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, inbox TEXT NOT NULL, received REAL NOT NULL,
    kind TEXT NOT NULL, status TEXT NOT NULL, alerts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_inbox ON messages (inbox, id);
CREATE TABLE IF NOT EXISTS hearts (
    inbox TEXT PRIMARY KEY, within REAL NOT NULL, missing INTEGER NOT NULL, beats INTEGER NOT NULL);
"""


@dataclass
class Heart:
    """A heartbeat that is expected; `last` is a moment of time.monotonic(), which no set clock moves."""

    within: float
    last: float
    missing: bool = False
    beats: int = 0


class Inboxes:
    """The messages, on disk, and the hearts, whose clocks begin anew with the program."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.executescript(TABLES)
        rows = self.database.execute("SELECT inbox, within, missing, beats FROM hearts")
        now = time.monotonic()
        self.hearts = {row[0]: Heart(row[1], now, bool(row[2]), row[3]) for row in rows}

    def add(self, inbox: str, kind: str, status: str, alerts: list[dict[str, Any]]) -> int:
        """Keep a message; its number."""
        (known,) = self.database.execute(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE inbox = ?)", (inbox,)
        ).fetchone()
        (inboxes,) = self.database.execute("SELECT count(DISTINCT inbox) FROM messages").fetchone()
        if not known and inboxes >= MOST_INBOXES:
            raise HTTPException(507, "There is no room for another inbox.")
        number = self.database.execute(
            "INSERT INTO messages (inbox, received, kind, status, alerts) "
            "VALUES (?, ?, ?, ?, ?) RETURNING id",
            (inbox, time.time(), kind, status, json.dumps(alerts)),
        ).fetchone()[0]
        self.database.execute(
            "DELETE FROM messages WHERE inbox = ? AND id NOT IN "
            "(SELECT id FROM messages WHERE inbox = ? ORDER BY id DESC LIMIT ?)",
            (inbox, inbox, MOST_MESSAGES),
        )
        return int(number)

    def after(self, inbox: str, number: int) -> list[dict[str, Any]]:
        rows = self.database.execute(
            "SELECT id, received, kind, status, alerts FROM messages WHERE inbox = ? AND id > ? ORDER BY id",
            (inbox, number),
        )
        names = ("id", "received", "kind", "status")
        return [dict(zip(names, row[:4], strict=True)) | {"alerts": json.loads(row[4])} for row in rows]

    def beat(self, inbox: str, within: float) -> None:
        if inbox not in self.hearts and len(self.hearts) >= MOST_INBOXES:
            raise HTTPException(507, "There is no room for another heart.")
        heart = self.hearts.setdefault(inbox, Heart(within, 0))
        heart.within, heart.last, heart.beats = within, time.monotonic(), heart.beats + 1
        if heart.missing:
            heart.missing = False
            self.add(inbox, "heartbeat", "resolved", [])
        self.keep(inbox, heart)

    def look(self) -> None:
        """Tell of each heart that has stopped, once."""
        for inbox, heart in self.hearts.items():
            if not heart.missing and time.monotonic() - heart.last > heart.within:
                heart.missing = True
                self.add(inbox, "heartbeat", "firing", [])
                self.keep(inbox, heart)

    def keep(self, inbox: str, heart: Heart) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO hearts VALUES (?, ?, ?, ?)",
            (inbox, heart.within, heart.missing, heart.beats),
        )


inboxes = Inboxes(os.environ.get("ALERTS_DATABASE", ":memory:"))


def inbox_of(request: Request) -> str:
    """The inbox that belongs to the key; the key itself is not kept. Raises HTTPException."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not KEY.fullmatch(key.strip()):
        words = "Send your inbox's key, of 32 to 128 letters, digits or hyphens: Authorization: Bearer KEY"
        raise HTTPException(401, words, {"WWW-Authenticate": "Bearer"})
    return hashlib.sha256(key.strip().encode()).hexdigest()


async def read_webhook(request: Request) -> dict[str, Any]:
    """What Alertmanager sends: an object with its version, a status, and the alerts of a group."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            raise HTTPException(413, f"The body is larger than {MAX_BODY} bytes.", {"Connection": "close"})
    try:
        body = json.loads(received.decode())
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(body, dict) or body.get("version") != "4" or not isinstance(body.get("alerts"), list):
        raise HTTPException(400, 'The body is not a webhook of Alertmanager with version "4".')
    if body.get("status") not in ("firing", "resolved") or not body["alerts"]:
        raise HTTPException(400, "A webhook is firing or resolved, and brings at least one alert.")
    for alert in body["alerts"]:
        labels = alert.get("labels") if isinstance(alert, dict) else None
        if not isinstance(labels, dict) or not labels.get("alertname"):
            raise HTTPException(400, "Each alert needs labels, and among them an alertname.")
    return body


def short(alert: Mapping[str, Any]) -> dict[str, Any]:
    """What of an alert is kept."""
    annotations = alert.get("annotations")
    return {
        "status": str(alert.get("status", "")),
        "labels": {str(name): str(value) for name, value in alert["labels"].items()},
        "summary": str(annotations.get("summary", "")) if isinstance(annotations, dict) else "",
        "starts": str(alert.get("startsAt", "")),
    }


async def take(request: Request) -> Response:
    inbox = inbox_of(request)
    body = await read_webhook(request)
    number = inboxes.add(inbox, "alert", body["status"], [short(alert) for alert in body["alerts"]])
    return reply({"id": number}, 201)


async def heartbeat(request: Request) -> Response:
    inbox = inbox_of(request)
    match = WITHIN.fullmatch(request.query_params.get("within", ""))
    if match is None:
        raise HTTPException(400, "Say within how many seconds the next one comes: ?within=300, or 5m.")
    await read_webhook(request)
    inboxes.beat(inbox, int(match[1]) * UNITS[match[2]])
    return reply({}, 201)


def asked_for(request: Request) -> list[dict[str, Any]]:
    after = request.query_params.get("after", "0")
    if not re.fullmatch(r"\d{1,15}", after):
        raise HTTPException(400, "'after' is the number of a message.")
    return inboxes.after(inbox_of(request), int(after))


async def messages(request: Request) -> Response:
    stored, heart = asked_for(request), inboxes.hearts.get(inbox_of(request))
    heartbeat = {"expected": heart is not None}
    if heart:
        heartbeat |= {"missing": heart.missing, "beats": heart.beats, "within": heart.within}
        heartbeat |= {"seconds_ago": round(time.monotonic() - heart.last, 1)}
    return reply({"messages": stored, "heartbeat": heartbeat})


def line(message: Mapping[str, Any]) -> str:
    """`FIRING critical HealthCheckFails: what is wrong`; for a group, how many there are of each."""
    if message["kind"] == "heartbeat":
        if message["status"] == "firing":
            return "SILENCE: your monitoring has not been heard of; nobody is watching"
        return "OK: your monitoring is heard again"
    alerts = message["alerts"]
    state = "FIRING" if message["status"] == "firing" else "OK"
    names = list(dict.fromkeys(alert["labels"]["alertname"] for alert in alerts))
    severities = sorted({alert["labels"].get("severity", "") for alert in alerts} - {""})
    head = " ".join([state, *severities, *names])
    if len(alerts) == 1:
        return f"{head}: {alerts[0]['summary']}"
    return f"{head}: {len(alerts)} alerts\n" + "\n".join(
        f"  {'' if alert['status'] == message['status'] else alert['status'] + ' '}{alert['summary']}"
        for alert in sorted(alerts, key=lambda alert: str(alert["summary"]))
    )


async def screen(request: Request) -> Response:
    return PlainTextResponse("".join(f"{line(message)}\n" for message in asked_for(request)))


def reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, dict(headers or {}), media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return reply({"error": error.detail}, error.status_code, error.headers)


async def listen() -> None:
    while True:
        await asyncio.sleep(EVERY)
        inboxes.look()


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    listening = asyncio.create_task(listen())
    yield
    listening.cancel()


app = Starlette(
    routes=[
        Route("/messages", take, methods=["POST"]),
        Route("/messages", messages, methods=["GET"]),
        Route("/heartbeat", heartbeat, methods=["POST"]),
        Route("/screen", screen, methods=["GET"]),
    ],
    exception_handlers={HTTPException: refuse},
    lifespan=lifespan,
)
