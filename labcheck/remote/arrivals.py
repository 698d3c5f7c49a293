"""A program for the server that is checked: what arrives there of what is sent to its addresses.

It runs there as root (external/arrivals.py says when). It reads packets where they come in, before any packet
filter, and only those to the two ports that are sent to. It prints `watching`; a line for each mark that
arrives, with the address in the packet's header; and how many packets came too fast for it, where any did. It
ends when its standard input does, or at its time limit.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import select
import socket
import struct
import time

UDP_PORT = 33434  # traceroute's, where no program answers
TCP_PORT = 80
LONGEST = 2048  # bytes of a packet that are looked at
EVERY_PROTOCOL = 3
ATTACH_FILTER, BUFFER_AT_LEAST, STATISTICS, OF_PACKETS = 26, 33, 6, 263  # in Linux's headers

# A classic BPF program, from the IP header on: UDP to the one port and TCP to the other, over IPv4 and IPv6.
KEEP = (
    (0x30, 0, 0, 0),  # 0  the version
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 3, 0x40),  # 2  not IPv4: 6
    (0xB1, 0, 0, 0),  # 3  the length of the header
    (0x30, 0, 0, 9),  # 4  the protocol
    (0x05, 0, 0, 3),  # 5  9
    (0x15, 0, 9, 0x60),  # 6  not IPv6: drop
    (0x01, 0, 0, 40),
    (0x30, 0, 0, 6),  # 8  the next header
    (0x15, 0, 2, 17),  # 9  not UDP: 12
    (0x48, 0, 0, 2),  # 10 the destination's port
    (0x15, 3, 4, UDP_PORT),  # 11 keep, or drop
    (0x15, 0, 3, 6),  # 12 not TCP: drop
    (0x48, 0, 0, 2),
    (0x15, 0, 1, TCP_PORT),  # 14
    (0x06, 0, 0, LONGEST),  # 15 keep
    (0x06, 0, 0, 0),  # 16 drop
)


def incoming() -> socket.socket:
    """Packets of every interface, from the IP header on. Raises PermissionError without root."""
    line = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in KEEP))
    line.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(KEEP), ctypes.addressof(program)))
    line.setsockopt(socket.SOL_SOCKET, BUFFER_AT_LEAST, 4 * 1024 * 1024)
    return line


def destination(packet: bytes) -> str:
    """The address in the packet's IP header: behind a translating router not the one that was sent to."""
    where = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
    return str(ipaddress.ip_address(where))


def main(mark: str, limit: float) -> None:
    """Watch for `mark`-NUMBER for at most `limit` seconds."""
    try:
        line = incoming()
    except PermissionError:
        print("not root", flush=True)
        return
    print("watching", flush=True)
    pattern = re.compile(re.escape(mark).encode() + rb"-(\d+)\.")
    arrived: set[tuple[str, str]] = set()
    end = time.monotonic() + limit
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([line.fileno(), 0], [], [], min(left, 0.5))
        if line.fileno() in ready:
            packet, (_, _, kind, *_) = line.recvfrom(LONGEST)
            match = pattern.search(packet) if kind != socket.PACKET_OUTGOING else None
            if match and (arrival := (match[1].decode(), destination(packet))) not in arrived:
                arrived.add(arrival)
                print(*arrival, flush=True)
        elif 0 in ready and not os.read(0, 4096):
            break
        _, lost = struct.unpack("II", line.getsockopt(OF_PACKETS, STATISTICS, 8))  # since it was asked last
        if lost:
            print("lost", lost, flush=True)
