"""The dead man's switch against a real sshd that really takes no login."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcheck import ssh
from labcheck.result import Result
from labcheck.ssh import Connection
from labcheck.wait import wait_until
from labkit import dead_mans_switch
from labkit.dead_mans_switch import Outcome, SwitchError, guarded
from tests.sshd import MAY, MAY_NOT, Sshd, free_port

# What locks out: without its host keys, sshd takes no new login.
SHUT, OPEN = "sudo mv {0}/authorized {0}/authorized.away", "mv {0}/authorized.away {0}/authorized"


@pytest.fixture(autouse=True)
def clean(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dead_mans_switch, "SHORTEST", 1)
    yield
    away = sshd.folder / "authorized.away"
    if away.exists():
        away.rename(sshd.folder / "authorized")
    subprocess.run(["rm", "-rf", dead_mans_switch.FOLDER], check=True)


def make(server: Connection, command: str, undo: str, **options: int) -> Outcome:
    def change(connection: Connection) -> Result:
        return connection.run(command)

    return guarded(server, change, undo=undo, **options)


def test_change_after_which_a_login_is_possible_stays(shared: Connection, tmp_path: Path) -> None:
    mark = tmp_path / "undone"
    outcome = make(shared, "echo done", f"touch {mark}", within=120)
    assert outcome == Outcome(True, Result("done\n", "", 0))
    assert shared.run(f"ls {dead_mans_switch.FOLDER}").exit_status != 0  # root's alone
    # A clock that runs out later finds that it was stopped.
    subprocess.run(["bash", f"{dead_mans_switch.FOLDER}/clock.sh", "any"], check=True)
    assert not mark.exists()


def test_change_that_locks_out_is_undone_by_the_server(sshd: Sshd, shared: Connection) -> None:
    shut, undo = SHUT.format(sshd.folder), OPEN.format(sshd.folder) + "; echo opened"
    outcome = make(shared, shut, undo, within=1)
    assert not outcome.kept
    assert outcome.undo == Result("opened\n", "", 0)
    assert "it refused every key" in outcome.refused
    assert sshd.connection().run("echo in").stdout == "in\n"


def test_a_change_that_cuts_its_own_connection_is_judged_by_a_new_one(sshd: Sshd, tmp_path: Path) -> None:
    cut = f"echo; sleep 0.3; sudo pkill -KILL -f '^sshd: {MAY}'; sleep 5"
    outcome = make(sshd.connection(), cut, f"touch {tmp_path}/undone", within=120)
    assert (outcome.kept, outcome.change) == (True, None)
    both = f"{SHUT.format(sshd.folder)}; {cut}"
    outcome = make(sshd.connection(), both, OPEN.format(sshd.folder), within=2)
    assert (outcome.kept, outcome.change) == (False, None)
    assert outcome.undo == Result("", "", 0)


def test_slow_change_is_undone_too_after_the_clock_ran_out(shared: Connection, tmp_path: Path) -> None:
    late = tmp_path / "late"
    outcome = make(
        shared, f"sleep 2.5; sudo touch {late}", f"rm -f {late}; echo undone >> {late}.log", within=1
    )
    assert not outcome.kept and outcome.change == Result("", "", 0)
    assert not late.exists()
    assert (tmp_path / "late.log").read_text() == "undone\nundone\n"


def test_a_change_that_fails_is_undone_at_once(shared: Connection, tmp_path: Path) -> None:
    outcome = make(shared, "exit 3", f"touch {tmp_path}/undone", within=600)
    assert (outcome.kept, outcome.change) == (False, Result("", "", 3))
    assert shared.run("pgrep -f '[l]abkit-switch/clock.sh'").exit_status == 1  # and no clock runs on
    assert (tmp_path / "undone").exists()


def test_the_server_undoes_it_when_this_computer_dies(sshd: Sshd, tmp_path: Path) -> None:
    shut = SHUT.format(sshd.folder)
    undo = f"{OPEN.format(sshd.folder)}; touch {tmp_path}/undone"
    code = (
        "import os, signal; from pathlib import Path; from labcheck.ssh import Connection\n"
        "from labkit import dead_mans_switch\ndead_mans_switch.SHORTEST = 1\n"
        f"server = Connection('server', config=Path({str(sshd.config())!r}))\n"
        f"def change(c): c.run({shut!r}); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"dead_mans_switch.guarded(server, change, undo={undo!r}, within=5)\n"
    )
    paths = [str(Path(each.__file__).parents[1]) for each in (dead_mans_switch, ssh)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    died = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert died.returncode == -9
    assert not (sshd.folder / "authorized").exists()
    wait_until((tmp_path / "undone").exists, what="the server to undo it", timeout=60, every=0.2)
    assert (sshd.folder / "authorized").exists()


def test_leftovers_of_a_run_that_died_are_undone_before_the_next_begins(
    shared: Connection, tmp_path: Path
) -> None:
    dead_mans_switch._arm(shared, f"touch {tmp_path}/first", 600, "of-the-first-run")

    def change(connection: Connection) -> Result:
        assert (tmp_path / "first").exists()
        return connection.run("true")

    assert guarded(shared, change, undo=f"touch {tmp_path}/second", within=120).kept
    assert not (tmp_path / "second").exists()


def test_an_undoing_that_fails_is_reported(sshd: Sshd, shared: Connection) -> None:
    undo = OPEN.format(sshd.folder) + "; echo trouble >&2; exit 4"
    assert make(shared, SHUT.format(sshd.folder), undo, within=2).undo == Result("", "trouble\n", 4)


def test_change_is_not_made_where_the_switch_cannot_be_set(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(SwitchError, match="nothing was changed: sudo: a password is required"):
        make(sshd.connection(User=MAY_NOT), f"touch {tmp_path}/changed", "true", within=120)
    with pytest.raises(SwitchError, match="at least 1 s"):
        make(sshd.connection(), f"touch {tmp_path}/changed", "true", within=0)
    assert not (tmp_path / "changed").exists()


def test_vantage_has_to_reach_the_server_too(sshd: Sshd, shared: Connection) -> None:
    def nothing(connection: Connection) -> Result:
        return connection.run("true")

    def look(port: int, within: int) -> Outcome:
        return guarded(
            shared,
            nothing,
            undo="true",
            within=within,
            vantage=sshd.connection(),
            address="127.0.0.1",
            port=port,
        )

    assert look(sshd.port, 120).kept
    shut = look(free_port(), 1)
    assert not shut.kept
    assert "does not answer from server" in shut.refused
