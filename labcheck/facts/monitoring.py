"""Facts about a server's monitoring: what its Prometheus and its Alertmanager say of themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote import timestamps
from labcheck.remote_program import command, printed
from labcheck.result import Result


@dataclass(frozen=True)
class Rule:
    """An alerting rule as it is loaded. `age` is for how many seconds it has not been evaluated."""

    name: str
    query: str
    holds_for: float  # s
    labels: Mapping[str, str]
    health: str
    error: str
    age: float
    interval: float
    firing: bool


@dataclass(frozen=True)
class Watched:
    """A target of Prometheus."""

    job: str
    instance: str
    address: str  # where it is asked
    up: bool
    error: str


@dataclass(frozen=True)
class Prometheus:
    """`records` are the recording rules, by the metric that each makes. `series` are the metrics that alerts
    read and Prometheus has, with the labels of what it has of them now, and `numbers` the first one's value.
    `pace`: the lab's times are so many times shorter. `failed`: the share of notifications that failed
    lately; None where nobody counts."""

    address: str
    rules: tuple[Rule, ...]
    records: Mapping[str, str]
    series: Mapping[str, tuple[Mapping[str, str], ...]]
    numbers: Mapping[str, float]
    targets: tuple[Watched, ...]
    alertmanagers: tuple[str, ...]
    pace: float
    failed: float | None


@dataclass(frozen=True)
class Active:
    """An alert that Alertmanager has, and who gets it."""

    labels: Mapping[str, str]
    state: str
    age: float
    receivers: tuple[str, ...]


@dataclass(frozen=True)
class Silence:
    matchers: tuple[tuple[str, str, bool, bool], ...]  # label, value, is it a pattern, must it be equal
    left: float  # s
    comment: str


@dataclass(frozen=True)
class Alertmanager:
    """`receivers` by name, with their integrations; `sent` by integration: how many, and how many failed.
    `critical` are the receivers of a critical alert, None where that is not known."""

    address: str
    alerts: tuple[Active, ...]
    silences: tuple[Silence, ...]
    receivers: Mapping[str, tuple[str, ...]]
    sent: Mapping[str, tuple[float, float]]
    critical: tuple[str, ...] | None


@dataclass(frozen=True)
class Monitoring:
    """`unanswered` are monitors that run and could not be asked, with the reason."""

    prometheus: tuple[Prometheus, ...]
    alertmanagers: tuple[Alertmanager, ...]
    unanswered: Mapping[str, str]
    agents: tuple[str, ...]


def parse_monitoring(result: Result) -> Monitoring:
    try:
        return _monitoring(json.loads(printed(result, "the look at the monitoring")))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise Unreadable(f"what the monitoring says is not understood ({type(error).__name__})") from None


def _monitoring(found: Any) -> Monitoring:
    now = float(found["now"])
    kinds = (("Prometheus", found["prometheus"]), ("Alertmanager", found["alertmanagers"]))
    return Monitoring(
        tuple(_prometheus(it, now) for it in found["prometheus"] if "error" not in it),
        tuple(_alertmanager(it, now) for it in found["alertmanagers"] if "error" not in it),
        {
            f"{kind} at {it['address']}": str(it["error"])
            for kind, all in kinds
            for it in all
            if "error" in it
        },
        tuple(found["agents"]),
    )


def _prometheus(it: Any, now: float) -> Prometheus:
    return Prometheus(
        it["address"],
        tuple(_rule(rule, now) for rule in it["rules"]),
        dict(it["records"]),
        {name: tuple(map(dict, series)) for name, series in it["series"].items()},
        {name: float(value) for name, value in it["numbers"].items()},
        tuple(
            Watched(
                target["labels"]["job"],
                target["labels"]["instance"],
                target["scrapeUrl"],
                target["health"] == "up",
                target["lastError"] or "",
            )
            for target in it["targets"]
        ),
        tuple(it["alertmanagers"]),
        float(it["lab_pace"] or 1),
        _share(it["failed"]),
    )


def _share(samples: Any) -> float | None:
    """None where there was nothing to divide by, too."""
    value = float(samples[0]["value"]) if samples else math.nan
    return None if math.isnan(value) else value


def _rule(it: Any, now: float) -> Rule:
    return Rule(
        name=it["name"],
        query=it["query"],
        holds_for=float(it["duration"]),
        labels=dict(it["labels"]),
        health=it["health"],
        error=it["lastError"] or "",
        age=now - timestamps.seconds(it["lastEvaluation"]),
        interval=float(it["interval"]),
        firing=it["state"] == "firing",
    )


def _alertmanager(it: Any, now: float) -> Alertmanager:
    return Alertmanager(
        it["address"],
        tuple(
            Active(
                dict(alert["labels"]),
                alert["state"],
                now - timestamps.seconds(alert["updated"]),
                tuple(alert["receivers"]),
            )
            for alert in it["alerts"]
        ),
        tuple(
            Silence(
                tuple(
                    (m["name"], m["value"], m["isRegex"], m.get("isEqual", True)) for m in silence["matchers"]
                ),
                timestamps.seconds(silence["ends"]) - now,
                silence["comment"],
            )
            for silence in it["silences"]
        ),
        {name: tuple(kinds) for name, kinds in it["receivers"].items()},
        {kind: (float(sent), float(failed)) for kind, (sent, failed) in it["sent"].items()},
        None if it["critical"] is None else tuple(it["critical"]),
    )


# As root: whose socket is whose, which the look at the targets needs beside it, nobody else may see.
monitoring = Fact("monitoring", command("monitoring"), parse_monitoring, sudo=True, timeout=45)
