"""Which ports are open, and which this host could see open at all."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from labcheck.remote.external.answers import Json, family

CONNECT_TIMEOUT = 1.6  # s: a SYN is sent again after 1 s, and both may be answered


def unblocked(address: str, kind: int) -> socket.socket:
    """A socket of the address's family that waits for nothing."""
    sock = socket.socket(socket.AF_INET6 if family(address) == 6 else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


def tcp_states(places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """open, closed, filtered, or unreachable for each address and port, all asked at the same time."""
    states: dict[tuple[str, int], str] = {}
    with selectors.DefaultSelector() as waiting:
        for place in places:
            address, port = place
            sock = unblocked(address, socket.SOCK_STREAM)
            code = sock.connect_ex((address, port))
            if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                waiting.register(sock, selectors.EVENT_WRITE, place)
            else:
                states[place] = tcp_state(code)
                sock.close()
        end = time.monotonic() + CONNECT_TIMEOUT
        while waiting.get_map():
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                states[key.data] = tcp_state(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                waiting.unregister(sock)
                sock.close()
        for key in list(waiting.get_map().values()):
            states[key.data] = "filtered"
            waiting.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
    return states


def tcp_state(code: int) -> str:
    if code == 0:
        return "open"
    if code in (errno.ECONNREFUSED, getattr(errno, "WSAECONNREFUSED", errno.ECONNREFUSED)):
        return "closed"
    if code in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "unreachable"
    return "filtered"  # no answer, or a router or filter said no


def udp_payload(port: int) -> bytes:
    """Something that what usually listens on this port answers."""
    if port == 443:  # QUIC, in a version that no endpoint supports: it must say which it does speak
        head = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
        return head + bytes(1200 - len(head))
    if port == 53:  # which name servers has the root?
        return os.urandom(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
    if port == 123:
        return b"\x1b" + bytes(47)
    return b"\r\n\r\n"


def udp_states(places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """open (something came back), closed (ICMP says so), silent, or unreachable."""
    states: dict[tuple[str, int], str] = {}
    with selectors.DefaultSelector() as waiting:
        for place in places:
            address, port = place
            sock = unblocked(address, socket.SOCK_DGRAM)
            try:
                sock.connect((address, port))
                sock.send(udp_payload(port))
            except OSError:
                states[place] = "unreachable"
                sock.close()
            else:
                waiting.register(sock, selectors.EVENT_READ, place)
        start = time.monotonic()
        again = True
        while waiting.get_map() and time.monotonic() - start < CONNECT_TIMEOUT:
            limit = CONNECT_TIMEOUT / 2 if again else CONNECT_TIMEOUT
            for key, _ in waiting.select(max(0.0, start + limit - time.monotonic())):
                sock = key.fileobj  # type: ignore[assignment]
                try:
                    states[key.data] = "open" if sock.recv(2048) else "silent"
                except ConnectionRefusedError:
                    states[key.data] = "closed"
                except OSError:
                    states[key.data] = "silent"
                waiting.unregister(sock)
                sock.close()
            if again and time.monotonic() - start >= CONNECT_TIMEOUT / 2:
                again = False
                for key in list(waiting.get_map().values()):
                    try:
                        key.fileobj.send(udp_payload(key.data[1]))  # type: ignore[union-attr]
                    except ConnectionRefusedError:
                        states[key.data] = "closed"
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
                    except OSError:
                        continue
        for key in list(waiting.get_map().values()):
            states[key.data] = "silent"
            waiting.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
    return states


def scan(addresses: list[str], tcp: list[int], udp: list[int]) -> list[Json]:
    with ThreadPoolExecutor(2) as pool:
        by_tcp = pool.submit(tcp_states, [(a, p) for a in addresses for p in tcp])
        by_udp = pool.submit(udp_states, [(a, p) for a in addresses for p in udp])
        return [
            {"address": address, "protocol": protocol, "number": port, "state": state}
            for protocol, states in (("tcp", by_tcp.result()), ("udp", by_udp.result()))
            for (address, port), state in states.items()
        ]


def resolve(host: str) -> list[str]:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(item[4][0]) for item in entries})


def reference_ports(host: str, tcp: list[int], udp: list[int]) -> list[Json]:
    """What this host can reach where everything answers: one address of each family."""
    addresses = resolve(host)
    chosen = [next((a for a in addresses if family(a) == kind), None) for kind in (4, 6)]
    return scan([address for address in chosen if address], tcp, udp)


def routes() -> dict[str, bool]:
    """Whether this host has a way out at all, by family: nothing is sent."""
    by_family = {}
    for kind, where, address in (("4", socket.AF_INET, "192.0.2.1"), ("6", socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(where, socket.SOCK_DGRAM) as sock:
                sock.connect((address, 9))
            by_family[kind] = True
        except OSError:
            by_family[kind] = False
    return by_family


def is_open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True
