"""A small site for the probe, in a network of its own, on ports 80 and 443. See test_probe.py.

    unshare --net --map-root-user python web_server.py FOLDER [old] < questions

starts the site, runs the probe (its source with its questions comes on standard input), and ends with it.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from pathlib import Path

warnings.simplefilter("ignore", DeprecationWarning)


class Secure(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f'{{"status": "healthy", "components": {{"path": "{self.path}"}}}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Strict-Transport-Security", "max-age=60")
        self.end_headers()
        self.wfile.write(body)

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


def main(folder: Path, old: bool) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    plain, secure = Server(("::", 80), Plain), Server(("::", 443), Secure)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "site.pem")
    if old:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, secure):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return subprocess.run([sys.executable, "-"], stdin=sys.stdin).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "old" in sys.argv[2:]))
