"""What Prometheus fetches: numbers that move with what happens, and nothing for the outside."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import StartEndpoint, client_of, settings
from .test_chat import HELLO, assert_problem

PRICED = {"openai_priced_as": "gpt-4o-mini"}


def numbers(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_what_happens_is_counted(model: str, start_endpoint: StartEndpoint) -> None:
    async with client_of(settings(model, **PRICED)) as client:
        before = numbers((await client.get("/metrics")).text)
        await client.post("/api/chat", json=HELLO)
        await client.get("/nothing/here")
        await client.get("/health")
        after = numbers((await client.get("/metrics")).text)
    async with client_of(settings(start_endpoint(status=500).url)) as client:
        await client.post("/api/chat", json=HELLO)
        failed = numbers((await client.get("/metrics")).text)

    def added(name: str, since: dict[str, float] = before, now: dict[str, float] = after) -> float:
        return round(now[name] - since.get(name, 0), 12)

    chat = 'method="POST",route="/api/chat",status="200"'
    assert added(f"app_request_seconds_count{{{chat}}}") == 1
    assert added(f'app_request_seconds_bucket{{le="+Inf",{chat}}}') == 1
    assert added('app_request_seconds_count{method="any",route="none",status="404"}') == 1
    assert added('app_llm_seconds_count{model="lab-small",outcome="answered"}') == 1
    assert added('app_llm_tokens_total{kind="prompt",model="lab-small"}') == 4
    assert added('app_llm_tokens_total{kind="completion",model="lab-small"}') == 17
    assert added('app_llm_cost_usd_total{model="lab-small"}') == 0.0000108
    assert after['app_component_healthy{component="database"}'] == 1
    assert added('app_llm_seconds_count{model="lab-small",outcome="failed"}', after, failed) == 1
    assert (
        added('app_request_seconds_count{method="POST",route="/api/chat",status="502"}', after, failed) == 1
    )


async def test_the_budget_is_told_and_a_model_s_cost_begins_with_nothing() -> None:
    """What begins with its first call hides that call's cost: Prometheus sees no increase."""
    async with client_of(settings(daily_budget_usd=12.5, openai_model="never-asked")) as client:
        found = numbers((await client.get("/metrics")).text)
    assert found["app_daily_budget_usd{}"] == 12.5
    assert found['app_llm_cost_usd_total{model="never-asked"}'] == 0


async def test_what_people_type_does_not_become_a_label() -> None:
    async with client_of(settings()) as client:
        for number in range(5):
            await client.request(f"ODD{number}", f"/guess/{number}")
        text = (await client.get("/metrics")).text
    assert "guess" not in text and "ODD" not in text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_through_a_proxy_there_are_no_metrics(header: str) -> None:
    async with client_of(settings()) as client:
        assert_problem(await client.get("/metrics", headers={header: "203.0.113.9"}), 404, "not_found")
