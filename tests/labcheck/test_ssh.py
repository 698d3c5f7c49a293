"""Reaching a real sshd, and saying why it could not be reached."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labcheck import ssh
from labcheck.errors import Unreachable
from labcheck.result import CUT_SHORT, TIMED_OUT
from labcheck.ssh import Connection
from labcheck.wait import wait_until
from tests.sshd import MAY, Sshd, free_port

Running = Callable[[str], list[str]]


def refusal(connection: Connection) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        connection.run("true")
    assert caught.value.next
    return caught.value


def test_a_command_gives_its_output_its_errors_and_its_exit_status(server: Connection) -> None:
    result = server.run("cat; echo problem >&2; exit 7", stdin="sent\n")
    assert (result.stdout, result.stderr, result.exit_status) == ("sent\n", "problem\n", 7)


def test_bytes_that_are_no_text_arrive_as_readable_text(server: Connection) -> None:
    assert server.run(r"printf 'a\377\000b\n'").stdout == "a\\xff\0b\n"


def test_noisy_profile_is_no_part_of_the_answer(server: Connection) -> None:
    server.run("echo 'echo welcome; echo to this server' > ~/.bashrc")
    try:
        assert server.run("echo answer").stdout == "answer\n"
    finally:
        server.run("rm ~/.bashrc")


def test_connection_works_while_an_event_loop_runs(server: Connection) -> None:
    async def inside() -> str:
        return server.run("echo yes").stdout

    assert asyncio.run(inside()) == "yes\n"


def test_host_name_that_is_not_known_is_said(sshd: Sshd) -> None:
    problem = refusal(sshd.connection(HostName="no-such-host.invalid"))
    assert problem.reason == "its name is not known"
    assert "no-such-host.invalid" in problem.detail


def test_a_refused_connection_is_said(sshd: Sshd) -> None:
    assert refusal(sshd.connection(Port=str(free_port()))).reason == "the connection was refused"


def test_a_host_that_does_not_answer_is_said(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        problem = refusal(sshd.connection(Port=str(silent.getsockname()[1])))
    assert problem.reason == "the connection timed out"


def test_a_host_that_stops_answering_during_the_login_is_given_up(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, running: Running
) -> None:
    monkeypatch.setattr(ssh, "ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = sshd.connection(Port=str(silent.getsockname()[1]))
        assert refusal(connection).reason == "no answer within 0 s"
    assert not running(str(connection.config))


def test_a_changed_host_key_is_said_with_the_command_that_forgets_the_old_one(sshd: Sshd) -> None:
    known = sshd.folder / "known_changed"
    known.write_text(f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'other.pub').read_text()}")
    problem = refusal(sshd.connection(UserKnownHostsFile=str(known)))
    assert problem.reason == "its host key has changed"
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{sshd.port}'" in problem.next


def test_an_unknown_host_key_is_never_accepted(sshd: Sshd) -> None:
    known = sshd.folder / "known_empty"
    known.write_text("")
    assert refusal(sshd.connection(UserKnownHostsFile=str(known))).reason == "its host key is not known yet"
    assert known.read_text() == ""


def test_a_refused_key_is_said(sshd: Sshd) -> None:
    problem = refusal(sshd.connection(IdentityFile=str(sshd.folder / "other")))
    assert problem.reason == "it refused every key that was offered"


def test_a_key_file_that_others_can_read_is_named_as_the_cause(sshd: Sshd) -> None:
    key = sshd.folder / "readable"
    key.write_bytes((sshd.folder / "id").read_bytes())
    key.chmod(0o644)
    assert "others can read" in refusal(sshd.connection(IdentityFile=str(key))).reason


def test_a_missing_ssh_config_is_said(tmp_path: Path) -> None:
    problem = refusal(Connection("server", config=tmp_path / "nowhere"))
    assert problem.reason == f"the ssh_config {tmp_path}/nowhere is not there"


def test_a_missing_ssh_client_is_said(
    server: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(server).reason == "the program `ssh` is not installed here"


def test_an_account_without_a_shell_is_said(sshd: Sshd) -> None:
    subprocess.run(["usermod", "--shell", "/usr/sbin/nologin", MAY], check=True)
    try:
        problem = refusal(sshd.connection())
    finally:
        subprocess.run(["usermod", "--shell", "/bin/bash", MAY], check=True)
    assert problem.reason == "it let us in, but no shell answered: This account is currently not available."


def test_a_connection_that_is_cut_in_the_middle_keeps_what_had_come(server: Connection) -> None:
    with pytest.raises(Unreachable, match="lost in the middle") as caught:
        server.run("echo begun; sleep 2; kill -KILL $PPID; sleep 5")
    assert caught.value.partial
    assert caught.value.partial.stdout == "begun\n"


def test_time_limit_ends_the_command_and_ssh(server: Connection, running: Running) -> None:
    result = server.run("echo begun; sleep 50", timeout=5)
    assert (result.stdout, result.exit_status) == ("begun\n", TIMED_OUT)
    assert not running(str(server.config))


def test_endless_output_is_cut(server: Connection, running: Running) -> None:
    result = server.run("yes", timeout=300)
    assert len(result.stdout) == ssh.OUTPUT_LIMIT
    assert result.exit_status == CUT_SHORT
    assert not running(str(server.config))


def test_a_fresh_connection_does_not_use_the_shared_one(sshd: Sshd) -> None:
    path = sshd.folder / "master"
    config = sshd.config(ControlMaster="auto", ControlPath=str(path), ControlPersist="30")
    shared, fresh = Connection("server", config=config), Connection("server", config=config, fresh=True)
    client = "echo $SSH_CONNECTION"
    try:
        first, second, third = (c.run(client).stdout for c in (shared, shared, fresh))
    finally:
        subprocess.run(["ssh", "-F", config, "-O", "exit", "server"], capture_output=True, check=True)
    assert first == second != third


def test_an_interrupt_leaves_no_ssh_behind(sshd: Sshd, running: Running) -> None:
    config = sshd.config()
    code = (
        "from labcheck.ssh import Connection; from pathlib import Path\n"
        f"Connection('server', config=Path({str(config)!r})).run('echo; sleep 60')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=os.environ | PATHS)
    wait_until(lambda: running(f"-F {config}"), what="ssh to start", timeout=60, every=0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert not running(f"-F {config}")


PATHS = {"PYTHONPATH": str(Path(ssh.__file__).parents[1])}
