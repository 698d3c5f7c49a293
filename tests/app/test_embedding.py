"""A text's place in the model's space of meanings, asked of a real endpoint whose connection breaks off."""

from __future__ import annotations

import json

import pytest

from lab_app import llm

from .conftest import FaultyEndpoint, StartEndpoint, settings

ASKED = "POST /v1/embeddings"
PLACED = json.dumps({"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "m"}).encode()


async def embed(endpoint: FaultyEndpoint) -> list[list[float]]:
    given = settings(endpoint.url)
    async with llm.connect(given) as client:
        return await llm.embed(client, ["Hello"], given)


@pytest.mark.parametrize("received", [0, 20], ids=["before its first byte", "in the middle"])
async def test_an_embedding_that_breaks_off_is_asked_for_once_more(
    start_endpoint: StartEndpoint, received: int
) -> None:
    endpoint = start_endpoint(body=PLACED, breaks_off=[received])
    assert await embed(endpoint) == [[1.0]]
    assert endpoint.requests == [ASKED] * 2


async def test_one_that_breaks_off_twice_is_a_failure_that_says_so(start_endpoint: StartEndpoint) -> None:
    endpoint = start_endpoint(body=PLACED, breaks_off=[0, 0, 0])
    with pytest.raises(llm.Failure) as caught:
        await embed(endpoint)
    assert (caught.value.status_code, caught.value.reason) == (502, "llm_unreachable")
    assert caught.value.detail == "the connection broke off"
    assert endpoint.requests == [ASKED] * 2


@pytest.mark.parametrize("status", [429, 500])
async def test_one_that_is_refused_is_asked_for_once(start_endpoint: StartEndpoint, status: int) -> None:
    endpoint = start_endpoint(status=status)
    with pytest.raises(llm.Failure):
        await embed(endpoint)
    assert endpoint.requests == [ASKED]


async def test_an_answer_that_breaks_off_is_not_asked_for_again(start_endpoint: StartEndpoint) -> None:
    """It may have been paid for."""
    endpoint = start_endpoint(body=PLACED, content_type="text/event-stream", breaks_off=[0, 0])
    given = settings(endpoint.url)
    async with llm.connect(given) as client:
        with pytest.raises(llm.Failure):
            _ = [
                piece async for piece in llm.Call(client, given, [{"role": "user", "content": "Hi"}]).pieces()
            ]
    assert endpoint.requests == ["POST /v1/chat/completions"]
