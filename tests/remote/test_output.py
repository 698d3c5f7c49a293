"""What a command printed, in one line."""

from __future__ import annotations

import pytest

from labcheck.remote.output import last_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "nothing"), (" \n\n", "nothing"), ("one", "one"), ("one\n  two \n\n", "two"), ("a\r\nb\r\n", "b")],
)
def test_last_line_that_holds_anything_is_the_reason(text: str, expected: str) -> None:
    assert last_line(text, "nothing") == expected
