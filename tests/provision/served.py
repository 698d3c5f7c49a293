"""A program of the stand-in internet, running on this computer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

INTERNET = Path(__file__).parents[2] / "vagrant" / "internet"


@contextmanager
def served(app: str, **environ: str) -> Iterator[str]:
    """The address of a running `app`. The listening socket is handed over: no port is guessed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--fd", str(listener.fileno())],
            cwd=INTERNET,
            env=os.environ | environ,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/", timeout=1)
                break
            except httpx2.TransportError:
                assert server.poll() is None, server.communicate()[1]
                assert time.monotonic() < deadline, f"{app} did not answer within 20 s"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=10)
