"""A small server that logs its requests as JSON, in one of several ways. See test_rotate_under_load.py.

    python logging_server.py FOLDER follows|stays|sluggish

prints its port. `follows` looks before each line whether its file was renamed; `stays` writes to the file
that it once opened; `sluggish` keeps each tenth line to itself.
"""

from __future__ import annotations

import http.server
import json
import logging.handlers
import sys
from pathlib import Path


def handler(path: Path, way: str) -> logging.Handler:
    kind = logging.FileHandler if way == "stays" else logging.handlers.WatchedFileHandler
    return kind(path, encoding="utf-8")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def main(folder: Path, way: str) -> None:
    logs = [handler(folder / name, way) for name in ("app.log", "access.log")]
    count = 0

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonlocal count
            count += 1
            own = self.headers.get("X-Request-ID", "")
            line = json.dumps({"event_type": "request", "request_id": own, "path": self.path})
            for log in logs if way != "sluggish" or count % 10 else logs[:1]:
                log.handle(logging.LogRecord("", logging.INFO, "", 0, line, None, None))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("X-Request-ID", own)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Answer)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
