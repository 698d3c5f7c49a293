"""Item 10, the alerts: those of the module are loaded and evaluated, and would fire for what they are for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from promql_parser import Expr

from labcheck import promql
from labcheck.checks.model import Target, criterion
from labcheck.checks.monitoring import Alert, alerts
from labcheck.errors import Unreadable
from labcheck.facts.monitoring import Monitoring, monitoring
from labcheck.promql import Condition, Selector
from labcheck.remote.monitoring import LATE, MOST_SERIES
from labcheck.verdict import Finding, failed, passed, unknown

WHY = "what is not monitored is broken until a user writes"
_TAUGHT = "rules and their tests are in chapter 07_monitoring"
LONGEST = 300.0
"""Seconds for which the health may have to be bad before an alert fires; the module wants 2 minutes."""
SHORTEST = 120.0

WANTED = {
    "health": "an alert on /health, which does not answer with 200 for 2 minutes",
    "errors": "an alert on more than 5 % of the requests that fail",
    "latency": "an alert on a 95th percentile over 5 s",
    "disk": "an alert on a disk that is more than 80 % full",
    "target": "an alert on a target that gives no numbers",
}
_STATUS = re.compile(r"^(status|status_code|code|http_status|http_status_code|http_response_status_code)$")


def kind(expression: Expr, *, share: bool = False) -> str:
    """What an expression is about, by the metrics that it reads; "" for anything else.

    `share` says that it is compared with a share of something, as an expression is that divides.
    """
    read = promql.selectors(expression)
    names = " ".join(selector.name for selector in read)
    labels = {matcher.label for selector in read for matcher in selector.matchers}
    if re.search(r"\bprobe_(success|http_status_code)\b", names):
        return "health"
    if read and all(selector.name == "up" for selector in read):
        return "target"
    if promql.calls(expression, "histogram_quantile") or "quantile" in labels:
        return "latency"
    if re.search(r"\bnode_filesystem_|disk_used|disk_free", names):
        return "disk"
    if (share or promql.divides(expression)) and any(map(_STATUS.match, labels)):
        return "errors"
    return ""


def about(alert: Alert, kind_of_alert: str) -> list[Condition | None]:
    """What an alert compares of this kind; None where it is of this kind, and compares nothing."""
    compared = promql.conditions(alert.says)
    if not compared and not promql.asks_what_is_missing(alert.says):
        return [None] if kind(alert.says) == kind_of_alert else []
    return [
        one for one in compared if kind(one.left, share=promql.number(one.right) is None) == kind_of_alert
    ]


@criterion(state=monitoring)
def the_alerts_are_in_effect(state: Monitoring, target: Target) -> Iterator[Finding]:
    """The module's alerts are loaded and evaluated, and would fire for what they are meant for."""
    if not state.prometheus:
        return
    loaded = alerts(state)
    good = True
    for kind_of_alert, words in WANTED.items():
        mine = [(alert, condition) for alert in loaded.all for condition in about(alert, kind_of_alert)]
        problems = [list(_wrong_with(kind_of_alert, *pair, target)) for pair in mine]
        if not mine and loaded.unread:
            good = False
            name, reason = next(iter(loaded.unread.items()))
            yield unknown(f"whether the alert {name} is {words} cannot be determined: {reason}")
        elif not mine:
            good = False
            yield failed(
                f"Prometheus has not loaded {words}",
                expected="the module's alerts, and one on targets that are down, loaded and evaluated",
                why=WHY,
                next="promtool check rules FILE, name the file in rule_files, and reload Prometheus",
            )
        elif all(problems):  # of several on the same thing, one that is right is enough
            good = False
            yield from problems[0]
    if good:
        pace = max(prometheus.pace for prometheus in state.prometheus)
        lab = f", at the lab's pace: {pace:g} times as fast" if target.lab and pace > 1 else ""
        yield passed(f"{len(WANTED)} kinds of alerts are loaded and evaluated{lab}")


Fault: TypeAlias = Callable[..., Finding]
"""What is wrong with one rule, as a finding that names it."""


def _wrong_with(
    kind_of_alert: str, alert: Alert, condition: Condition | None, target: Target
) -> Iterator[Finding]:
    rule, series = alert.rule, alert.prometheus.series

    def fault(observed: str, expected: str, why: str, next: str = _TAUGHT) -> Finding:
        return failed(f"the alert {rule.name} {observed}", expected=expected, why=why, next=next)

    never = "it looks like an alert, and never fires"
    if rule.health != "ok":
        yield fault(f"cannot be evaluated: {rule.error or rule.health}", "a rule in good health", never)
        return
    if rule.age > LATE + 3 * rule.interval:
        yield fault("is not evaluated any more", f"evaluated every {rule.interval:g} s", never)
        return
    read = {selector.name for selector in promql.selectors(alert.expression, absent=False)}
    if strange := sorted(read - set(series) - {""}):
        yield fault(
            f"reads {strange[0]}, which Prometheus does not have",
            "a metric that some target brings",
            never,
            "see the metric's name at the target, /metrics",
        )
        return
    if condition is None:
        yield fault("compares with nothing", WANTED[kind_of_alert], "it cannot be said when it fires")
        return
    yield from _CONDITIONS[kind_of_alert](condition, fault)
    # Requests may not have come yet; a probe, a disk and a target are always there.
    is_there = promql.gives_something(condition.left, series, most=MOST_SERIES)
    if kind_of_alert in ("health", "disk", "target") and not is_there:
        yield fault("looks at nothing: its left side gives no series", WANTED[kind_of_alert], never)
    if kind_of_alert == "health":
        yield from _health(alert, condition, target, fault)


def _number(condition: Condition) -> float:
    value = promql.number(condition.right)
    if value is None:
        right = condition.words.partition(" ")[2]
        raise Unreadable(f"an alert compares with {right!r}, which is no plain number")
    return value


def _over(condition: Condition, most: float, fault: Fault, reason: str) -> Iterator[Finding]:
    """It fires above a limit, and the limit is no higher than the module's."""
    if promql.in_percent(condition.left):
        most *= 100
    if condition.operator not in (">", ">=") or not 0 < _number(condition) <= most:
        yield fault(
            f"fires for {condition.words}",
            f"> {most:g}: {reason}",
            "what is worse than that goes by unnoticed",
        )


def _errors(condition: Condition, fault: Fault) -> Iterator[Finding]:
    yield from _over(condition, 0.05, fault, "the share of requests that fail")
    by_status = [
        Selector(
            selector.name, tuple(matcher for matcher in selector.matchers if _STATUS.match(matcher.label))
        )
        for selector in promql.selectors(condition.left)
    ]
    choosing = [selector for selector in by_status if selector.matchers]
    codes = ("200", "404", "500", "502", "503")
    counted = {code for code in codes if any(_counts(selector, code) for selector in choosing)}
    if missing := sorted({"500", "502", "503"} - counted):
        yield fault(
            f"does not count status {', '.join(missing)} as an error",
            'every status of a failure: status=~"5.."',
            "requests that fail go by unnoticed",
        )
    elif "200" in counted and not any(
        matcher.operator in ("!=", "!~") for selector in choosing for matcher in selector.matchers
    ):
        yield fault("counts status 200 as an error", 'failures alone: status=~"5.."', "it cries wolf")


def _counts(chosen: Selector, code: str) -> bool:
    return all(matcher.fits(code) for matcher in chosen.matchers)


def _latency(condition: Condition, fault: Fault) -> Iterator[Finding]:
    yield from _over(condition, 5, fault, "seconds, for the 95th percentile")
    for call in promql.calls(condition.left, "histogram_quantile"):
        quantile = promql.number(call.args[0])
        if quantile is not None and quantile < 0.95:
            yield fault(
                f"looks at the quantile {quantile:g}",
                "0.95 or more",
                "the slowest answers are not among them",
            )
        if promql.loses(call.args[1], "le"):
            yield fault(
                "adds up the buckets without keeping le",
                "sum by (le) (…)",
                "it looks like an alert, and never fires",
            )


def _disk(condition: Condition, fault: Fault) -> Iterator[Finding]:
    limit = _number(condition) / (100 if promql.in_percent(condition.left) else 1)
    if condition.operator in (">", ">="):
        good = 0 < limit <= 0.8
    else:
        good = 0.2 <= limit < 1 and condition.operator in ("<", "<=")
    if not good:
        yield fault(f"fires for {condition.words}", "more than 80 % in use", "a full disk stops everything")


def _health_condition(condition: Condition, fault: Fault) -> Iterator[Finding]:
    by_status = "probe_http_status_code" in {one.name for one in promql.selectors(condition.left)}
    fires = (condition.operator, promql.number(condition.right))
    if fires not in ((("!=", 200),) if by_status else (("==", 0), ("!=", 1), ("<", 1))):
        yield fault(
            f"fires for {condition.words}", "any answer but 200", "it looks like an alert, and never fires"
        )


def _target_condition(condition: Condition, fault: Fault) -> Iterator[Finding]:
    if (condition.operator, promql.number(condition.right)) not in (("==", 0), ("!=", 1), ("<", 1)):
        yield fault(
            f"fires for {condition.words}", "up == 0", "an alert on numbers that do not come never fires"
        )


_CONDITIONS = {
    "health": _health_condition,
    "errors": _errors,
    "latency": _latency,
    "disk": _disk,
    "target": _target_condition,
}


def _health(alert: Alert, condition: Condition, target: Target, fault: Fault) -> Iterator[Finding]:
    rule = alert.rule
    if rule.labels.get("severity") != "critical":
        yield fault(
            f"has the severity {rule.labels.get('severity', 'none')}",
            "severity: critical",
            "a person who sorts by severity lets it wait until tomorrow",
        )
    holds = rule.holds_for * (alert.prometheus.pace if target.lab else 1)
    if not SHORTEST <= holds <= LONGEST:
        yield fault(
            f"has to hold for {rule.holds_for:g} s",
            "2 minutes: one lost packet does not wake the person on call, and an outage does",
            "too short cries wolf, too long is too late",
        )
    watched = [
        labels
        for one in promql.selectors(condition.left)
        for labels in alert.prometheus.series.get(one.name, ())
        if one.takes(labels)
    ]
    of_users = re.compile(rf"://{re.escape(target.domain)}(:\d+)?/health")
    if watched and not any(of_users.search(value) for labels in watched for value in labels.values()):
        yield fault(
            f"does not look at https://{target.domain}/health",
            "the way of the users: the domain's /health",
            "something else may be well while the application is not",
        )
