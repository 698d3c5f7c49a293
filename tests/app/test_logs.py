"""Logs: every line is JSON, complete, and says neither a secret nor what people wrote."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from lab_app.json_logs import JsonFormatter, request_id, user_id

from .conftest import KEY, Server, StartServer, wait_until
from .time_limits import GENEROUS


def line(message: object, *args: object, **extra: object) -> dict[str, Any]:
    """What the formatter makes of a log call."""
    logger = logging.getLogger("lab_app.test")
    record = logger.makeRecord(logger.name, logging.INFO, "file", 1, message, args, None, extra=extra)
    text = JsonFormatter().format(record)
    assert text.splitlines() == [text]
    text.encode()
    found: dict[str, Any] = json.loads(text)
    assert {"timestamp", "level", "message", "event_type", "logger", "request_id"} <= set(found)
    return found


def test_extra_fields_are_fields_of_the_line() -> None:
    found = line("hello %s", "you", event_type="greeting", duration_ms=1.5)
    assert (found["message"], found["event_type"], found["duration_ms"]) == ("hello you", "greeting", 1.5)


def test_a_timestamp_has_six_digits_also_on_a_full_second() -> None:
    record = logging.makeLogRecord({"msg": "x", "created": 1_700_000_000.0})
    assert json.loads(JsonFormatter().format(record))["timestamp"] == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize("created", [0.5, 1_700_000_000.9999996, 1_700_000_001.25, 1_700_000_000.000001])
def test_a_timestamp_is_the_moment_of_its_record_to_the_microsecond(created: float) -> None:
    record = logging.makeLogRecord({"msg": "x", "created": created})
    found = datetime.fromisoformat(json.loads(JsonFormatter().format(record))["timestamp"])
    assert found == datetime.fromtimestamp(created, UTC)


def test_the_line_carries_the_id_of_its_request() -> None:
    token = request_id.set("this-one")
    assert line("x")["request_id"] == "this-one"
    request_id.reset(token)
    assert line("x")["request_id"] is None


def test_the_line_names_its_user_once_one_is_known() -> None:
    assert "user_id" not in line("x")
    token = user_id.set("user_123")
    found = line("x", method="POST")
    user_id.reset(token)
    assert list(found)[-3:] == ["request_id", "user_id", "method"]
    assert found["user_id"] == "user_123"


@pytest.mark.parametrize("name", ["timestamp", "level", "logger"])
def test_a_field_cannot_take_the_place_of_one_that_every_line_has(name: str) -> None:
    assert line("x", **{name: "forged"})[name] != "forged"
    assert line({name: "forged", "event_type": "request", "more": 1})[name] != "forged"


def test_a_message_that_is_a_dictionary_becomes_fields_but_not_another_kind_of_event() -> None:
    found = line({"event_type": "request", "more": 1}, event_type="mine")
    assert (found["event_type"], found["more"]) == ("mine", 1)


def test_a_number_stays_a_number_beside_what_json_cannot_hold() -> None:
    assert line("x", cost_usd=0.0023, beside="half \ud800")["cost_usd"] == 0.0023


def written(cost: object) -> str:
    """How a cost is written in a line."""
    record = logging.makeLogRecord({"msg": "x", "cost_usd": cost})
    found = re.search(r'"cost_usd":([^,}]*)', JsonFormatter().format(record))
    assert found
    return found[1]


@pytest.mark.parametrize("digits", ["0.0000454500", "0.0000000001", "123456.7890123456", "0"])
def test_a_decimal_is_a_number_with_all_of_its_digits(digits: str) -> None:
    assert written(Decimal(digits)) == digits


def test_a_decimal_that_is_no_number_is_text() -> None:
    assert written(Decimal("NaN")) == '"NaN"'


def test_a_decimal_keeps_its_digits_beside_what_json_cannot_hold() -> None:
    record = logging.makeLogRecord({"msg": "x", "cost_usd": Decimal("0.10"), "beside": "half \ud800"})
    assert '"cost_usd":0.10' in JsonFormatter().format(record)


def test_what_ends_a_line_or_commands_a_terminal_elsewhere_is_escaped_and_comes_back() -> None:
    odd = "a\u2028b\u2029c\x85d\x9b31me\x1b[31m日本"
    assert line("x", path=odd)["path"] == odd


SECRET = 'a"secret\\of-the-server'


def test_a_secret_is_masked_wherever_it_turns_up() -> None:
    try:
        raise ValueError(f"cannot connect with {SECRET}")
    except ValueError:
        record = logging.makeLogRecord({"msg": SECRET, "exc_info": sys.exc_info(), "deep": [{SECRET: 1}]})
    text = JsonFormatter([SECRET, "short", ""]).format(record)
    found = json.loads(text)
    assert "of-the-server" not in text
    assert found["message"] == "***"
    assert found["deep"] == [{"***": 1}]
    assert "ValueError: cannot connect with ***" in found["traceback"]


def test_what_is_too_short_to_be_a_secret_garbles_no_line() -> None:
    record = logging.makeLogRecord({"msg": "in short, nothing"})
    assert json.loads(JsonFormatter(["short", ""]).format(record))["message"] == "in short, nothing"


def test_a_traceback_is_one_field() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()})
    assert "ValueError: two\nlines" in json.loads(JsonFormatter().format(record))["traceback"]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


cycle: list[Any] = ["start"]
cycle.append(cycle)
deep: list[Any] = []
for _ in range(5000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("half \ud800", "half \\ud800"),
        (2**70, str(2**70)),
        (10**5000, "__could_not_encode__"),
        ({(1, 2): "x"}, "{(1, 2): 'x'}"),
        ({"k": "half \ud800"}, "{'k': 'half \\ud800'}"),
        (float("nan"), None),
        (True, True),
    ],
    ids=["surrogate", "70 bits", "5000 digits", "tuple key", "inside", "nan", "bool"],
)
def test_what_json_cannot_hold_is_written_as_what_it_can(value: object, written: object) -> None:
    assert line("x", value=value)["value"] == written


@pytest.mark.parametrize(
    "value",
    [cycle, deep, Unprintable(), {Unprintable(): 1}, {"x": Unprintable()}, b"\xff", object, [[10**5000]]],
    ids=["cycle", "deep", "unprintable", "key", "inside", "bytes", "class", "huge"],
)
def test_no_value_loses_its_line(value: object) -> None:
    assert line("said", value=value)["message"] == "said"
    assert line("said", value={("odd",): value})["message"] == "said"


@pytest.mark.parametrize(
    "message",
    ["half \ud800", Unprintable(), 10**5000, {"k": cycle}],
    ids=["surrogate", "unprintable", "huge", "dict"],
)
def test_no_message_loses_its_line(message: object) -> None:
    line(message)


def test_a_log_call_with_too_few_arguments_keeps_its_words() -> None:
    found = line("%s and %s", "one")
    assert (found["message"], found["error"]) == ("%s and %s", "log call failed: TypeError")


@pytest.fixture(scope="module")
def app(start_server: StartServer, model: str) -> Server:
    """An application that has answered some requests, at the most talkative level."""
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": model, "OPENAI_MODEL": "lab-small"}
    server = start_server("lab_app.main:app", LOG_LEVEL="DEBUG", **variables)
    headers = {"X-Request-ID": "the-one"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=GENEROUS) as client:
        assert client.post("/api/chat", json={"message": "a private question"}).status_code == 200
        assert client.get("/health?token=a-private-token").status_code == 200
        assert client.get("/日本").status_code == 404
        assert client.get("/%ED%A0%80%FF").status_code == 404
    # A request's line is written once its answer has left.
    wait_until(lambda: len(server.lines("request")) == 4, "the line of each request")
    return server


def test_every_line_of_the_running_application_is_json_on_standard_output(app: Server) -> None:
    assert len(app.lines()) >= 8
    assert app.stderr() == ""


def test_uvicorns_own_lines_have_the_same_shape(app: Server) -> None:
    messages = [entry["message"] for entry in app.lines("server")]
    assert any("Started server process" in message for message in messages)
    assert any("Uvicorn running on" in message for message in messages)


def test_text_order_is_time_order(app: Server) -> None:
    stamps = [entry["timestamp"] for entry in app.lines()]
    assert stamps == sorted(stamps)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp) for stamp in stamps)


def test_a_request_is_one_line_with_its_fields(app: Server) -> None:
    chat, health, unicode, garbage = app.lines("request")
    assert chat["duration_ms"] > 0
    expected = {"method": "POST", "path": "/api/chat", "status_code": 200, "request_id": "the-one"}
    assert expected.items() <= chat.items()
    assert (chat["ip_address"], chat["level"]) == ("127.0.0.1", "INFO")
    assert health["path"] == "/health"
    assert (unicode["path"], unicode["level"]) == ("/日本", "WARNING")
    assert garbage["status_code"] == 404


def test_a_call_of_the_model_is_one_line_with_its_tokens_and_request(app: Server) -> None:
    (call,) = app.lines("llm_call")
    assert (call["model"], call["operation"], call["request_id"]) == ("lab-small", "chat", "the-one")
    assert (call["prompt_tokens"], call["completion_tokens"]) == (3, 16)
    assert call["duration_ms"] > 0


@pytest.mark.parametrize("private", [KEY, "a private question", "a-private-token", "You said"])
def test_secrets_questions_and_answers_are_not_logged_even_when_debugging(app: Server, private: str) -> None:
    assert private not in app.stdout()
