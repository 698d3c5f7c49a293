"""Item 15 as pure functions: what was counted where, and which alerts are loaded, in; findings out."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from labcheck import promql
from labcheck.checks import item_15_cost as item
from labcheck.checks.item_15_cost import Threshold
from labcheck.checks.model import Target
from labcheck.checks.monitoring import Alert
from labcheck.errors import Unreadable
from labcheck.facts.app_processes import Counts, Followed, Ledger, Spent, spending
from labcheck.facts.monitoring import Alertmanager, Matcher, Monitoring, Prometheus, Rule, Silence
from labcheck.result import Result
from labcheck.verdict import Finding
from tests.checks.findings import text_of, verdict

TARGET = Target(host="server", domain="app.lab.example")
METRIC, BUDGET = "app_llm_cost_usd_total", "app_daily_budget_usd"


def counts(number: int, cost: float, budget: float = 100, later: float | None = None) -> Counts:
    now = {METRIC: cost, BUDGET: budget}
    return Counts(800 + number, 8000 + number, now, now if later is None else now | {METRIC: later})


SPENT = Spent(
    (counts(0, 0.0000108), counts(1, 0.0000454), counts(2, 0.0)),
    Ledger(Decimal("0.0000562"), Decimal("0.0000562"), calls=2, unpriced=0),
    {"one": Decimal("0.0000108"), "two": Decimal("0.0000454")},
    {"one": Decimal("0.0000108000"), "two": Decimal("0.0000454000")},
)


def spent(**changes: Any) -> Spent:
    ledger = {name: changes.pop(name) for name in Ledger.__annotations__ if name in changes}
    return replace(SPENT, ledger=replace(SPENT.ledger, **ledger), **changes)


def prices(**changes: Any) -> list[Finding]:
    return list(item.calls_have_a_price(spent(**changes)))


def sums(**changes: Any) -> list[Finding]:
    return list(item.the_processes_count_what_the_ledger_holds(spent(**changes)))


def log(**changes: Any) -> list[Finding]:
    return list(item.the_log_says_the_same(spent(**changes)))


def test_model_calls_with_a_price_pass_and_none_at_all_are_left_to_the_exercise() -> None:
    assert verdict(prices()) == "PASS"
    (finding,) = prices(calls=0)
    assert finding.verdict.value == "UNKNOWN" and finding.until_exercised


def test_model_call_without_a_price_fails() -> None:
    assert verdict(prices(unpriced=1)) == "FAIL" and "with no cost" in text_of(prices(unpriced=1))


def test_cost_that_is_the_same_in_metric_and_ledger_passes() -> None:
    assert verdict(sums()) == "PASS"


def test_model_call_that_comes_meanwhile_does_not_matter() -> None:
    """A call between the first look at /metrics and the ledger is in the ledger and in the second look."""
    later = (counts(0, 0.0000108, later=0.0000208), *SPENT.processes[1:])
    assert (
        verdict(sums(processes=later, since_first=Decimal("0.0000662"), since_last=Decimal("0.0000662")))
        == "PASS"
    )


def test_a_process_that_was_started_later_knows_less_and_that_is_right() -> None:
    """One of three was restarted: the ledger since then has less than they all, since the first one more."""
    assert verdict(sums(since_first=Decimal("0.0001"), since_last=Decimal("0.00001"))) == "PASS"


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("0.0000563", "0.0000563", "holds more"),
        ("0.0000561", "0.0000561", "have counted more"),
        ("0", "0", "more"),
    ],
)
def test_costs_that_differ_between_metric_and_ledger_fail(first: str, last: str, says: str) -> None:
    findings = sums(since_first=Decimal(first), since_last=Decimal(last))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_ledger_rows_that_were_lost_are_named() -> None:
    lost = replace(
        SPENT.processes[0], after=dict(SPENT.processes[0].after) | {"app_ledger_rows_lost_total": 1.0}
    )
    findings = sums(processes=(lost, *SPENT.processes[1:]), since_first=Decimal(0), since_last=Decimal(0))
    assert "it lost rows" in text_of(findings)


def test_process_that_does_not_count_its_cost_fails() -> None:
    assert verdict(sums(processes=(Counts(800, 8000, {BUDGET: 100}, {BUDGET: 100}),))) == "FAIL"


def test_costs_in_the_log_are_compared_to_the_last_digit() -> None:
    assert verdict(log()) == "PASS"
    off = {"one": Decimal("0.0000108001"), "two": Decimal("0.0000454")}
    assert verdict(log(costs=off)) == "FAIL"
    assert verdict(log(costs={"two": Decimal("0.0000454")})) == "FAIL"
    assert verdict(log(log={})) == "UNKNOWN"


# ---- the alerts --------------------------------------------------------------------------------

DAY = "sum(increase(app_llm_cost_usd_total[1d]))"
SILENCE_FOR_A_YEAR = 365 * 86400.0


def rule(name: str, query: str, health: str = "ok") -> Rule:
    return Rule(name, query, 0.0, {"severity": "warning"}, health, "", 1.0, 15.0, False)


NEAR = rule("CostNearBudget", "app:llm_cost_usd:day > 0.8 * max(app_daily_budget_usd)")
ABOVE = rule("CostAboveBudget", "app:llm_cost_usd:day > max(app_daily_budget_usd)")
PROMETHEUS = Prometheus(
    "127.0.0.1:9091", (NEAR, ABOVE, rule("Disk", "used > 0.8")), {"app:llm_cost_usd:day": DAY}, {}, {}, (),
    ("http://127.0.0.1:9093/api/v2/alerts",), 1.0, None,
)  # fmt: skip
MANAGER = Alertmanager("127.0.0.1:9093", (), (), {"pager": ("webhook",), "nobody": ()}, {}, None)
WATCHED = Monitoring((PROMETHEUS,), (MANAGER,), {}, ())
NOTHING = Monitoring((), (), {}, ())


def loaded(*rules: Rule, **changes: Any) -> Monitoring:
    return replace(WATCHED, prometheus=(replace(PROMETHEUS, rules=rules or PROMETHEUS.rules, **changes),))


def rules(state: Monitoring = WATCHED, budgets: tuple[float, ...] = (100, 100, 100)) -> list[Finding]:
    processes = tuple(counts(number, 0.0, budget) for number, budget in enumerate(budgets))
    knows = item.a_rule_knows_the_budget(state, replace(SPENT, processes=processes), target=TARGET)
    return [*item.an_alert_is_evaluated(state, target=TARGET), *knows]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"{DAY} > 100", Threshold("", 100.0)),
        (f"{DAY} >= 1e9", Threshold("", 1e9)),
        (f"{DAY} > 0.8 * 100", Threshold("", 80.0)),
        (f"100 < {DAY}", Threshold("", 100.0)),
        ("app:llm_cost_usd:day > max(app_daily_budget_usd)", Threshold(BUDGET, 1.0)),
        ("app:llm_cost_usd:day > 0.8 * max(app_daily_budget_usd)", Threshold(BUDGET, 0.8)),
        ("app:llm_cost_usd:day > on() max(app_daily_budget_usd) * 0.8", Threshold(BUDGET, 0.8)),
        ("app:llm_cost_usd:day > on() group_left MAX(app_daily_budget_usd) / 2", Threshold(BUDGET, 0.5)),
        ("app:llm_cost_usd:day\n  > scalar(max(app_daily_budget_usd))", Threshold(BUDGET, 1.0)),
        ("sum(a) > 0 unless sum(increase(app_llm_cost_usd_total[15m])) > 0", Threshold("", 0.0)),
        ("app:llm_cost_usd:day > avg_over_time(app:llm_cost_usd:day[7d]) * 2", None),
        (f"{DAY} > {DAY} * 2", None),
        (f"absent({DAY})", None),
    ],
)
def test_cost_alert_s_threshold_is_read_from_its_expression(
    expression: str, expected: Threshold | None
) -> None:
    read = promql.parse(expression)
    assert item.threshold(Alert(PROMETHEUS, NEAR, read, read)) == expected


def test_cost_alerts_at_the_budget_and_before_it_pass() -> None:
    assert verdict(rules()) == "PASS"
    assert text_of(rules()) == "an alert fires when a day costs more than $80 and $100"
    assert verdict(rules(loaded(rule("Cost", f"{DAY} > 100"), rule("Soon", f"{DAY} > 80")))) == "PASS"


@pytest.mark.parametrize(
    ("findings", "expected", "says"),
    [
        (rules(NOTHING), "FAIL", "does not answer"),
        (
            rules(replace(NOTHING, unanswered={"Prometheus at 127.0.0.1:9091": "refused"})),
            "UNKNOWN",
            "127.0.0.1:9091: refused",
        ),
        (rules(loaded(rule("Cost", "sum( > 1"))), "UNKNOWN", "whether the alert Cost is about cost"),
        (rules(loaded(replace(NEAR, health="err"), ABOVE)), "FAIL", "cannot be evaluated"),
        (rules(loaded(ABOVE)), "FAIL", "and not before"),
        (rules(budgets=(1e9, 1e9, 1e9)), "FAIL", "budget in effect is $1,000,000,000 a day"),
        (rules(loaded(rule("Cost", f"{DAY} > 1e9"))), "FAIL", "budget in effect is $1,000,000,000"),
        (rules(budgets=(100, 100, 1)), "FAIL", "do not have the same budget"),
        (rules(loaded(rule("Odd", f"{DAY} > other"))), "UNKNOWN", "could not be read"),
    ],
)
def test_cost_rules_that_are_wrong_are_named_with_the_reason(
    findings: list[Finding], expected: str, says: str
) -> None:
    assert verdict(findings) == expected and says in text_of(findings)


def test_cost_rule_that_is_missing_fails() -> None:
    findings = list(item.an_alert_is_evaluated(loaded(rule("Disk", "used > 0.8")), target=TARGET))
    assert verdict(findings) == "FAIL" and "no alert about cost" in text_of(findings)


def test_prometheus_on_any_port_counts() -> None:
    """It is found by its process, as for item 10."""
    assert PROMETHEUS.address == "127.0.0.1:9091" and verdict(rules()) == "PASS"


def test_a_budget_of_one_s_own_is_named_in_labcheck_toml() -> None:
    processes = tuple(counts(number, 0.0, 500) for number in range(3))
    spent = replace(SPENT, processes=processes)
    assert verdict(item.a_rule_knows_the_budget(WATCHED, spent, target=TARGET)) == "FAIL"
    assert verdict(item.a_rule_knows_the_budget(WATCHED, spent, target=replace(TARGET, budget=500))) == "PASS"


def silenced(*matchers: tuple[str, str, bool, bool]) -> Monitoring:
    silence = Silence(tuple(Matcher(*each) for each in matchers), SILENCE_FOR_A_YEAR, "until Monday")
    return replace(WATCHED, alertmanagers=(replace(MANAGER, silences=(silence,)),))


@pytest.mark.parametrize(
    ("seen", "expected", "says"),
    [
        (WATCHED, "PASS", "has a way to a receiver"),
        (loaded(alertmanagers=()), "FAIL", "knows no Alertmanager"),
        (replace(WATCHED, alertmanagers=()), "FAIL", "Alertmanager does not answer"),
        (
            replace(WATCHED, alertmanagers=(), unanswered={"Alertmanager at :9093": "timed out"}),
            "UNKNOWN",
            "timed out",
        ),
        (
            replace(loaded(alertmanagers=("http://10.0.0.7:9093/api/v2/alerts",)), alertmanagers=()),
            "UNKNOWN",
            "on another server",
        ),
        (
            replace(WATCHED, alertmanagers=(replace(MANAGER, receivers={"pager": ()}),)),
            "FAIL",
            "sends nowhere",
        ),
        (
            silenced(("alertname", "CostAboveBudget", False, True)),
            "FAIL",
            "a silence keeps back CostAboveBudget",
        ),
        (silenced(("alertname", "Cost.*", True, True)), "FAIL", "CostAboveBudget, CostNearBudget"),
        (silenced(("severity", "warning", False, True)), "FAIL", "CostAboveBudget, CostNearBudget"),
        (silenced(("alertname", "DiskFull", False, True)), "PASS", "has a way"),
        (
            silenced(("alertname", "Other", False, False), ("severity", "critical", False, True)),
            "PASS",
            "way",
        ),
    ],
)
def test_cost_alert_needs_a_way_to_a_receiver(seen: Monitoring, expected: str, says: str) -> None:
    findings = list(item.it_would_reach_a_person(seen))
    assert verdict(findings) == expected and says in text_of(findings)


# ---- exercise ----------------------------------------------------------------------------------

PRICE = Decimal("0.0000108000")
SEEN = Followed(200, 0.0000108, ledger=PRICE, log=PRICE, error="")


@pytest.mark.parametrize(
    ("changes", "expected", "says"),
    [
        ({}, "PASS", "the same in ledger, log and metric"),
        ({"ledger": None}, "FAIL", "no row of it"),
        ({"ledger": Decimal(0), "log": Decimal(0), "metric": 0.0}, "FAIL", "it for nothing"),
        ({"log": Decimal("0.0000108001")}, "FAIL", "not the same cost"),
        ({"log": None}, "FAIL", "not the same cost"),
        ({"metric": 0.0}, "FAIL", "not the same cost"),
        ({"status": 429}, "UNKNOWN", "status 429"),
    ],
)
def test_cost_of_one_question_is_followed_into_ledger_log_and_metric(
    changes: dict[str, Any], expected: str, says: str
) -> None:
    findings = list(item.one_question(replace(SEEN, **changes)))
    assert verdict(findings) == expected and says in text_of(findings)


def test_cost_of_a_question_that_cannot_be_followed_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="psql"):
        list(item.one_question(replace(SEEN, error="psql is not there")))


# ---- the fact ----------------------------------------------------------------------------------


def test_spending_fact_is_read() -> None:
    printed = {
        "processes": [{"pid": 1, "port": 8000, "before": {METRIC: 1.0}, "after": {METRIC: 1.0}}],
        "ledger": {"since_first": "1.0000000000", "since_last": "0.5", "calls": 3, "unpriced": 0},
        "log": {"one": "0.1"}, "costs": {"one": "0.10"}, "error": "",
    }  # fmt: skip
    spent = spending.parse(Result(json.dumps(printed), "", 0))
    assert (spent.ledger.since_first, spent.log, spent.costs) == (
        1,
        {"one": Decimal("0.1")},
        {"one": Decimal("0.1")},
    )


@pytest.mark.parametrize(
    "text", ['{"error": "no process tells"}', "{}", "[", '{"error": "", "ledger": null}']
)
def test_spending_fact_that_is_not_understood_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        spending.parse(Result(text, "", 0))
