"""The figure of a server's log: each request, and what the calls of the model cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labcheck.remote.log_records import record
from labkit.figures import BLUE, GREEN, RED, YELLOW, legend, printed_as_root, show, svg, without_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How a request ended, with the colour of its dot.
ENDS = (
    ("answered", GREEN, range(100, 400)),
    ("refused", YELLOW, range(400, 500)),
    ("failed", RED, range(500, 600)),
)


def timeline(path: str) -> None:
    """Draw a log on the server: each request by when it came and how long it took, and below, the costs."""
    show(draw_timeline(printed_as_root(f"cat -- {shlex.quote(path)}\n").splitlines()))


def draw_timeline(lines: Iterable[str]) -> str:
    """The figure of a log's lines as SVG: the same for the same lines."""
    records = [entry for line in lines if (entry := record(line))]
    requests = [entry for entry in records if entry.get("event_type") == "request"]
    calls = [entry for entry in records if entry.get("event_type") in ("llm_call", "llm_error")]
    start = min(map(_moment, records), default=0.0)

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for words, colour, codes in ENDS:
            some = [entry for entry in requests if entry.get("status_code") in codes]
            above.scatter(
                _minutes(some, start), [entry["duration_ms"] for entry in some], s=9, c=colour,
                label=f"{words}: {len(some)}", gid=words,
            )  # fmt: skip
        above.set(yscale="log" if requests else "linear", ylabel="took, ms", title="requests")
        legend(above)
        below.step(_minutes(calls, start), sums(calls), where="post", color=BLUE)
        below.set(ylabel="cost, $", xlabel="minutes since the first line", ylim=(0, None))
        for axes in (above, below):
            without_frame(axes)

    return svg(draw, width=8, height=4)


def _moment(one: dict[str, Any]) -> float:
    return datetime.fromisoformat(one["timestamp"]).timestamp()


def _minutes(some: Sequence[dict[str, Any]], start: float) -> list[float]:
    return [(_moment(one) - start) / 60 for one in some]


def sums(calls: Sequence[dict[str, Any]]) -> list[float]:
    """Dollars that had been spent after each call; one without a known price adds nothing."""
    spent, after_each = 0.0, []
    for call in calls:
        spent += call.get("cost_usd") or 0.0
        after_each.append(spent)
    return after_each
