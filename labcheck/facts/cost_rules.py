"""Facts about alerts on money: the rules that Prometheus evaluates, and where their alerts go."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result


@dataclass(frozen=True)
class CostRule:
    """An alert about cost that Prometheus has loaded. It fires above `factor` times the metric `budget`, or
    above `factor` dollars where `budget` is empty; None where its expression does not say so."""

    name: str
    expression: str
    health: str  # ok, err, unknown
    budget: str
    factor: float | None


@dataclass(frozen=True)
class CostAlerts:
    """`prometheus` and `alertmanager` say whether they answer, `connected` whether the first knows the other,
    `receivers` how many ways out that one has, `silenced` the names of alerts that it keeps to itself."""

    prometheus: bool
    rules: tuple[CostRule, ...]
    connected: bool
    alertmanager: bool
    receivers: int
    silenced: frozenset[str]


_COST = re.compile(r"cost|spen[dt]|usd", re.I)
_ABOVE = re.compile(
    r">=?\s*(?:bool\s+)?(?:(?:on|ignoring)\s*\([^)]*\)\s*(?:group_\w+(?:\s*\([^)]*\))?\s*)?)?"
    r"(?:(?P<number>[\d.]+(?:e\d+)?)\s*(?P<times>\*\s*)?)?"
    r"(?P<metric>(?:\w+\()*\s*\w*budget\w*[^>]*)?\s*$",
    re.I,
)


def threshold(expression: str) -> tuple[str, float | None]:
    """The budget's metric and the share of it, or an empty name and dollars."""
    match = _ABOVE.search(" ".join(expression.split()))
    if not match or (match["metric"] and match["number"] and not match["times"]):
        return "", None
    number = float(match["number"]) if match["number"] else None
    if match["metric"]:
        name = re.search(r"\w*budget\w*", match["metric"], re.I)
        factor = re.search(r"\)?\s*\*\s*([\d.]+)\s*$", match["metric"])
        share = number if number is not None else float(factor[1]) if factor else 1.0
        return (name[0] if name else ""), share
    return "", None if match["times"] else number


def parse_cost_alerts(result: Result) -> CostAlerts:
    parts: dict[str, Any] = {}
    for block in result.stdout.split("\n== ")[1:]:
        name, _, text = block.partition("\n")
        try:
            parts[name] = json.loads(text) if text.strip() else None
        except ValueError:
            raise Unreadable(f"what {name} says is not JSON") from None
    if "end" not in parts:
        raise Unreadable("what Prometheus and Alertmanager say came back incomplete")
    try:
        return _alerts(parts)
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("what Prometheus and Alertmanager say is not understood") from None


def _alerts(parts: dict[str, Any]) -> CostAlerts:
    rules, managers = parts["rules"], parts["alertmanagers"]
    status, silences = parts["status"], parts["silences"]
    found = []
    for group in rules["data"]["groups"] if rules else ():
        for rule in group["rules"]:
            if rule["type"] == "alerting" and (_COST.search(rule["query"]) or _COST.search(rule["name"])):
                budget, factor = threshold(rule["query"])
                found.append(CostRule(rule["name"], rule["query"], rule["health"], budget, factor))
    active = {
        matcher["value"]
        for silence in silences or ()
        if silence["status"]["state"] == "active"
        for matcher in silence["matchers"]
        if matcher["name"] == "alertname" and matcher.get("isEqual", True)
    }
    return CostAlerts(
        prometheus=rules is not None,
        rules=tuple(found),
        connected=bool(managers and managers["data"]["activeAlertmanagers"]),
        alertmanager=status is not None,
        receivers=len(re.findall(r"(?m)^\s*-?\s*\w+_configs:", status["config"]["original"]))
        if status
        else 0,
        silenced=frozenset(active),
    )


cost_alerts = Fact(
    "cost_alerts",
    r"""ask() { printf '\n== %s\n' "$1"; curl -s -m 5 "$2" || [ $? = 7 ]; }
ask rules 'http://127.0.0.1:9090/api/v1/rules?type=alert'
ask alertmanagers http://127.0.0.1:9090/api/v1/alertmanagers
ask status http://127.0.0.1:9093/api/v2/status
ask silences http://127.0.0.1:9093/api/v2/silences
printf '\n== end\n'""",
    parse_cost_alerts,
    timeout=30,
)
