"""Facts about a server's monitoring: what its Prometheus and its Alertmanager say of themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.remote import timestamps
from labcheck.remote_program import answer, command, shaped
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
    lately; None where it is not counted."""

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
    """An alert that Alertmanager has, and its receivers."""

    labels: Mapping[str, str]
    state: str
    age: float
    receivers: tuple[str, ...]


class Matcher(msgspec.Struct, frozen=True, rename="camel"):
    """What a silence asks of an alert's label: that it fits the value, or with `is_equal` False does not."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool = True

    def fits(self, label: str) -> bool:
        equal = re.fullmatch(self.value, label) is not None if self.is_regex else label == self.value
        return equal == self.is_equal


@dataclass(frozen=True)
class Silence:
    matchers: tuple[Matcher, ...]
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


# ---- as the program prints it, in the words of Prometheus and Alertmanager ----------------------


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    query: str
    duration: float
    labels: dict[str, str]
    health: str
    last_error: str | None
    last_evaluation: str
    state: str
    interval: float


class _Labels(msgspec.Struct, frozen=True):
    job: str
    instance: str


class _Target(msgspec.Struct, frozen=True, rename="camel"):
    labels: _Labels
    scrape_url: str
    health: str
    last_error: str | None


class _Sample(msgspec.Struct, frozen=True):
    value: str  # a number, or NaN, +Inf, -Inf


class _Prometheus(msgspec.Struct, frozen=True):
    address: str
    rules: tuple[_Rule, ...]
    records: dict[str, str]
    series: dict[str, tuple[dict[str, str], ...]]
    numbers: dict[str, str]
    targets: tuple[_Target, ...]
    alertmanagers: tuple[str, ...]
    lab_pace: str | None
    failed: tuple[_Sample, ...]


class _Alert(msgspec.Struct, frozen=True):
    labels: dict[str, str]
    state: str
    updated: str
    receivers: tuple[str, ...]


class _Silence(msgspec.Struct, frozen=True):
    matchers: tuple[Matcher, ...]
    ends: str
    comment: str


class _Alertmanager(msgspec.Struct, frozen=True):
    address: str
    alerts: tuple[_Alert, ...]
    silences: tuple[_Silence, ...]
    receivers: dict[str, tuple[str, ...]]
    sent: dict[str, tuple[float, float]]
    critical: tuple[str, ...] | None


class _Unanswered(msgspec.Struct, frozen=True):
    address: str
    error: str


class _Monitoring(msgspec.Struct, frozen=True):
    now: float
    prometheus: tuple[dict[str, Any], ...]
    alertmanagers: tuple[dict[str, Any], ...]
    agents: tuple[str, ...]


# ---- what it means -----------------------------------------------------------------------------

_WHAT = "the check of the monitoring"


def parse_monitoring(result: Result) -> Monitoring:
    printed = answer(result, _Monitoring, _WHAT)
    try:
        return _monitoring(printed)
    except ValueError as error:  # no number, or no time
        raise Unreadable(f"what {_WHAT} says is not understood: {error}") from None


def _monitoring(printed: _Monitoring) -> Monitoring:
    unanswered = {}
    for kind, monitors in (("Prometheus", printed.prometheus), ("Alertmanager", printed.alertmanagers)):
        for silent in (shaped(each, _Unanswered, _WHAT) for each in monitors if "error" in each):
            unanswered[f"{kind} at {silent.address}"] = silent.error
    return Monitoring(
        tuple(
            _prometheus(shaped(each, _Prometheus, _WHAT), printed.now)
            for each in printed.prometheus
            if "error" not in each
        ),
        tuple(
            _alertmanager(shaped(each, _Alertmanager, _WHAT), printed.now)
            for each in printed.alertmanagers
            if "error" not in each
        ),
        unanswered,
        printed.agents,
    )


def _prometheus(answered: _Prometheus, now: float) -> Prometheus:
    return Prometheus(
        address=answered.address,
        rules=tuple(_rule(rule, now) for rule in answered.rules),
        records=answered.records,
        series=answered.series,
        numbers={name: float(value) for name, value in answered.numbers.items()},
        targets=tuple(
            Watched(
                job=target.labels.job,
                instance=target.labels.instance,
                address=target.scrape_url,
                up=target.health == "up",
                error=target.last_error or "",
            )
            for target in answered.targets
        ),
        alertmanagers=answered.alertmanagers,
        pace=float(answered.lab_pace or 1),
        failed=_share(answered.failed),
    )


def _share(samples: Sequence[_Sample]) -> float | None:
    """None where there was nothing to divide by, too."""
    value = float(samples[0].value) if samples else math.nan
    return None if math.isnan(value) else value


def _rule(loaded: _Rule, now: float) -> Rule:
    return Rule(
        name=loaded.name,
        query=loaded.query,
        holds_for=loaded.duration,
        labels=loaded.labels,
        health=loaded.health,
        error=loaded.last_error or "",
        age=now - timestamps.seconds(loaded.last_evaluation),
        interval=loaded.interval,
        firing=loaded.state == "firing",
    )


def _alertmanager(answered: _Alertmanager, now: float) -> Alertmanager:
    return Alertmanager(
        address=answered.address,
        alerts=tuple(
            Active(alert.labels, alert.state, now - timestamps.seconds(alert.updated), alert.receivers)
            for alert in answered.alerts
        ),
        silences=tuple(
            Silence(silence.matchers, timestamps.seconds(silence.ends) - now, silence.comment)
            for silence in answered.silences
        ),
        receivers=answered.receivers,
        sent=answered.sent,
        critical=answered.critical,
    )


# As root: the check of the targets needs the owner of each socket as well, which root alone may see.
monitoring = Fact("monitoring", command("monitoring"), parse_monitoring, sudo=True, timeout=45)
