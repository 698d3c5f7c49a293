"""What an alert's PromQL says: which metrics it reads, and what it compares.

The grammar is a library's (promql-parser). Times, labels and functions are looked at as trees.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import promql_parser
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatchOp,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from labcheck.errors import Unreadable

Labels = Mapping[str, str]

_MATCH = ((MatchOp.Equal, "="), (MatchOp.NotEqual, "!="), (MatchOp.Re, "=~"), (MatchOp.NotRe, "!~"))
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_CONSTANT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_ABSENT = ("absent", "absent_over_time")
_MOST_RECORDS = 50  # of an expression, in case one of them reads itself


@dataclass(frozen=True)
class Matcher:
    label: str
    operator: str  # =, !=, =~ or !~
    value: str

    def fits(self, text: str) -> bool:
        """Whether a label with this text is taken. Raises Unreadable for a pattern that is not understood."""
        if self.operator in ("=", "!="):
            return (text == self.value) == (self.operator == "=")
        try:
            return bool(re.fullmatch(self.value, text)) == (self.operator == "=~")
        except re.error:
            raise Unreadable(f"the pattern {self.value!r} in an alert is not understood") from None


@dataclass(frozen=True)
class Selector:
    """A metric and its conditions; `name` is "" where the metric is chosen by a pattern."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def takes(self, series: Labels) -> bool:
        return all(matcher.fits(series.get(matcher.label, "")) for matcher in self.matchers)


@dataclass(frozen=True)
class Condition:
    """A comparison. A number is on its right side, whichever side it was written on."""

    left: Expr
    operator: str
    right: Expr

    @property
    def words(self) -> str:
        """The operator and the right side."""
        return f"{self.operator} {self.right.prettify()}"


def parse(query: str, records: Mapping[str, str] | None = None) -> Expr:
    """The expression, with the recording rules that it reads (`records`, by name) in their places.

    Raises Unreadable.
    """
    most = iter(range(_MOST_RECORDS))

    def replacement(part: Expr) -> Expr | None:
        found = _recorded(part, records or {})
        return found if found is not None and next(most, None) is not None else None

    try:
        expression: Expr = promql_parser.transform(_parsed(query), replacement)
    except ValueError as problem:
        raise Unreadable(f"the expression {query!r} is not understood: {problem}") from None
    return expression


def _parsed(query: str) -> Expr:
    expression: Expr = promql_parser.parse(query)
    return expression


def _recorded(expression: Expr, records: Mapping[str, str]) -> Expr | None:
    """What to put in its place, if anything: of the times of a recorded metric, those of its rule."""
    if isinstance(expression, MatrixSelector):
        if query := records.get(selector(expression.vector_selector).name):
            return _parsed(f"({query})[{promql_parser.display_duration(expression.range)}:]")
    elif isinstance(expression, VectorSelector) and (query := records.get(selector(expression).name)):
        return _parsed(f"({query})")
    return None


def selector(expression: VectorSelector) -> Selector:
    matchers = [
        Matcher(matcher.name, next(text for kind, text in _MATCH if kind == matcher.op), matcher.value)
        for matcher in expression.matchers.matchers
    ]
    names = [matcher.value for matcher in matchers if matcher.label == "__name__" and matcher.operator == "="]
    name = expression.name or (names[0] if names else "")
    return Selector(name, tuple(matcher for matcher in matchers if matcher.label != "__name__" or not name))


def children(expression: Expr) -> list[Expr]:
    if isinstance(expression, BinaryExpr):
        return [expression.lhs, expression.rhs]
    if isinstance(expression, Call):
        return list(expression.args)
    if isinstance(expression, MatrixSelector):
        return [expression.vector_selector]
    if isinstance(expression, (AggregateExpr, ParenExpr, SubqueryExpr, UnaryExpr)):
        return [expression.expr]
    return []


def parts(expression: Expr) -> Iterator[Expr]:
    """The expression and everything in it."""
    yield expression
    for child in children(expression):
        yield from parts(child)


def selectors(expression: Expr, *, absent: bool = True) -> list[Selector]:
    """The metrics that it reads; without `absent` only those that are not asked whether they are missing."""
    if isinstance(expression, VectorSelector):
        return [selector(expression)]
    if not absent and isinstance(expression, Call) and expression.func.name in _ABSENT:
        return []
    return [found for child in children(expression) for found in selectors(child, absent=absent)]


def calls(expression: Expr, *names: str) -> list[Call]:
    """The functions of these names that it calls."""
    return [part for part in parts(expression) if isinstance(part, Call) and part.func.name in names]


def asks_what_is_missing(expression: Expr) -> bool:
    return bool(calls(expression, *_ABSENT))


def divides(expression: Expr) -> bool:
    return any(isinstance(part, BinaryExpr) and str(part.op) == "/" for part in parts(expression))


def in_percent(expression: Expr) -> bool:
    """Whether it is multiplied by 100."""
    return any(
        isinstance(part, BinaryExpr) and str(part.op) == "*" and 100.0 in map(number, children(part))
        for part in parts(expression)
    )


def loses(expression: Expr, label: str) -> bool:
    """Whether it adds up, or the like, what this label tells apart."""
    for part in parts(expression):
        if isinstance(part, AggregateExpr):
            keeps = part.modifier is not None and (
                (label in part.modifier.labels) == (part.modifier.type == AggModifierType.By)
            )
            if not keeps:
                return True
    return False


def bare(expression: Expr) -> Expr:
    """Without the brackets around it."""
    while isinstance(expression, ParenExpr):
        expression = expression.expr
    return expression


def number(expression: Expr) -> float | None:
    """What it is where it reads nothing: 26 * 3600; None for anything else."""
    expression = bare(expression)
    if isinstance(expression, NumberLiteral):
        return expression.val
    if isinstance(expression, UnaryExpr):
        value = number(expression.expr)
        return None if value is None else -value
    if isinstance(expression, BinaryExpr) and (calculate := _CONSTANT.get(str(expression.op))):
        left, right = number(expression.lhs), number(expression.rhs)
        if left is not None and right is not None and (right or str(expression.op) != "/"):
            return round(float(calculate(left, right)), 12)  # 1 - 0.95 is 0.05
    return None


def conditions(expression: Expr) -> list[Condition]:
    """What it compares: of `a > 1 and b > 2`, or with `or`, both; of `unless` what is before it."""
    expression = bare(expression)
    if not isinstance(expression, BinaryExpr):
        return []
    how = str(expression.op)
    if how in ("and", "or"):
        return [*conditions(expression.lhs), *conditions(expression.rhs)]
    if how == "unless":
        return conditions(expression.lhs)
    if how not in _FLIPPED:
        return []
    if number(expression.lhs) is not None and number(expression.rhs) is None:
        return [Condition(bare(expression.rhs), _FLIPPED[how], expression.lhs)]
    return [Condition(bare(expression.lhs), how, expression.rhs)]


def gives_something(expression: Expr, series: Mapping[str, Sequence[Labels]], *, most: int) -> bool:
    """Whether it has something to work on in these series, by metric; where there are `most`, it has."""
    if isinstance(expression, VectorSelector):
        chosen = selector(expression)
        here = series.get(chosen.name, ())
        return len(here) >= most or any(map(chosen.takes, here))
    if isinstance(expression, Call) and expression.func.name in _ABSENT:
        return True
    each = [gives_something(child, series, most=most) for child in children(expression)]
    if isinstance(expression, BinaryExpr) and str(expression.op) == "or":
        return any(each)
    if isinstance(expression, BinaryExpr) and str(expression.op) == "unless":
        return each[0]
    return all(each)
