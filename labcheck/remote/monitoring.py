"""A program that asks a server's own Prometheus and Alertmanager what is in effect.

It reads, and changes nothing: targets, loaded rules and the series that these read, which receivers get the
alerts, silences, and whether notifications failed; and it hands a test alert over where it is asked to. It
knows nothing of PromQL: what the rules say is read where it was sent from. What it prints is one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Container
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from labcheck.remote import procfs, timestamps
from labcheck.remote.local_http import FAULTS, LocalServer

PATIENCE = 25.0
"""Seconds to wait for what is late: after a pause or a boot, a monitor needs a moment to catch up."""
LATE = 60.0
"""Seconds after which a rule that was not evaluated, or an alert that was not renewed, is old."""

MOST_SERIES = 1000  # of one metric

FAILED = (
    "sum(increase(alertmanager_notification_requests_failed_total[5m]))"
    " / sum(increase(alertmanager_notification_requests_total[5m]))"
)
"""The share of Alertmanager's notifications that failed, where Prometheus watches it."""

# Programs that carry what they measure elsewhere: whether an alert is sent is decided there.
AGENTS = frozenset(
    [
        "datadog-agent",
        "zabbix_agentd",
        "zabbix_agent2",
        "telegraf",
        "grafana-agent",
        "alloy",
        "netdata",
        "newrelic-infra",
        "amazon-cloudwatch-agent",
        "google_cloud_ops_agent",
        "otelcol",
        "otelcol-contrib",
        "vmagent",
        "nrpe",
        "icinga2",
        "node_exporter",
        "prometheus-node-exporter",
    ]
)


def data(server: LocalServer, path: str) -> Any:
    """Whatever is there; the data alone where it says `success`."""
    body = server.json(path)
    return body["data"] if isinstance(body, dict) and body.get("status") == "success" else body


def running(names: Container[str]) -> list[list[str]]:
    """The command lines of the processes whose program has one of these names."""
    command_lines = []
    for process in procfs.processes():
        with contextlib.suppress(OSError):  # it has ended
            if process.program() in names:
                command_lines.append(process.arguments())
    return sorted(command_lines)


def option(words: list[str], name: str, default: str) -> str:
    for place, word in enumerate(words):
        if word.lstrip("-") == name and place + 1 < len(words):
            return words[place + 1]
        if word.lstrip("-").startswith(name + "="):
            return word.partition("=")[2]
    return default


def where(words: list[str], port: int) -> tuple[str, str]:
    """Address and path that a Prometheus or an Alertmanager was started with."""
    prefix = option(words, "web.route-prefix", urlsplit(option(words, "web.external-url", "")).path)
    return option(words, "web.listen-address", f"0.0.0.0:{port}"), prefix


def observe_prometheus(server: LocalServer) -> dict[str, Any]:
    alerts, records = [], {}
    for group in data(server, "/api/v1/rules")["groups"]:
        for rule in group["rules"]:
            if rule["type"] == "recording":
                records[rule["name"]] = rule["query"]
                continue
            names = ("name", "query", "duration", "labels", "health", "lastError", "lastEvaluation", "state")
            alerts.append({name: rule.get(name) for name in names} | {"interval": group["interval"]})
    targets = [
        {name: target.get(name) for name in ("labels", "scrapeUrl", "health", "lastError")}
        for target in data(server, "/api/v1/targets?state=active")["activeTargets"]
    ]
    metrics = set(data(server, "/api/v1/label/__name__/values"))
    now = {name: samples(server, name) for name in sorted(metrics & names_in(alerts, records))}
    settings = data(server, "/api/v1/status/config")["yaml"]
    return {
        "rules": alerts,
        "records": records,
        "series": {name: [one["labels"] for one in found] for name, found in now.items()},
        "numbers": {name: found[0]["value"] for name, found in now.items() if found},
        "targets": targets,
        "alertmanagers": [it["url"] for it in data(server, "/api/v1/alertmanagers")["activeAlertmanagers"]],
        "names_alertmanager": re.search(r"^  alertmanagers:$", settings, re.M) is not None,
        "lab_pace": (re.findall(r'^    lab_pace: "?(\d+)"?$', settings, re.M) or [None])[0],
        "failed": samples(server, FAILED),
    }


def words(expression: str) -> set[str]:
    """All that might be a metric's name in it."""
    return set(re.findall(r"[A-Za-z_:][\w:]*", expression))


def names_in(alerts: list[dict[str, Any]], records: dict[str, str]) -> set[str]:
    """What might be a metric's name in these alerts, and in what is recorded for them."""
    names: set[str] = set()
    waiting = [str(alert["query"]) for alert in alerts]
    while waiting:
        new = words(waiting.pop()) - names
        names |= new
        waiting += [records[name] for name in new if name in records]
    return names


def samples(server: LocalServer, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now, as far as there are no more than MOST_SERIES."""
    answer = data(server, "/api/v1/query?query=" + quote(expression, safe=""))
    return [{"labels": it["metric"], "value": it["value"][1]} for it in answer["result"][:MOST_SERIES]]


def observe_alertmanager(server: LocalServer) -> dict[str, Any]:
    settings = data(server, "/api/v2/status")["config"]["original"]
    alerts = [
        {
            "labels": each["labels"],
            "state": each["status"]["state"],
            "updated": each["updatedAt"],
            "receivers": [receiver["name"] for receiver in each["receivers"]],
        }
        for each in data(server, "/api/v2/alerts")
    ]
    silences = [
        {"matchers": each["matchers"], "ends": each["endsAt"], "comment": each.get("comment", "")}
        for each in data(server, "/api/v2/silences")
        if each["status"]["state"] == "active"
    ]
    count = re.findall(
        r'^alertmanager_notification_requests_(failed_)?total\{integration="(\w+)"[^}]*\} (\S+)$',
        server.text("/metrics"),
        re.M,
    )
    sent: dict[str, list[float]] = {}
    for failed, integration, number in count:
        sent.setdefault(integration, [0.0, 0.0])[bool(failed)] += float(number)
    return {
        "alerts": alerts,
        "silences": silences,
        "receivers": receivers(settings),
        "sent": sent,
        "critical": route_of(settings),
    }


def receivers(settings: str) -> dict[str, list[str]]:
    """By name, the integrations of each receiver, from the settings as Alertmanager writes them out."""
    by_name: dict[str, list[str]] = {}
    name, inside = "", False
    for line in settings.splitlines():
        if re.match(r"\S", line) and not line.startswith("- "):
            inside = line.startswith("receivers:")
        elif inside and (match := re.match(r"- name: (.+)$", line)):
            name = match[1].strip("'\"")
            by_name[name] = []
        elif inside and name and (match := re.match(r"  (\w+)_configs:$", line)):
            by_name[name].append(match[1])
    return by_name


def route_of(settings: str) -> list[str] | None:
    """The receivers of a critical alert, by Alertmanager's own tool; None where that is not there.

    `settings` as Alertmanager writes them out. Where it hides a webhook's address (since 0.26), its own tool
    takes what is written there for an address without a scheme.
    """
    readable = re.sub(r"(?m)^(\s*(?:- )?url: )<secret>$", r"\1http://hidden.invalid/", settings)
    try:
        ended = subprocess.run(
            ["amtool", "config", "routes", "test", "--config.file=/dev/stdin", "severity=critical"],
            input=readable, capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Before it may stand a warning: that the file goes before an address in amtool's own settings.
    last = ended.stdout.strip().splitlines()[-1:]
    return last[0].split(",") if ended.returncode == 0 and last else None


def is_late(observed: dict[str, Any]) -> bool:
    """Whether it may be different in a moment: the monitor has been away or has just read its settings, a
    target is starting, or an Alertmanager that has just started has not yet heard of what always fires."""
    now = time.time()
    names = {
        alert["labels"].get("alertname")
        for manager in observed["alertmanagers"]
        for alert in manager.get("alerts", ())
    }
    for prometheus in observed["prometheus"]:
        if "error" in prometheus:
            return True
        old = [
            each for each in prometheus["rules"] if now - timestamps.seconds(each["lastEvaluation"]) > LATE
        ]
        down = {
            urlsplit(each["scrapeUrl"]).netloc for each in prometheus["targets"] if each["health"] != "up"
        }
        unheard = prometheus["names_alertmanager"] and not prometheus["alertmanagers"]
        if old or unheard or down - without_alertmanager(observed):
            return True
        if observed["alertmanagers"] and heartbeats(prometheus) - names:
            return True
    return any("error" in each for each in observed["alertmanagers"])


def heartbeats(prometheus: dict[str, Any]) -> set[str]:
    """The alerts that fire whatever is: their expressions name no metric that there is."""
    rules = [it for it in prometheus["rules"] if it["state"] == "firing"]
    return {it["name"] for it in rules if not words(str(it["query"])) & set(prometheus["series"])}


def without_alertmanager(observed: dict[str, Any]) -> set[str]:
    """Where here Prometheus looks for an Alertmanager, and none will come: none runs, nor is one starting."""
    if observed["alertmanagers"] or observed["starting"]:
        return set()
    urls = [
        urlsplit(url) for prometheus in observed["prometheus"] for url in prometheus.get("alertmanagers", ())
    ]
    return {url.netloc for url in urls if re.match(r"127\.|localhost$|::1$", url.hostname or "")}


def is_starting() -> bool:
    """Whether the machine has not yet started all that it starts at boot."""
    try:
        ended = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return True  # not known: be patient
    return ended.stdout.strip() in ("initializing", "starting", "")


def observe() -> dict[str, Any]:
    monitors = [where(words, 9090) for words in running({"prometheus"})]
    managers = [where(words, 9093) for words in running({"alertmanager", "prometheus-alertmanager"})]
    return {
        "prometheus": [answered(observe_prometheus, *place) for place in monitors],
        "alertmanagers": [answered(observe_alertmanager, *place) for place in managers],
        "agents": sorted({Path(words[0]).name for words in running(AGENTS)}),
        "starting": is_starting(),
        "now": time.time(),
    }


def answered(ask: Callable[[LocalServer], dict[str, Any]], address: str, prefix: str) -> dict[str, Any]:
    """What it says, or why it could not be asked."""
    try:
        return {"address": address, **ask(LocalServer(address, prefix=prefix))}
    except (*FAULTS, KeyError, TypeError) as problem:
        return {"address": address, "error": f"{type(problem).__name__}: {problem}"}


def send(address: str, mark: str, seconds: float) -> None:
    """Hand Alertmanager a critical test alert, which ends so many seconds from now."""
    end = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    alert = {
        # A mark in its name, so that it is a group of its own and waits for no other.
        "labels": {"alertname": f"LabcheckTest-{mark[:6]}", "severity": "critical", "mark": mark},
        "annotations": {"summary": "a test by labcheck: nothing is wrong"},
        "endsAt": end.isoformat(),
    }
    server = LocalServer(address, timeout=10)
    status, _ = server.ask(
        "POST", "/api/v2/alerts", json.dumps([alert]), {"Content-Type": "application/json"}
    )
    if status != 200:
        sys.exit(f"status {status}")


def main(function: str = "observe", *arguments: Any) -> None:
    """Print what there is to see; or with `send` hand over a test alert."""
    if function == "send":
        send(*arguments)
        return
    end = time.monotonic() + PATIENCE
    while is_late(found := observe()) and time.monotonic() < end:
        time.sleep(1)
    json.dump(found, sys.stdout)
