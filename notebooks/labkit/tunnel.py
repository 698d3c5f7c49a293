"""A port of this computer that leads to one behind a host: `ssh -L`, open as long as this program runs."""

from __future__ import annotations

import atexit
import socket
import subprocess

from labcheck.remote.output import last_line
from labcheck.ssh import Connection
from labcheck.wait import GaveUp, NotYet, wait_until

OPENS_WITHIN = 30.0  # s


class NoTunnel(Exception):
    """The tunnel could not be opened; the text says why."""


class Tunnel:
    """`port` is its near end, on 127.0.0.1. `close` ends it, and so does our own end."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self.process = port, process
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe:
                pipe.close()


def free_port(wanted: int = 0) -> int:
    """This port of our own, or any other where it is taken. Raises NoTunnel."""
    for port in (wanted, 0):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(attempt.getsockname()[1])
    raise NoTunnel("this computer has no free port")


def open_tunnel(host: Connection, far: str, *, near: int = 0) -> Tunnel:
    """A tunnel to `far`, a name or address and a port as `host` reaches it. Raises NoTunnel.

    It is `ssh -L NEAR:FAR host`, and ends with this program.
    """
    port = free_port(near)
    process = host.forward(port, far)
    tunnel = Tunnel(port, process)

    def is_open() -> bool:
        if process.poll() is not None:
            assert process.stderr
            reason = last_line(process.stderr.read().decode(errors="replace"), "ssh ended")
            raise NoTunnel(f"there is no tunnel to {host.host}: {reason}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError as problem:
            raise NotYet(str(problem)) from None
        return True

    try:
        wait_until(is_open, what="the tunnel", timeout=OPENS_WITHIN, every=0.2)
    except GaveUp as problem:
        tunnel.close()
        raise NoTunnel(str(problem)) from None
    except BaseException:
        tunnel.close()
        raise
    return tunnel
