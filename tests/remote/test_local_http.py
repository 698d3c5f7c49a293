"""Servers on this host: where they are asked, and how much of an answer is taken."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from labcheck.remote import local_http
from labcheck.remote.local_http import LocalServer


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"x" * 100 if self.path == "/long" else self.path.encode()
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


class OverIPv6Alone(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


@pytest.fixture(params=[("127.0.0.1", http.server.ThreadingHTTPServer), ("::1", OverIPv6Alone)])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    address, kind = request.param
    with kind((address, 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("place", ["[::]:{}", "*:{}", ":{}"])
def test_server_that_listens_everywhere_is_asked_over_either_protocol(port: int, place: str) -> None:
    server = LocalServer(place.format(port), prefix="/monitor/")
    assert [server.text("/a"), server.text("/b")] == ["/monitor/a", "/monitor/b"]
    server.close()


def test_server_that_listens_at_every_address_of_one_protocol_is_asked_over_that() -> None:
    assert LocalServer("0.0.0.0:9090").hosts == ("127.0.0.1",)
    assert LocalServer("[::1]:9090").hosts == ("::1",)


def test_server_with_another_status_than_200_or_an_endless_answer_is_a_fault(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_http, "LONGEST", 50)
    server = LocalServer(f"*:{port}")
    with pytest.raises(OSError, match="/missing answers with status 404"):
        server.text("/missing?a=b")
    with pytest.raises(ValueError, match="/long answers with more than"):
        server.text("/long")
    assert server.text("/short") == "/short"
    server.close()


def test_server_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(local_http.FAULTS):
        LocalServer("[::]:1").text("/")
