"""The chat: a real model behind it, then every way for it to fail, then every bad request."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from .conftest import KEY, StartEndpoint, client_of, settings
from .time_limits import GENEROUS

HELLO = {"message": "Hello, server!"}


def chunk(text: object = "Yes.", **more: object) -> dict[str, Any]:
    """A piece of a streamed answer."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "lab-small",
        "choices": [choice],
    } | more


LAST = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


def streamed(*chunks: object, end: str = "data: [DONE]\n\n") -> dict[str, Any]:
    """What an endpoint sends that streams these."""
    body = "".join(f"data: {json.dumps(part)}\n\n" for part in chunks) + end
    return {"body": body.encode(), "content_type": "text/event-stream"}


async def post(url: str | None, body: object = None, **more: object) -> httpx2.Response:
    async with client_of(settings(url, **more)) as client:
        return await client.post("/api/chat", json=HELLO if body is None else body)


def assert_problem(response: httpx2.Response, status: int, reason: str) -> str:
    """The detail of a well-formed problem, which gives nothing away."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["reason"]) == (status, reason)
    assert problem["title"] and problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    for secret in (KEY, "127.0.0.1", "Traceback", "Hello"):
        assert secret not in response.text
    return str(problem["detail"])


async def test_a_question_gets_the_models_answer_with_its_usage(model: str) -> None:
    response = await post(model)
    assert response.status_code == 200
    assert response.json() == {
        "answer": 'You said: "Hello, server!" I was given no text about it.',
        "model": "lab-small",
        "documents": [],
        "usage": {"prompt_tokens": 4, "completion_tokens": 17},
        "cost_usd": None,
        "cached": False,
    }


async def test_an_answer_ends_where_its_highest_price_is_reached(model: str) -> None:
    answer = (await post(model, openai_max_tokens=5)).json()
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["answer"].startswith("You said") and len(answer["answer"]) < 20


async def test_without_a_key_it_is_a_503_that_names_the_variable() -> None:
    assert "OPENAI_API_KEY" in assert_problem(await post(None), 503, "llm_not_configured")


async def test_a_refused_key_is_a_502_that_says_so(model: str) -> None:
    response = await post(model, openai_api_key="sk-not-of-the-lab")
    assert "refuses the key (401)" in assert_problem(response, 502, "llm_key_refused")


async def test_an_unknown_model_is_a_502(model: str) -> None:
    assert_problem(await post(model, openai_model="gpt-9"), 502, "llm_error")


async def test_an_address_where_nothing_listens_is_a_502(nobody: str) -> None:
    assert_problem(await post(nobody), 502, "llm_unreachable")


@pytest.mark.parametrize("fault", ["silent", "dropping"])
async def test_an_address_that_never_answers_is_a_504_when_the_time_is_up(
    fault: str, request: pytest.FixtureRequest
) -> None:
    started = time.monotonic()
    response = await post(request.getfixturevalue(fault), openai_timeout=0.5)
    assert_problem(response, 504, "llm_timeout")
    assert 0.4 < time.monotonic() - started < GENEROUS  # the library itself would wait ten minutes


async def test_too_many_requests_at_the_model_are_a_503(start_endpoint: StartEndpoint) -> None:
    assert_problem(await post(start_endpoint(status=429).url), 503, "llm_busy")


async def test_a_failing_model_is_asked_once(start_endpoint: StartEndpoint) -> None:
    endpoint = start_endpoint(status=500, body=b'{"error": {"message": "secret of the model"}}')
    response = await post(endpoint.url)
    assert_problem(response, 502, "llm_error")
    assert "secret of the model" not in response.text
    assert endpoint.requests.count("POST /v1/chat/completions") == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"7", b"{}", b"data: {\n\n"])
async def test_what_is_not_a_stream_is_a_502(start_endpoint: StartEndpoint, body: bytes) -> None:
    for content_type in ("application/json", "text/event-stream"):
        endpoint = start_endpoint(body=body, content_type=content_type)
        assert_problem(await post(endpoint.url), 502, "llm_bad_answer")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        [],
        "text",
        {},
        chunk(choices=None),
        chunk(choices=[{}]),
        chunk(choices=["text"]),
        chunk(choices=7),
        chunk(7),
        chunk(["text"]),
        chunk(usage={"prompt_tokens": "many", "completion_tokens": 2}),
        chunk(usage=7),
        chunk(usage={"prompt_tokens": -1, "completion_tokens": 2}),
    ],
    ids=str,
)
async def test_a_piece_that_is_none_is_a_502(start_endpoint: StartEndpoint, wrong: object) -> None:
    endpoint = start_endpoint(**streamed(wrong, LAST, USAGE))
    assert_problem(await post(endpoint.url), 502, "llm_bad_answer")


@pytest.mark.parametrize(
    "pieces", [[chunk()], [chunk(), LAST], [chunk(), USAGE]], ids=["no end", "no count", "no reason"]
)
async def test_an_answer_that_breaks_off_is_a_502(
    start_endpoint: StartEndpoint, pieces: list[object]
) -> None:
    for end in ("", "data: [DONE]\n\n"):
        assert_problem(await post(start_endpoint(**streamed(*pieces, end=end)).url), 502, "llm_cut")


async def test_an_answer_that_is_html_is_a_502(start_endpoint: StartEndpoint) -> None:
    endpoint = start_endpoint(body=b"<html>a captive portal</html>", content_type="text/html")
    assert_problem(await post(endpoint.url), 502, "llm_bad_answer")


async def test_half_a_surrogate_pair_in_the_answer_is_replaced(start_endpoint: StartEndpoint) -> None:
    response = await post(start_endpoint(**streamed(chunk("half: \ud800"), LAST, USAGE)).url)
    assert (response.status_code, response.json()["answer"]) == (200, "half: ?")


async def test_an_answer_may_be_empty(start_endpoint: StartEndpoint) -> None:
    response = await post(start_endpoint(**streamed(chunk(""), LAST, USAGE)).url)
    assert (response.status_code, response.json()["answer"]) == (200, "")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": ""},
        {"message": " \n"},
        {"message": 7},
        {"message": None},
        {"message": ["Hello"]},
        {"message": "x" * 4001},
        {"message": "Hello", "Hello": "unknown field"},
        {"message": "Hello", "stream": "perhaps"},
        [],
        "Hello",
        None,
    ],
    ids=str,
)
async def test_a_body_of_the_wrong_shape_is_a_422(model: str, body: object) -> None:
    async with client_of(settings(model)) as client:
        response = await client.post("/api/chat", content=json.dumps(body).encode(), headers=JSON)
    assert response.status_code == 422
    assert response.json()["reason"] == "invalid"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"message": "\xff"}',
        b'{"message": "\\ud800"}',
        b"[" * 60_000,
        b'{"message": ' + b"9" * 5000 + b"}",
        b'{"message": "a\x00b"}',
        b"",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_a_malformed_body_is_a_4xx_problem(model: str, body: bytes) -> None:
    async with client_of(settings(model)) as client:
        response = await client.post("/api/chat", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_body_without_a_content_type_is_a_422(model: str) -> None:
    async with client_of(settings(model)) as client:
        response = await client.post("/api/chat", content=b'{"message": "Hello"}')
    assert_problem(response, 422, "invalid")


async def test_the_text_of_a_refused_question_is_not_repeated(model: str) -> None:
    response = await post(model, {"message": "Hello" * 1000})
    assert_problem(response, 422, "invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/nothing/here", 404, "not_found"), ("GET", "/api/chat", 405, "method_not_allowed")],
)
async def test_an_unknown_route_is_a_problem(method: str, path: str, status: int, reason: str) -> None:
    async with client_of(settings()) as client:
        assert_problem(await client.request(method, path), status, reason)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
async def test_the_interface_is_described_only_on_request(path: str) -> None:
    async with client_of(settings()) as client:
        assert (await client.get(path)).status_code == 404
    async with client_of(settings(api_docs=True)) as client:
        assert (await client.get(path)).status_code == 200
