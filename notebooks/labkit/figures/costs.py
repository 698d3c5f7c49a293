"""Figures of costs: what a server's ledger holds, and what a contract costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.figures import BLUE, GREEN, GREY, YELLOW, legend, printed_as_root, show, svg, without_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUERY = """cd / && runuser -u postgres -- psql -qAtX -F ' ' aiapp <<'END'
SELECT outcome, coalesce(cost_usd, 0) FROM usage
  WHERE outcome IN ('answered', 'cached', 'cancelled') ORDER BY id
END
"""


@dataclass(frozen=True)
class Call:
    """A row of the ledger: how a question ended, and its dollars."""

    outcome: str
    cost: float


def spending() -> None:
    """Draw the server's ledger: what was paid, and what it would have been without the cache."""
    rows = [line.split() for line in printed_as_root(QUERY).splitlines()]
    show(draw_spending([Call(outcome, float(cost)) for outcome, cost in rows]))


def commitment(month: float) -> None:
    """Draw what a server of this price costs within a year, by the month and with a contract for the year."""
    show(draw_commitment(month))


def sums(calls: Sequence[Call]) -> tuple[list[float], list[float]]:
    """What had been paid after each call, and what would have been without a cache: an answer that came from
    it is put at the average of those that were made."""
    made = [call.cost for call in calls if call.outcome == "answered"]
    average = sum(made) / len(made) if made else 0.0
    paid, without = [0.0], [0.0]
    for call in calls:
        paid.append(paid[-1] + call.cost)
        without.append(without[-1] + (average if call.outcome == "cached" else call.cost))
    return paid, without


def draw_spending(calls: Sequence[Call]) -> str:
    """The figure as SVG: the same for the same calls."""
    paid, without = sums(calls)
    cached = sum(call.outcome == "cached" for call in calls)

    def lines(axes: Axes) -> None:
        numbers = range(len(paid))
        axes.plot(numbers, [1000 * each for each in without], color=GREY, lw=1, label="without the cache")
        axes.step(numbers, [1000 * each for each in paid], where="post", color=BLUE, label="paid")
        axes.set(xlabel="questions", ylabel="cost, thousandths of a dollar", ylim=(0, None))
        axes.set_title(f"{cached} of {len(calls)} answers came from the cache")

    return _figure(lines)


def draw_commitment(month: float) -> str:
    """The figure as SVG: where the lines cross, a contract begins to pay."""

    def lines(axes: Axes) -> None:
        months = range(13)
        axes.plot(months, [month * each for each in months], color=BLUE, label="by the month")
        for off, colour in ((0.3, YELLOW), (0.5, GREEN)):
            year = 12 * month * (1 - off)
            axes.axhline(year, color=colour, lw=1, label=f"a year with {off:.0%} off: ${year:.0f}")
            axes.plot(12 * (1 - off), year, "o", color=colour, ms=5)
        axes.set(xlabel="months in which the server is needed", ylabel="cost of the year, $", ylim=(0, None))
        axes.set_title(f"a server for ${month:g} a month")

    return _figure(lines)


def _figure(lines: Callable[[Axes], None]) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        lines(axes)
        legend(axes)
        without_frame(axes)

    return svg(draw, width=7, height=3)
