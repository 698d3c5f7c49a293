"""A line of a log as a record, on this computer and on the server."""

from __future__ import annotations

import pytest

from labcheck.remote.log_records import REQUEST_ID, record


def test_record_of_a_line_has_its_fields() -> None:
    assert record('{"level": "INFO", "duration_ms": 1.5, "user_id": null}') == {
        "level": "INFO",
        "duration_ms": 1.5,
        "user_id": None,
    }


def test_record_keeps_every_digit_of_a_number_on_request() -> None:
    assert record('{"cost_usd": 0.00010, "tokens": 7}', number=str) == {"cost_usd": "0.00010", "tokens": "7"}


@pytest.mark.parametrize("line", ["", "said", '{"level": "INFO"', "[1]", "7"])
def test_record_of_what_is_no_json_object_is_none(line: str) -> None:
    assert record(line) is None


def test_request_ids_are_found_in_packed_and_in_spaced_json() -> None:
    assert REQUEST_ID.findall(b'{"request_id":"a"} {"request_id": "b-1"} {"request_id": null}') == [
        b"a",
        b"b-1",
    ]
