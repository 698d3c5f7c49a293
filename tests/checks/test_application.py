"""Which processes are the application: what several checks must agree on."""

from __future__ import annotations

from dataclasses import replace

from labcheck.checks import application
from labcheck.facts.network import Socket
from labcheck.facts.processes import Processes
from tests.checks.written_logs import KNOWN, ONE, RUNNING, SOCKETS, TARGET


def test_servers_are_the_listeners_and_their_children_but_no_other_program_of_the_account() -> None:
    worker = replace(ONE, pid=802, parent=800, arguments="python -c spawn_main")
    chroma = replace(ONE, pid=803, name="chroma", arguments="/home/aiapp/chroma run --port 8100")
    sockets = (*SOCKETS, Socket("tcp", "127.0.0.1", 8100, "chroma", (803,)))
    running = Processes((*RUNNING.all, worker, chroma))
    assert application.servers(running, sockets, KNOWN, TARGET) == {
        8000: frozenset({800, 802}),
        8001: frozenset({801}),
    }


def test_serving_processes_are_the_workers_of_a_port_and_not_their_parent() -> None:
    """uvicorn --workers 2: all three hold the socket, and two answer."""
    workers = tuple(replace(ONE, pid=pid, parent=800) for pid in (801, 802))
    listening = Socket("tcp", "127.0.0.1", 8000, "uvicorn", (800, 801, 802))
    assert application.serving((ONE, *workers), (listening,)) == workers
