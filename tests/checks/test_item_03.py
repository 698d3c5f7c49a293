"""Item 3 as pure functions: answers of the health endpoints in, findings out."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import labcheck.wait
from labcheck.checks import item_03_health as health
from labcheck.external.model import Attempt, Fetch, Website
from tests.checks.findings import verdict

IPV4 = "198.51.100.10"
HEALTHY = json.dumps({"status": "healthy", "components": {"openai_api": {"status": "healthy"}}})
GOOD = Attempt(200, 0.1, HEALTHY, "", "", {}, "", well=True)


def site(*gets: Fetch) -> Website:
    return Website((), (), gets)


def fetch(path: str = "/health", **changes: object) -> Fetch:
    return Fetch(IPV4, path, (replace(GOOD, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (fetch(body='{"status": "unhealthy", "components": {"a": "down"}}'), "status 200 with"),
        (fetch(status=503), "status 503 with"),
        (fetch(body='{"status": "healthy", "components": {"a": "unhealthy"}}'), "although a is not"),
        (fetch(body="OK"), "not a JSON object"),
        (fetch(body='{"status": "healthy"}'), "no component"),
        (fetch(seconds=1.2), "slower than 1 s"),
        (fetch(status=502, body=""), "status 502"),
        (fetch(status=None, error="no answer"), "no answer"),
    ],
)
def test_a_health_answer_fails_with_its_reason(answer: Fetch, says: str) -> None:
    (finding,) = health.the_endpoints_answer(site(answer))
    assert finding.verdict.value == "FAIL" and says in finding.observed


def test_health_answer_counts_by_the_best_of_three_attempts() -> None:
    slow = replace(GOOD, seconds=2.0, well=False)
    quick_and_ill = replace(GOOD, seconds=0.01, body='{"status": "degraded", "components": {}}', well=False)
    three = Fetch(IPV4, "/health", (slow, quick_and_ill, GOOD))
    assert verdict(health.the_endpoints_answer(site(three))) == "PASS"
    assert verdict(health.the_endpoints_answer(site(replace(three, attempts=three.attempts[:2])))) == "FAIL"


def ill(*names: str, status: int = 503, **changes: object) -> Fetch:
    """An answer of /health that calls these components ill."""
    parts = {name: {"status": "unhealthy" if name in names else "healthy"} for name in ("database", "cache")}
    word = "unhealthy" if status == 503 else "degraded"
    return fetch(status=status, body=json.dumps({"status": word, "components": parts}), **changes)


WELL, ILL, LATE = fetch(), ill("database"), ill("database", seconds=1.2)
READY, NOT_READY = fetch("/health/ready"), fetch("/health/ready", status=503, body='{"status": "unhealthy"}')


@pytest.mark.parametrize(
    ("answers", "expected", "says"),
    [
        ([[WELL], [ILL]], "PASS", "says unhealthy (database) within 1 s"),
        ([[WELL], [ill("database", status=200)]], "PASS", "says degraded (database) within 1 s"),
        ([[ILL, NOT_READY]], "PASS", "says unhealthy"),
        ([[LATE], [WELL], [LATE], [ILL]], "PASS", "says unhealthy"),
        ([[LATE], [LATE], [LATE], [ILL]], "FAIL", "longer than 1 s"),
        ([[], [fetch(status=None, error="no answer")], [LATE], [ILL]], "FAIL", "longer than 1 s"),
        ([[LATE], [LATE]], "FAIL", "longer than 1 s"),
        ([[WELL], [WELL]], "FAIL", "stays well"),
        ([[LATE], [WELL]], "FAIL", "stays well"),
        ([[ill()], [ill()]], "FAIL", "names no component"),
        ([[ill("cache")], [ill("cache")]], "FAIL", "names cache"),
        ([[ill("cache", "database")], [ill("cache", "database")]], "FAIL", "cache is not well again"),
        ([[ILL, READY], [ILL, READY]], "FAIL", "still lets traffic come"),
    ],
)
def test_paused_dependency_has_to_show_in_the_health_answer(
    answers: list[list[Fetch]], expected: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock on which only waiting takes time: every answer is asked for, however busy the computer is.
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(labcheck.wait, "time", clock)
    remaining = iter(answers)
    timeout = float(len(answers) - 1)
    finding, _ = health.how_it_shows(
        "DATABASE_URL", lambda: next(remaining), timeout=timeout, every=1, before={"cache"}
    )
    assert finding.verdict.value == expected and says in finding.observed


def test_health_paths_with_one_text_for_all_fail() -> None:
    recited = [fetch(path) for path in ("/health/live", "/health/ready", "/health")]
    assert verdict(health.the_application_itself_answers(site(*recited))) == "FAIL"
