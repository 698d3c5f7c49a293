"""Health: the top line follows from the components, within a second, whatever the model's address does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from lab_app import health
from tests import needed

from .conftest import KEY, Server, StartEndpoint, StartServer, client_of, settings
from .time_limits import GENEROUS, clock


async def timed(client: httpx2.AsyncClient, path: str = "/health") -> tuple[httpx2.Response, float]:
    started = clock()
    response = await client.get(path)
    return response, clock() - started


async def openai_component(url: str, within: float = GENEROUS) -> dict[str, Any]:
    """The component as /health shows it; the rules that hold for every answer are asserted on the way."""
    async with client_of(settings(url)) as client:
        response, took = await timed(client)
    assert took < within
    assert response.status_code == 200
    assert KEY not in response.text
    assert str(urlsplit(url).hostname) not in response.text
    body = response.json()
    component: dict[str, Any] = body["components"]["openai_api"]
    assert body["status"] == ("healthy" if component["status"] == "healthy" else "degraded")
    return component


async def test_with_nothing_configured_every_component_says_so() -> None:
    async with client_of(settings()) as client:
        body = (await client.get("/health")).json()
    assert set(body["components"]) == {"database", "vector_db", "cache", "openai_api"}
    # A laptop has a database all the same: a file.
    assert body["components"].pop("database")["status"] == "healthy"
    assert {c["status"] for c in body["components"].values()} == {"not_configured"}
    assert all(c["reason"] for c in body["components"].values())


async def test_without_a_key_the_top_line_is_degraded() -> None:
    async with client_of(settings()) as client:
        response = await client.get("/health")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_live_and_ready_do_not_depend_on_the_model(path: str, silent: str) -> None:
    async with client_of(settings(silent)) as client:
        response, took = await timed(client, path)
    assert response.status_code == 200
    assert took < GENEROUS  # for which the model would have been waited


async def test_a_model_that_answers_is_healthy_with_its_latency(model: str) -> None:
    started = time.monotonic()
    component = await openai_component(model)
    assert (component["status"], component["reason"]) == ("healthy", None)
    assert 0 < component["latency_ms"] < (time.monotonic() - started) * 1000


async def test_a_refused_key_is_named(model: str) -> None:
    async with client_of(settings(model, openai_api_key="sk-not-of-the-lab")) as client:
        response = await client.get("/health")
    assert response.json()["components"]["openai_api"]["reason"] == "it refuses the key (401)"
    assert "sk-not" not in response.text


async def test_an_address_where_nothing_listens_is_named(nobody: str) -> None:
    assert (await openai_component(nobody))["reason"] == "no connection"


@pytest.mark.own_limits  # a resolver that is down says nothing
async def test_a_name_that_does_not_exist_is_named() -> None:
    component = await openai_component("http://does-not-exist.invalid:1/v1", within=1)
    assert component["status"] == "unhealthy"
    assert component["reason"] in ("its name does not resolve", "no answer within 700 ms")


@pytest.mark.own_limits
async def test_an_endpoint_that_accepts_and_never_answers_costs_less_than_a_second(silent: str) -> None:
    assert (await openai_component(silent, within=1))["reason"] == "no answer within 700 ms"


@pytest.mark.own_limits
async def test_an_endpoint_that_drops_packets_costs_less_than_a_second(dropping: str) -> None:
    assert (await openai_component(dropping, within=1))["reason"] == "no answer within 700 ms"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("silent", marks=pytest.mark.own_limits),
        pytest.param("dropping", marks=pytest.mark.own_limits),
        "nobody",
    ],
)
async def test_with_everything_gone_at_once_the_answer_comes_within_a_second_and_names_each(
    fault: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(fault).removesuffix("/v1")
    where = url.removeprefix("http://")
    gone = settings(
        f"{url}/v1",
        chroma_url=url,
        redis_url=f"redis://{where}/0",
        database_url=f"postgresql://a:secret@{where}/b",
    )
    async with client_of(gone) as client:
        (response, took), (ready, _) = await timed(client), await timed(client, "/health/ready")
    assert took < 1 and response.status_code == ready.status_code == 503
    components = response.json()["components"]
    assert {part["status"] for part in components.values()} == {"unhealthy"}
    expected = "no connection" if fault == "nobody" else "no answer "
    assert all(part["reason"].startswith(expected) for part in components.values())
    assert "secret" not in response.text and where not in response.text


@pytest.mark.parametrize(("status", "says"), [(429, "rate limited"), (500, "500"), (410, "410")])
async def test_an_error_status_is_named(start_endpoint: StartEndpoint, status: int, says: str) -> None:
    assert says in (await openai_component(start_endpoint(status=status).url))["reason"]


async def test_an_answer_that_is_not_json_is_not_healthy(start_endpoint: StartEndpoint) -> None:
    component = await openai_component(start_endpoint(body=b"<html>").url)
    assert component["status"] == "unhealthy"


async def test_a_hundred_askers_share_one_look(
    start_endpoint: StartEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SHARED_FOR", GENEROUS)
    endpoint = start_endpoint(body=b'{"object": "list", "data": []}')
    async with client_of(settings(endpoint.url)) as client:
        answers = await asyncio.gather(*(client.get("/health") for _ in range(100)))
        answers.append(await client.get("/health"))
    assert {answer.json()["status"] for answer in answers} == {"healthy"}
    assert endpoint.requests == ["GET /v1/models"]


@pytest.mark.own_limits
async def test_a_hanging_look_is_shared_and_its_verdict_too(
    start_endpoint: StartEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "GIVEN_UP_AFTER", GENEROUS)
    endpoint = start_endpoint(hold=True)
    async with client_of(settings(endpoint.url)) as client:
        started = clock()
        # So few that their own work, done in this process, stays far below what the deadline leaves.
        await asyncio.gather(*(client.get("/health") for _ in range(20)))
        assert clock() - started < 1
        _, took = await timed(client)
    assert took < health.DEADLINE  # a look of its own would take as long
    assert endpoint.requests == ["GET /v1/models"]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health"])
def test_head_is_answered_as_get_is_without_the_body(path: str, stand_in: Server) -> None:
    url = stand_in.url + path
    head, got = httpx2.head(url, timeout=GENEROUS), httpx2.get(url, timeout=GENEROUS)
    assert head.status_code == got.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"] == "application/json"


async def test_head_tells_of_a_critical_failure_too(nobody: str) -> None:
    async with client_of(settings(chroma_url=nobody)) as client:
        statuses = [(await client.head(path)).status_code for path in ("/health/ready", "/health")]
    assert statuses == [503, 503]


def get(app: Server) -> tuple[dict[str, Any], float]:
    started = clock(app.process.pid)
    response = httpx2.get(app.url + "/health", timeout=GENEROUS)
    return response.json(), clock(app.process.pid) - started


def test_a_stopped_model_is_seen_and_a_resumed_one_too(start_server: StartServer) -> None:
    llm = start_server("llm:app")
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": llm.url + "/v1"}
    app = start_server("lab_app.main:app", own_limits=True, **variables)
    wait_for_status(app, "healthy")
    os.kill(llm.process.pid, signal.SIGSTOP)
    wait_for_status(app, "degraded", within=1)
    os.kill(llm.process.pid, signal.SIGCONT)
    wait_for_status(app, "healthy")
    changes = [line for line in app.lines("health_change") if line["component"] == "openai_api"]
    levels = [(line["level"], line["message"]) for line in changes]
    # On a busy computer it may have come and gone more often.
    well, ill = ("INFO", "openai_api is healthy"), ("WARNING", "openai_api is unhealthy")
    assert set(levels) == {well, ill} and levels.index(ill, levels.index(well)) and levels[-1] == well


def wait_for_status(app: Server, status: str, within: float = GENEROUS) -> None:
    """Until it says so, with each answer within so many seconds."""
    deadline = time.monotonic() + GENEROUS
    while True:
        body, took = get(app)
        assert took < within
        if body["status"] == status:
            return
        assert time.monotonic() < deadline, body
        time.sleep(0.1)


def test_a_resolver_that_never_answers_costs_less_than_a_second(
    start_server: StartServer, tmp_path: Path
) -> None:
    needed.mounts()  # a resolver of its own, on port 53
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        for last in range(77, 255):  # another run of the tests on this computer may have one too
            with contextlib.suppress(OSError):
                resolver.bind((f"127.0.0.{last}", 53))
                break
        resolver.settimeout(20)
        configuration, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
        configuration.write_text(f"nameserver {resolver.getsockname()[0]}\noptions timeout:30 attempts:1\n")
        hosts.write_text("127.0.0.1 localhost\n")  # this computer's own may know the name
        mounts = (f"mount --bind {file} /etc/{file.name} &&" for file in (configuration, hosts))
        script = f'{" ".join(mounts)} exec "$@"'
        app = start_server(
            "lab_app.main:app",
            before=["unshare", "--mount", "sh", "-c", script, "sh"],
            own_limits=True,
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL="http://llm.lab.example/v1",
        )
        body, took = get(app)
        assert b"lab" in resolver.recv(512)  # it was asked
        assert took < 1
        assert body["components"]["openai_api"]["reason"] == "no answer within 700 ms"
        app.process.send_signal(signal.SIGTERM)
        app.process.wait(timeout=20)  # the lookup that hangs for 30 s does not hold up the shutdown


def test_certificates_are_checked_against_the_operating_systems_store(
    start_server: StartServer, tmp_path: Path
) -> None:
    needed.program("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key}"
        f" -out {certificate} -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost".split(),
        check=True,
        capture_output=True,
    )
    tls = ["--host", "localhost", "--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)]
    llm = start_server("llm:app", arguments=tls)
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": llm.url + "/v1"}
    stranger = start_server("lab_app.main:app", **variables)
    friend = start_server("lab_app.main:app", SSL_CERT_FILE=str(certificate), **variables)
    body, _ = get(stranger)
    assert body["components"]["openai_api"]["reason"] == "its certificate is not trusted"
    body, _ = get(friend)
    assert body["components"]["openai_api"]["status"] == "healthy", json.dumps(body)
