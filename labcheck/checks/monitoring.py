"""What several checks ask of a server's Prometheus and Alertmanager: what alerts say, and their receivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from promql_parser import Expr

from labcheck import promql
from labcheck.errors import Unreadable
from labcheck.facts.monitoring import Monitoring, Prometheus, Rule, Silence


@dataclass(frozen=True)
class Alert:
    """An alert that is loaded. `says` has the recording rules in it, `expression` is as it was written."""

    prometheus: Prometheus
    rule: Rule
    expression: Expr
    says: Expr

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that it reads, recorded or not."""
        found = [*promql.selectors(self.expression), *promql.selectors(self.says)]
        return tuple(dict.fromkeys(selector.name for selector in found))


@dataclass(frozen=True)
class Alerts:
    """`unread` are alerts whose expressions are not understood, with the reason."""

    all: tuple[Alert, ...]
    unread: Mapping[str, str]


def alerts(state: Monitoring) -> Alerts:
    """The alerts that are loaded, of each Prometheus."""
    read, unread = [], {}
    for prometheus in state.prometheus:
        for rule in prometheus.rules:
            try:
                both = promql.parse(rule.query), promql.parse(rule.query, prometheus.records)
            except Unreadable as reason:
                unread[rule.name] = str(reason)
            else:
                read.append(Alert(prometheus, rule, *both))
    return Alerts(tuple(read), unread)


def unanswered(state: Monitoring, kind: str) -> list[str]:
    """Why monitors of this kind that run here, Prometheus or Alertmanager, could not be asked."""
    return [f"{name}: {reason}" for name, reason in state.unanswered.items() if name.startswith(kind)]


def alertmanager_is_elsewhere(state: Monitoring) -> bool:
    """Whether the alerts are handed to another server, which cannot be asked from here."""
    urls = [url for prometheus in state.prometheus for url in prometheus.alertmanagers]
    return not all("//127." in url or "//localhost" in url for url in urls)


def covers(silence: Silence, labels: Mapping[str, str]) -> bool:
    """Whether it would keep an alert with these labels quiet, as far as they are known."""
    return all(matcher.name in labels and matcher.fits(labels[matcher.name]) for matcher in silence.matchers)
