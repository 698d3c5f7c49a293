"""Chapter 10: the module's twelve commands, healthy and broken, and faults that undo themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from nbformat import NotebookNode

from tests.notebooks.test_shape import PATHS, Chapter, kind, read, tags

TWELVE = {
    "supervisorctl tail": r"supervisorctl tail aiapp",
    "netstat and ss": r"(?s)netstat -tlnp.*\bss -H?tlnp",
    "ls -la": r"ls -la /home/aiapp/app",
    "dig": r"\bdig (\S+ )*app\.lab\.example",
    "ufw status verbose": r"ufw status verbose",
    "systemctl status caddy": r"systemctl status caddy",
    "journalctl": r"journalctl -u caddy -n 50",
    "free -h": r"free -h",
    "ps aux": r"ps aux --sort=-%mem",
    "swap": r"\bmkswap\b|\bswapon\b",
    "htop": r"\bhtop\b",
    "iotop, pidstat": r"pidstat -d|~/disk\b",  # the file that its output was put into
    "jq": r"jq [^|]*'select\(\.duration_ms > 5000",
}
UNDONE = r"--on-active=\d+|RuntimeMaxSec=\d+|\"for\": \d+"
"""What ends a fault without a person: a timer, a limit of the unit's time, or the provider's own end."""


@pytest.fixture(scope="module")
def troubleshooting() -> Chapter:
    (path,) = [path for path in PATHS if path.name.startswith("10_")]
    return read(path)


def uses(chapter: Chapter, pattern: str) -> Iterator[tuple[NotebookNode, bool]]:
    """Each code cell with the command, and whether something was broken before it in its section."""
    for _, cells in chapter.sections():
        broken = False
        for cell in cells:
            if cell.cell_type != "code":
                continue
            if re.search(pattern, cell.source):
                yield cell, broken
            broken = broken or kind(cell) == "break"


@pytest.mark.parametrize("command", TWELVE)
def test_output_of_the_command_is_compared(troubleshooting: Chapter, command: str) -> None:
    compared = [cell for cell, _ in uses(troubleshooting, TWELVE[command]) if "picture" not in tags(cell)]
    assert any(cell.outputs for cell in compared)


@pytest.mark.parametrize("command", TWELVE)
def test_the_command_is_shown_as_a_terminal_shows_it(troubleshooting: Chapter, command: str) -> None:
    assert any("picture" in tags(cell) and cell.outputs for cell, _ in uses(troubleshooting, TWELVE[command]))


@pytest.mark.parametrize("command", [command for command in TWELVE if command != "swap"])
def test_the_command_is_run_on_a_healthy_server_and_on_a_broken_one(
    troubleshooting: Chapter, command: str
) -> None:
    assert {broken for _, broken in uses(troubleshooting, TWELVE[command])} == {False, True}


def faults(chapter: Chapter) -> list[NotebookNode]:
    return [cell for cell in chapter.code if cell.metadata.get("jupyter", {}).get("source_hidden")]


def test_each_of_the_four_families_has_two_causes_that_are_folded(troubleshooting: Chapter) -> None:
    ids = [cell.id for cell in faults(troubleshooting)]
    for family in ("start", "name", "memory", "slow"):
        assert sum(name.startswith(f"{family}-fault-") for name in ids) >= 2, family


def test_a_fault_ends_by_itself(troubleshooting: Chapter) -> None:
    lasting = [cell.id for cell in faults(troubleshooting) if not re.search(UNDONE, cell.source)]
    assert not lasting
