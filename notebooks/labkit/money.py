"""Pictures of money: what a server's ledger holds, and what a contract costs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labcheck.config import load
from labcheck.errors import ConfigError, Unreachable
from labcheck.ssh import AS_ROOT
from labkit.magics import CellFailed

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
    try:
        read = load().server.run(AS_ROOT, stdin=QUERY)
    except ConfigError as problem:
        raise CellFailed(str(problem)) from None
    except Unreachable as problem:
        raise CellFailed(f"cannot reach {problem.host}: {problem.reason} ({problem.next})") from None
    if read.exit_status:
        raise CellFailed(read.stderr.strip())
    words = [line.split() for line in read.stdout.splitlines()]
    _show(draw_spending([Call(outcome, float(cost)) for outcome, cost in words]))


def commitment(month: float) -> None:
    """Draw what a server of this price costs within a year, by the month and with a contract for the year."""
    _show(draw_commitment(month))


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
    """The picture as SVG: the same for the same calls."""
    paid, without = sums(calls)
    cached = sum(call.outcome == "cached" for call in calls)

    def lines(axes: Any) -> None:
        numbers = range(len(paid))
        axes.plot(
            numbers, [1000 * each for each in without], color="#6e7781", lw=1, label="without the cache"
        )
        axes.step(numbers, [1000 * each for each in paid], where="post", color="#0969da", label="paid")
        axes.set(xlabel="questions", ylabel="cost, thousandths of a dollar", ylim=(0, None))
        axes.set_title(f"{cached} of {len(calls)} answers came from the cache")

    return _picture(lines)


def draw_commitment(month: float) -> str:
    """The picture as SVG: where the lines cross, a contract begins to pay."""

    def lines(axes: Any) -> None:
        months = range(13)
        axes.plot(months, [month * each for each in months], color="#0969da", label="by the month")
        for off, colour in ((0.3, "#bf8700"), (0.5, "#1a7f37")):
            year = 12 * month * (1 - off)
            axes.axhline(year, color=colour, lw=1, label=f"a year with {off:.0%} off: ${year:.0f}")
            axes.plot(12 * (1 - off), year, "o", color=colour, ms=5)
        axes.set(xlabel="months in which the server is needed", ylabel="cost of the year, $", ylim=(0, None))
        axes.set_title(f"a server for ${month:g} a month")

    return _picture(lines)


def _picture(lines: Any) -> str:
    import matplotlib  # takes a second, and is needed by nothing else
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "labkit", "font.size": 9}):
        figure = Figure(figsize=(7, 3), layout="constrained")
        axes = figure.subplots()
        lines(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _show(picture: str) -> None:
    from IPython.display import SVG, display  # IPython is there where this runs, and need not be elsewhere

    display(SVG(picture))  # type: ignore[no-untyped-call,unused-ignore]
