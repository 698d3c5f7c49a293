"""What Prometheus and Alertmanager say about alerts on money, and what becomes of an expression."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labcheck.errors import Unreadable
from labcheck.facts.cost_rules import CostAlerts, cost_alerts, threshold
from labcheck.result import Result

DAY = "sum(increase(app_llm_cost_usd_total[1d]))"


@pytest.mark.parametrize(
    ("expression", "budget", "factor"),
    [
        (f"{DAY} > 100", "", 100.0),
        (f"{DAY} >= 1e9", "", 1e9),
        ("app:llm_cost_usd:day > max(app_daily_budget_usd)", "app_daily_budget_usd", 1.0),
        ("app:llm_cost_usd:day > 0.8 * max(app_daily_budget_usd)", "app_daily_budget_usd", 0.8),
        ("app:llm_cost_usd:day > on() max(app_daily_budget_usd) * 0.8", "app_daily_budget_usd", 0.8),
        ("app:llm_cost_usd:day\n  > scalar(max(app_daily_budget_usd))", "app_daily_budget_usd", 1.0),
        ("sum(a) > 0 unless sum(increase(app_llm_cost_usd_total[15m])) > 0", "", 0.0),
        ("app:llm_cost_usd:day > avg_over_time(app:llm_cost_usd:day[7d]) * 2", "", None),
        (f"absent({DAY})", "", None),
    ],
)
def test_from_which_sum_on_an_expression_fires(expression: str, budget: str, factor: float | None) -> None:
    assert threshold(expression) == (budget, factor)


def alert(name: str, query: str, health: str = "ok") -> dict[str, Any]:
    return {"type": "alerting", "name": name, "query": query, "health": health}


RULES = {"data": {"groups": [{"rules": [alert("Cost", f"{DAY} > 100"), alert("Disk", "used > 0.8")]}]}}
MANAGERS = {"data": {"activeAlertmanagers": [{"url": "http://127.0.0.1:9093/api/v2/alerts"}]}}
SEVERAL = "receivers:\n- name: pager\n  webhook_configs:\n  - url: <secret>\n- name: nobody\n"


def status(original: str = SEVERAL) -> dict[str, Any]:
    return {"config": {"original": original}}


def silence(name: str, state: str = "active", **more: Any) -> dict[str, Any]:
    return {"status": {"state": state}, "matchers": [{"name": "alertname", "value": name, **more}]}


def parsed(**parts: Any) -> CostAlerts:
    whole = {"rules": RULES, "alertmanagers": MANAGERS, "status": status(), "silences": [], **parts}
    blocks = [f"\n== {name}\n{json.dumps(part) if part is not None else ''}" for name, part in whole.items()]
    return cost_alerts.parse(Result("".join(blocks) + "\n== end\n", "", 0))


def test_of_the_rules_those_about_cost_are_told() -> None:
    found = parsed()
    assert [(rule.name, rule.factor) for rule in found.rules] == [("Cost", 100.0)]
    assert (found.prometheus, found.connected, found.alertmanager, found.receivers) == (True, True, True, 1)


def test_who_does_not_answer_is_absent() -> None:
    found = parsed(rules=None, alertmanagers=None, status=None, silences=None)
    assert found == CostAlerts(False, (), False, False, 0, frozenset())


def test_a_receiver_without_a_way_out_is_none() -> None:
    assert parsed(status=status("receivers:\n- name: pager\n")).receivers == 0


def test_only_a_silence_in_force_keeps_something_back() -> None:
    silences = [silence("Cost"), silence("Disk", "expired"), silence("Other", isEqual=False)]
    assert parsed(silences=silences).silenced == {"Cost"}


@pytest.mark.parametrize(
    "text", ["", "\n== rules\n{}", "\n== rules\n<html>\n== end\n", "\n== rules\n{}\n== end\n"]
)
def test_what_is_not_understood_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        cost_alerts.parse(Result(text, "", 0))
