"""Levels: how bad an event is follows from what the application can still do."""

from __future__ import annotations

import logging

import httpx2
import pytest

from lab_app.health import Probe

from .conftest import KEY, StartServer, wait_until


@pytest.mark.parametrize(("critical", "level"), [(True, "CRITICAL"), (False, "WARNING")])
async def test_a_part_that_nothing_works_without_is_critical(
    critical: bool, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ConnectionRefusedError

    async def well() -> None:
        return

    with caplog.at_level(logging.INFO, logger="lab_app"):
        probe = Probe("part", broken, critical=critical)
        await probe.refresh()
        probe.look, probe.started = well, float("-inf")
        await probe.refresh()
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        (level, "part is unhealthy"),
        ("INFO", "part is healthy"),
    ]


@pytest.mark.parametrize(("setting", "expected"), [("DEBUG", ["DEBUG"]), ("INFO", [])])
def test_what_is_for_developers_is_logged_only_where_it_is_asked_for(
    model: str, start_server: StartServer, setting: str, expected: list[str]
) -> None:
    app = start_server(
        "lab_app.main:app", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=model, OPENAI_MODEL="lab-small",
        LOG_LEVEL=setting,
    )  # fmt: skip
    assert httpx2.post(app.url + "/api/chat", json={"message": "Hello?"}, timeout=120).status_code == 200
    wait_until(lambda: app.lines("llm_call"), "the call in the log")
    assert [line["level"] for line in app.lines() if line["message"] == "passages were found"] == expected
