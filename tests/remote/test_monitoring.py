"""What a server's monitors say of themselves, by their command lines, their settings, and when asked."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labcheck.facts.monitoring import parse_monitoring
from labcheck.remote import monitoring
from labcheck.result import Result
from labcheck.wait import wait_until
from tests import needed
from tests.sshd import free_port


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prometheus"], ("0.0.0.0:9090", "")),
        (["prometheus", "--web.listen-address=127.0.0.1:9091"], ("127.0.0.1:9091", "")),
        (["prometheus", "--web.listen-address", ":80", "--web.route-prefix=/p"], (":80", "/p")),
        (["prometheus", "--web.external-url=https://a.example/mon"], ("0.0.0.0:9090", "/mon")),
    ],
)
def test_monitor_is_asked_where_it_is_configured_to_listen(
    words: list[str], expected: tuple[str, str]
) -> None:
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


def test_monitoring_program_runs_where_nothing_is_monitored() -> None:
    found = monitoring.observe()
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


@pytest.mark.parametrize(("names", "late"), [(["Heartbeat"], False), (["Other"], True), ([], True)])
def test_a_heartbeat_is_on_its_way_to_an_alertmanager_that_has_just_started(
    names: list[str], late: bool
) -> None:
    old = {"lastEvaluation": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    rules = [
        {"name": "Heartbeat", "query": "vector(1)", "state": "firing", **old},
        {"name": "Down", "query": "up == 0", "state": "firing", **old},
    ]
    prometheus = {
        "rules": rules, "series": {"up": []}, "targets": [], "alertmanagers": ["url"],
        "names_alertmanager": True,
    }  # fmt: skip
    alerts = [{"labels": {"alertname": name}} for name in names]
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


RULES = """\
groups:
- name: all
  interval: 1s
  rules:
  - {record: "self:up:sum", expr: 'sum(up{job="self"})'}
  - {record: "never:read", expr: 'sum(process_cpu_seconds_total)'}
  - {alert: Down, expr: 'self:up:sum == 0', for: 2m, labels: {severity: critical}}
  - {alert: Heartbeat, expr: 'vector(1)'}
  - {alert: Nothing, expr: 'no_such_metric > 1'}
"""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """Where a real one listens that scrapes itself, for some seconds already."""
    program, port = needed.program("promtool").with_name("prometheus"), free_port()
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, external_labels: {lab_pace: '10'}}\nrule_files: [rules.yml]\n"
        "scrape_configs:\n- job_name: self\n  metrics_path: /mon/metrics\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
    command = [
        program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--web.route-prefix=/mon", "--log.level=error",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path) as running:
        yield f"127.0.0.1:{port}"
        running.kill()


def test_a_real_prometheus_tells_its_rules_and_the_series_that_its_alerts_read(prometheus: str) -> None:
    def watching() -> dict[str, Any] | None:
        answered = monitoring.answered(monitoring.observe_prometheus, prometheus, "/mon")
        return answered if answered.get("numbers", {}).get("self:up:sum") == "1" else None

    answered = wait_until(watching, what="a rule that is evaluated", timeout=60)
    assert [rule["name"] for rule in answered["rules"]] == ["Down", "Heartbeat", "Nothing"]
    assert set(answered["records"]) == {"self:up:sum", "never:read"}
    assert set(answered["series"]) == {"self:up:sum", "up"}  # what an alert reads, and what that is made of
    assert answered["series"]["up"] == [{"__name__": "up", "instance": prometheus, "job": "self"}]
    assert (answered["lab_pace"], answered["alertmanagers"], answered["failed"]) == ("10", [], [])
    answer = json.dumps({"prometheus": [answered], "alertmanagers": [], "agents": [], "now": time.time()})
    (read,) = parse_monitoring(Result(answer, "", 0)).prometheus
    down = read.rules[0]
    assert (down.name, down.health, down.holds_for) == ("Down", "ok", 120.0) and 0 <= down.age < 60
    assert read.numbers["up"] == 1.0


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
