"""What Prometheus comes to fetch at /metrics: for this server itself, never for the outside."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from lab_app import ledger
from lab_app.problem_details import Problem

# Up to the minutes that an answer of a language model may take.
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

requests = Histogram("app_request_seconds", "Requests", ["method", "route", "status"], buckets=SECONDS)
llm = Histogram("app_llm_seconds", "Calls of the language model", ["model", "outcome"], buckets=SECONDS)
tokens = Counter("app_llm_tokens", "Tokens sent and received", ["model", "kind"])
cost = Counter("app_llm_cost_usd", "What the calls cost, in dollars", ["model"])
unrecorded = Counter("app_ledger_rows_lost", "Calls that the ledger could not take")
budget = Gauge("app_daily_budget_usd", "What the calls of a day may cost, in dollars")
health = Gauge("app_component_healthy", "1: it is well, 0: it is not", ["component"])

router = APIRouter()


def count_call(entry: ledger.Entry) -> None:
    """A question that was answered, or paid for."""
    llm.labels(entry.model, entry.outcome).observe(entry.duration_ms / 1000)
    tokens.labels(entry.model, "prompt").inc(entry.prompt_tokens)
    tokens.labels(entry.model, "completion").inc(entry.completion_tokens)
    cost.labels(entry.model).inc(float(entry.cost_usd or 0))


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    # A proxy says for whom it asks; Prometheus, on this server, asks without one.
    if {"x-forwarded-for", "forwarded", "via"} & set(request.headers):
        raise Problem(404, "not_found", "Not Found")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
