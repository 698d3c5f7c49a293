"""What is read in an expression of PromQL."""

from __future__ import annotations

import pytest

from labcheck import promql
from labcheck.errors import Unreadable
from labcheck.promql import Matcher, Selector


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up == 0", ["up == 0"]),
        ("(up == 0)", ["up == 0"]),
        ('a{x=~"=|>"} / b{y!="}"} >= 0.05', ['a{x=~"=|>"} / b{y!="}"} >= 0.05']),
        ("a > bool 5", ["a > 5"]),
        ("(a > 1) AND ON (job) b > 2", ["a > 1", "b > 2"]),
        ("a > 1 unless b > 2", ["a > 1"]),
        ("a and b < 3", ["b < 3"]),
        ("a == 0 or absent(a)", ["a == 0"]),
        ("sum(a > 1) by (x) != 4", ["sum by (x) (a > 1) != 4"]),
        ("5 < a", ["a > 5"]),
        ("vector(1)", []),
        ('absent(up{job="app"})', []),
        ("sum(a > 1)", []),
    ],
)
def test_conditions_are_read_from_what_an_expression_compares(expression: str, expected: list[str]) -> None:
    found = promql.conditions(promql.parse(expression))
    assert [f"{one.left.prettify()} {one.words}" for one in found] == expected


def test_metrics_of_an_expression_are_found_with_their_conditions() -> None:
    expression = promql.parse(
        '(sum by (le, route) (rate(app_bucket{route!~"/health.*",status=~"5\\\\.."}[5m])) or vector(0))'
        " / on (job) group_left (x) sum(rate(app_count[5m] offset 1h)) > 0.05"
        ' unless absent({__name__="gone", a="b"}) or max_over_time(sub[1h:5m]) > 1'
    )
    bucket = Selector("app_bucket", (Matcher("route", "!~", "/health.*"), Matcher("status", "=~", "5\\..")))
    gone = Selector("gone", (Matcher("a", "=", "b"),))
    assert promql.selectors(expression) == [bucket, Selector("app_count"), gone, Selector("sub")]
    assert promql.selectors(expression, absent=False) == [bucket, Selector("app_count"), Selector("sub")]
    assert promql.selectors(promql.parse("vector(time())")) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("26 * 3600", 93600.0),
        ("-(1 - 0.5)", -0.5),
        ("1 / 0", None),
        ("a", None),
        ("2 * a", None),
        ("5m", 300),
    ],
)
def test_a_number_is_worked_out(expression: str, expected: float | None) -> None:
    assert promql.number(promql.parse(expression)) == expected


@pytest.mark.parametrize("expression", ["", "sum(", "a >", "nothing_of_the_kind(a)", "time() > 5"])
def test_expression_that_is_no_promql_is_unreadable(expression: str) -> None:
    with pytest.raises(Unreadable, match="not understood"):
        promql.parse(expression)


def test_recording_rules_are_read_in_the_places_of_their_metrics() -> None:
    records = {"a:sum": "sum(a)", "a:ratio": "a:sum / sum(b)", "loop": "loop + 1", "wrong": "sum("}
    assert promql.parse("a:ratio > 1", records).prettify() == "((sum(a)) / sum(b)) > 1"
    assert (
        promql.parse("max_over_time(a:sum[1h]) > 1", records).prettify() == "max_over_time((sum(a))[1h:]) > 1"
    )
    assert {one.name for one in promql.selectors(promql.parse("loop > 1", records))} == {"loop"}
    with pytest.raises(Unreadable):
        promql.parse("wrong > 1", records)


@pytest.mark.parametrize(
    ("expression", "loses"),
    [
        ("sum(a)", True),
        ("sum by (le) (a)", False),
        ("sum(a) by (job)", True),
        ("SUM WITHOUT (job) (a)", False),
        ("sum without (le) (a)", True),
        ("rate(a[5m])", False),
    ],
)
def test_aggregation_keeps_a_label_or_loses_it(expression: str, loses: bool) -> None:
    assert promql.loses(promql.parse(expression), "le") is loses


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('a{job="x"}', True),
        ('a{job!~"x|y"}', False),
        ('a{other=""}', True),
        ('sum(rate(a{job="y"}[5m]))', False),
        ("a / b", False),
        ("a or b", True),
        ("a unless b", True),
        ("1 - a", True),
        ("absent(b)", True),
        ('many{job="nobody knows"}', True),
    ],
)
def test_expression_has_series_to_work_on_or_none(expression: str, expected: bool) -> None:
    series = {"a": ({"job": "x"},), "b": (), "many": ({"job": "1"}, {"job": "2"})}
    assert promql.gives_something(promql.parse(expression), series, most=2) is expected


def test_a_pattern_that_only_go_understands_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="pattern"):
        Matcher("status", "=~", "(?P<x").fits("500")
