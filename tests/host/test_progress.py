"""Steps, as a person sees them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.checkout import environment, lab
from vagrant.host.progress import step


def test_last_line_of_the_terminal_belongs_to_one_of_two_steps_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with step("the first"), step("the second"):
        pass
    with step("the third"):
        pass
    shown = capsys.readouterr().out
    assert "  ..  the first" in shown and "  ..  the second" not in shown and "  ..  the third" in shown
    assert [f"  ok  the {name}" in shown for name in ("first", "second", "third")] == [True] * 3


def test_piped_a_step_is_one_line_and_the_whole_output_is_in_the_log(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\nseq 2000\n")
    ran = lab(checkout, "stop")
    assert re.fullmatch(r"  ok  switching the server off  \([\d.]+ s\)\n", ran.stdout)
    assert "\n2000\n" in (checkout / ".lab" / "lab" / "log" / "vagrant.log").read_text()


def test_long_step_shows_a_clock_on_a_terminal(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\necho Halting; sleep 3.5\n")
    ours, theirs = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "vagrant/lab.py", "stop"],
        cwd=checkout, env=environment(checkout, TERM="xterm"), stdout=theirs, stdin=theirs,
    )  # fmt: skip
    assert ran.wait(30) == 0
    os.close(theirs)
    output = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "switching the server off  0:02  Halting" in output
    assert re.search(r"  ok  switching the server off  \([\d.]+ s\)\r\n$", output)
