"""Whatever is sent to the application, it does not fall over: requests made up from its own description."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import KEY, Server, StartServer
from .time_limits import GENEROUS

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 100  # for each operation, and each of the two modes


@pytest.fixture(scope="module")
def server(model: str, start_server: StartServer) -> Server:
    return start_server(
        "lab_app.main:app", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=model, OPENAI_MODEL="lab-small",
        API_DOCS="true", CHAT_LIMIT="1000000",
    )  # fmt: skip


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
def test_answers_are_as_described_and_none_is_a_server_error(mode: GenerationMode, server: Server) -> None:
    described = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    paths = {each.path for each in operations}
    assert paths == {"/health", "/health/live", "/health/ready", "/api/chat"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # there is nothing to get wrong

        @settings(
            max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            case.validate_response(case.call(timeout=GENEROUS), checks=CHECKS)

        ask()
    # Every line of the log is JSON, and none of the application's own is about something unexpected.
    own = [line for line in server.lines() if line["logger"].startswith("lab_app")]
    assert not [line for line in own if line["level"] in ("ERROR", "CRITICAL")]
