"""The process: it starts with nothing configured, and stops without losing what it has begun."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from .conftest import KEY, ROOT, Server, StartEndpoint, StartServer, wait_until
from .test_chat import LAST, USAGE, chunk, streamed
from .time_limits import GENEROUS

COMPLETION = streamed(chunk("Late."), LAST, USAGE)


def ask(server: Server) -> httpx2.Response:
    return httpx2.post(server.url + "/api/chat", json={"message": "Hello"}, timeout=GENEROUS)


def stop(server: Server, timeout: float) -> None:
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=timeout)


def test_with_reload_and_nothing_configured_it_starts_and_says_what_is_missing(
    start_server: StartServer,
) -> None:
    server = start_server("lab_app.main:app", arguments=["--reload"])
    wait_until(lambda: server.lines("startup"), "the start")
    assert httpx2.get(server.url + "/health/ready", timeout=GENEROUS).status_code == 200
    assert ask(server).json()["reason"] == "llm_not_configured"
    stop(server, timeout=GENEROUS)


def test_sigterm_finishes_what_is_in_flight_and_one_line_says_so(
    start_server: StartServer, start_endpoint: StartEndpoint
) -> None:
    endpoint = start_endpoint(hold=True, **COMPLETION)
    server = start_server("lab_app.main:app", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=endpoint.url)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, server)
        wait_until(lambda: "POST /v1/chat/completions" in endpoint.requests, "the request at the model")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Shutting down" in server.stdout(), "the begin of the shutdown")
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(server.url + "/health/live", timeout=GENEROUS)
        endpoint.release.set()
        assert answer.result().json()["answer"] == "Late."
    server.process.wait(timeout=GENEROUS)
    (last,) = server.lines("shutdown")
    assert last["timestamp"] > server.lines("request")[-1]["timestamp"]
    assert server.stderr() == ""


def test_a_model_that_hangs_holds_up_the_shutdown_no_longer_than_the_time_limit(
    start_server: StartServer, silent: str
) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": silent, "OPENAI_TIMEOUT": "1"}
    server = start_server("lab_app.main:app", own_limits=True, **variables)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, server)
        health = pool.submit(httpx2.get, server.url + "/health", timeout=GENEROUS)
        assert health.result().status_code == 200
        stop(server, timeout=GENEROUS)
        assert answer.result().status_code == 504
    assert len(server.lines("shutdown")) == 1


def test_connections_without_a_request_do_not_hold_up_the_shutdown(start_server: StartServer) -> None:
    server = start_server("lab_app.main:app")
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        stop(server, timeout=GENEROUS / 2)  # no longer than a body is waited for
    assert len(server.lines("shutdown")) == 1


def test_the_lock_pins_every_package_with_hashes_and_names_no_index() -> None:
    lock = (ROOT / "lab_app" / "requirements.lock").read_text()
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert pins and all("==" in pin and pin.endswith("\\") for pin in pins)
    assert "://" not in lock and "index-url" not in lock


def test_the_lock_holds_everything_that_is_asked_for() -> None:
    folder = ROOT / "lab_app"
    asked = [line for line in (folder / "requirements.in").read_text().splitlines() if line[:1].isalpha()]
    locked = (folder / "requirements.lock").read_text().splitlines()
    pinned = {line.split("==")[0] for line in locked if line[:1].isalpha()}
    assert {re.split(r"[ \[;]", name)[0] for name in asked} <= pinned


def test_settings_that_are_wrong_end_the_start_with_a_sentence() -> None:
    uvicorn = [sys.executable, "-m", "uvicorn", "lab_app.main:app", "--port", "0"]
    result = subprocess.run(
        ["env", "OPENAI_TIMEOUT=soon", *uvicorn], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode != 0
    assert "OPENAI_TIMEOUT" in result.stderr
    assert "Traceback" not in result.stderr
