"""A small site for the probe, in a network of its own, on ports 80 and 443. See test_probe.py.

    unshare --net --map-root-user python web_server.py FOLDER [WORD…] < questions

starts the site, runs the probe (its source with its questions comes on standard input), and ends with it.
The words say what is wrong with it: `old` takes old versions of TLS, `limitless` refuses no request,
`believing` counts by the address that a client claims, `forgetful` counts as two processes do that share
nothing, and `silent` announces no limit.
"""

from __future__ import annotations

import http.server
import itertools
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

QUOTA = 10
warnings.simplefilter("ignore", DeprecationWarning)


class Secure(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f'{{"status": "healthy", "components": {{"path": "{self.path}"}}}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Strict-Transport-Security", "max-age=60")
        self.send_header("X-Request-ID", self.headers.get("X-Request-ID", "of the server's own"))
        self.end_headers()
        self.wfile.write(body)

    # How many came from each client; a second process would have a count of its own.
    counts: ClassVar[tuple[Counter[str], ...]] = (Counter(), Counter())
    turn: ClassVar[Iterator[int]] = itertools.count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        client = self.headers.get("Authorization", self.client_address[0])
        if "believing" in sys.argv:
            client = self.headers.get("X-Forwarded-For", client)
        counted = self.counts[next(self.turn) % 2 if "forgetful" in sys.argv else 0]
        refused = counted[client] >= QUOTA and "limitless" not in sys.argv
        if not refused:
            counted[client] += 1
        self.send_response(429 if refused else 401)
        if "silent" not in sys.argv:
            self.send_header("RateLimit-Policy", f'"chat";q={QUOTA};w=60')
            self.send_header("RateLimit", f'"chat";r={max(QUOTA - counted[client], 0)};t=60')
        if refused:
            self.send_header("Retry-After", "60")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


class Plain(Secure):
    def do_GET(self) -> None:
        self.send_response(308)
        self.send_header("Location", "https://app.lab.example/")
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a refused handshake is what some tests want


def main(folder: Path) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    plain, secure = Server(("::", 80), Plain), Server(("::", 443), Secure)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "site.pem")
    if "old" in sys.argv:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, secure):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return subprocess.run([sys.executable, "-"], stdin=sys.stdin).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
