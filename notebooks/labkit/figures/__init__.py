"""Figures of what a server has recorded, a module for each source: requests, costs, metrics.

Here is what they share: how a figure is drawn as SVG and shown, and how a server is asked for its numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from labcheck.config import load
from labcheck.errors import ConfigError, Unreachable
from labcheck.ssh import AS_ROOT
from labkit.magics import CellFailed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREEN, YELLOW, RED, GREY = "#0969da", "#1a7f37", "#bf8700", "#cf222e", "#6e7781"


def svg(draw: Callable[[Figure], None], *, width: float, height: float) -> str:
    """The figure that `draw` fills, as SVG; the same for the same drawing. Width and height are in inches."""
    import matplotlib  # takes a second, and is needed by nothing else
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "labkit", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def legend(axes: Axes) -> None:
    """The legend, to the right of these axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def without_frame(axes: Axes) -> None:
    """Leave out the lines above these axes and to their right."""
    axes.spines[["top", "right"]].set_visible(False)


def show(picture: str) -> None:
    """Show an SVG below the cell."""
    from IPython.display import SVG, display  # IPython is there where this runs, and need not be elsewhere

    display(SVG(picture))  # type: ignore[no-untyped-call,unused-ignore]


def printed_as_root(script: str) -> str:
    """What this bash script prints on the server, run as root. Raises CellFailed."""
    try:
        result = load().server.run(AS_ROOT, stdin=script)
    except ConfigError as problem:
        raise CellFailed(str(problem)) from None
    except Unreachable as problem:
        raise CellFailed(f"cannot reach {problem.host}: {problem.reason} ({problem.next})") from None
    if result.exit_status:
        raise CellFailed(result.stderr.strip())
    return result.stdout
