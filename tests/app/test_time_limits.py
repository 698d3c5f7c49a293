"""How long an answer may take: as a whole, until its first piece, and between two pieces."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from lab_app import llm
from lab_app.settings import Settings

from .conftest import StartEndpoint, StartServer, client_of, settings
from .test_chat import assert_problem, chunk, post, streamed
from .test_stream import events, stream
from .time_limits import GENEROUS

BETWEEN: dict[str, Any] = {"openai_silence_timeout": 0.4}


@pytest.fixture(scope="module")
def lasting(start_server: StartServer) -> Callable[..., str]:
    """`lasting(seconds, silent=…)`: the base URL of a model whose answers last so long from now on."""
    url = start_server("llm:app").url

    def begin(seconds: float, silent: float = 0.01) -> str:
        day = {"kind": "lasting", "seconds": seconds, "silent": silent, "for": 60}
        httpx2.put(f"{url}/fault", json=day, timeout=GENEROUS).raise_for_status()
        return f"{url}/v1"

    return begin


@pytest.mark.parametrize("asked", [post, stream], ids=["whole", "in pieces"])
async def test_an_answer_takes_longer_than_the_limits_for_its_first_piece_and_for_a_silence(
    lasting: Callable[..., str], asked: Callable[..., Awaitable[httpx2.Response]]
) -> None:
    url, started = lasting(4, silent=2), time.monotonic()
    response = await asked(url, openai_first_piece_timeout=3.5, openai_silence_timeout=1.5)
    assert time.monotonic() - started >= 4
    assert response.status_code == 200 and "I was given no text about it" in response.text
    assert "event: error" not in response.text


async def test_an_answer_that_comes_all_the_time_ends_with_the_limit_for_the_whole(
    lasting: Callable[..., str],
) -> None:
    started = time.monotonic()
    assert_problem(await post(lasting(60), openai_timeout=0.5, openai_silence_timeout=30), 504, "llm_timeout")
    assert 0.4 < time.monotonic() - started < GENEROUS


@pytest.mark.parametrize("asked", [post, stream], ids=["whole", "in pieces"])
async def test_a_model_that_says_nothing_ends_with_the_limit_for_the_first_piece(
    silent: str, asked: Callable[..., Awaitable[httpx2.Response]]
) -> None:
    started = time.monotonic()
    assert_problem(await asked(silent, openai_first_piece_timeout=0.5), 504, "llm_timeout")
    assert 0.4 < time.monotonic() - started < GENEROUS


async def test_a_first_piece_may_take_longer_than_a_silence_later(lasting: Callable[..., str]) -> None:
    url = lasting(2, silent=1.6)
    assert (await post(url, openai_silence_timeout=1.5)).status_code == 200


async def test_a_model_that_falls_silent_is_a_504_where_the_answer_is_whole(
    start_endpoint: StartEndpoint,
) -> None:
    endpoint = start_endpoint(hold=True, **streamed(chunk("Half"), end=""), keep_open=True)
    started = time.monotonic()
    assert_problem(await post(endpoint.url, **BETWEEN), 504, "llm_timeout")
    assert 0.3 < time.monotonic() - started < GENEROUS


async def test_a_model_that_falls_silent_is_the_last_event_of_a_stream(start_endpoint: StartEndpoint) -> None:
    endpoint = start_endpoint(hold=True, **streamed(chunk("Half"), end=""), keep_open=True)
    response = await stream(endpoint.url, **BETWEEN)
    first, (name, problem) = events(response.text)
    assert first == ("piece", {"text": "Half"})
    assert (name, problem["reason"]) == ("error", "llm_timeout")


async def test_an_embedding_may_take_as_long_as_a_silence_and_not_as_an_answer(silent: str) -> None:
    given, started = settings(silent, **BETWEEN), time.monotonic()
    async with llm.connect(given) as client:
        with pytest.raises(llm.Failure) as caught:
            await llm.embed(client, ["Hello"], given)
    assert (caught.value.status_code, caught.value.reason) == (504, "llm_timeout")
    assert 0.3 < time.monotonic() - started < GENEROUS


async def test_a_connection_that_does_not_come_about_is_given_up_before_an_answer_would_be(
    dropping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "CONNECT", 0.5)
    started = time.monotonic()
    async with client_of(settings(dropping)) as client:
        response = await client.post("/api/chat", json={"message": "Hello"})
    assert_problem(response, 504, "llm_timeout")
    assert 0.4 < time.monotonic() - started < GENEROUS


def test_a_limit_inside_another_is_the_smaller_one() -> None:
    fields = Settings.model_fields
    between, first, whole = (
        fields[f"openai_{name}timeout"].default for name in ("silence_", "first_piece_", "")
    )
    assert between < first < whole
