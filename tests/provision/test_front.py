"""The front of the stand-in internet: its own Caddyfile, run by a real Caddy before real programs.

Two faults of it showed as an answer that broke off now and then on a busy machine. Here each is made to
happen: by a front that is slow, and by one that is stopped while the program behind it closes what is idle.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from labcheck.wait import wait_until
from tests.needed import absent, program
from tests.provision.served import INTERNET, served

ENV = dict(re.findall(r"^(LAB_\w+)=(.*)$", (INTERNET.parent / "lab.env").read_text(), re.MULTILINE))
NAME = ENV["LAB_LLM_NAME"]
QUESTION = json.dumps({"model": "lab-embedding", "input": "Which ports does the firewall shut?"}).encode()
HEADERS = {"Authorization": "Bearer sk-lab-0123456789", "Content-Type": "application/json"}
SHORT_ANSWER = json.dumps(
    {
        "model": "lab-small",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "max_tokens": 3,
    }
).encode()


@dataclass
class Front:
    process: subprocess.Popen[bytes]
    port: int
    trusted: Path

    def connect(self) -> http.client.HTTPConnection:
        """HTTP/1.1, as the application's client speaks it."""
        context = ssl.create_default_context(cafile=self.trusted)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection = http.client.HTTPConnection(NAME)
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        return connection

    def answers(self) -> bool:
        assert self.process.poll() is None, "Caddy has ended"
        with suppress(OSError):
            self.connect().close()
            return True
        return False


@contextmanager
def front(folder: Path, behind: int, *, before: Sequence[str] = ()) -> Iterator[Front]:
    """Caddy on a port of 127.0.0.1, with the language model at the port `behind`."""
    caddy = program("caddy", "caddy")
    version = subprocess.check_output([caddy, "version"], text=True).lstrip("v")
    if not version.startswith("2.6."):
        absent(f"Caddy is {version.split()[0]}, and the stand-in internet's is Debian 12's 2.6")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (INTERNET / "inside" / "Caddyfile").read_text()
    for line, replacement in (
        ("@LAB_INTERNET_IPV4@ [@LAB_INTERNET_IPV6@]", "127.0.0.1"),
        (
            "skip_install_trust",
            f"skip_install_trust\nadmin off\nauto_https disable_redirects\nhttps_port {port}",
        ),
        ("127.0.0.1:9000", f"127.0.0.1:{behind}"),
    ):
        assert line in text
        text = text.replace(line, replacement)
    (folder / "Caddyfile").write_text(re.sub(r"@(LAB_\w+)@", lambda match: ENV[match[1]], text))
    environment = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*before, str(caddy), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    proxy = Front(process, port, folder / "caddy/pki/authorities/local/root.crt")
    try:
        wait_until(proxy.answers, what=f"Caddy, see {folder}/log", timeout=120, every=0.05)
        yield proxy
    finally:
        process.kill()
        process.wait(timeout=120)


def test_a_program_is_asked_when_the_question_has_arrived_in_full(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        front(tmp_path, listener.getsockname()[1]) as caddy,
    ):
        connection = caddy.connect()
        connection.putrequest("POST", "/v1/embeddings")
        connection.putheader("Content-Length", str(len(QUESTION)))
        connection.endheaders(QUESTION[:10])
        listener.settimeout(0.5)  # it would be asked within a few milliseconds
        with pytest.raises(TimeoutError):
            listener.accept()
        connection.send(QUESTION[10:])
        listener.settimeout(20)
        accepted, _ = listener.accept()
        with accepted:
            received = b""
            while not received.endswith(QUESTION):
                more = accepted.recv(65536)
                assert more, received
                received += more
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        assert connection.getresponse().read() == b"done"


def test_an_answer_arrives_whole_where_the_front_is_slow_to_go_on(tmp_path: Path) -> None:
    """Caddy's writing is made slow: so it still has to look for the end of the question while the answer has
    begun. Go's server has closed the question by then, and for that Go's client closes its connection to the
    program, in the middle of the answer (golang/go#40747)."""
    strace = str(program("strace", "strace"))
    slowly = [strace, "-D", "-f", "-qq", "-o", os.devnull, "-e", "trace=write"]
    slowly += ["-e", "inject=write:delay_exit=10000"]  # microseconds
    with served("llm:app") as address:
        httpx2.put(f"{address}/fault", json={"kind": "dripping", "seconds": 0.05, "for": 60})
        with front(tmp_path, int(address.rpartition(":")[2]), before=slowly) as caddy:
            for _ in range(3):
                visitor = caddy.connect()
                visitor.request("POST", "/v1/chat/completions", SHORT_ANSWER, HEADERS)
                assert visitor.getresponse().read().endswith(b"data: [DONE]\n\n")


def idle(port: int) -> int:
    """How many connections to this port of this computer are open."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(words[1].endswith(f":{port:04X}") and words[3] == "01" for words in lines)


def test_no_question_is_sent_on_a_connection_that_the_program_has_closed(tmp_path: Path) -> None:
    """Left idle, it is closed by uvicorn long before Caddy stops using it; Caddy is stopped for that moment,
    so that it learns of it together with the next question."""
    with served("llm:app", UVICORN_TIMEOUT_KEEP_ALIVE="1") as address:
        behind = int(address.rpartition(":")[2])
        with front(tmp_path, behind) as caddy:
            visitors = [caddy.connect() for _ in range(20)]
            statuses = []
            for _ in range(2):
                for visitor in visitors:
                    visitor.request("POST", "/v1/embeddings", QUESTION, HEADERS)
                caddy.process.send_signal(signal.SIGCONT)
                for visitor in visitors:
                    response = visitor.getresponse()
                    response.read()
                    statuses.append(response.status)
                caddy.process.send_signal(signal.SIGSTOP)
                wait_until(lambda: idle(behind) == 0, what="uvicorn to close them", timeout=120, every=0.05)
            assert statuses == [200] * 40
