"""The running machine, as the tests of this folder see it: labcheck's answers, and the hosts themselves."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labcheck import checklist, config
from labcheck.ssh import Connection
from labkit.tunnel import open_tunnel
from tests import needed

from . import choice

CHECKOUT = Path(__file__).resolve().parents[2]
ITEMS = tuple(item.number for item in checklist.ITEMS)
"""The numbers on the checklist."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-mutants", action="store_true", help="every mutant, not one for each item")
    parser.addoption("--many-looks", action="store_true", help="a hundred looks of labcheck, not five")
    parser.addoption(
        "--share", type=part, default=(1, 1), metavar="1/2", help="of the mutants' servers, this part alone"
    )


def part(text: str) -> tuple[int, int]:
    try:
        return choice.share(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | list[str]:
    """How the mutants were chosen, for `make test` to show: with the same seed they are the same ones."""
    if not any("mutants" in getattr(item, "fixturenames", ()) for item in items):
        return []
    how = "all of them" if config.getoption("--all-mutants") else f"chosen by {choice.SEED}={choice.seed()}"
    number, count = config.getoption("--share")
    return f"mutants: {how}" + (f", share {number} of {count}" if count > 1 else "")


@dataclass(frozen=True)
class Said:
    """What one run of labcheck ended with."""

    exit_status: int
    report: dict[str, Any]
    text: str

    def verdict(self, number: int) -> str:
        return str(self.item(number)["verdict"])

    def item(self, number: int) -> dict[str, Any]:
        return next(item for item in self.report["items"] if item["item"] == number)

    def verdicts(self) -> dict[int, str]:
        return {item["item"]: item["verdict"] for item in self.report["items"]}

    def words(self, number: int) -> str:
        """Everything that the findings of an item say, a line each."""
        return "\n".join(
            " · ".join(str(finding[part]) for part in ("verdict", "observed", "expected", "why"))
            for finding in self.item(number)["findings"]
        )


def run_labcheck(*arguments: str, configuration: Path | None = None, timeout: float = 600) -> Said:
    """labcheck --json in a process of its own, as a person would call it."""
    environment = dict(os.environ)
    if configuration:
        environment["LABCHECK_CONFIG"] = str(configuration)
    ended = subprocess.run(
        [sys.executable, "-m", "labcheck.cli", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=CHECKOUT,
    )
    assert ended.returncode in (0, 1, 2), ended.stderr
    return Said(ended.returncode, json.loads(ended.stdout), ended.stdout)


def lab(*arguments: str, timeout: float = 900) -> str:
    """The lab's own tool, for the machine under test; its output."""
    ended = subprocess.run(
        [sys.executable, str(CHECKOUT / "vagrant" / "lab.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=CHECKOUT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def target() -> config.Config:
    return config.load()


@pytest.fixture(scope="session")
def server(target: config.Config) -> Connection:
    return target.server


@pytest.fixture(scope="session")
def internet(target: config.Config) -> Connection:
    assert target.vantage
    return target.vantage


def must(connection: Connection, command: str, timeout: float = 120) -> str:
    """Run a command that has to succeed; its standard output."""
    result = connection.run(command, timeout=timeout)
    assert result.exit_status == 0, result.stdout + result.stderr
    return result.stdout


def ssh_audit(server: Connection) -> list[str]:
    """The failures that ssh-audit finds, a line each.

    It opens a dozen connections: through a tunnel they come from the server itself, which is not counted.
    """
    audit = needed.program("ssh-audit")
    options = ["--no-colors", "--timeout=20"]
    if "--skip-rate-test" in subprocess.run([audit, "--help"], capture_output=True, text=True).stdout:
        options.append("--skip-rate-test")
    tunnel = open_tunnel(server, "127.0.0.1:22")
    try:
        command = [audit, *options, f"--port={tunnel.port}", "127.0.0.1"]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    finally:
        tunnel.close()
    assert all(f"({part}) " in printed for part in ("kex", "key", "enc", "mac")), printed
    return [line for line in printed.splitlines() if "[fail]" in line]


@pytest.fixture
def other_configuration(target: config.Config, tmp_path: Path) -> Callable[..., Path]:
    """A labcheck.toml for the same machine, reached in another way: `user` and `key` of the server's Host.

    `vantage`: whether it is looked from there, or from this computer.
    """

    def write(*, user: str = "", key: Path | None = None, vantage: bool = True) -> Path:
        assert target.server.config
        ssh_config = target.server.config.read_text(encoding="utf-8")
        # Without the shared connection, which would let every later client in.
        ssh_config = re.sub(r"(?m)^\s*Control\w+ .*\n", "", ssh_config)
        _, found, after = ssh_config.partition(f"Host {target.server.host}\n")
        assert found, "the ssh_config names the server"
        stranger = f"Host stranger\n  HostKeyAlias {target.server.host}\n"
        if user:
            stranger += f"  User {user}\n"
        if key:
            stranger += f"  IdentityFile {key}\n  IdentitiesOnly yes\n"
        body = after.partition("\nHost ")[0]
        lines = [
            line
            for line in body.splitlines()
            if not (user and re.match(r"\s*User ", line))
            and not (key and re.match(r"\s*IdentityFile ", line))
            and not re.match(r"\s*HostKeyAlias ", line)
        ]
        path = tmp_path / "ssh_config"
        path.write_text(ssh_config + "\n" + stranger + "\n".join(lines) + "\n", encoding="utf-8")
        toml = tmp_path / "labcheck.toml"
        toml.write_text(
            f'[target]\nhost = "stranger"\nssh_config = "{path}"\ndomain = "{target.target.domain}"\n'
            + (
                f'[vantage]\nhost = "internet"\nname = "{target.target.vantage}"\n'
                f'reference = "{target.target.reference}"\n'
                if vantage
                else ""
            ),
            encoding="utf-8",
        )
        return toml

    return write
