"""The built-in stand-in: only when it is asked for by name, and named as such wherever it speaks."""

from __future__ import annotations

import time

import httpx2
import pytest

from lab_app import llm
from lab_app.documents import Documents, Passage

from .conftest import KEY, Server, StartEndpoint, client_of, settings
from .test_chat import HELLO, assert_problem
from .test_stream import ASKED, events
from .time_limits import GENEROUS

STAND_IN = {"openai_model": "stand-in"}


async def test_asked_for_by_name_it_answers_and_says_what_it_is() -> None:
    async with client_of(settings(**STAND_IN)) as client:
        answer = (await client.post("/api/chat", json=HELLO)).json()
    assert answer["model"] == "stand-in"
    said = "I am the built-in stand-in, not a language model. You asked: “Hello, server!”"
    assert answer["answer"] == said
    assert answer["cost_usd"] == 0 and answer["usage"]["completion_tokens"] > 0


async def test_without_its_name_and_without_a_key_there_is_no_answer() -> None:
    async with client_of(settings()) as client:
        assert_problem(await client.post("/api/chat", json=HELLO), 503, "llm_not_configured")
        assert (await client.get("/health")).json()["status"] == "degraded"


async def test_health_names_it_and_is_degraded() -> None:
    async with client_of(settings(**STAND_IN)) as client:
        body = (await client.get("/health")).json()
        assert (await client.get("/health/ready")).status_code == 200
    assert body["status"] == "degraded"
    reason = "OPENAI_MODEL=stand-in: the built-in stand-in answers, not a language model"
    expected = {"status": "stand_in", "latency_ms": None, "reason": reason}
    assert body["components"]["openai_api"] == expected


def test_the_log_names_it_at_the_start_and_at_each_answer(stand_in: Server) -> None:
    answered = len(stand_in.lines("llm_call"))
    assert httpx2.post(f"{stand_in.url}/api/chat", json=HELLO, timeout=GENEROUS).status_code == 200
    (warning,) = [line for line in stand_in.lines("startup") if "stand-in" in line["message"]]
    assert warning["level"] == "WARNING"
    (call,) = stand_in.lines("llm_call")[answered:]
    assert (call["model"], call["cost_usd"], call["outcome"]) == ("stand-in", 0, "answered")


def test_its_answer_comes_word_by_word(stand_in: Server) -> None:
    moments = []
    # For four seconds: a busy computer may bring many words at once.
    question = {**ASKED, "message": "word " * 200}
    with httpx2.stream("POST", f"{stand_in.url}/api/chat", json=question, timeout=GENEROUS) as response:
        text = ""
        for piece in response.iter_text():
            moments.append(time.monotonic())
            text += piece
    *pieces, (name, done) = events(text)
    assert name == "done" and "".join(piece["text"] for _, piece in pieces) == done["answer"]
    assert len(pieces) > 200 and moments[-1] - moments[0] > 0.1


async def test_it_sends_nothing_even_where_a_key_and_an_address_are_set(
    start_endpoint: StartEndpoint,
) -> None:
    endpoint = start_endpoint()
    async with client_of(settings(endpoint.url, **STAND_IN)) as client:
        answer = await client.post("/api/chat", json=HELLO)
        await client.get("/health")
    assert answer.json()["model"] == "stand-in" and KEY not in answer.text
    assert endpoint.requests == []


@pytest.mark.parametrize("name", ["Stand-In", "stand_in", "stand-in-2"])
async def test_a_name_that_is_nearly_its_own_is_another_model(name: str) -> None:
    async with client_of(settings(openai_model=name)) as client:
        assert_problem(await client.post("/api/chat", json=HELLO), 503, "llm_not_configured")


async def test_with_documents_it_repeats_the_nearest_passage(chroma_url: str) -> None:
    used = settings(chroma_url=chroma_url, **STAND_IN)
    texts = {"logs.md": "A log has one JSON object in each line.", "caddy.md": "Caddy renews a certificate."}
    async with llm.connect(used) as client:
        await Documents(used, client).take_in([Passage(*pair) for pair in texts.items()])
    async with client_of(used) as client:
        answer = (await client.post("/api/chat", json={"message": "Who renews a certificate?"})).json()
    assert answer["documents"][0] == "caddy.md"
    assert "“Caddy renews a certificate.”" in answer["answer"]
