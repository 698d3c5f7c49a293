"""What Prometheus fetches: numbers that move with what happens, and nothing without the token."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import StartEndpoint, StartServer, client_of, settings
from .test_chat import HELLO, assert_problem
from .time_limits import GENEROUS

PRICED = {"openai_priced_as": "gpt-4o-mini"}
TOKEN = "token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """With a newline at its end, as programs write it."""
    file = tmp_path / "metrics.key"
    file.write_text(f"{TOKEN}\n")
    return file


def numbers(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_what_happens_is_counted(model: str, start_endpoint: StartEndpoint, token_file: Path) -> None:
    async with client_of(settings(model, metrics_token_file=token_file, **PRICED)) as client:
        before = numbers((await client.get("/metrics", headers=BEARER)).text)
        await client.post("/api/chat", json=HELLO)
        await client.get("/nothing/here")
        await client.get("/health")
        after = numbers((await client.get("/metrics", headers=BEARER)).text)
    async with client_of(settings(start_endpoint(status=500).url, metrics_token_file=token_file)) as client:
        await client.post("/api/chat", json=HELLO)
        failed = numbers((await client.get("/metrics", headers=BEARER)).text)

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


async def test_the_budget_is_told_and_a_model_s_cost_begins_with_nothing(token_file: Path) -> None:
    """What begins with its first call hides that call's cost: Prometheus sees no increase."""
    async with client_of(
        settings(daily_budget_usd=12.5, openai_model="never-asked", metrics_token_file=token_file)
    ) as client:
        found = numbers((await client.get("/metrics", headers=BEARER)).text)
    assert found["app_daily_budget_usd{}"] == 12.5
    assert found['app_llm_cost_usd_total{model="never-asked"}'] == 0


async def test_what_people_type_does_not_become_a_label(token_file: Path) -> None:
    async with client_of(settings(metrics_token_file=token_file)) as client:
        for number in range(5):
            await client.request(f"ODD{number}", f"/guess/{number}")
        text = (await client.get("/metrics", headers=BEARER)).text
    assert "guess" not in text and "ODD" not in text


# ---- the token ----


async def test_without_a_token_file_there_are_no_metrics() -> None:
    async with client_of(settings()) as client:
        assert_problem(await client.get("/metrics", headers=BEARER), 404, "not_found")


@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN]
)
async def test_without_the_token_there_are_no_metrics(given: str | None, token_file: Path) -> None:
    headers = {"Authorization": given} if given else {}
    async with client_of(settings(metrics_token_file=token_file)) as client:
        response = await client.get("/metrics", headers=headers)
    assert_problem(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"] == "Bearer" and TOKEN not in response.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_a_proxy_s_headers_decide_nothing(header: str, token_file: Path) -> None:
    async with client_of(settings(metrics_token_file=token_file)) as client:
        proxied = {header: "203.0.113.9"}
        assert (await client.get("/metrics", headers=proxied)).status_code == 401
        assert (await client.get("/metrics", headers=proxied | BEARER)).status_code == 200


async def test_a_new_token_counts_at_once_and_the_old_one_no_more(token_file: Path) -> None:
    async with client_of(settings(metrics_token_file=token_file)) as client:
        token_file.write_text("another-token\n")
        assert (await client.get("/metrics", headers=BEARER)).status_code == 401
        another = {"Authorization": "Bearer another-token"}
        assert (await client.get("/metrics", headers=another)).status_code == 200


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
@pytest.mark.parametrize("given", ["Bearer ", f"Bearer {TOKEN}"])
async def test_a_file_without_a_token_lets_nobody_in_and_stops_nothing_else(
    content: bytes | None, given: str, token_file: Path
) -> None:
    token_file.unlink() if content is None else token_file.write_bytes(content)
    async with client_of(settings(metrics_token_file=token_file)) as client:
        response = await client.get("/metrics", headers={"Authorization": given})
        assert_problem(response, 503, "no_metrics_token")
        assert str(token_file) not in response.text
        assert (await client.get("/health/live")).status_code == 200


def test_the_token_is_in_no_log(start_server: StartServer, token_file: Path) -> None:
    app = start_server("lab_app.main:app", METRICS_TOKEN_FILE=str(token_file), LOG_LEVEL="DEBUG")
    assert httpx2.get(f"{app.url}/metrics", headers=BEARER, timeout=GENEROUS).status_code == 200
    assert httpx2.get(f"{app.url}/metrics", timeout=GENEROUS).status_code == 401
    assert TOKEN not in app.stdout() + app.stderr()
