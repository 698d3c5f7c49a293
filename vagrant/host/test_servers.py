"""The stages of `make test` on servers: one after the other, or shared out among several."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import chapters, snapshots, subprocesses, test_run
from .environment import Environment
from .machine import Machine
from .progress import line
from .test_reports import StageResult
from .test_stages import Stage


@dataclass
class Server:
    """One server of the tests, and the snapshot in whose state it is; empty where that is not known.

    `make`: what is still to be done before it can be used.
    """

    machine: Machine
    state: str = ""
    make: Callable[[], None] = lambda: None


class StageRunner:
    """The stages, on one server in their order, or on several of which each does its own."""

    def __init__(
        self,
        environment: Environment,
        logs: Path,
        stages: list[Stage],
        servers: list[Server],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.environment = environment
        self.logs = logs
        self.wanted = stages
        self.servers = servers
        self.environ = dict(environ or {})
        # The states that stages make for others: set when the first has made it, or none will.
        self.made = {stage.makes: threading.Event() for stage in stages if stage.makes}
        self.makers: dict[str, Server] = {}
        self.telling = threading.Lock()
        self.still_to_try = Counter(stage.makes for stage in stages if stage.makes)

    def run(self) -> list[StageResult]:
        """How long each took, in their order; each leaves its output and a JUnit report. Raises Problem."""
        lanes: list[list[Stage]] = [[] for _ in self.servers]
        for stage in self.wanted:
            lanes[min(stage.server, len(lanes)) - 1].append(stage)
        works = [partial(self.lane, server, lane) for server, lane in zip(self.servers, lanes, strict=True)]
        order = [stage.title for stage in self.wanted]
        took = [one for lane in subprocesses.side_by_side(*works) for one in lane]
        return sorted(took, key=lambda one: order.index(one.title))

    def lane(self, server: Server, stages: list[Stage], stopped: threading.Event) -> list[StageResult]:
        """Stages on one server, as far as they can be run."""
        results: list[StageResult] = []
        waiting = list(stages)
        is_there = False
        try:
            for stage in stages:
                made = self.made.get(stage.start)
                while made is not None and not made.wait(0.5) and not stopped.is_set():
                    continue
                if stopped.is_set():
                    break
                if made is not None and stage.start not in self.makers:
                    line(f"  --  {stage.title}: not run, since what it starts from was not made")
                    continue
                if stage.own and stage.start not in server.machine.provider.saved(server.machine):
                    line(f"  --  {stage.title}: not run, since this server has not made what it starts from")
                    continue
                if not is_there:
                    server.make()
                    is_there = True
                started = time.monotonic()
                line(f"{stage.title}{self.where(server)}:")
                self.hand_over(server, stage.start)
                if stage.afresh or server.state != stage.start:
                    snapshots.restore(server.machine, stage.start)
                context = {**self.environ, **chapters.context(server.machine)}
                python = [str(self.environment.python)]
                if server is not self.servers[0]:
                    python = subprocesses.stepping_back(python)
                ran = test_run.run(stage, server.machine.checkout, python, context, self.logs)
                results.append(replace(ran, seconds=time.monotonic() - started))
                server.state = (stage.makes or stage.start) if ran.passed else ""
                waiting.remove(stage)
                self.tried(stage, server if ran.passed else None)
        finally:
            for stage in waiting:
                self.tried(stage, None)
        return results

    def tried(self, stage: Stage, maker: Server | None) -> None:
        """Wake what waits for the state that a stage makes: it is made, or no other stage will make it."""
        if not stage.makes:
            return
        with self.telling:
            self.still_to_try[stage.makes] -= 1
            if maker is not None:
                self.makers.setdefault(stage.makes, maker)
            if stage.makes in self.makers or not self.still_to_try[stage.makes]:
                self.made[stage.makes].set()

    def hand_over(self, server: Server, name: str) -> None:
        """A server gets the snapshots that another one has made; the first has those of before."""
        maker = self.makers.get(name, self.servers[0])
        if server is not maker and name not in server.machine.provider.saved(server.machine):
            server.machine.provider.copy(maker.machine, server.machine, name)
            server.state = ""

    def where(self, server: Server) -> str:
        """Which of several servers it is."""
        return "" if len(self.servers) == 1 else f" (on {server.machine.name})"
