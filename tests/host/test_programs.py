"""The programs that the tests use: what is said of them, and that installing them starts nothing."""

from __future__ import annotations

import ast
import re
import stat
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import needed
from vagrant.host import programs, subprocesses, test_reports
from vagrant.host.programs import PROGRAMS

TESTS = Path(__file__).resolve().parents[1]


STARTS_NOTHING = "nothing of it is started, now or at a boot"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where policy-rc.d would be; this computer's own stays as it is."""
    needed.root("write what apt goes by")
    monkeypatch.setattr(programs, "POLICY", tmp_path / "sbin" / "policy-rc.d")
    monkeypatch.setattr(programs, "CLUSTERS", tmp_path / "createcluster.d" / "shipshape.conf")
    return programs.POLICY


def asked_for(path: Path) -> set[str]:
    """The programs that a module of the tests asks `needed` for, by name."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {
        argument.value
        for call in calls
        if re.fullmatch(r"(needed\.)?program", ast.unparse(call.func))
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_every_program_that_a_test_asks_for_is_in_the_list_of_what_is_installed() -> None:
    of_what_is_not_there = {"test_programs.py", "test_services.py"}
    paths = [path for path in TESTS.rglob("*.py") if path.name not in of_what_is_not_there]
    asked = set().union(*(asked_for(path) for path in paths))
    assert asked and asked <= set(PROGRAMS)


def test_a_test_asks_for_programs_in_one_way() -> None:
    """What it looks for by itself is neither installed nor announced."""
    elsewhere = [
        f"{path.relative_to(TESTS)}: {found}"
        for path in TESTS.rglob("test_*.py")
        for found in re.findall(r"skipif\([^)]*which\(.*", path.read_text())
    ]
    assert not elsewhere, "\n".join(elsewhere)


def test_servers_do_not_start_while_packages_are_installed_and_then_all_is_as_before(policy: Path) -> None:
    with programs.nothing_starts(["postgresql"]):
        assert subprocesses.quick([str(policy), "redis-server", "start"]).returncode == 101
        assert "create_main_cluster = false" in programs.CLUSTERS.read_text()
    assert not policy.exists() and not programs.CLUSTERS.exists()


def test_interrupted_it_leaves_nothing_behind_either(policy: Path) -> None:
    with pytest.raises(KeyboardInterrupt), programs.nothing_starts(["postgresql"]):
        raise KeyboardInterrupt
    assert not policy.exists() and not programs.CLUSTERS.exists()


def test_leftovers_of_a_killed_run_go_with_the_next_one(policy: Path) -> None:
    policy.parent.mkdir()
    policy.write_text(f"#!/bin/sh\n{programs.OURS}\nexit 101\n")
    with programs.nothing_starts(["restic"]):
        assert policy.stat().st_mode & stat.S_IXUSR
    assert not policy.exists()


@pytest.mark.parametrize(("status", "allows"), [(0, True), (101, False)])
def test_the_administrator_s_own_policy_stays_and_is_named_where_it_lets_servers_start(
    status: int, allows: bool, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.parent.mkdir()
    policy.write_text(f"#!/bin/sh\nexit {status}\n")
    policy.chmod(0o755)
    programs.announce([PROGRAMS["redis-server"]], installs=True)
    said = capsys.readouterr().out
    assert (f"{policy}, which is here already, says what of it is started" in said) is allows
    assert (STARTS_NOTHING in said) is not allows
    with programs.nothing_starts(["redis-server"]):
        pass
    assert policy.read_text() == f"#!/bin/sh\nexit {status}\n"


def test_units_that_systemd_starts_at_a_boot_are_found_in_the_packages_own_lists() -> None:
    listed = ("/lib/systemd/system/ssh.service", "/lib/systemd/system/ssh@.service",
              "/usr/lib/systemd/system/ssh.socket", "/usr/share/doc/ssh.service")  # fmt: skip
    assert programs.UNIT.findall("\n".join(listed)) == ["ssh.service", "ssh.socket"]


def test_the_announcement_says_what_for_and_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    programs.announce([PROGRAMS["initdb"], PROGRAMS["promtool"]], installs=False)
    said = capsys.readouterr().out.splitlines()
    assert said[1].split(maxsplit=1) == ["postgresql", "the application with PostgreSQL"]
    assert "download up to 87 MB, disk up to 595 MB" in said[3] and said[3].endswith(programs.command())


def test_the_table_at_the_end_says_what_was_not_tested_program_by_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From pytest's own report; a test may lack two programs."""
    (tmp_path / "test_two.py").write_text(
        "import pytest\n\n\ndef test_a():\n    pytest.skip('SSH: no sshd\\nroot: no sudo')\n\n\n"
        "def test_b():\n    pytest.skip('SSH: no sshd')\n\n\ndef test_c():\n    pass\n"
    )
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", str(tmp_path)]
    assert subprocesses.run(command, log=tmp_path / "log").status == 0
    reasons = test_reports.skipped(report)
    assert reasons == Counter({"SSH: no sshd": 2, "root: no sudo": 1})
    assert test_reports.concluded(True, reasons) == "passed, but for what is named above"
    assert capsys.readouterr().out.splitlines() == [
        "  --  not tested (2 tests): SSH: no sshd",
        "  --  not tested (1 test): root: no sudo",
    ]
    assert (test_reports.concluded(True, Counter()), test_reports.concluded(False, Counter())) == (
        "passed",
        "failed",
    )


def test_two_missing_programs_are_two_lines_of_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setitem(PROGRAMS, name, programs.Program(f"no-program-{name}", f"package-{name}", name))
    monkeypatch.delenv("LAB_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        needed.program("one", "two")
    assert str(skipped.value).splitlines() == [
        f"{name}: no-program-{name} is not installed (sudo apt-get install package-{name})"
        for name in ("one", "two")
    ]
