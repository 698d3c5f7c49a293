"""A program that asks a server's own Prometheus and Alertmanager what is in effect. Sent as it is.

It reads, and changes nothing: targets, loaded rules with what their expressions give now, who gets the
alerts, silences, and whether notifications failed. The server's standard library has to do; what it prints is
one JSON object. The reading of expressions is here as well, since both sides need it.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from labcheck.remote import procfs, timestamps
from labcheck.remote.local_http import FAULTS, LocalServer

PATIENCE = 25.0
"""Seconds to wait for what is late: after a pause or a boot, a monitor needs a moment to catch up."""
LATE = 60.0
"""Seconds after which a rule that was not evaluated, or an alert that was not renewed, is old."""

FAILED = (
    "sum(increase(alertmanager_notification_requests_failed_total[5m]))"
    " / sum(increase(alertmanager_notification_requests_total[5m]))"
)
"""The share of Alertmanager's attempts to tell somebody that failed, where Prometheus watches it."""

# Programs that carry what they measure elsewhere: whether somebody is alerted is decided there.
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

_STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
_TOKEN = re.compile(
    rf"(?P<string>{_STRING})|(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<compare>[=!<>]=|[<>])(?!~)"
    r"|(?P<word>[A-Za-z_:][\w:]*)|(?P<other>.)",
    re.S,
)
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(
    rf"(?<![\w:.\"'])(?P<name>[A-Za-z_:][\w:]*)\s*(?P<labels>\{{(?:[^{{}}\"']|{_STRING})*\}})?(?P<call>\s*\()?"
)
_LABEL = re.compile(rf"([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*({_STRING})")
_WORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "bool",
        "by",
        "without",
        "on",
        "ignoring",
        "offset",
        "inf",
        "nan",
        "start",
        "end",
        "atan2",
    ]
)


def comparison(expression: str) -> tuple[str, str, str] | None:
    """The left side, the operator and the right side of an alert's condition; None where it compares nothing.

    Of several conditions (`a > 1 and b > 2`) the first that compares.
    """
    text = expression.strip()
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    depth, begin, found = 0, 0, None
    for token in _TOKEN.finditer(text):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif depth == 0 and (token["word"] or "").lower() in ("and", "or", "unless"):
            if found:
                return found[0], found[1], text[found[2] : token.start()].strip()
            if inner := comparison(text[begin : token.start()]):
                return inner
            begin = token.end()
        elif depth == 0 and token["compare"] and not found:
            found = (text[begin : token.start()].strip(), token["compare"], token.end())
    if found:
        right = re.sub(r"^bool\b", "", text[found[2] :].strip())
        return found[0], found[1], right.strip()
    return comparison(text[begin:]) if begin else None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += bool(token["open"]) - bool(token["close"])
        if depth == 0:
            return token.end() == len(text)
    return False


def selectors(expression: str) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """The metrics that an expression reads, each with its conditions: label to operator and value."""
    text = _GROUPING.sub(" ", expression)
    found = []
    for match in _SELECTOR.finditer(text):
        if match["call"] or match["name"].lower() in _WORDS:
            continue
        labels = {
            label: (how, value[1:-1].replace("\\\\", "\\"))
            for label, how, value in _LABEL.findall(match["labels"] or "")
        }
        found.append((match["name"], labels))
    return found


# ---- on the server -----------------------------------------------------------------------------


def data(server: LocalServer, path: str) -> Any:
    """Whatever is there; the data alone where it says `success`."""
    body = server.json(path)
    return body["data"] if isinstance(body, dict) and body.get("status") == "success" else body


def running(names: Container[str]) -> list[list[str]]:
    """The command lines of the processes whose program has one of these names."""
    found = []
    for process in procfs.processes():
        with contextlib.suppress(OSError):  # it has ended
            if process.program() in names:
                found.append(process.arguments())
    return sorted(found)


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


def look_at_prometheus(server: LocalServer) -> dict[str, Any]:
    groups = data(server, "/api/v1/rules?type=alert")["groups"]
    rules = []
    for group in groups:
        for rule in group["rules"]:
            names = ("name", "query", "duration", "labels", "health", "lastError", "lastEvaluation", "state")
            kept = {name: rule.get(name) for name in names} | {"interval": group["interval"]}
            split = comparison(rule["query"])
            kept["left"] = samples(server, split[0] if split else rule["query"])
            rules.append(kept)
    used = {name for rule in rules for name, _ in selectors(str(rule["query"]))}
    targets = [
        {name: target.get(name) for name in ("labels", "scrapeUrl", "health", "lastError")}
        for target in data(server, "/api/v1/targets?state=active")["activeTargets"]
    ]
    settings = data(server, "/api/v1/status/config")["yaml"]
    return {
        "rules": rules,
        "known": sorted(used & set(data(server, "/api/v1/label/__name__/values"))),
        "targets": targets,
        "alertmanagers": [it["url"] for it in data(server, "/api/v1/alertmanagers")["activeAlertmanagers"]],
        "names_alertmanager": re.search(r"^  alertmanagers:$", settings, re.M) is not None,
        "lab_pace": (re.findall(r'^    lab_pace: "?(\d+)"?$', settings, re.M) or [None])[0],
        "failed": samples(server, FAILED),
    }


def samples(server: LocalServer, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now, at most 20 series of it."""
    answer = data(server, "/api/v1/query?query=" + quote(expression, safe=""))
    if answer.get("resultType") != "vector":
        return [{"labels": {}, "value": str(answer["result"][1])}] if answer.get("result") else []
    return [{"labels": it["metric"], "value": it["value"][1]} for it in answer["result"][:20]]


def look_at_alertmanager(server: LocalServer) -> dict[str, Any]:
    settings = data(server, "/api/v2/status")["config"]["original"]
    alerts = [
        {
            "labels": it["labels"],
            "state": it["status"]["state"],
            "updated": it["updatedAt"],
            "receivers": [receiver["name"] for receiver in it["receivers"]],
        }
        for it in data(server, "/api/v2/alerts")
    ]
    silences = [
        {"matchers": it["matchers"], "ends": it["endsAt"], "comment": it.get("comment", "")}
        for it in data(server, "/api/v2/silences")
        if it["status"]["state"] == "active"
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
    found: dict[str, list[str]] = {}
    name, inside = "", False
    for line in settings.splitlines():
        if re.match(r"\S", line) and not line.startswith("- "):
            inside = line.startswith("receivers:")
        elif inside and (match := re.match(r"- name: (.+)$", line)):
            name = match[1].strip("'\"")
            found[name] = []
        elif inside and name and (match := re.match(r"  (\w+)_configs:$", line)):
            found[name].append(match[1])
    return found


def route_of(settings: str) -> list[str] | None:
    """Who would get a critical alert, by Alertmanager's own tool; None where that is not there.

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


def is_late(found: dict[str, Any]) -> bool:
    """Whether it may be different in a moment: the monitor has been away or has just read its settings, a
    target is starting, or an Alertmanager that has just started has not yet heard of what always fires."""
    now = time.time()
    heard = {
        it["labels"].get("alertname") for each in found["alertmanagers"] for it in each.get("alerts", ())
    }
    for prometheus in found["prometheus"]:
        if "error" in prometheus:
            return True
        old = [it for it in prometheus["rules"] if now - timestamps.seconds(it["lastEvaluation"]) > LATE]
        down = {urlsplit(it["scrapeUrl"]).netloc for it in prometheus["targets"] if it["health"] != "up"}
        unheard = prometheus["names_alertmanager"] and not prometheus["alertmanagers"]
        if old or unheard or down - without_alertmanager(found):
            return True
        if found["alertmanagers"] and heartbeats(prometheus) - heard:
            return True
    return any("error" in it for it in found["alertmanagers"])


def heartbeats(prometheus: dict[str, Any]) -> set[str]:
    """The alerts that fire whatever is: their expressions read no metric."""
    rules = [it for it in prometheus["rules"] if it["state"] == "firing"]
    return {it["name"] for it in rules if not selectors(str(it["query"]))}


def without_alertmanager(found: dict[str, Any]) -> set[str]:
    """Where here Prometheus looks for an Alertmanager, and none will come: none runs, nor is one starting."""
    if found["alertmanagers"] or found["starting"]:
        return set()
    urls = [
        urlsplit(url) for prometheus in found["prometheus"] for url in prometheus.get("alertmanagers", ())
    ]
    return {url.netloc for url in urls if re.match(r"127\.|localhost$|::1$", url.hostname or "")}


def is_starting() -> bool:
    """Whether the machine has not yet started all that it starts at boot."""
    try:
        ended = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return True  # not known: be patient
    return ended.stdout.strip() in ("initializing", "starting", "")


def look() -> dict[str, Any]:
    monitors = [where(words, 9090) for words in running({"prometheus"})]
    managers = [where(words, 9093) for words in running({"alertmanager", "prometheus-alertmanager"})]
    return {
        "prometheus": [answered(look_at_prometheus, *place) for place in monitors],
        "alertmanagers": [answered(look_at_alertmanager, *place) for place in managers],
        "agents": sorted({Path(words[0]).name for words in running(AGENTS)}),
        "starting": is_starting(),
        "now": time.time(),
    }


def answered(look_at: Callable[[LocalServer], dict[str, Any]], address: str, prefix: str) -> dict[str, Any]:
    """What it says, or why it could not be asked."""
    try:
        return {"address": address, **look_at(LocalServer(address, prefix=prefix))}
    except (*FAULTS, KeyError, TypeError) as problem:
        return {"address": address, "error": f"{type(problem).__name__}: {problem}"}


def main() -> None:
    end = time.monotonic() + PATIENCE
    while is_late(found := look()) and time.monotonic() < end:
        time.sleep(1)
    json.dump(found, sys.stdout)
