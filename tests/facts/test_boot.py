"""A reboot differs from none, on a machine and in a container."""

from __future__ import annotations

import re
import subprocess

import pytest

from labcheck.errors import Unreadable
from labcheck.facts.boot import Boot, boot
from labcheck.gather import gather
from labcheck.result import Result
from labcheck.ssh import Connection
from labcheck.wait import wait_until
from tests.needed import absent

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


def read_boot(*inside: str) -> Boot:
    """What a process sees that a program of the test started, in a namespace of process ids of its own."""
    # bash does not replace itself by the last command of two: so it stays process 1.
    script = f"{boot.command}; exit $?"
    completed = subprocess.run(
        [*inside, "bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    return boot.parse(Result(completed.stdout, completed.stderr, completed.returncode))


def ticks() -> int:
    """When a process that is started now was started: by the clock that times process 1."""
    stat = subprocess.run(["cat", "/proc/self/stat"], capture_output=True, text=True, check=True).stdout
    return int(stat.rpartition(") ")[2].split()[19])


@pytest.fixture(scope="module")
def container() -> tuple[str, ...]:
    tried = subprocess.run([*CONTAINER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        absent(f"there are no namespaces for a container: {tried.stderr.strip()}")
    return CONTAINER


def test_a_server_that_was_not_rebooted_is_the_same(shared: Connection) -> None:
    assert gather(shared, (boot,))[boot] == gather(shared, (boot,))[boot] == read_boot()


def test_a_container_that_was_rebooted_is_another_one_on_the_same_kernel(container: tuple[str, ...]) -> None:
    first = read_boot(*container)
    wait_until(lambda: ticks() > first.first, what="the kernel's next tick", timeout=60, every=0.01)
    second = read_boot(*container)
    assert first.kernel == second.kernel == read_boot().kernel
    assert first.first < second.first


STAT = (
    "1 (systemd) S 0 1 1 0 -1 4194560 9531 65913 43 268 28 167 120 98 20 0 1 0 {} 170283008 3322 4294967295"
)
KERNEL = "3f0e1d5c-8a54-4a8e-9d52-0d6c7e1f2a3b"


def boot_of(*, kernel: str = KERNEL, stat: str = STAT.format(7), status: int = 0, stderr: str = "") -> Boot:
    return boot.parse(Result(f"{kernel}\n{stat}\n", stderr, status))


@pytest.mark.parametrize(
    ("later", "rebooted"),
    [
        ({}, False),
        (
            {"kernel": "00000000-8a54-4a8e-9d52-0d6c7e1f2a3b"},
            True,
        ),  # a machine: its process 1 is as quick again
        ({"stat": STAT.format(8_640_007)}, True),  # a container: its host's kernel runs on
        ({"stat": STAT.format(7).replace("(systemd)", "(my) init (1) )")}, False),
    ],
)
def test_a_reboot_shows_in_the_kernel_or_in_process_1(later: dict[str, str], rebooted: bool) -> None:
    assert (boot_of(**later) != boot_of()) is rebooted


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            {"status": 1, "stderr": "cat: /proc/1/stat: Permission denied\n"},
            "/proc/1/stat: Permission denied",
        ),
        ({"kernel": ""}, "'' is no boot_id"),
        ({"stat": ""}, "process 1 is not understood"),
        ({"stat": STAT.format(7).replace("1 ", "2 ", 1)}, "process 1 is not understood"),
        ({"stat": STAT.format("soon")}, "process 1 is not understood"),
    ],
)
def test_boot_fact_that_is_not_understood_is_unreadable(printed: dict[str, object], reason: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(reason)):
        boot_of(**printed)  # type: ignore[arg-type]
