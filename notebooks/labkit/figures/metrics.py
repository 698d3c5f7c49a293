"""A server's Prometheus, seen from this computer: through an SSH tunnel, in numbers and as a figure."""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from labcheck.config import load
from labcheck.errors import ConfigError
from labcheck.ssh import Connection
from labkit import tunnel
from labkit.figures import RED, legend, show, svg, without_frame
from labkit.magics import CellFailed
from labkit.tunnel import Tunnel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USERS = 'route!~"/health.*|/metrics"'  # requests of people, and not of probes
_SECONDS = f"sum by (le) (rate(app_request_seconds_bucket{{{USERS}}}[30s]))"
_FAILED = f'sum(rate(app_request_seconds_count{{{USERS},status=~"5.."}}[30s])) or vector(0)'

# A panel: its title, its lines by name, and a threshold.
PANELS: tuple[tuple[str, Mapping[str, str], float | None], ...] = (
    (
        "answers take, s",
        {f"p{name}": f"histogram_quantile(0.{name}, {_SECONDS})" for name in (50, 95, 99)},
        5,
    ),
    (
        "requests that fail, %",
        {"failed": f"100 * ({_FAILED}) / sum(rate(app_request_seconds_count{{{USERS}}}[30s]))"},
        5,
    ),
    (
        "in use, %",
        {
            "memory": "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
            "disk": '100 * (1 - node_filesystem_avail_bytes{mountpoint="/"}'
            ' / node_filesystem_size_bytes{mountpoint="/"})',
        },
        80,
    ),
)


class Prometheus:
    """Prometheus's HTTP API at the near end of a tunnel. `close` ends the tunnel, and so does our own end."""

    def __init__(self, port: int, tunnel: Tunnel | None = None) -> None:
        self.port, self.tunnel = port, tunnel

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        if self.tunnel:
            self.tunnel.close()

    def api(self, path: str, **query: object) -> Any:
        """What it answers. Raises CellFailed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
            body = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise CellFailed(f"Prometheus does not answer through the tunnel: {problem}") from None
        finally:
            connection.close()
        if body.get("status") != "success":
            raise CellFailed(f"Prometheus says: {body.get('error', body)}")
        return body["data"]

    def history(self, expression: str, minutes: float) -> list[tuple[float, float]]:
        """The first series that an expression gives: (minutes before now, value), where it is a number."""
        end = time.time()
        matrix = self.api(
            "query_range", query=expression, start=end - 60 * minutes, end=end, step=max(minutes / 4, 1)
        )
        series = matrix["result"][0]["values"] if matrix["result"] else []
        points = [((moment - end) / 60, float(value)) for moment, value in series]
        return [(when, value) for when, value in points if math.isfinite(value)]

    def draw(self, minutes: float = 15) -> None:
        """Show the last minutes: percentiles, errors with their threshold, memory and disk."""
        lines = [
            {name: self.history(expression, minutes) for name, expression in panel.items()}
            for _, panel, _ in PANELS
        ]
        show(draw_panels(lines, minutes))


def draw_panels(lines: Sequence[Mapping[str, Sequence[tuple[float, float]]]], minutes: float) -> str:
    """The figure as SVG: a panel for each of PANELS, with these points in it."""

    def draw(figure: Figure) -> None:
        for axes, (title, _, threshold), panel in zip(
            figure.subplots(len(PANELS), 1, sharex=True), PANELS, lines, strict=True
        ):
            for name, points in panel.items():
                axes.plot([x for x, _ in points], [y for _, y in points], label=name, gid=name)
            if threshold is not None:
                axes.axhline(threshold, color=RED, linestyle=":", label="alert above")
            axes.set(title=title, ylim=(0, None), xlim=(-minutes, 0))
            without_frame(axes)
            legend(axes)
        axes.set(xlabel="minutes before now")

    return svg(draw, width=8, height=6)


def open_tunnel(port: int = 9090, server: Connection | None = None) -> Prometheus:
    """A tunnel to the server's own port, which is open as long as this program runs. Raises CellFailed."""
    try:
        server = server or load().server
        opened = tunnel.open_tunnel(server, f"127.0.0.1:{port}", near=port)
    except (ConfigError, tunnel.NoTunnel) as problem:
        raise CellFailed(str(problem)) from None
    return Prometheus(opened.port, opened)
