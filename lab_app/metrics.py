"""What Prometheus comes to fetch at /metrics, with the token of METRICS_TOKEN_FILE.

Whether a request came through a proxy would decide nothing: a proxy may add no header that says so.
"""

from functools import lru_cache
from pathlib import Path
from secrets import compare_digest
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from lab_app import ledger
from lab_app.dependencies import SettingsDep
from lab_app.problem_details import Problem

# Up to the minutes that an answer of a language model may take.
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

requests = Histogram("app_request_seconds", "Requests", ["method", "route", "status"], buckets=SECONDS)
requests_of = lru_cache(requests.labels)  # looked up once for each route, not for each request
llm = Histogram("app_llm_seconds", "Calls of the language model", ["model", "outcome"], buckets=SECONDS)
tokens = Counter("app_llm_tokens", "Tokens sent and received", ["model", "kind"])
cost = Counter("app_llm_cost_usd", "What the calls cost, in dollars", ["model"])
unrecorded = Counter("app_ledger_rows_lost", "Calls that the ledger could not take")
budget = Gauge("app_daily_budget_usd", "What the calls of a day may cost, in dollars")
health = Gauge("app_component_healthy", "1: it is well, 0: it is not", ["component"])

router = APIRouter()
bearer = HTTPBearer(auto_error=False)


def count_call(entry: ledger.Entry) -> None:
    """A question that was answered, or paid for."""
    llm.labels(entry.model, entry.outcome).observe(entry.duration_ms / 1000)
    tokens.labels(entry.model, "prompt").inc(entry.prompt_tokens)
    tokens.labels(entry.model, "completion").inc(entry.completion_tokens)
    cost.labels(entry.model).inc(float(entry.cost_usd or 0))


# By plain functions, which FastAPI runs in threads: the file may be on a disk that hangs.
@router.get("/metrics", include_in_schema=False)
def metrics(
    settings: SettingsDep, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Response:
    if settings.metrics_token_file is None:
        raise Problem(404, "not_found", "Not Found")
    token = read_token(settings.metrics_token_file)
    if given is None or not compare_digest(given.credentials.encode(), token.encode()):
        detail = "Send the token as a header: Authorization: Bearer TOKEN."
        raise Problem(401, "not_authenticated", detail, {"WWW-Authenticate": "Bearer"})
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def read_token(file: Path) -> str:
    """The token as it is now, so that a new one counts at once. Raises Problem where there is none."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        token = ""
    if not token:
        raise Problem(503, "no_metrics_token", "METRICS_TOKEN_FILE names no file with a token to read.")
    return token
