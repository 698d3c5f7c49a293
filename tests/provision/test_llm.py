"""The stand-in internet's language model, served by a real uvicorn and asked by the real `openai` client."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import openai
import pytest

from labcheck.wait import wait_until
from tests.provision.served import INTERNET, served

KEY = "sk-lab-0123456789abcdef"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A running endpoint's address, without /v1."""
    with served("llm:app") as address:
        yield address


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


def test_a_revoked_key_is_refused_from_then_on_and_no_other(base_url: str) -> None:
    def status_of(key: str, method: str = "GET", path: str = "models") -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.request(method, f"{base_url}/v1/{path}", headers=headers).status_code

    leaked = "sk-lab-it-was-in-a-repository"
    assert (status_of(leaked), status_of(leaked, "DELETE", "key"), status_of(leaked), status_of(KEY)) == (
        200,
        200,
        401,
        200,
    )
    assert status_of(leaked, "DELETE", "key") == 401


def test_a_revoked_key_stays_revoked_and_is_not_in_the_file(tmp_path: Path) -> None:
    code = "import sys, llm; {}; print(sys.argv[1] in llm.revoked)"
    for first in ("llm.revoked.add(sys.argv[1])", "pass"):
        run = [sys.executable, "-c", code.format(first), KEY]
        environment = os.environ | {"STATE_DIRECTORY": str(tmp_path)}
        assert subprocess.check_output(run, cwd=INTERNET, env=environment, text=True) == "True\n"
    assert KEY not in (tmp_path / "revoked").read_text()


def test_a_request_without_a_key_is_refused(base_url: str) -> None:
    assert_openai_error(httpx2.get(f"{base_url}/v1/models"), 401)


def test_an_unknown_model_is_a_404_with_openais_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.code == "model_not_found"


def test_a_streamed_answer_is_the_whole_one_in_pieces(client: openai.OpenAI) -> None:
    whole = ask(client, ("user", "Hello, server!"))
    options = {"include_usage": True}
    *chunks, last = ask(client, ("user", "Hello, server!"), stream=True, stream_options=options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == (
        whole.choices[0].message.content
    )
    assert len(chunks) > 10
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
    assert (last.choices, last.usage) == ([], whole.usage)
    assert {chunk.id for chunk in [*chunks, last]} == {whole.id}
    assert not any(chunk.usage for chunk in ask(client, ("user", "Hello, server!"), stream=True))


def near(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("form", ["float", "base64"])
def test_texts_that_share_words_are_near_each_other(client: openai.OpenAI, form: Any) -> None:
    texts = ["A firewall decides which ports answer.", "Logs tell what happened.", "…"]
    embedded = client.embeddings.create(model="lab-embedding", input=texts, encoding_format=form)
    question = client.embeddings.create(model="lab-embedding", input="Which ports does the firewall shut?")
    if form == "base64":  # decoded by hand: the client does so by itself only where it chose the form
        vectors = [
            list(struct.unpack("<512f", base64.b64decode(str(one.embedding)))) for one in embedded.data
        ]
    else:
        vectors = [one.embedding for one in embedded.data]
    assert [round(near(vector, vector), 4) for vector in vectors] == [1, 1, 1]
    firewall, logs, _ = (near(vector, question.data[0].embedding) for vector in vectors)
    assert firewall > 0.4 > 0.2 > logs
    assert embedded.usage.prompt_tokens == 7 + 5 + 1


def test_a_model_is_asked_for_what_it_can(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="lab-small", input="Hello")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="lab-embedding", messages=[{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    "more", [{"input": []}, {"input": [""]}, {"input": [[1]]}, {"input": "a", "dimensions": 3}, {}]
)
def test_malformed_input_for_an_embedding_is_a_400(http: httpx2.Client, more: dict[str, Any]) -> None:
    assert_openai_error(http.post("/v1/embeddings", json={"model": "lab-embedding", **more}), 400)


@pytest.fixture
def bad_day(base_url: str) -> Iterator[Callable[..., None]]:
    """`bad_day("slow", seconds=…)`; it is over when the test is."""

    def begin(kind: str, **more: float) -> None:
        said = httpx2.put(f"{base_url}/fault", json={"kind": kind, "for": 30, **more})
        assert said.json()["kind"] == kind

    yield begin
    assert httpx2.delete(f"{base_url}/fault").json() == {}


def test_a_busy_model_and_a_failing_one(client: openai.OpenAI, bad_day: Callable[..., None]) -> None:
    bad_day("busy")
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, ("user", "Hello"))
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "1"
    bad_day("failing")
    with pytest.raises(openai.InternalServerError):
        client.models.list()


def test_a_slow_model_answers_later_and_a_bad_day_ends_by_itself(
    client: openai.OpenAI, base_url: str, bad_day: Callable[..., None]
) -> None:
    bad_day("slow", seconds=0.5, **{"for": 0.8})
    started = time.monotonic()
    ask(client, ("user", "Hello"))
    assert time.monotonic() - started >= 0.5
    wait_until(lambda: httpx2.get(f"{base_url}/fault").json() == {}, what="its end", timeout=5, every=0.05)


def test_a_hanging_model_does_not_answer_until_the_day_is_over(
    client: openai.OpenAI, base_url: str, bad_day: Callable[..., None]
) -> None:
    bad_day("hanging")
    with pytest.raises(openai.APITimeoutError):
        ask(client, ("user", "Hello"), timeout=0.5)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, client, ("user", "Hello"))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        httpx2.delete(f"{base_url}/fault")
        assert waiting.result(timeout=5).choices


def test_a_dripping_model_pauses_before_each_piece_until_the_day_is_over(
    client: openai.OpenAI, base_url: str, bad_day: Callable[..., None]
) -> None:
    bad_day("dripping", seconds=0.1)
    started = time.monotonic()
    pieces = list(ask(client, ("user", "Hello"), stream=True))
    assert time.monotonic() - started >= 0.1 * len(pieces) > 0.5
    bad_day("dripping", seconds=20)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: list(ask(client, ("user", "Hello"), stream=True)))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        httpx2.delete(f"{base_url}/fault")
        assert len(waiting.result(timeout=5)) == len(pieces)


def test_a_lasting_model_is_silent_first_and_spreads_the_rest_evenly(
    client: openai.OpenAI, bad_day: Callable[..., None]
) -> None:
    bad_day("lasting", seconds=2, silent=1.2)
    started = time.monotonic()
    came = [time.monotonic() - started for _ in ask(client, ("user", "Hello"), stream=True)]
    assert came[0] >= 1.2 and came[-1] >= 1.9
    assert max(after - before for before, after in pairwise(came)) < 0.4
    bad_day("lasting", seconds=4)
    started = time.monotonic()
    next(iter(ask(client, ("user", "Hello"), stream=True)))
    assert time.monotonic() - started < 1


def test_answer_is_charged_for_also_where_the_client_has_gone(
    client: openai.OpenAI, base_url: str, bad_day: Callable[..., None]
) -> None:
    def bill() -> dict[str, int]:
        bills: dict[str, int] = httpx2.get(
            f"{base_url}/bill", headers={"Authorization": f"Bearer {KEY}"}
        ).json()
        return bills

    assert set(httpx2.delete(f"{base_url}/bill").json().values()) == {0}
    used = ask(client, ("user", "Hello")).usage
    once = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
    assert bill() == {"answers": 1} | once
    bad_day("dripping", seconds=0.3)
    stream = ask(client, ("user", "Hello"), stream=True)
    next(iter(stream))
    stream.close()
    assert bill() == {"answers": 2} | {name: 2 * count for name, count in once.items()}
    assert_openai_error(httpx2.get(f"{base_url}/bill"), 401)
    through = httpx2.delete(f"{base_url}/bill", headers={"X-Forwarded-For": "198.51.100.7"})
    assert_openai_error(through, 404)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_cut_in_the_middle(
    client: openai.OpenAI, bad_day: Callable[..., None], stream: bool
) -> None:
    bad_day("cut")
    pieces = []
    with pytest.raises(
        (openai.APIConnectionError, httpx2.RemoteProtocolError, httpcore2.RemoteProtocolError)
    ):
        pieces.extend(ask(client, ("user", "Hello"), stream=stream))
    assert bool(pieces) == stream


def test_the_world_cannot_ask_for_a_bad_day(base_url: str) -> None:
    through = {"X-Forwarded-For": "198.51.100.7"}
    for method in ("GET", "PUT", "DELETE"):
        response = httpx2.request(method, f"{base_url}/fault", headers=through, content=b'{"kind": "busy"}')
        assert_openai_error(response, 404)
    assert httpx2.get(f"{base_url}/fault").json() == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "odd"},
        {"kind": "slow", "for": 601},
        {"kind": "slow", "seconds": True},
        {"kind": "lasting", "seconds": 2, "silent": 3},
    ],
)
def test_a_bad_day_of_no_known_kind_is_refused(base_url: str, body: dict[str, Any]) -> None:
    assert_openai_error(httpx2.put(f"{base_url}/fault", json=body), 400)


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
