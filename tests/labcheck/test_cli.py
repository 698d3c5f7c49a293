"""labcheck as a person calls it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import labcheck as package
from labcheck.checklist import ITEMS
from labcheck.wait import wait_until
from tests.sshd import Sshd, free_port

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "LABCHECK_CONFIG"} | {
    "PYTHONPATH": str(Path(package.__file__).parents[1])
}
PROGRAM = (sys.executable, "-m", "labcheck.cli")


def labcheck(
    *arguments: str, folder: Path = Path("/"), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *arguments]
    variables = {**ENVIRONMENT, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables, check=False)


def test_a_wrong_command_line_is_64_with_a_sentence() -> None:
    for arguments, sentence in (
        (("--nonsense",), "unrecognized arguments"),
        (("--item", "x"), "invalid int value"),
        (("example.org", "--item", str(len(ITEMS) + 1)), f"there is no item {len(ITEMS) + 1}"),
        (("server",), "which name do visitors use for server? Give --domain NAME"),
        (("example.org", "--reboot"), "give both"),
        (("--config", "/nowhere.toml"), "cannot read /nowhere.toml"),
        ((), "no labcheck.toml here or above"),
    ):
        completed = labcheck(*arguments)
        assert (completed.returncode, completed.stdout) == (64, "")
        assert sentence in completed.stderr
        assert "Traceback" not in completed.stderr


def test_json_is_all_that_is_printed(sshd: Sshd) -> None:
    done = labcheck("server", "-F", str(sshd.config()), "--domain", "app.invalid", "--item", "7", "--json")
    data = json.loads(done.stdout)
    assert done.stderr == ""
    assert data["target"]["host"] == "server"
    assert data["items"][0]["item"] == 7


def test_a_server_that_is_off_is_2_with_one_sentence(sshd: Sshd) -> None:
    config = sshd.config(Port=str(free_port()))
    done = labcheck("server", "-F", str(config), "--domain", "app.invalid")
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("labcheck: cannot reach server: the connection was refused (")
    as_json = labcheck("server", "-F", str(config), "--domain", "app.invalid", "--item", "7", "9", "--json")
    assert as_json.returncode == 2
    assert [each["verdict"] for each in json.loads(as_json.stdout)["items"]] == ["UNKNOWN", "UNKNOWN"]


def test_read_only_check_is_one_login_and_leaves_nothing_else_in_the_log(sshd: Sshd) -> None:
    log = sshd.folder / "sshd.log"
    before = len(log.read_text().splitlines())
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short name: it holds a socket
        arguments = ("server", "-F", str(sshd.config()), "--domain", "app.invalid", "--json")
        done = labcheck(*arguments, environment={"TMPDIR": folder})
        assert not list(Path(folder).iterdir())
    assert len(json.loads(done.stdout)["items"]) == len(ITEMS)
    lines = log.read_text().splitlines()[before:]
    assert sum(line.startswith("Accepted publickey for ") for line in lines) == 1
    known = r"Accepted publickey for |Received disconnect from |Disconnected from user "
    assert [line for line in lines if not re.match(known, line)] == []


def test_a_mistyped_host_is_2_with_one_sentence() -> None:
    done = labcheck("no-such-host.invalid", "--domain", "app.invalid")
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("labcheck: cannot reach no-such-host.invalid: its name is not known (")


def test_commands_and_what_they_printed_are_shown_on_request(sshd: Sshd) -> None:
    done = labcheck("server", "-F", str(sshd.config()), "--domain", "app.invalid", "--item", "7", "-v")
    assert "── system\n" in done.stdout
    assert "NAME=" in done.stdout


def test_labcheck_on_a_terminal_shows_progress_and_leaves_no_ssh_on_an_interrupt(
    sshd: Sshd, running: Callable[[str], list[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = sshd.config(Port=str(silent.getsockname()[1]))
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, "server", "-F", str(config), "--domain", "app.invalid"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=ENVIRONMENT | {"TERM": "xterm"},
        )
        wait_until(lambda: running(f"ssh -F {config}"), what="ssh to start", timeout=60, every=0.1)
        shown = b""
        while b"looking at server" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        os.close(theirs)
        os.close(ours)
    assert process.returncode == 130
    assert not running(f"ssh -F {config}")
