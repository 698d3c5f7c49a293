"""The stand-in internet's language model, served by a real uvicorn and asked by the real `openai` client."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

INTERNET = Path(__file__).parents[2] / "vagrant" / "internet"
KEY = "sk-lab-0123456789abcdef"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A running endpoint's address, without /v1. The listening socket is handed over: no port is guessed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "llm:app", "--fd", str(listener.fileno())],
            cwd=INTERNET,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/", timeout=1)
                break
            except httpx2.TransportError:
                assert server.poll() is None, server.communicate()[1]
                assert time.monotonic() < deadline, "the endpoint did not answer within 20 s"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture(scope="module")
def http(base_url: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=base_url, headers=headers, timeout=5) as http:
        yield http


def ask(client: openai.OpenAI, *messages: tuple[str, str], **more: Any) -> Any:
    conversation: Any = [{"role": role, "content": content} for role, content in messages]
    return client.chat.completions.create(model="lab-small", messages=conversation, **more)


def assert_openai_error(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    return error


def test_the_openai_client_gets_an_answer_with_usage(client: openai.OpenAI) -> None:
    completion = ask(client, ("user", "Hello, server!"))
    assert completion.choices[0].message.content == 'You said: "Hello, server!" I was given no text about it.'
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "lab-small"
    assert completion.usage.prompt_tokens == 4  # Hello , server !
    assert completion.usage.completion_tokens == len(
        re.findall(r"\w+|[^\w\s]", completion.choices[0].message.content)
    )
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )


def test_the_answer_is_the_sentence_of_the_given_text_that_fits_the_question(client: openai.OpenAI) -> None:
    given = "A certificate proves a name. A firewall decides which ports answer. Logs tell what happened."
    completion = ask(client, ("system", given), ("user", "What does the firewall decide about ports?"))
    assert completion.choices[0].message.content == "A firewall decides which ports answer."


def test_small_words_alone_do_not_make_a_sentence_the_answer(client: openai.OpenAI) -> None:
    completion = ask(client, ("system", "The sky is blue."), ("user", "What is the time?"))
    assert completion.choices[0].message.content.startswith('You said: "What is the time?"')


def test_the_same_messages_get_the_same_answer(client: openai.OpenAI) -> None:
    first, second = (ask(client, ("user", "Once more.")) for _ in range(2))
    assert (first.id, first.choices, first.usage) == (second.id, second.choices, second.usage)


def test_an_answer_ends_at_the_token_limit_and_says_so(client: openai.OpenAI) -> None:
    completion = ask(client, ("user", "Hello."), max_tokens=2)
    assert completion.choices[0].message.content == "You said"
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 2


def test_the_models_can_be_listed_and_each_one_be_asked_for(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "lab-small" in names
    assert [client.models.retrieve(name).id for name in names] == names


@pytest.mark.parametrize("key", ["sk-other-0123456789", "sk-lab-short", "sk-lab-0123456789_x"])
def test_a_key_that_is_not_of_the_lab_is_refused(base_url: str, key: str) -> None:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(client, ("user", "Hello"))
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert key not in caught.value.message


def test_a_request_without_a_key_is_refused(base_url: str) -> None:
    assert_openai_error(httpx2.get(f"{base_url}/v1/models"), 401)


def test_an_unknown_model_is_a_404_with_openais_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.code == "model_not_found"


def test_streaming_is_refused_and_the_parameter_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, ("user", "Hello"), stream=True)
    assert caught.value.param == "stream"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/v1/chat/completions", 405)]
)
def test_an_unknown_route_gets_openais_error_shape(
    http: httpx2.Client, method: str, path: str, status: int
) -> None:
    assert_openai_error(http.request(method, path), status)


HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"model": "lab-small", "max_tokens": ' + b"9" * 5000 + b"}",
        *(
            json.dumps(body).encode()
            for body in (
                {},
                {"model": 7, "messages": HELLO},
                {"model": "lab-small"},
                {"model": "lab-small", "messages": []},
                {"model": "lab-small", "messages": ["Hello"]},
                {"model": "lab-small", "messages": [{"role": "nobody", "content": "Hello"}]},
                {"model": "lab-small", "messages": [{"role": ["user"], "content": "Hello"}]},
                {"model": "lab-small", "messages": [{"role": "user", "content": 7}]},
                {"model": "lab-small", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                {"model": "lab-small", "messages": HELLO, "max_tokens": 0},
                {"model": "lab-small", "messages": HELLO, "max_tokens": float("nan")},
                {"model": "lab-small", "messages": HELLO, "n": 2},
            )
        ),
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_a_malformed_body_is_a_400(http: httpx2.Client, body: bytes) -> None:
    assert_openai_error(http.post("/v1/chat/completions", content=body), 400)


def test_an_oversized_body_is_a_413(http: httpx2.Client) -> None:
    assert_openai_error(http.post("/v1/chat/completions", content=b" " * (1024 * 1024 + 1)), 413)


def test_half_a_surrogate_pair_is_answered(http: httpx2.Client) -> None:
    body = b'{"model": "lab-small", "messages": [{"role": "user", "content": "\\ud800"}]}'
    response = http.post("/v1/chat/completions", content=body)
    assert response.status_code == 200
    assert "\ud800" in json.loads(response.text)["choices"][0]["message"]["content"]
