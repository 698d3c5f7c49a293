"""A real sshd on 127.0.0.1, with accounts that may and may not use sudo."""

from __future__ import annotations

import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcheck.ssh import Connection
from labcheck.wait import wait_until
from tests import needed
from tests.sshd import MAY, MAY_NOT, SUDOERS, Sshd, free_port, shell


def remove(account: str) -> None:
    """Remove an account with all that it left running and may do, if it is there."""
    subprocess.run(["pkill", "-KILL", "-u", account], capture_output=True, check=False)
    subprocess.run(["userdel", "--force", "--remove", account], capture_output=True, check=False)
    SUDOERS.with_name(account).unlink(missing_ok=True)


def left_behind() -> list[str]:
    """The accounts of runs that were killed: their names end with the number of a process that is gone."""
    names = [each.pw_name for each in pwd.getpwall()]
    ours = [name for name in names if re.fullmatch(r"labkit-may(not)?-\d+", name)]
    return [name for name in ours if not Path("/proc", name.rpartition("-")[2]).exists()]


@pytest.fixture(scope="session")
def accounts() -> Iterator[None]:
    """Two real accounts: one may use sudo without a password, the other may not use it at all."""
    needed.root("make the accounts that labcheck logs in to")
    needed.program("sudo", "sshd", "ssh", "pkill")
    for name in left_behind():
        remove(name)
    for name in (MAY, MAY_NOT):
        # No password rather than a locked one: sshd without PAM refuses those. A number of their own, since
        # to the kernel an account of a server in a container is the host's of the same number.
        shell("useradd", "--create-home", "--shell", "/bin/bash", "--password", "*",
              "--key", "UID_MIN=52000", "--key", "UID_MAX=52999", name)  # fmt: skip
    try:
        SUDOERS.write_text(f"{MAY} ALL=(ALL) NOPASSWD: ALL\n")
        SUDOERS.chmod(0o440)
        yield
    finally:
        for name in (MAY, MAY_NOT):
            remove(name)


@pytest.fixture(scope="session")
def sshd(accounts: None) -> Iterator[Sshd]:
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd refuses to start without it
    # Not below pytest's own folder, which the accounts may not enter; and short, for ControlPath.
    folder = Path(tempfile.mkdtemp(prefix="labkit-", dir="/tmp"))
    folder.chmod(0o755)
    for key in ("host", "id", "other"):
        shell("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
    (folder / "authorized").write_text((folder / "id.pub").read_text())
    (folder / "authorized").chmod(0o644)
    port = free_port()
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nUsePAM no\nPasswordAuthentication no\nStrictModes no\nMaxStartups 50\n"
        f"PermitRootLogin prohibit-password\n"
    )
    log = folder / "sshd.log"
    with log.open("w") as file:
        daemon = subprocess.Popen(
            [needed.program("sshd"), "-D", "-e", "-f", folder / "sshd_config"], stderr=file
        )
    try:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, what=f"sshd to answer; its log is {log.read_text()!r}", timeout=60, every=0.05)
        yield Sshd(port, folder)
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(folder)


@pytest.fixture
def server(sshd: Sshd) -> Connection:
    """The account that may use sudo."""
    return sshd.connection()


@pytest.fixture(scope="session")
def shared(sshd: Sshd) -> Iterator[Connection]:
    """The same account over one shared connection, as the lab's ssh_config has it: faster."""
    config = sshd.config(ControlMaster="auto", ControlPath=str(sshd.folder / "shared"), ControlPersist="60")
    yield Connection("server", config=config)
    subprocess.run(["ssh", "-F", config, "-O", "exit", "server"], capture_output=True, check=False)


@pytest.fixture
def running() -> Callable[[str], list[str]]:
    """The command lines of running processes that hold a text."""

    def find(text: str) -> list[str]:
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            if text in line:
                lines.append(line)
        return lines

    return find
