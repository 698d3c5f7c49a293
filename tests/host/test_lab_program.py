"""lab.py as a person meets it: real runs in a checkout of its own, with real child processes."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcheck.wait import wait_until
from tests.host.checkout import environment, lab
from vagrant.host import subprocesses

ROOT = Path(__file__).resolve().parents[2]


def eventually(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text().strip()


RESTORE_FAILS = """#!/bin/sh
echo "$*" >> "$VAGRANT_CWD/asked"
case "$*" in
  "snapshot list") printf '==> lab: \nbare\nafter-00\n' ;;
  *) echo "it cannot be restored" >&2; exit 1 ;;
esac
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone: it gets 20 s for that, on a busy computer too."""
    deadline = time.monotonic() + 20
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def stopping(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """`lab.py stop` while its Vagrant is at work."""
    with subprocess.Popen(
        [sys.executable, "vagrant/lab.py", "stop"], cwd=checkout, env=environment(checkout), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as program:  # fmt: skip
        eventually(checkout / "grandchild")
        yield program
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_ends_its_children_and_says_how_to_go_on(
    checkout: Path, stopping: subprocess.Popen[str], which: signal.Signals
) -> None:
    grandchild = int(eventually(checkout / "grandchild"))
    stopping.send_signal(which)
    output, errors = stopping.communicate(timeout=120)
    assert stopping.returncode == 130
    assert errors.strip() == "lab.py stop: interrupted: run it again, it goes on"
    assert "Traceback" not in output + errors
    assert ends(grandchild)


def test_works_side_by_side_give_their_results_in_order(tmp_path: Path) -> None:
    def say(word: str, pause: float) -> str:
        ended = subprocesses.run(["sh", "-c", f"sleep {pause}; echo {word}"], log=tmp_path / f"{word}.log")
        return ended.text

    assert subprocesses.side_by_side(lambda _: say("slow", 0.5), lambda _: say("fast", 0)) == ["slow", "fast"]


def test_a_work_that_breaks_off_ends_the_programs_of_the_other_one(tmp_path: Path) -> None:
    note, began = tmp_path / "began", time.monotonic()
    after: list[bool] = []

    def lasting(stopped: threading.Event) -> None:
        subprocesses.run(["sh", "-c", f"touch {note}; sleep 300"], log=tmp_path / "lasting.log")
        after.append(stopped.is_set())

    def interrupted(_: threading.Event) -> None:
        wait_until(note.exists, what="the other work's program", timeout=120, every=0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subprocesses.side_by_side(lasting, interrupted)
    assert after == [True]
    assert time.monotonic() - began < 200


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    before = time.monotonic()
    command = ["sh", "-c", f"sleep 300 & echo $! > {note}; wait"]
    assert subprocesses.run(command, log=tmp_path / "log" / "x.log", limit=1.0).status == 124
    assert time.monotonic() - before < 20
    assert ends(int(note.read_text())), "the program's child lives on"


def test_a_second_program_on_the_same_machine_is_refused(
    checkout: Path, stopping: subprocess.Popen[str]
) -> None:
    second = lab(checkout, "stop")
    assert second.returncode == 1
    assert f"lab.py stop (process {stopping.pid}) is at work on this machine" in second.stderr
    assert "next: wait until it has ended" in second.stderr


def test_another_machine_is_not_kept_waiting(checkout: Path, stopping: subprocess.Popen[str]) -> None:
    assert lab(checkout, "stop", LAB_MACHINE="other").returncode == 0


def test_a_lock_does_not_outlive_a_killed_program(checkout: Path, stopping: subprocess.Popen[str]) -> None:
    stopping.kill()
    stopping.wait()
    os.kill(int(eventually(checkout / "grandchild")), signal.SIGKILL)
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\necho done\n")
    assert lab(checkout, "stop").returncode == 0


def test_piped_a_step_is_one_line_and_the_whole_output_is_in_the_log(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\nseq 2000\n")
    ran = lab(checkout, "stop")
    assert re.fullmatch(r"  ok  switching the server off  \([\d.]+ s\)\n", ran.stdout)
    assert "\n2000\n" in (checkout / ".lab" / "lab" / "log" / "vagrant.log").read_text()


def test_on_a_terminal_a_long_step_shows_a_clock(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\necho Halting; sleep 3.5\n")
    ours, theirs = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "vagrant/lab.py", "stop"],
        cwd=checkout, env=environment(checkout, TERM="xterm"), stdout=theirs, stdin=theirs,
    )  # fmt: skip
    assert ran.wait(30) == 0
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "switching the server off  0:02  Halting" in shown
    assert re.search(r"  ok  switching the server off  \([\d.]+ s\)\r\n$", shown)


def test_a_failed_program_is_one_sentence_and_names_the_log(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text(
        "#!/bin/sh\necho 'write: No space left on device' >&2; exit 1\n"
    )
    ran = lab(checkout, "stop")
    assert ran.returncode == 1
    assert "lab.py stop: vagrant halt failed: the disk is full\n  next: free some space" in ran.stderr
    assert "vagrant.log" in ran.stderr
    assert "!!  switching the server off" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check"], "there is no server yet"),
        (["ssh"], "there is no server yet"),
        (["snapshot", "00"], "there is no server yet"),
        (["goto", "00"], "there is no server yet"),
        (["restore", "bare"], "there is no server yet"),
        (["destroy"], "destroy asks first, and there is no one to ask"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_next_step(
    checkout: Path, arguments: list[str], sentence: str
) -> None:
    ran = lab(checkout, *arguments)
    assert ran.returncode == 1
    assert sentence in ran.stderr
    assert "\n  next: " in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("after-07", ["snapshot restore --no-start --no-provision after-07", "snapshot list"]),
        ("mine", ["snapshot list"]),
    ],
)
def test_a_snapshot_that_is_not_there_is_said_with_those_that_are(
    checkout: Path, name: str, asked: list[str]
) -> None:
    (checkout / "bin" / "vagrant").write_text(RESTORE_FAILS)
    (checkout / ".lab" / "lab").mkdir(parents=True)
    (checkout / ".lab" / "lab" / "ssh_config").touch()
    ran = lab(checkout, "restore", name)
    assert (ran.returncode, ran.stderr) == (
        1,
        f"lab.py restore: the machine lab has no snapshot {name}\n  next: snapshots of it: bare, after-00\n",
    )
    assert (checkout / "asked").read_text().splitlines() == asked


def test_a_snapshot_that_is_there_and_cannot_be_restored_is_said_with_vagrants_reason(checkout: Path) -> None:
    (checkout / "bin" / "vagrant").write_text(RESTORE_FAILS)
    (checkout / ".lab" / "lab").mkdir(parents=True)
    (checkout / ".lab" / "lab" / "ssh_config").touch()
    ran = lab(checkout, "restore", "after-00")
    assert ran.returncode == 1
    assert ran.stderr.startswith("lab.py restore: vagrant snapshot restore")
    assert "it cannot be restored" in ran.stderr


def test_a_wrong_machine_name_distribution_or_port_is_refused(checkout: Path) -> None:
    assert "is no name for a machine" in lab(checkout, "stop", LAB_MACHINE="../x").stderr
    assert "PORT=99999 is no port" in lab(checkout, "lab", PORT="99999").stderr


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
    found = set()
    for path in [ROOT / "vagrant" / "lab.py", *(ROOT / "vagrant" / "host").glob("*.py")]:
        found |= set(re.findall(r"^ *(?:import|from) ([a-z_]+)", path.read_text(), re.M))
    assert found - set(sys.stdlib_module_names) == {"host"}
