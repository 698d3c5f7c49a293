"""Pictures of what a server's logs tell, drawn where a notebook shows them."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from labcheck.config import load
from labcheck.errors import ConfigError, Unreachable
from labcheck.remote.log_records import record
from labcheck.ssh import AS_ROOT
from labkit.magics import CellFailed

# How a request ended, with the colour of its dot.
ENDS = (
    ("answered", "#1a7f37", range(100, 400)),
    ("refused", "#bf8700", range(400, 500)),
    ("failed", "#cf222e", range(500, 600)),
)


def timeline(path: str) -> None:
    """Draw a log on the server: each request by when it came and how long it took, and below, the costs."""
    from IPython.display import SVG, display  # IPython is there where this runs, and need not be elsewhere

    try:
        server = load().server
        read = server.run(AS_ROOT, stdin=f"cat -- {shlex.quote(path)}\n")
    except ConfigError as problem:
        raise CellFailed(str(problem)) from None
    except Unreachable as problem:
        raise CellFailed(f"cannot reach {problem.host}: {problem.reason} ({problem.next})") from None
    if read.exit_status:
        raise CellFailed(read.stderr.strip())
    display(SVG(draw(read.stdout.splitlines())))  # type: ignore[no-untyped-call,unused-ignore]


def draw(lines: Iterable[str]) -> str:
    """The picture of a log's lines as SVG: the same for the same lines."""
    import matplotlib  # takes a second, and is needed by nothing else
    from matplotlib.figure import Figure

    records = [one for line in lines if (one := record(line))]
    requests = [one for one in records if one.get("event_type") == "request"]
    calls = [one for one in records if one.get("event_type") in ("llm_call", "llm_error")]
    start = min(map(_moment, records), default=0.0)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "labkit", "font.size": 9}):
        figure = Figure(figsize=(8, 4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for words, colour, codes in ENDS:
            some = [one for one in requests if one.get("status_code") in codes]
            above.scatter(
                _minutes(some, start), [one["duration_ms"] for one in some], s=9, c=colour,
                label=f"{words}: {len(some)}", gid=words,
            )  # fmt: skip
        above.set(yscale="log" if requests else "linear", ylabel="took, ms", title="requests")
        above.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        below.step(_minutes(calls, start), _sums(calls), where="post", color="#0969da")
        below.set(ylabel="cost, $", xlabel="minutes since the first line", ylim=(0, None))
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _moment(one: dict[str, Any]) -> float:
    return datetime.fromisoformat(one["timestamp"]).timestamp()


def _minutes(some: Sequence[dict[str, Any]], start: float) -> list[float]:
    return [(_moment(one) - start) / 60 for one in some]


def _sums(calls: Sequence[dict[str, Any]]) -> list[float]:
    """What had been spent after each call; one without a known price adds nothing."""
    spent, sums = 0.0, []
    for one in calls:
        spent += one.get("cost_usd") or 0.0
        sums.append(spent)
    return sums
