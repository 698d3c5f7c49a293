"""The OpenAPI document says what the application does: its key, and every way in which it answers."""

from __future__ import annotations

from typing import Any

import pytest

from lab_app.app import create_app

from .conftest import client_of, settings
from .test_chat import HELLO


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return create_app(settings(api_docs=True)).openapi()


def test_the_key_is_a_bearer_token_of_the_chat(described: dict[str, Any]) -> None:
    (name,) = (key for demand in described["paths"]["/api/chat"]["post"]["security"] for key in demand)
    scheme = described["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer") and "API_KEYS" in scheme["description"]
    assert not [path for path, ways in described["paths"].items() if "security" in ways.get("get", {})]


ERRORS = {"400", "401", "408", "413", "422", "429", "500", "502", "503", "504"}


def test_each_error_of_the_chat_is_described_as_problem_details(described: dict[str, Any]) -> None:
    answers = described["paths"]["/api/chat"]["post"]["responses"]
    assert set(answers) == ERRORS | {"200"}
    for status in ERRORS:
        assert answers[status]["description"]
        (media_type,) = answers[status]["content"]
        assert media_type == "application/problem+json"


async def test_an_error_has_the_members_that_are_described(described: dict[str, Any]) -> None:
    content = described["paths"]["/api/chat"]["post"]["responses"]["503"]["content"]
    schema = content["application/problem+json"]["schema"]
    async with client_of(settings()) as client:
        answer = await client.post("/api/chat", json=HELLO)
    assert set(answer.json()) == set(schema["properties"]) == set(schema["required"])


def test_an_answer_comes_whole_or_as_events(described: dict[str, Any]) -> None:
    content = described["paths"]["/api/chat"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health_is_described_for_both_of_its_statuses(path: str, described: dict[str, Any]) -> None:
    answers = described["paths"][path]["get"]["responses"]
    schemas = {answers[status]["content"]["application/json"]["schema"]["$ref"] for status in ("200", "503")}
    assert schemas == {"#/components/schemas/Health"}
