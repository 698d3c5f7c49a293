"""How expressions are read, and what a monitor's own command line and settings say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labcheck.remote import monitoring


@pytest.mark.parametrize(
    ("expression", "left", "operator", "right"),
    [
        ("up == 0", "up", "==", "0"),
        ("(up == 0)", "up", "==", "0"),
        ('a{x=~"=|>"} / b{y!="}"} >= 0.05', 'a{x=~"=|>"} / b{y!="}"}', ">=", "0.05"),
        ("a > bool 5", "a", ">", "5"),
        ("(a > 1) and on (job) b > 2", "a", ">", "1"),
        ("a > 1 unless b", "a", ">", "1"),
        ("a and b < 3", "b", "<", "3"),
        ("sum(a > 1) by (x) != 4", "sum(a > 1) by (x)", "!=", "4"),
        ("(a + b) * (c - d) > 1e3", "(a + b) * (c - d)", ">", "1e3"),
    ],
)
def test_a_condition_is_split_where_it_compares(
    expression: str, left: str, operator: str, right: str
) -> None:
    assert monitoring.comparison(expression) == (left, operator, right)


@pytest.mark.parametrize("expression", ["vector(1)", 'absent(up{job="app"})', "sum(a > 1)", "a", ""])
def test_what_compares_nothing_is_told(expression: str) -> None:
    assert monitoring.comparison(expression) is None


def test_the_metrics_of_an_expression_are_found_with_their_conditions() -> None:
    expression = (
        '(sum by (le, route) (rate(app_bucket{route!~"/health.*",status=~"5\\\\.."}[5m])) or vector(0))'
        " / on (job) group_left (x) sum(rate(app_count[5m] offset 1h)) > 0.05 and time() < 5e9"
    )
    assert monitoring.selectors(expression) == [
        ("app_bucket", {"route": ("!~", "/health.*"), "status": ("=~", "5\\..")}),
        ("app_count", {}),
    ]
    assert monitoring.selectors("vector(1)") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prometheus"], ("0.0.0.0:9090", "")),
        (["prometheus", "--web.listen-address=127.0.0.1:9091"], ("127.0.0.1:9091", "")),
        (["prometheus", "--web.listen-address", ":80", "--web.route-prefix=/p"], (":80", "/p")),
        (["prometheus", "--web.external-url=https://a.example/mon"], ("0.0.0.0:9090", "/mon")),
    ],
)
def test_a_monitor_is_asked_where_it_was_told_to_listen(words: list[str], expected: tuple[str, str]) -> None:
    assert monitoring.where(words, 9090) == expected


SETTINGS = """\
global:
  resolve_timeout: 5m
route:
  receiver: pager
receivers:
- name: pager
  webhook_configs:
  - send_resolved: true
    url: <secret>
  email_configs:
  - to: a@example.org
- name: nobody
- name: "heartbeat"
  webhook_configs:
  - send_resolved: false
templates: []
"""


def test_receivers_are_known_with_their_integrations() -> None:
    assert monitoring.receivers(SETTINGS) == {
        "pager": ["webhook", "email"],
        "nobody": [],
        "heartbeat": ["webhook"],
    }


def test_the_program_runs_where_nothing_is_monitored() -> None:
    found = monitoring.look()
    assert set(found) == {"prometheus", "alertmanagers", "agents", "starting", "now"}


def down(where: str, *, running: bool = False, starting: bool = False) -> dict[str, Any]:
    """What is found where Prometheus has one target that is down, and an Alertmanager at 127.0.0.1:9093."""
    prometheus = {
        "rules": [],
        "targets": [{"scrapeUrl": f"http://{where}/metrics", "health": "down"}],
        "alertmanagers": ["http://127.0.0.1:9093/api/v2/alerts"],
        "names_alertmanager": True,
    }
    return {"prometheus": [prometheus], "alertmanagers": [{}] if running else [], "starting": starting}


@pytest.mark.parametrize(
    ("named", "active", "late"), [(True, [], True), (True, ["url"], False), (False, [], False)]
)
def test_an_alertmanager_that_is_in_the_settings_is_heard_of_a_moment_after_a_reload(
    named: bool, active: list[str], late: bool
) -> None:
    prometheus = {"rules": [], "targets": [], "alertmanagers": active, "names_alertmanager": named}
    found = {"prometheus": [prometheus], "alertmanagers": [], "starting": False}
    assert monitoring.is_late(found) is late


@pytest.mark.parametrize(("heard", "late"), [(["Heartbeat"], False), (["Other"], True), ([], True)])
def test_a_heartbeat_is_on_its_way_to_an_alertmanager_that_has_just_started(
    heard: list[str], late: bool
) -> None:
    old = {"lastEvaluation": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    rules = [
        {"name": "Heartbeat", "query": "vector(1)", "state": "firing", **old},
        {"name": "Down", "query": "up == 0", "state": "firing", **old},
    ]
    prometheus = {"rules": rules, "targets": [], "alertmanagers": ["url"], "names_alertmanager": True}
    alerts = [{"labels": {"alertname": name}} for name in heard]
    found = {"prometheus": [prometheus], "alertmanagers": [{"alerts": alerts}], "starting": False}
    assert monitoring.is_late(found) is late


@pytest.mark.parametrize(
    ("found", "late"),
    [
        (down("127.0.0.1:9093"), False),
        (down("127.0.0.1:9093", running=True), True),
        (down("127.0.0.1:9093", starting=True), True),
        (down("127.0.0.1:8000"), True),
        ({"prometheus": [{"error": "refused"}], "alertmanagers": [], "starting": False}, True),
    ],
)
def test_a_target_may_come_but_for_an_alertmanager_that_does_not_run(
    found: dict[str, Any], late: bool
) -> None:
    assert monitoring.is_late(found) is late


AMTOOL = r"""#!/bin/bash
# As 0.26 reads a file: the address of a webhook needs a scheme.
[[ "$*" == "config routes test --config.file=/dev/stdin severity=critical" ]] || exit 2
settings=$(cat /dev/stdin)
if grep -E "^ *(- )?url: <secret>" <<< "$settings" > /dev/null; then exit 1; fi
receiver=$(sed -n "s/^  receiver: //p" <<< "$settings")
[ -n "$receiver" ] || exit 0
echo "Warning: --config.file flag overrides the --alertmanager.url."
echo "$receiver"
"""


def test_a_route_is_found_although_alertmanager_hides_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "route:\n  receiver: pager\nreceivers:\n- name: pager\n  webhook_configs:\n  - url: <secret>\n"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "amtool").write_text(AMTOOL, encoding="utf-8")
    (tmp_path / "amtool").chmod(0o755)
    assert monitoring.route_of(settings) == ["pager"]
    assert monitoring.route_of(settings.replace("  receiver: pager\n", "")) is None
