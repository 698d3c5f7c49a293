"""The picture of a log: a dot for each request, in the colour of how it ended, and what was spent."""

from __future__ import annotations

import json
import re

from labkit.figures import requests


def line(second: int, event: str, **fields: object) -> str:
    stamp = f"2026-11-26T10:00:{second:02}.000000Z"
    return json.dumps({"timestamp": stamp, "level": "INFO", "message": "said", "event_type": event, **fields})


LOG = [
    line(0, "startup"),
    *(
        line(n, "request", status_code=code, duration_ms=1.5)
        for n, code in ((1, 200), (2, 200), (3, 404), (4, 503))
    ),
    line(5, "llm_call", cost_usd=0.001),
    line(6, "llm_call", cost_usd=None),
    "no JSON",
]


def dots(svg: str, name: str) -> int:
    """How many dots the group of this name has."""
    group = re.search(rf'<g id="{name}">(.*?)\n   </g>', svg, re.S)
    assert group
    return len(re.findall(r"<use ", group[1]))


def test_each_request_is_a_dot_in_the_colour_of_how_it_ended() -> None:
    svg = requests.draw_timeline(LOG)
    counts = {words: dots(svg, words) for words, *_ in requests.ENDS}
    assert counts == {
        "answered": 2,
        "refused": 1,
        "failed": 1,
    }
    assert all(f"{words}: " in svg for words, *_ in requests.ENDS)


def test_the_same_log_gives_the_same_picture() -> None:
    assert requests.draw_timeline(LOG) == requests.draw_timeline(LOG)


def test_an_empty_log_is_a_picture_as_well() -> None:
    assert "<svg" in requests.draw_timeline([])


def test_a_call_without_a_price_adds_nothing_to_what_was_spent() -> None:
    assert requests.sums([{"cost_usd": 0.001}, {"cost_usd": None}, {"cost_usd": 0.002}])[1:] == [0.001, 0.003]
