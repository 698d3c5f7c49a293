"""Prometheus seen through a tunnel: a real ssh to a real sshd, and pictures of what it answered."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from labcheck.ssh import Connection
from labcheck.wait import wait_until
from labkit.figures.metrics import PANELS, Prometheus, draw_panels, open_tunnel
from labkit.magics import CellFailed
from labkit.tunnel import free_port


class Answers(BaseHTTPRequestHandler):
    """As Prometheus answers: one series for a range, an error for an expression that is none."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if query.get("query") == ["wrong("]:
            body: object = {"status": "error", "error": "parse error"}
        elif "start" in query:
            end = float(query["end"][0])
            values = [[end - 60, "1.5"], [end - 30, "NaN"], [end, "+Inf"]]
            body = {"status": "success", "data": {"result": [{"metric": {}, "values": values}]}}
        else:
            body = {"status": "success", "data": {"result": []}}
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_api_s_data_come_back_and_its_errors_are_raised(port: int) -> None:
    prometheus = Prometheus(port)
    assert prometheus.api("query", query="up") == {"result": []}
    with pytest.raises(CellFailed, match="Prometheus says: parse error"):
        prometheus.api("query", query="wrong(")


def test_a_history_holds_what_is_a_number_by_minutes_before_now(port: int) -> None:
    assert Prometheus(port).history("up", 5) == [(-1.0, 1.5)]


def test_tunnel_without_a_program_at_the_other_end_is_reported() -> None:
    with pytest.raises(CellFailed, match="does not answer through the tunnel"):
        Prometheus(free_port(0)).api("query", query="up")


def test_port_that_is_in_use_is_not_taken(port: int) -> None:
    assert free_port(port) != port


def test_a_picture_has_a_line_for_each_name_and_the_thresholds() -> None:
    lines = [{name: [(-5.0, 1.0), (0.0, 6.0)] for name in panel} for _, panel, _ in PANELS]
    svg = draw_panels(lines, 15)
    assert svg == draw_panels(lines, 15)
    names = [name for _, panel, _ in PANELS for name in panel]
    assert all(re.search(rf'<g id="{name}">', svg) for name in names)
    assert svg.count("alert above") == sum(threshold is not None for *_, threshold in PANELS)


def test_a_picture_without_a_point_is_one_as_well() -> None:
    assert "<svg" in draw_panels([dict.fromkeys(panel, ()) for _, panel, _ in PANELS], 15)


def test_tunnel_leads_to_the_server_s_own_port(server: Connection, port: int) -> None:
    prometheus = open_tunnel(port, server)
    tunnel = prometheus.tunnel
    assert tunnel and prometheus.port != port  # here both ends are on one computer, and its own port is taken
    try:
        assert prometheus.api("query", query="up") == {"result": []}
    finally:
        prometheus.close()
    assert tunnel.process.poll() is not None
    with pytest.raises(CellFailed, match="does not answer"):
        prometheus.api("query", query="up")


def test_tunnel_ends_by_itself_with_the_process_that_opened_it(server: Connection, port: int) -> None:
    prometheus = open_tunnel(port, server)
    assert prometheus.tunnel
    ssh = prometheus.tunnel.process
    assert ssh.stdin
    ssh.stdin.close()  # as the end of a program closes it, however that came
    wait_until(lambda: ssh.poll() is not None, what="ssh to end", timeout=120)
    prometheus.close()


def test_server_that_cannot_be_reached_is_reported() -> None:
    with pytest.raises(CellFailed, match=r"there is no tunnel to nowhere\.invalid"):
        open_tunnel(9090, Connection("nowhere.invalid"))
