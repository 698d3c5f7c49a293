"""Item 10 as pure functions, on looks at real monitors: what is in effect in, findings out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcheck import promql
from labcheck.checks import item_10_alerts
from labcheck.checks import item_10_monitoring as item
from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.monitoring import Active, Matcher, Monitoring, Prometheus, Rule, Silence, monitoring
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes
from labcheck.result import Result
from labcheck.verdict import Finding
from tests.checks.findings import text_of, verdict
from tests.facts import record

RECORDINGS = Path(__file__).parents[1] / "facts" / "recordings"
TARGET = Target(host="server", domain="app.lab.example", app_port=8000, lab=True)


def recorded(case: str) -> Monitoring:
    path = RECORDINGS / "monitoring" / f"{case}.txt"
    return monitoring.parse(record.from_text(path.read_text(encoding="utf-8")))


GOOD = recorded("debian12_finished")
NOTHING = Monitoring((), (), {}, ())
RULES = {rule.name: rule for rule in GOOD.prometheus[0].rules}
KNOWN = Accounts((Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),), {})


def process(port: int) -> Process:
    line = f"/home/aiapp/app/.venv/bin/python uvicorn lab_app.main:app --port {port}"
    return Process(port, 1, "uvicorn", frozenset({1001}), frozenset({1001}), 0, line, False)


def socket(port: int) -> Socket:
    return Socket("tcp", "127.0.0.1", port, "uvicorn", (port,))


def targets(state: Monitoring, ports: Iterable[int] = (8000, 8001, 8002)) -> list[Finding]:
    running, sockets = Processes(tuple(map(process, ports))), tuple(map(socket, ports))
    return list(item.the_targets_answer(state, running, sockets, KNOWN, target=TARGET))


def alerts(state: Monitoring, target: Target = TARGET) -> list[Finding]:
    return list(item.the_alerts_are_in_effect(state, target=target))


def who_is_told(state: Monitoring) -> list[Finding]:
    return list(item.a_person_is_told(state))


def watched(state: Monitoring) -> list[Finding]:
    return list(item.the_watcher_is_watched(state))


def prometheus(**changed: Any) -> Monitoring:
    return replace(GOOD, prometheus=(replace(GOOD.prometheus[0], **changed),))


def manager(**changed: Any) -> Monitoring:
    return replace(GOOD, alertmanagers=(replace(GOOD.alertmanagers[0], **changed),))


def with_rule(name: str, **changed: Any) -> Monitoring:
    rules = tuple(replace(one, **changed) if one.name == name else one for one in RULES.values())
    return prometheus(rules=rules)


def test_a_good_monitoring_passes_in_every_respect() -> None:
    assert [verdict(look(GOOD)) for look in (targets, alerts, who_is_told, watched)] == ["PASS"] * 4
    assert text_of(targets(GOOD)) == "7 targets are up, and among them the application's 3"
    assert "at the lab's pace: 20 times as fast" in text_of(alerts(GOOD))
    assert text_of(who_is_told(GOOD)) == "a critical alert goes to pager, and notifications are accepted"


# ---- nothing to ask ----------------------------------------------------------------------------


def test_server_without_monitoring_fails_once() -> None:
    assert verdict(targets(NOTHING)) == "FAIL" and "nothing on this server watches it" in text_of(
        targets(NOTHING)
    )
    assert not alerts(NOTHING) and not who_is_told(NOTHING) and not watched(NOTHING)


@pytest.mark.parametrize("agent", ["datadog-agent", "prometheus-node-exporter"])
def test_monitoring_agent_that_reports_elsewhere_is_unknown(agent: str) -> None:
    findings = targets(replace(NOTHING, agents=(agent,)))
    assert verdict(findings) == "UNKNOWN" and agent in text_of(findings)


def test_a_prometheus_that_does_not_answer_is_unknown() -> None:
    findings = targets(replace(NOTHING, unanswered={"Prometheus at 127.0.0.1:9090": "refused"}))
    assert verdict(findings) == "UNKNOWN" and "refused" in text_of(findings)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Result("", "bash: python3: command not found", 127), "python3 is not installed"),
        (Result("", "Traceback\nMemoryError", 1), "status 1: MemoryError"),
        (Result('{"prometheus": [', "", 0), "not understood"),
        (
            Result('{"now": 1, "prometheus": [{"address": "a"}], "alertmanagers": []}', "", 0),
            "not understood",
        ),
    ],
)
def test_monitoring_fact_that_is_not_understood_is_unreadable(result: Result, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        monitoring.parse(result)


# ---- targets -----------------------------------------------------------------------------------


def test_a_target_that_is_down_is_named() -> None:
    findings = targets(recorded("debian12_receiver_and_target_down"))
    assert verdict(findings) == "FAIL" and "machine at 127.0.0.1:9100 gives Prometheus no numbers" in text_of(
        findings
    )


def test_a_process_that_is_no_target_is_named_by_its_port() -> None:
    findings = targets(GOOD, (8000, 8001, 8002, 8003))
    assert verdict(findings) == "FAIL" and "on port 8003" in text_of(findings)


def test_targets_are_unknown_where_the_application_does_not_run() -> None:
    assert verdict(targets(GOOD, ())) == "UNKNOWN"


# ---- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HealthCheckFails", "ErrorRate", "SlowAnswers", "DiskFull", "TargetDown"])
def test_an_alert_that_is_not_loaded_is_missed(name: str) -> None:
    findings = alerts(prometheus(rules=tuple(rule for rule in RULES.values() if rule.name != name)))
    assert verdict(findings) == "FAIL" and text_of(findings).startswith(
        "Prometheus has not loaded an alert on"
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("ErrorRate", '"5.."', '"5xx"', "does not count status 500, 502, 503 as an error"),
        ("ErrorRate", '"5.."', '"50[03]"', "does not count status 502"),
        ("ErrorRate", '"5.."', '"[25].."', "counts status 200 as an error"),
        ("ErrorRate", "> 0.05", "> 0.5", "fires for > 0.5"),
        ("ErrorRate", "> 0.05", "> 5", "fires for > 5"),
        ("ErrorRate", "> 0.05", "< 0.05", "fires for < 0.05"),
        ("SlowAnswers", "0.95", "0.5", "looks at the quantile 0.5"),
        ("SlowAnswers", "> 5", "> 5000", "fires for > 5000"),
        ("SlowAnswers", "by (le) ", "", "adds up the buckets without keeping le"),
        ("DiskFull", "> 0.8", "> 0.95", "fires for > 0.95"),
        ("DiskFull", "> 0.8", "> 80", "fires for > 80"),
        ("DiskFull", "> 0.8", "< 0.1", "fires for < 0.1"),
        ("HealthCheckFails", "== 0", "== 1", "fires for == 1"),
        ("HealthCheckFails", "== 0", "> 1", "fires for > 1"),
        ("TargetDown", "== 0", "== 1", "fires for == 1"),
    ],
)
def test_an_alert_that_does_not_fire_for_what_it_is_meant_for_fails(
    name: str, old: str, new: str, says: str
) -> None:
    assert old in RULES[name].query
    findings = alerts(with_rule(name, query=RULES[name].query.replace(old, new)))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        (
            "ErrorRate",
            '100 * sum(rate(app_request_seconds_count{status!~"2..|3..|4.."}[5m])) / sum(rate(up[5m])) > 1',
        ),
        (
            "SlowAnswers",
            "histogram_quantile(0.99, sum(rate(app_request_seconds_bucket[5m])) by (le, job)) >= 2",
        ),
        (
            "SlowAnswers",
            "histogram_quantile(0.95, sum without (job) (rate(app_request_seconds_bucket[5m]))) > 5",
        ),
        ("DiskFull", "node_filesystem_avail_bytes / node_filesystem_size_bytes * 100 < 20"),
        ("DiskFull", "(1 - node_filesystem_avail_bytes / node_filesystem_size_bytes) * 100 > 75"),
        ("HealthCheckFails", "probe_success < 1"),
    ],
)
def test_alert_in_other_words_or_a_stricter_one_passes(name: str, query: str) -> None:
    findings = alerts(with_rule(name, query=query))
    assert verdict(findings) == "PASS", text_of(findings)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"health": "err", "error": "many-to-many matching"}, "cannot be evaluated: many-to-many"),
        ({"age": 900.0}, "is not evaluated any more"),
        ({"query": "probe_sucess_typo / probe_success == 0"}, "reads probe_sucess_typo"),
        ({"query": "probe_success"}, "compares with nothing"),
        ({"labels": {"severity": "warning"}}, "has the severity warning"),
        ({"labels": {}}, "has the severity none"),
        ({"holds_for": 0.0}, "has to hold for 0 s"),
        ({"holds_for": 3600.0}, "has to hold for 3600 s"),
    ],
)
def test_health_alert_that_comes_too_late_fails(changed: dict[str, Any], says: str) -> None:
    findings = alerts(with_rule("HealthCheckFails", **changed))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


@pytest.mark.parametrize(
    ("name", "series", "says"),
    [
        ("probe_success", (), "HealthCheckFails looks at nothing: its left side gives no series"),
        ("probe_success", ({"job": "another"},), "its left side gives no series"),
        ("node_filesystem_size_bytes", (), "DiskFull looks at nothing: its left side gives no series"),
        ("up", (), "TargetDown looks at nothing"),
        (
            "probe_success",
            ({"job": "health", "instance": "http://127.0.0.1:9115/"},),
            "does not look at https://app.lab.example/health",
        ),
    ],
)
def test_alert_on_a_missing_series_or_on_another_target_fails(
    name: str, series: tuple[dict[str, str], ...], says: str
) -> None:
    findings = alerts(prometheus(series={**GOOD.prometheus[0].series, name: series}))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


COUNT, FREE = "app_request_seconds_count", "node_filesystem_avail_bytes"
RATIO = f'sum(rate({COUNT}{{code=~"5.."}}[5m])) / sum(rate({COUNT}[5m]))'


@pytest.mark.parametrize(
    ("name", "query"),
    [
        # group_left without brackets
        ("DiskFull", f"1 - {FREE} / on (device) group_left node_filesystem_size_bytes > 0.8"),
        # capitals
        ("SlowAnswers", "histogram_quantile(0.95, SUM BY (le) (rate(app_request_seconds_bucket[5m]))) > 5"),
        ("ErrorRate", f"{RATIO.replace('sum', 'SUM')} > 0.05"),
        # what is missing as well
        ("TargetDown", 'up == 0 or absent(up{job="app"})'),
        ("HealthCheckFails", "absent(probe_of_another_name) or probe_success == 0"),
        # two conditions, in either order
        ("ErrorRate", f"{RATIO} > 0.05 and sum(rate({COUNT}[5m])) > 1"),
        ("ErrorRate", f"sum(rate({COUNT}[5m])) > 1 and {RATIO} > 0.05"),
        ("DiskFull", f"{FREE} > 0 and {FREE} / node_filesystem_size_bytes < 0.2"),
        # the number first, and one that is worked out
        ("ErrorRate", f"0.05 < {RATIO}"),
        ("ErrorRate", f"{RATIO} > 1 - 0.95"),
        # several conditions on the same label
        ("ErrorRate", f"{RATIO} > 0.05".replace('code=~"5.."', 'code!~"2..",code!~"[34].."')),
    ],
)
def test_alert_in_any_form_that_promql_allows_passes(name: str, query: str) -> None:
    findings = alerts(with_rule(name, query=query))
    assert verdict(findings) == "PASS", text_of(findings)


def test_a_recording_rule_is_read_in_the_place_of_what_it_makes() -> None:
    records = {
        "app:errors:rate5m": f'sum(rate({COUNT}{{status=~"5.."}}[5m]))',
        "app:errors:ratio": f"app:errors:rate5m / sum(rate({COUNT}[5m]))",
    }
    series = {**GOOD.prometheus[0].series, "app:errors:ratio": ()}
    state = with_rule("ErrorRate", query="app:errors:ratio > 0.05")
    monitor = replace(state.prometheus[0], records=records, series=series)
    assert verdict(alerts(replace(state, prometheus=(monitor,)))) == "PASS"
    wrong = {**records, "app:errors:rate5m": f'sum(rate({COUNT}{{status=~"5xx"}}[5m]))'}
    findings = alerts(replace(state, prometheus=(replace(monitor, records=wrong),)))
    assert "does not count status 500" in text_of(findings)
    findings = alerts(replace(state, prometheus=(replace(monitor, series=GOOD.prometheus[0].series),)))
    assert "reads app:errors:ratio, which Prometheus does not have" in text_of(findings)


def test_alert_on_absent_series_alone_is_not_one_on_a_target_that_is_down() -> None:
    findings = alerts(with_rule("TargetDown", query='absent(up{job="app"})'))
    assert verdict(findings) == "FAIL" and "has not loaded an alert on a target" in text_of(findings)


def test_alert_expression_that_is_not_understood_is_unknown() -> None:
    findings = alerts(with_rule("TargetDown", query="up ==== 0"))
    assert verdict(findings) == "UNKNOWN" and "TargetDown" in text_of(findings)


def test_pace_of_the_lab_counts_in_the_lab_alone() -> None:
    elsewhere = replace(TARGET, lab=False)
    assert "has to hold for 6 s" in text_of(alerts(GOOD, elsewhere))
    two_minutes = with_rule("HealthCheckFails", holds_for=120.0)
    assert verdict(alerts(two_minutes, elsewhere)) == "PASS"
    assert "has to hold for 120 s" in text_of(alerts(two_minutes))


def test_alert_that_is_right_is_enough_beside_a_wrong_one_on_the_same_thing() -> None:
    wrong = replace(RULES["HealthCheckFails"], name="Softer", labels={"severity": "info"})
    assert verdict(alerts(prometheus(rules=(wrong, *RULES.values())))) == "PASS"


def test_an_alert_on_requests_that_have_not_come_yet_is_no_fault() -> None:
    assert verdict(alerts(prometheus(series={**GOOD.prometheus[0].series, COUNT: ()}))) == "PASS"


def test_a_threshold_that_is_no_number_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="no plain number"):
        alerts(with_rule("ErrorRate", query=RULES["ErrorRate"].query.replace("> 0.05", "> scalar(up)")))


def test_alert_on_another_subject_is_of_no_kind() -> None:
    query = "rate(process_cpu_seconds_total[5m]) > 1"
    queries = [query, RULES["DailyCost"].query, RULES["Heartbeat"].query]
    assert [item_10_alerts.kind(promql.parse(each)) for each in queries] == ["", "", ""]


# ---- receivers ---------------------------------------------------------------------------------

FOR_YEARS = 10 * 365 * 86400.0


def silence(left: float = FOR_YEARS, *matchers: tuple[str, str, bool, bool]) -> Silence:
    chosen = matchers or (("severity", "critical", False, True),)
    return Silence(tuple(Matcher(*each) for each in chosen), left, "only for tonight")


@pytest.mark.parametrize(
    ("state", "expected", "says"),
    [
        (prometheus(alertmanagers=()), "FAIL", "hands its alerts to no Alertmanager"),
        (replace(GOOD, alertmanagers=()), "FAIL", "an Alertmanager that does not run"),
        (
            replace(prometheus(alertmanagers=("http://10.0.0.7:9093/api/v2/alerts",)), alertmanagers=()),
            "UNKNOWN",
            "on another server",
        ),
        (
            replace(GOOD, alertmanagers=(), unanswered={"Alertmanager at :9093": "timed out"}),
            "UNKNOWN",
            "timed out",
        ),
        (
            manager(critical=("nobody",), receivers={"nobody": (), "pager": ("webhook",)}),
            "FAIL",
            "goes to nobody",
        ),
        (manager(critical=None, receivers={"default": ()}), "FAIL", "sends it nowhere"),
        (manager(critical=None), "PASS", "has a receiver"),
        (prometheus(failed=0.9), "FAIL", "most notifications of Alertmanager fail"),
        (prometheus(failed=0.1), "PASS", "notifications are accepted"),
        (
            replace(
                prometheus(failed=None), alertmanagers=manager(sent={"webhook": (4.0, 4.0)}).alertmanagers
            ),
            "FAIL",
            "most notifications",
        ),
        (manager(silences=(silence(),)), "FAIL", "quiet for more than a month"),
        (manager(silences=(silence(FOR_YEARS, ("alertname", ".+", True, True)),)), "FAIL", "quiet for more"),
        (
            manager(silences=(silence(FOR_YEARS, ("severity", "none", False, False)),)),
            "FAIL",
            "quiet for more",
        ),
        (manager(silences=(silence(7200.0),)), "PASS", ""),
        (manager(silences=(silence(FOR_YEARS, ("alertname", "DiskFull", False, True)),)), "PASS", ""),
        (manager(silences=(silence(FOR_YEARS, ("instance", "old", False, True)),)), "PASS", ""),
    ],
)
def test_critical_alert_has_to_reach_a_receiver(state: Monitoring, expected: str, says: str) -> None:
    findings = who_is_told(state)
    assert verdict(findings) == expected and says in text_of(findings)


# ---- the heartbeat -----------------------------------------------------------------------------


def heart(monitoring: Monitoring = GOOD, **changed: Any) -> Monitoring:
    (manager,) = monitoring.alertmanagers
    alerts = tuple(
        replace(one, **changed) if one.labels["alertname"] == "Heartbeat" else one for one in manager.alerts
    )
    return replace(monitoring, alertmanagers=(replace(manager, alerts=alerts),))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (prometheus(rules=tuple(one for one in RULES.values() if one.name != "Heartbeat")), "itself stops"),
        (with_rule("Heartbeat", firing=False), "itself stops"),
        (heart(age=600.0), "does not arrive at Alertmanager"),
        (heart(state="suppressed"), "does not arrive at Alertmanager"),
        (heart(receivers=()), "sends it nowhere"),
        (manager(receivers={"pager": ("webhook",), "heartbeat": ()}), "sends it nowhere"),
    ],
)
def test_heartbeat_that_does_not_arrive_fails(state: Monitoring, says: str) -> None:
    findings = watched(state)
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_heartbeat_of_the_recording_is_what_alertmanager_says_of_it() -> None:
    alert = next(one for one in GOOD.alertmanagers[0].alerts if one.labels["alertname"] == "Heartbeat")
    assert isinstance(alert, Active) and alert.receivers == ("heartbeat",) and alert.state == "active"
    assert isinstance(GOOD.prometheus[0], Prometheus) and isinstance(RULES["Heartbeat"], Rule)
    assert GOOD.prometheus[0].pace == 20
