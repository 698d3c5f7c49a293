"""HTTP servers on this host, asked over the loopback address, with a limit to the time and to the answer."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

PATIENCE = 5.0
"""Seconds for one answer."""
LONGEST = 16 * 1024 * 1024
"""Bytes of an answer."""

FAULTS = (OSError, http.client.HTTPException, ValueError)
"""What is raised where there is no answer, or one that cannot be used."""

# The address of a program that listens everywhere. Over IPv6 alone only the one answers, and the other where
# IPv6 is switched off.
_EVERYWHERE = {
    "": ("127.0.0.1", "::1"),
    "*": ("127.0.0.1", "::1"),
    "0.0.0.0": ("127.0.0.1",),
    "::": ("::1", "127.0.0.1"),
}


def split(place: str) -> tuple[str, int]:
    """Host and port of a place to listen at, as Prometheus and ss write it: `:9090`, `[::]:9090`."""
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


class LocalServer(http.client.HTTPConnection):
    """A server that listens at a place like `127.0.0.1:9090` or `[::]:8000`, over one connection.

    `prefix` goes before each path. What it says may raise one of FAULTS.
    """

    def __init__(self, place: str, *, prefix: str = "", timeout: float = PATIENCE) -> None:
        host, port = split(place)
        self.hosts = _EVERYWHERE.get(host, (host,))
        self.prefix = prefix.rstrip("/")
        super().__init__(self.hosts[0], port, timeout=timeout)

    def connect(self) -> None:
        fault = OSError()
        for host in self.hosts:
            try:
                self.sock = socket.create_connection((host, self.port), self.timeout)
                return
            except OSError as error:
                fault = error
        raise fault

    def ask(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        try:
            self.request(method, self.prefix + path, body, headers or {})
            answer = self.getresponse()
            content = answer.read(LONGEST + 1)
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if len(content) > LONGEST:
            self.close()
            raise ValueError(f"{path.partition('?')[0]} answers with more than {LONGEST // 2**20} MiB")
        return answer.status, content

    def text(self, path: str, headers: Mapping[str, str] | None = None) -> str:
        """What is there; OSError for any status but 200."""
        status, body = self.ask("GET", path, headers=headers)
        if status != 200:
            raise OSError(f"{path.partition('?')[0]} answers with status {status}")
        return body.decode("utf-8", "replace")

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))
