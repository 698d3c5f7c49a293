"""Times as programs write them."""

from __future__ import annotations

import pytest

from labcheck.remote import timestamps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.123456789Z", 60.123456789),
        ("1970-01-01T01:01:00.5+01:00", 60.5),
        ("0001-01-01T00:00:00Z", -62135596800.0),  # Go's word for never
        ("2026-11-26T20:57:04+02:00", 1795719424.0),
        ("2026-11-26T13:27:04.5-05:30", 1795719424.5),
    ],
)
def test_timestamp_is_read_with_its_zone_and_all_its_digits(text: str, expected: float) -> None:
    assert timestamps.seconds(text) == expected


@pytest.mark.parametrize("text", ["soon", "", "2026-11-26", "2026-11-26T20:57:04", "2026-13-26T20:57:04Z",
                                  "2026-11-26T20:57:04Z and more"])  # fmt: skip
def test_timestamp_that_is_none_is_reported(text: str) -> None:
    with pytest.raises(ValueError):
        timestamps.seconds(text)
