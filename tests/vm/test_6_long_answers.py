"""Answers that take 180 seconds, whole and streamed, through Caddy and nginx, and over a release.

The model thinks for 120 s, and gives the rest of its answer in pieces. All four answers are under way on the
process that the release restarts first. It starts from the finished server and takes four minutes, nearly all
of them spent waiting: beside another stage it costs nothing.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from labcheck.ssh import AS_ROOT, Connection
from labcheck.wait import NotYet, wait_until

from .conftest import must

pytestmark = pytest.mark.vm

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "05_proxy_and_releases.ipynb"
LASTS, SILENT = 180.0, 120.0  # seconds
SLACK = 40.0  # seconds for all else: an emulated machine asks for an embedding, and searches, in a few
NGINX = "http://127.0.0.1:8090"
KEY = "sudo sed -n 's/^API_KEYS=user_1:\\([^,]*\\),.*/Authorization: Bearer \\1/p' /home/aiapp/app/.env"

ASK = """set -euo pipefail
cd "$(mktemp -d)"
cat > header
for stream in false true; do
  question="Why was Caddy restarted and not reloaded? Asked at $(date +%s.%N)"
  curl -sS -N --http1.1 -o $stream -w '%{http_code} %{time_starttransfer} %{time_total} %{errormsg}' \\
    -H @header -H 'content-type: application/json' "$0/api/chat" \\
    -d "{\\"message\\": \\"$question\\", \\"stream\\": $stream}" > $stream.took &
done
wait
for stream in false true; do echo "$stream $(base64 -w 0 $stream) $(cat $stream.took)"; done
rm -r "$PWD"
"""
"""Asks at the address $0 for both at once, with the header on standard input; a line for each of them.

Over HTTP/2, curl takes the first frame of the connection for the beginning of the answer.
"""


@dataclass(frozen=True)
class Answer:
    """What one question got: `begins` and `duration` are in seconds, `problem` is curl's."""

    streamed: bool
    body: str
    status: int
    begins: float
    duration: float
    problem: str


def ask(host: Connection, address: str, key: str) -> list[Answer]:
    """The whole answer, and the stream."""
    limit = LASTS + 2 * SLACK
    result = host.run(f"bash -c {_quoted(ASK)} {address}", stdin=key, timeout=limit)
    rows = re.findall(r"(?m)^(false|true) (\S*) (\d+) ([\d.]+) ([\d.]+) ?(.*)$", result.stdout)
    assert len(rows) == 2, result.stdout + result.stderr
    return [
        Answer(
            streamed == "true",
            base64.b64decode(body).decode(),
            int(status),
            float(begins),
            float(duration),
            problem,
        )
        for streamed, body, status, begins, duration, problem in rows
    ]


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


@pytest.fixture(scope="module")
def key(server: Connection) -> str:
    return must(server, KEY)


AGAIN = "v0.2.0-again"


@pytest.fixture(scope="module")
def other_name(server: Connection) -> Iterator[None]:
    """Another name for the version that runs, since `release` restarts nothing for the one that it knows.

    An older version cannot be released: it does not know the newer one's migration.
    """
    tag = "sudo -u aiapp git -C /home/aiapp/app tag"
    must(server, f"{tag} --force {AGAIN} v0.2.0")
    yield
    must(server, f"{tag} --delete {AGAIN}")


@pytest.fixture(scope="module")
def caddy_begins_with_one(server: Connection) -> Iterator[None]:
    """Caddy as the chapters left it, but that it sends all it can to the process that is restarted first."""
    reload = "sudo systemctl reload caddy"
    must(
        server,
        f"sudo sed -i.before 's/lb_policy round_robin/lb_policy first/' /etc/caddy/Caddyfile; {reload}",
    )
    yield
    must(server, f"sudo mv /etc/caddy/Caddyfile.before /etc/caddy/Caddyfile && {reload}")


def nginx_beside_caddy() -> str:
    """The chapter's file for nginx, on a port of its own, without TLS, and with the same one first."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == "nginx-file"]
    text = "".join(cell["source"]).partition("\n")[2]
    upstream, _redirect, site = text.split("\nserver {\n")
    upstream = re.sub(r"(:800[12] .*);", r"\1 backup;", upstream)
    site = re.sub(r"(?m)^\s*(listen|ssl_certificate).*\n", "", site)
    listen = NGINX.removeprefix("http://")
    return (
        "pid /run/long-answers-nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"
        f"{upstream}\nserver {{\nlisten {listen};\n{site}\n}}\n"
    )


@pytest.fixture(scope="module")
def nginx(server: Connection) -> Iterator[None]:
    file = "/run/long-answers-nginx.conf"
    done = server.run(AS_ROOT, stdin=f"cat > {file} <<'END'\n{nginx_beside_caddy()}END\n", timeout=60)
    assert done.exit_status == 0, done.stderr
    start = (
        "sudo systemd-run --quiet --collect --unit=long-answers-nginx -p RuntimeMaxSec=900"
        f" -p ExecReload='/bin/kill -HUP $MAINPID' nginx -c {file} -g 'daemon off;'"
    )
    must(server, start)
    must(server, f"timeout 60 bash -c 'until curl -sf -o /dev/null {NGINX}/; do sleep 0.2; done'")
    yield
    must(server, f"sudo systemctl stop long-answers-nginx; sudo rm {file}")


@pytest.fixture(scope="module")
def slow_model(internet: Connection) -> Iterator[None]:
    day = json.dumps({"kind": "lasting", "seconds": LASTS, "silent": SILENT, "for": LASTS + 3 * SLACK})
    fault = "curl -sf -o /dev/null http://127.0.0.1:9000"
    must(internet, f"{fault}/bill -X DELETE && {fault}/fault -X PUT -d '{day}'")
    yield
    must(internet, f"{fault}/fault -X DELETE")


@dataclass(frozen=True)
class Happened:
    """The answers by the proxy that they came through, and the release that was made meanwhile."""

    caddy: list[Answer]
    nginx: list[Answer]
    release: str
    release_took: float
    row_before: int


LAST_ROW = "cd / && sudo -u postgres psql -qAtX aiapp -c 'SELECT coalesce(max(id), 0) FROM usage'"
UNDER_WAY = """curl -s http://127.0.0.1:2019/reverse_proxy/upstreams |
  jq '.[] | select(.address == "127.0.0.1:8000").num_requests'
sudo sed -n 's/^OPENAI_API_KEY=/Authorization: Bearer /p' /home/aiapp/app/.env |
  curl -s -H @- https://llm.lab.example/bill | jq .answers
"""
"""How many requests Caddy has under way on the first process, and how many answers the model has begun."""


@pytest.fixture(scope="module")
def happened(
    server: Connection,
    internet: Connection,
    key: str,
    other_name: None,
    caddy_begins_with_one: None,
    nginx: None,
    slow_model: None,
) -> Happened:
    row_before = int(must(server, LAST_ROW))

    def are_under_way() -> bool:
        by_caddy, at_the_model = map(int, must(server, UNDER_WAY).split())
        if by_caddy < 2 or at_the_model < 4:
            raise NotYet(f"{by_caddy} through Caddy, {at_the_model} at the model")
        return True

    with ThreadPoolExecutor(2) as pool:
        through_caddy = pool.submit(ask, internet, "https://app.lab.example", key)
        through_nginx = pool.submit(ask, server, NGINX, key)
        wait_until(are_under_way, what="four answers to be under way", timeout=SLACK)
        must(server, "sudo systemctl reload caddy && sudo systemctl reload long-answers-nginx")
        begin = time.monotonic()
        release = must(server, f"with-visitors sudo release {AGAIN}", timeout=LASTS + 3 * SLACK)
        took = time.monotonic() - begin
        return Happened(through_caddy.result(), through_nginx.result(), release, took, row_before)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("proxy", ["caddy", "nginx"])
def test_an_answer_of_180_seconds_arrives(happened: Happened, proxy: str, streamed: bool) -> None:
    (answer,) = [each for each in getattr(happened, proxy) if each.streamed == streamed]
    assert (answer.status, answer.problem) == (200, ""), answer
    assert LASTS <= answer.duration < LASTS + SLACK, answer
    if streamed:
        assert SILENT <= answer.begins < LASTS, answer
        *pieces, last, end = answer.body.split("\n\n")
        assert len(pieces) > 5 and all(piece.startswith("event: piece\n") for piece in pieces), answer
        assert last.startswith("event: done\n") and end == "", answer
    else:
        assert answer.begins >= LASTS, answer
        assert json.loads(answer.body)["answer"], answer


def test_a_release_waits_for_the_answers_that_are_under_way_and_no_visitor_notices(
    happened: Happened,
) -> None:
    assert happened.release.splitlines() == [
        *(f"aiapp-{port} is ready" for port in (8000, 8001, 8002)),
        "visits: 0 failed",
    ]
    assert happened.release_took > LASTS - SLACK


def test_all_processes_run_the_released_version_afterwards(happened: Happened, server: Connection) -> None:
    versions = must(server, "curl -s 'http://127.0.0.1:[8000-8002]/' | jq -r .version")
    assert versions.split() == ["0.2.0"] * 3


def test_each_long_answer_is_in_the_ledger_as_answered(happened: Happened, server: Connection) -> None:
    where = f"id > {happened.row_before} AND duration_ms >= {LASTS * 1000}"
    rows = must(
        server,
        f"cd / && sudo -u postgres psql -qAtX aiapp -c 'SELECT outcome, version FROM usage WHERE {where}'",
    )
    assert rows.split() == ["answered|0.2.0"] * 4
