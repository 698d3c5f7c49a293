"""Limits for a long answer grow from the inside to the outside: application, Supervisor, systemd, nginx."""

from __future__ import annotations

import re

import pytest

from lab_app.settings import Settings
from tests.notebooks.test_shape import PATHS, read

ANSWER = Settings.model_fields["openai_timeout"].default
MARGIN = 60  # seconds for what comes before and after an answer, as lab_app's settings ask for


def number_in(chapter: str, cell: str, pattern: str) -> int:
    (path,) = [path for path in PATHS if path.name.startswith(chapter)]
    (source,) = [each.source for each in read(path).notebook.cells if each.id == cell]
    (found,) = re.findall(pattern, source)
    return int(found)


@pytest.fixture(scope="module")
def supervisor_waits() -> int:
    return number_in("01_", "supervisor-file", r"(?m)^stopwaitsecs=(\d+)$")


def test_supervisor_waits_for_the_longest_answer(supervisor_waits: int) -> None:
    assert supervisor_waits >= ANSWER + MARGIN


def test_systemd_waits_for_supervisor(supervisor_waits: int) -> None:
    assert number_in("05_", "minutes-systemd", r"TimeoutStopSec=(\d+)") > supervisor_waits


def test_nginx_waits_for_the_longest_answer() -> None:
    assert number_in("05_", "nginx-file", r"proxy_read_timeout (\d+)s;") >= ANSWER + MARGIN
