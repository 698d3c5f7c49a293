"""What the tests of the application run: the application itself, and real endpoints with real faults."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
import pytest

from lab_app.app import create_app
from lab_app.settings import Settings

from . import time_limits
from .services import ChromaServer, PostgresServer, RedisServer, running

ROOT = Path(__file__).parents[2]
KEY = "sk-lab-test-key-0123456789"


@pytest.fixture(autouse=True)
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the time limits of applications in this process, unless the test is marked with `own_limits`."""
    if request.node.get_closest_marker("own_limits") is None:
        time_limits.put_generous(monkeypatch.setattr)


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 300) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.02)
    return value


@dataclass
class Server:
    """A uvicorn in a process of its own, its output in files as under a supervisor."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str = ""

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8")

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def lines(self, event_type: str | None = None) -> list[dict[str, Any]]:
        """What was logged; every line must be a JSON object."""
        found = [json.loads(line) for line in self.stdout().splitlines()]
        return [line for line in found if event_type in (None, line["event_type"])]

    def address(self) -> str | None:
        assert self.process.poll() is None, self.stdout() + self.stderr()
        for line in (self.stdout() + self.stderr()).splitlines():
            if "Uvicorn running on " in line:
                return line.split("Uvicorn running on ")[1].split()[0]
        return None


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """`start_server("lab_app.main:app", before=[...], arguments=[...], VARIABLE=...)`, in an empty folder.

    The application has generous time limits there, but for `own_limits`: see time_limits.
    """
    started: list[Server] = []

    def start(
        app: str,
        *,
        before: list[str] | None = None,
        arguments: list[str] | None = None,
        own_limits: bool = False,
        **variables: str,
    ) -> Server:
        if app == "lab_app.main:app" and not own_limits:
            app = "tests.app.unhurried:app"
        folder = tmp_path_factory.mktemp("server")
        uvicorn = [sys.executable, "-m", "uvicorn", app, "--port", "0", *(arguments or [])]
        path = os.pathsep.join([str(ROOT), str(ROOT / "vagrant" / "internet")])
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **variables}
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [*(before or []), *uvicorn], cwd=folder, env=environment, stdout=stdout, stderr=stderr
            )
        server = Server(process, folder)
        started.append(server)
        server.url = wait_until(server.address, "uvicorn's address")
        return server

    yield start
    for server in started:
        server.process.kill()
        server.process.wait(timeout=time_limits.GENEROUS)


@pytest.fixture(scope="session")
def model(start_server: StartServer) -> str:
    """The base URL of a language model that answers: the lab's own."""
    return start_server("llm:app").url + "/v1"


@pytest.fixture(scope="session")
def stand_in(start_server: StartServer) -> Server:
    """An application whose built-in stand-in answers."""
    return start_server("lab_app.main:app", OPENAI_MODEL="stand-in", CHAT_LIMIT="1000")


@dataclass
class FaultyEndpoint:
    """An HTTP server that answers everything alike, when `release` is set."""

    status: int = 200
    status_of_get: int | None = None  # where it is another, as of a provider without a list of models
    body: bytes = b"{}"
    content_type: str = "application/json"
    keep_open: bool = False  # the answer has no end until `release` is set
    breaks_off: list[int] = field(default_factory=list)  # the bytes of the body after which each answer ends
    release: Event = field(default_factory=Event)
    requests: list[str] = field(default_factory=list)
    url: str = ""


StartEndpoint = Callable[..., FaultyEndpoint]


@pytest.fixture
def start_endpoint() -> Iterator[StartEndpoint]:
    """`start_endpoint(hold=False, status=…, body=…, breaks_off=[…])`."""
    running: list[tuple[ThreadingHTTPServer, FaultyEndpoint]] = []

    def start(*, hold: bool = False, **more: Any) -> FaultyEndpoint:
        endpoint = FaultyEndpoint(**more)
        if not hold:
            endpoint.release.set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                endpoint.requests.append(f"{self.command} {self.path}")
                if not endpoint.keep_open:
                    endpoint.release.wait()
                asked_for_a_list = self.command == "GET" and endpoint.status_of_get
                self.send_response(endpoint.status_of_get if asked_for_a_list else endpoint.status)
                self.send_header("Content-Type", endpoint.content_type)
                length = (
                    ("Connection", "close")
                    if endpoint.keep_open
                    else ("Content-Length", str(len(endpoint.body)))
                )
                self.send_header(*length)
                self.end_headers()
                if endpoint.breaks_off:
                    self.wfile.write(endpoint.body[: endpoint.breaks_off.pop(0)])
                    self.close_connection = True
                    return
                self.wfile.write(endpoint.body)
                self.wfile.flush()
                endpoint.release.wait()

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the tests' own output is enough."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        running.append((server, endpoint))
        endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
        return endpoint

    yield start
    for server, endpoint in running:
        endpoint.release.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where every connection is accepted and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture
def dropping() -> Iterator[str]:
    """An address that drops packets: the kernel does so when the queue of a listener is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        yield f"http://127.0.0.1:{port}/v1"
        for client in waiting:
            client.close()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


FILES = tempfile.TemporaryDirectory()
NUMBERS = itertools.count()


def settings(url: str | None = None, **more: Any) -> Settings:
    """Settings that depend on nothing around the test, with a database of its own; a key comes with a URL."""
    values: dict[str, Any] = {"openai_api_key": None, "_env_file": None, "chat_limit": 1000}
    values["database_url"] = f"sqlite+aiosqlite:///{FILES.name}/{next(NUMBERS)}.db"
    if url is not None:
        values |= {"openai_api_key": KEY, "openai_base_url": url, "openai_model": "lab-small"}
    return Settings(**(values | more))


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application in this process."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server itself, for tests that pause or stop it; so are the next two."""
    with running(PostgresServer) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def chroma_server() -> Iterator[ChromaServer]:
    with running(ChromaServer) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database for this test, as an address for SQLAlchemy."""
    with postgres_server.database() as url:
        yield url


def as_typed(url: str) -> str:
    """The URL as people write it."""
    return url.replace("+asyncpg", "")


def migrations(url: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": url}
    command = [sys.executable, "-m", "lab_app.migrations"]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def migrated(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database with the application's tables, to make others from."""
    with postgres_server.database() as url:
        done = migrations(as_typed(url))
        assert done.returncode == 0, done.stderr
        yield url.rpartition("/")[2]


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated: str) -> Iterator[str]:
    """A database for this test, with the application's tables."""
    with postgres_server.database(template=migrated) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """An empty database for this test."""
    with redis_server.database() as url:
        yield url


@pytest.fixture
def chroma_url(chroma_server: ChromaServer) -> Iterator[str]:
    """A server without collections."""
    with chroma_server.database() as url:
        yield url
