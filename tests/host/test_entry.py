"""vagrant/lab.py itself: on an old Python, and with nothing installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.host.checkout import environment, lab

ROOT = Path(__file__).resolve().parents[2]


def test_an_old_python_gets_a_sentence_and_the_next_step(checkout: Path) -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); sys.argv = ['lab.py', 'help']"
    ran = subprocess.run(
        [sys.executable, "-c", pretend + "; runpy.run_path('vagrant/lab.py', run_name='__main__')"],
        cwd=checkout, env=environment(checkout) | {"PATH": "/nowhere"}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "lab.py: this is Python 3.9.18, and the lab needs Python 3.11 or newer\n  next: "
    )
    assert ran.stdout == ""


def test_an_old_python_hands_over_to_a_newer_one_beside_it(checkout: Path) -> None:
    (checkout / "bin" / "python3.12").symlink_to(sys.executable)
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); sys.argv = ['vagrant/lab.py', 'help']"
    )
    ran = subprocess.run(
        [sys.executable, "-c", pretend + "; runpy.run_path('vagrant/lab.py', run_name='__main__')"],
        cwd=checkout, env=environment(checkout), capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "make lab" in ran.stdout


def test_the_entry_holds_nothing_that_an_old_python_cannot_read() -> None:
    source = (ROOT / "vagrant" / "lab.py").read_text()
    assert source.isascii()
    assert not re.search(r"\bf['\"]|->|:=|\bmatch\b|async |nonlocal ", source)


def test_every_target_of_the_makefile_is_one_line_onto_lab_py() -> None:
    rows = [row for row in (ROOT / "Makefile").read_text().splitlines() if re.match(r"[a-z-]+:", row)]
    targets = {row.split(":")[0] for row in rows}
    assert targets == {
        "help",
        "lab",
        "test",
        "test-all",
        "test-fast",
        "uninstall",
        "ssh",
        "check",
        "course",
        "goto",
        "stop",
        "destroy",
    }
    assert all(re.match(r"[a-z-]+: +; @\$\(PYTHON\) vagrant/lab\.py [a-z-]+", row) for row in rows)


def test_help_names_every_target(checkout: Path) -> None:
    shown = lab(checkout, "help").stdout
    rows = re.findall(r"^([a-z-]+): +;", (ROOT / "Makefile").read_text(), re.M)
    assert [row for row in rows if row != "help" and f"make {row}" not in shown] == []


def test_lab_py_and_its_modules_import_the_standard_library_alone() -> None:
    imported = set()
    for path in [ROOT / "vagrant" / "lab.py", *(ROOT / "vagrant" / "host").glob("*.py")]:
        imported |= set(re.findall(r"^ *(?:import|from) ([a-z_]+)", path.read_text(), re.M))
    assert imported - set(sys.stdlib_module_names) == {"host"}
