"""Answers in pieces, and clients that leave before the last of them."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .conftest import KEY, Server, StartEndpoint, StartServer, client_of, settings, wait_until
from .test_chat import LAST, USAGE, assert_problem, chunk, streamed

ASKED = {"message": "Hello, server!", "stream": True}


async def stream(url: str, **more: Any) -> httpx2.Response:
    async with client_of(settings(url, **more)) as client:
        return await client.post("/api/chat", json=ASKED)


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as (name, data) pairs."""
    found = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_an_answer_comes_in_pieces_and_then_whole(model: str) -> None:
    response = await stream(model)
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, (name, done) = events(response.text)
    assert {name for name, _ in pieces} == {"piece"} and len(pieces) > 5
    assert name == "done" and done["answer"] == "".join(piece["text"] for _, piece in pieces)
    assert done["usage"] == {"prompt_tokens": 4, "completion_tokens": 17}


async def test_what_fails_before_the_first_word_is_an_error_like_any_other(
    start_endpoint: StartEndpoint,
) -> None:
    assert_problem(await stream(start_endpoint(status=429).url), 503, "llm_busy")


async def test_what_breaks_off_says_so_in_its_last_event(start_endpoint: StartEndpoint) -> None:
    response = await stream(start_endpoint(**streamed(chunk("Half"))).url)
    assert response.status_code == 200
    first, (name, problem) = events(response.text)
    assert first == ("piece", {"text": "Half"})
    assert (name, problem["reason"], problem["status"]) == ("error", "llm_cut", 502)
    assert problem["request_id"] == response.headers["x-request-id"]


async def test_the_second_time_an_answer_comes_from_the_cache_in_the_same_form(
    start_endpoint: StartEndpoint,
) -> None:
    endpoint = start_endpoint(**streamed(chunk("Once."), LAST, USAGE))
    async with client_of(settings(endpoint.url)) as client:
        first, second = [events((await client.post("/api/chat", json=ASKED)).text) for _ in range(2)]
    assert endpoint.requests.count("POST /v1/chat/completions") == 1
    assert first[-1][1] | {"cached": True, "cost_usd": 0.0} == second[-1][1]
    assert second[0] == ("piece", {"text": "Once."})


# ---- clients that leave ----


def leave(server: Server, endpoint_was_asked: Any, body: dict[str, Any], after_reading: bytes = b"") -> None:
    """Ask, wait until the model is asked and these bytes of the answer are here, and close the connection."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as connection:
        text = json.dumps(body).encode()
        head = "POST /api/chat HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        wait_until(endpoint_was_asked, "the question at the model")
        connection.settimeout(20)
        received = b""
        while after_reading not in received:
            piece = connection.recv(4096)
            assert piece, f"the connection was closed after {received!r}"
            received += piece


def test_a_client_that_leaves_before_all_of_its_question_is_there_is_logged_as_such(
    start_server: StartServer,
) -> None:
    server = start_server("lab_app.main:app")
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as connection:
        head = "POST /api/chat HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    (line,) = wait_until(lambda: server.lines("request"), "the line in the log")
    assert (line["status_code"], line["level"], line["path"]) == (499, "WARNING", "/api/chat")


def left_behind(server: Server) -> dict[str, Any]:
    (line,) = wait_until(lambda: server.lines("llm_error"), "the line in the log")
    return line


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_a_client_that_goes_away_ends_the_call_of_the_model(
    start_server: StartServer, start_endpoint: StartEndpoint, stream: bool
) -> None:
    endpoint = start_endpoint(hold=True)
    server = start_server(
        "lab_app.main:app", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=endpoint.url, OPENAI_TIMEOUT="60"
    )
    question = {"message": "Hello", "stream": stream}
    leave(server, lambda: "POST /v1/chat/completions" in endpoint.requests, question)
    line = left_behind(server)
    assert (line["outcome"], line["level"]) == ("cancelled", "WARNING")
    (request,) = wait_until(lambda: server.lines("request"), "the line of the request")
    assert request["status_code"] == 499 and request["request_id"] == line["request_id"]


def test_what_came_before_the_client_left_is_counted_by_estimate(
    start_server: StartServer, start_endpoint: StartEndpoint
) -> None:
    endpoint = start_endpoint(hold=True, **streamed(chunk("Eight letters."), end=""), keep_open=True)
    server = start_server("lab_app.main:app", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=endpoint.url)
    leave(
        server,
        lambda: "POST /v1/chat/completions" in endpoint.requests,
        {"message": "Hello, server", "stream": True},
        after_reading=b"Eight letters.",
    )
    line = left_behind(server)
    assert line["outcome"] == "cancelled" and line["estimated"] is True
    assert (line["prompt_tokens"], line["completion_tokens"]) == (4, 4)
