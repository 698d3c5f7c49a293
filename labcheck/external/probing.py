"""Sending the probe to the place to look from, and reading what it brings back.

The probe (remote/probe.py) travels to the place to look from ("vantage") on standard input, and answers all
questions in one round trip. Without a vantage it runs on this computer.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import asdict, replace

from labcheck import remote_program
from labcheck.errors import Unreachable, Unreadable
from labcheck.external.arrivals import Watch
from labcheck.external.model import Answers, Questions, Sent
from labcheck.external.parsing import ALL_ROUTES, parse_marks_sent, part
from labcheck.remote.output import last_line
from labcheck.result import Result
from labcheck.ssh import Connection

PROBE_TIMEOUT = (
    40.0  # s: the probe's own limits end it after about 15; the rest is for a slow guest's start of Python
)


def program(questions: Questions) -> str:
    """The probe with its questions: Python source for `python3 -`."""
    return remote_program.program("probe", asdict(questions))


def look_and_watch(
    questions: Questions, vantage: Connection | None, server: Connection, own: Collection[str]
) -> Answers:
    """The same, in two round trips: first the server sees what is sent to its addresses arrive.

    `own` are the addresses that the server has. Never raises.
    """
    rest = tuple(part for part in questions.wanted if part != "sent")
    if not {"sent", "ports"} & set(questions.wanted):
        return look(questions, vantage)
    with Watch(server) as watch:
        first = look(replace(questions, wanted=("sent",), mark=watch.mark), vantage)
        try:
            addresses = list(part(first.raw, "sent", dict[str, Sent]).value or ())
        except Unreadable as reason:
            return Answers({}, first.unreadable or str(reason))
        seen = watch.arrived(len(addresses))
    watched = {
        "problem": seen.problem,
        "lost": seen.lost,
        "addresses": {address: seen.addresses.get(number, ()) for number, address in enumerate(addresses)},
    }
    both = {**first.raw, "watched": watched}
    if not rest:
        return Answers(both)
    with contextlib.suppress(Unreadable):
        questions = replace(questions, own=parse_marks_sent({**both, "routes": ALL_ROUTES}).lead_here(own))
    second = look(replace(questions, wanted=rest), vantage)
    return second if second.unreadable else Answers({**second.raw, "sent": both["sent"], "watched": watched})


def look(questions: Questions, vantage: Connection | None) -> Answers:
    """Asks everything in one round trip. Never raises: a vantage that cannot look makes all unreadable."""
    source = program(questions)
    if vantage is None:
        try:
            done = subprocess.run(
                [sys.executable, "-"],
                input=source,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=PROBE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Answers({}, f"the look from this computer took longer than {PROBE_TIMEOUT:.0f} s")
        result = Result(done.stdout, done.stderr, done.returncode)
    else:
        try:
            result = vantage.run("python3 -", stdin=source, timeout=PROBE_TIMEOUT)
        except Unreachable as error:
            return Answers({}, f"the place to look from cannot be reached: {error}")
    return read(result)


def read(result: Result) -> Answers:
    """The probe's output as answers."""
    if result.exit_status == 0:
        try:
            raw = json.loads(result.stdout)
        except ValueError:
            raw = None
        if isinstance(raw, dict):
            return Answers(raw)
    if result.exit_status == 127:
        return Answers({}, "python3 is not installed where the look goes out from")
    said = last_line(result.stderr)
    return Answers({}, f"the look from outside ended with status {result.exit_status}: {said}")
