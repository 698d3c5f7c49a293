"""The application against the same without what it does beside answering.

    python -m tests.benchmarks.application [--rounds 5]

Two ratios, each of two things timed in turn in one run, after both gave the same answers: requests a second
of the same endpoint, unlogged in plain FastAPI and logged by the application, into its files; CPU time of a
JSON line against a line of plain `logging` with the same handler and fields. Then what the course promises,
asserted: the slowest hundredth of /health while everything that it asks accepts and never answers comes
within 1 s; and of one client's questions the eleventh in a minute is the first to be refused, however many
processes there are (with Redis; each process counting for itself is shown beside it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from lab_app.app import create_app
from lab_app.json_logs import JsonFormatter, configure_logging
from lab_app.log_files import LogFiles
from lab_app.settings import Settings
from tests.app.services import RedisServer, running
from tests.benchmarks.measure import in_turn, show, spread

ROOT = Path(__file__).parents[2]
REQUESTS = 500  # of a turn, of each: short turns, so that what else the computer does slows both alike
TURNS = 10  # of a round
LINES = 20000
ASKED = 200  # times /health, five at once
PATH = "/health/live"


def made(folder: Path, **more: Any) -> Settings:
    """Settings that depend on nothing around."""
    own = {
        "_env_file": None,
        "log_dir": folder / "logs",
        "database_url": f"sqlite+aiosqlite:///{folder}/app.db",
    }
    return Settings(**(own | more))


def unlogged() -> FastAPI:
    """The same endpoint in plain FastAPI."""
    app = FastAPI()

    @app.get(PATH)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    return app


@contextmanager
def served(folder: Path, *target: str, **more: str) -> Iterator[int]:
    """A uvicorn on 127.0.0.1 while the block lasts, with these environment variables as well; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log", *target]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LOG_DIR": str(folder / "logs")}
    environment |= more
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        until = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None and time.monotonic() < until, (folder / "said").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def fetch(port: int, count: int) -> list[bytes]:
    """That many answers, asked for over one connection, 20 at once: so the client costs next to nothing."""
    bodies: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while len(bodies) < count:
            connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: app\r\n\r\n".encode() * 20)
            received = b""
            while received.count(b"\r\n\r\n{") < 20 or not received.endswith(b"}"):
                received += connection.recv(65536)
            bodies += re.findall(rb"\r\n\r\n(\{.*?\})", received)
    return bodies


async def ask(app: FastAPI, path: str = PATH) -> tuple[int, Any]:
    """One request as a server hands it over, without the cost of a client: status and body."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, body
        status, body = message.get("status", status), body + message.get("body", b"")

    await app(scope, receive, send)
    return status, json.loads(body)


def throughput(folder: Path, rounds: int) -> tuple[str, list[float], list[float]]:
    plain = served(folder, "--factory", "tests.benchmarks.application:unlogged")
    with plain as plain_server, served(folder, "lab_app.main:app") as ours:
        assert set(fetch(plain_server, 100)) == set(fetch(ours, 100)) == {b'{"status":"alive"}'}
        log = folder / "logs" / "access.log"
        turns = {"plain": lambda: fetch(plain_server, REQUESTS), "ours": lambda: fetch(ours, REQUESTS)}
        durations = in_turn(turns, rounds * TURNS)
        until = time.monotonic() + 5  # a line is written when its answer is already on its way
        while log.read_bytes().count(b"\n") != 100 + rounds * TURNS * REQUESTS:
            assert time.monotonic() < until, "every request has its line"
    return (
        f"{REQUESTS} requests of {PATH}: lab_app, logged : plain FastAPI",
        durations["ours"],
        durations["plain"],
    )


def json_line(folder: Path, rounds: int) -> tuple[str, list[float], list[float]]:
    fields = {
        "event_type": "request", "ip_address": "203.0.113.42", "method": "POST", "path": "/api/chat",
        "status_code": 200, "duration_ms": 1234.5,
    }  # fmt: skip
    words = " ".join(f"{name}=%({name})s" for name in fields)
    formatters = {
        "plain": logging.Formatter(f"%(asctime)s %(levelname)s %(name)s %(message)s {words}"),
        "json": JsonFormatter(),
    }
    loggers, handlers = {}, {}
    for name, formatter in formatters.items():
        handlers[name] = LogFiles(folder / name)
        handlers[name].setFormatter(formatter)
        loggers[name] = logging.Logger(f"benchmark.{name}", logging.INFO)
        loggers[name].addHandler(handlers[name])

    def many(logger: logging.Logger) -> Callable[[], None]:
        def run() -> None:
            for _ in range(LINES):
                logger.info("request", extra=fields)

        return run

    durations: dict[str, list[float]] = {name: [] for name in loggers}
    for _ in range(rounds):
        for name, logger in loggers.items():
            began = time.process_time()
            many(logger)()
            durations[name].append(time.process_time() - began)
    lines_by_logger = {name: (folder / name / "app.log").read_bytes().splitlines() for name in loggers}
    assert {len(lines) for lines in lines_by_logger.values()} == {rounds * LINES}
    last = json.loads(lines_by_logger["json"][-1])
    assert all(f"{name}={last[name]}".encode() in lines_by_logger["plain"][-1] for name in fields), (
        "the same is said"
    )
    return f"CPU time of {LINES} lines: JSON : plain logging", durations["json"], durations["plain"]


async def slowest_health(folder: Path) -> float:
    """Seconds that 99 of 100 answers of /health stay under, while nothing that it asks ever answers."""
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        app = create_app(
            made(
                folder, openai_api_key="sk-none", openai_base_url=f"http://{where}/v1",
                database_url=f"postgresql://app:secret@{where}/app", redis_url=f"redis://{where}/0",
                chroma_url=f"http://{where}",
            )
        )  # fmt: skip
        await stack.enter_async_context(app.router.lifespan_context(app))
        durations: list[float] = []

        async def one() -> None:
            began = time.perf_counter()
            status, body = await ask(app, "/health")
            durations.append(time.perf_counter() - began)
            assert status == 503 and {part["status"] for part in body["components"].values()} == {"unhealthy"}
            await asyncio.sleep(0.2)

        for _ in range(ASKED // 5):
            await asyncio.gather(*(one() for _ in range(5)))
        return statistics.quantiles(durations, n=100)[98]


def first_refused(folder: Path, processes: int, **more: str) -> int:
    """Which of a client's questions, asked of the processes in turn, is the first to get 429."""
    with ExitStack() as stack:
        ports = [stack.enter_context(served(folder, "lab_app.main:app", **more)) for _ in range(processes)]
        for number in range(1, 100):
            url = f"http://127.0.0.1:{ports[number % processes]}/api/chat"
            answer = httpx2.post(url, json={"message": "what is counted?"}, timeout=10)
            if answer.status_code == 429:
                return number
            assert answer.json()["reason"] == "llm_not_configured", "until then all get the same answer"
        raise AssertionError("no request was refused")


def limits(folder: Path) -> list[list[str]]:
    """A row for each number of processes: the first refused with Redis, and without."""
    rows = []
    with running(RedisServer) as redis:
        for processes in (1, 2, 3):
            with redis.database() as url:
                together = first_refused(folder, processes, REDIS_URL=url)
            assert together == 11, f"{processes} processes refuse the {together}th"
            rows.append([str(processes), str(together), str(first_refused(folder, processes))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        configure_logging(made(folder))
        rows = []
        for measure in (throughput, json_line):
            title, ours, other = measure(folder, rounds)
            ratio = statistics.median(ours) / statistics.median(other)
            rows.append([title, spread(ours), spread(other), f"{ratio:.2f}"])
        show("The application", ["", "ours", "the other", "ratio"], rows)
        slowest = asyncio.run(slowest_health(folder))
        print(f"/health, everything hanging: p99 of {ASKED} answers {slowest:.3f} s")
        assert slowest < 1, "the course promises an answer within 1 s"
        show(
            "The first question in a minute that is refused (the limit is 10)",
            ["processes", "counted in Redis", "each for itself"],
            limits(folder),
        )


if __name__ == "__main__":
    main()
