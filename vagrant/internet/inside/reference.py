"""The reference host: every TCP connection is accepted, every UDP packet answered.

The packet filter of its network sends all ports here. A place that wants to look at a server from outside
proves on this host first that nothing stands between it and a port.
"""

import selectors
import socket

PORT = 9

selector = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", PORT))
    if kind == socket.SOCK_STREAM:
        server.listen(1024)
    selector.register(server, selectors.EVENT_READ, kind)

while True:
    for key, _ in selector.select():
        if key.data == socket.SOCK_STREAM:
            connection, _ = key.fileobj.accept()
            connection.close()
        else:
            _, visitor = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(b"reference\n", visitor)
