"""What the collector of errors gets, and what it does not; and that it holds up nobody."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
import sentry_sdk
from pydantic import Secret

from lab_app import __version__, sentry
from lab_app.app import create_app
from lab_app.settings import Settings

from .conftest import ROOT, settings

PUBLIC = "0123456789abcdef0123456789abcdef"
PROMPT = "what-somebody-asked-in-private"
PASSWORD = "p4ssw0rd-of-the-database"


@dataclass
class Collector:
    """A server of Sentry's protocol that knows one key, and keeps what it gets."""

    dsn: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@pytest.fixture
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            known = f"sentry_key={PUBLIC}" in self.headers.get("x-sentry-auth", "")
            if known and self.path == "/1/api/7/envelope/":
                packed = self.headers.get("content-encoding") == "gzip"
                text = (gzip.decompress(body) if packed else body).decode()
                kept.texts.append(text)
                kept.events += [json.loads(line) for line in text.splitlines() if '"exception"' in line]
            self.send_response(200 if known else 403)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the tests' own output is enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        kept.dsn = f"http://{PUBLIC}@127.0.0.1:{server.server_port}/1/7"
        yield kept
        server.shutdown()


@pytest.fixture(autouse=True)
def tracking_ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sentry, "latest", [float("-inf")] * 20)
    yield
    sentry.start(settings())


def tracked(dsn: str) -> Settings:
    return settings(
        sentry_dsn=Secret(dsn), database_url=f"sqlite+aiosqlite:////dev/shm/{PASSWORD}.db", redis_url=None
    )


async def ask(made: Settings, *paths: str) -> list[httpx2.Response]:
    """The answers of an application with two bugs in it."""
    sentry.start(made)
    app = create_app(made)

    def find(question: str, secret: str) -> None:
        raise LookupError(f"nothing found for {question}")

    @app.post("/broken/{number}")
    async def broken(number: int, body: dict[str, Any]) -> None:
        find(body["message"], PASSWORD)

    @app.post("/divided")
    async def divided() -> float:
        return 1 / 0

    headers = {"Authorization": "Bearer key-of-user-1", "X-Request-ID": "request-1", "Cookie": "session=1234"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app", headers=headers) as client:
        return [await client.post(path, json={"message": PROMPT}) for path in paths]


async def test_an_error_arrives_with_its_request_route_and_release(collector: Collector) -> None:
    (answer,) = await ask(tracked(collector.dsn), "/broken/5")
    sentry_sdk.flush(10)
    (event,) = collector.events
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "request-1"
    assert event["tags"] == {"request_id": "request-1", "route": "/broken/{number}"}
    assert event["release"] == __version__
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "LookupError"
    assert exception["stacktrace"]["frames"][-1]["function"] == "find"


async def test_what_was_in_it_stays_here(collector: Collector) -> None:
    await ask(tracked(collector.dsn), "/broken/5", "/divided")
    sentry_sdk.flush(10)
    (text, _) = collector.texts
    for private in (PROMPT, PASSWORD, "key-of-user-1", "session=1234", "/broken/5", PUBLIC):
        assert private not in text
    for event in collector.events:
        assert set(event) <= sentry.SENT
        assert not [frame for each in event["exception"]["values"] for frame in each["stacktrace"]["frames"]
                    if "vars" in frame]  # fmt: skip


async def test_errors_of_one_place_are_one_group(collector: Collector) -> None:
    await ask(tracked(collector.dsn), "/broken/5", "/broken/6", "/divided")
    sentry_sdk.flush(10)
    first, again, other = (event["fingerprint"] for event in collector.events)
    assert first == again != other


async def test_a_storm_is_told_of_in_few_events(collector: Collector) -> None:
    answers = await ask(tracked(collector.dsn), *["/divided"] * 50)
    sentry_sdk.flush(10)
    assert {answer.status_code for answer in answers} == {500}
    assert len(collector.events) == len(sentry.latest) == 20


@pytest.mark.parametrize("where", ["silent", "dropping", "nobody"])
async def test_a_collector_that_does_not_answer_holds_up_no_request(
    where: str, request: pytest.FixtureRequest
) -> None:
    """The library waits half a minute for each, in a thread of its own; the requests together take less."""
    address = request.getfixturevalue(where).removesuffix("/v1").removeprefix("http://")
    started = time.monotonic()
    answers = await ask(tracked(f"http://{PUBLIC}@{address}/7"), *["/divided"] * 5)
    assert {answer.status_code for answer in answers} == {500}
    assert time.monotonic() - started < 30


async def test_without_an_address_nothing_is_sent() -> None:
    (answer,) = await ask(settings(), "/divided")
    assert answer.status_code == 500 and sentry_sdk.get_client().transport is None


# ---- python -m lab_app.send_test_error ----


def send(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "lab_app.send_test_error"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_test_error_arrives_as_it_says(collector: Collector, tmp_path: Path) -> None:
    done = send(tmp_path, SENTRY_DSN=collector.dsn)
    (event,) = collector.events
    number, request = event["event_id"], event["tags"]["request_id"]
    assert done.stdout == f"event {number}, request_id {request}, release {__version__}\n", done.stderr
    assert f"private-{request}" not in collector.texts[0]


def test_it_says_so_where_nothing_is_set(tmp_path: Path) -> None:
    done = send(tmp_path)
    assert (done.returncode, done.stderr) == (1, "SENTRY_DSN is not set: errors go nowhere\n")


def test_it_says_so_where_the_key_is_wrong(collector: Collector, tmp_path: Path) -> None:
    done = send(tmp_path, SENTRY_DSN=collector.dsn.replace(PUBLIC, PUBLIC[::-1]))
    assert (done.returncode, done.stderr) == (1, "the collector did not take it: status_403\n")


def test_it_says_so_where_nobody_listens(nobody: str, tmp_path: Path) -> None:
    address = nobody.removesuffix("/v1").removeprefix("http://")
    done = send(tmp_path, SENTRY_DSN=f"http://{PUBLIC}@{address}/7")
    assert (done.returncode, done.stderr) == (1, "the collector did not take it: network\n")
