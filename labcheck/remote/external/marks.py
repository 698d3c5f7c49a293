"""A text that is sent to each address, for the server to see whether it arrives (remote/arrivals.py)."""

from __future__ import annotations

import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from labcheck.remote.arrivals import TCP_PORT, UDP_PORT
from labcheck.remote.external.answers import Json, family, why
from labcheck.remote.external.ports import CONNECT_TIMEOUT, is_open
from labcheck.remote.external.web import TRY_TIMEOUT, get


def send_mark(address: str, domain: str, mark: str) -> Json:
    """Send this text to an address, in datagrams and in a request, for the program that watches there.

    `accepted`: a server on port 80 took the request; `answers`: a host is there at all.
    """
    answers = False
    with socket.socket(
        socket.AF_INET6 if family(address) == 6 else socket.AF_INET, socket.SOCK_DGRAM
    ) as sock:
        for pause in (0.0, 0.2, 0.4):
            time.sleep(pause)
            try:
                sock.connect((address, UDP_PORT))
                sock.send(mark.encode())
            except ConnectionRefusedError:
                answers = True
            except OSError:
                continue
    connection = http.client.HTTPConnection(domain, timeout=TRY_TIMEOUT)
    try:
        connection.sock = socket.create_connection((address, TCP_PORT), CONNECT_TIMEOUT)
        connection.sock.settimeout(TRY_TIMEOUT)
    except OSError as error:
        return {"accepted": False, "answers": answers or why(error) == "refused" or is_open(address, 443)}
    get(connection, "/", {"User-Agent": mark})
    connection.close()
    return {"accepted": True, "answers": True}


def send_marks(addresses: list[str], domain: str, mark: str) -> dict[str, Json]:
    """`mark-NUMBER.` to each address, by its number."""
    with ThreadPoolExecutor(16) as pool:
        sent = {
            address: pool.submit(send_mark, address, domain, f"{mark}-{number}.")
            for number, address in enumerate(addresses)
        }
        return {address: each.result() for address, each in sent.items()}
