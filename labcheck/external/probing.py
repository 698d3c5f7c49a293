"""Sending the probe to the vantage, and reading what it brings back.

The probe (remote/probe.py) travels to the vantage on standard input, and answers all
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


def ask_and_watch(
    questions: Questions, vantage: Connection | None, server: Connection, own: Collection[str]
) -> Answers:
    """As `ask`, while the server sees what is sent to its addresses arrive; `own` are those that it has.

    One round trip, and a second one for ports: only this server is scanned, so it has to be known first which
    addresses lead to it. Never raises.
    """
    if not {"sent", "ports"} & set(questions.wanted):
        return ask(questions, vantage)
    scans = "ports" in questions.wanted
    with Watch(server) as watch:
        marked = replace(questions, mark=watch.mark)
        if scans:
            marked = replace(marked, wanted=("sent",), reference="")
        first = ask(marked, vantage)
        try:
            addresses = list(part(first.raw, "sent", dict[str, Sent]).value or ())
        except Unreadable as reason:
            return Answers({}, first.unreadable or str(reason))
        arrived = watch.arrived(len(addresses))
    watched = {
        "problem": arrived.problem,
        "lost": arrived.lost,
        "addresses": {address: arrived.addresses.get(number, ()) for number, address in enumerate(addresses)},
    }
    answers = Answers({**first.raw, "watched": watched})
    if not scans:
        return answers
    with contextlib.suppress(Unreadable):
        leads_here = parse_marks_sent({**answers.raw, "routes": ALL_ROUTES}).lead_here(own)
        questions = replace(questions, own=leads_here)
    rest = tuple(each for each in questions.wanted if each != "sent")
    second = ask(replace(questions, wanted=rest), vantage)
    if second.unreadable:
        return second
    return Answers({**second.raw, "sent": first.raw["sent"], "watched": watched})


def ask(questions: Questions, vantage: Connection | None) -> Answers:
    """Asks everything in one round trip. Never raises: a vantage that cannot look makes all unreadable."""
    source = program(questions)
    if vantage is None:
        try:
            completed = subprocess.run(
                [sys.executable, "-"],
                input=source,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=PROBE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Answers({}, f"the probe on this computer took longer than {PROBE_TIMEOUT:.0f} s")
        result = Result(completed.stdout, completed.stderr, completed.returncode)
    else:
        try:
            result = vantage.run("python3 -", stdin=source, timeout=PROBE_TIMEOUT)
        except Unreachable as error:
            return Answers({}, f"the vantage cannot be reached: {error}")
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
        return Answers({}, "python3 is not installed at the vantage")
    said = last_line(result.stderr)
    return Answers({}, f"the probe ended with status {result.exit_status}: {said}")
