"""The notebooks' magics, in a real IPython, against a real sshd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import IPython.display
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from labcheck import ssh
from labcheck.checklist import ITEMS
from labcheck.result import TIMED_OUT
from labcheck.ssh import Connection
from labcheck.wait import wait_until
from labkit import dead_mans_switch, load_ipython_extension, magics
from labkit.cell import run_here
from labkit.magics import CellFailed
from tests.sshd import MAY, MAY_NOT, Sshd, free_port

Cell = Callable[..., str]


def write_config(path: Path, config: Path, extra: str = "") -> None:
    path.write_text(
        f'[target]\nhost = "server"\nssh_config = "{config}"\ndomain = "app.example"\n{extra}',
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def shell() -> InteractiveShell:
    shell = InteractiveShell.instance(colors="nocolor")
    load_ipython_extension(shell)
    return shell


@pytest.fixture
def settings(shared: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "labcheck.toml"
    assert shared.config
    write_config(path, shared.config)
    monkeypatch.setenv("LABCHECK_CONFIG", str(path))
    return path


@pytest.fixture
def screens() -> list[str]:
    """What the last cell showed, from one time that it cleared its output to the next."""
    return []


@pytest.fixture
def cell(
    shell: InteractiveShell,
    settings: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    screens: list[str],
) -> Cell:
    """Runs a cell; what is left of its output when it has ended."""
    cleared = "<cleared>"
    monkeypatch.setattr(IPython.display, "clear_output", lambda wait: print(cleared, end=""))

    def run(first: str, *rest: str) -> str:
        name, _, line = first.lstrip("%").partition(" ")
        if first.startswith("%%"):
            shell.run_cell_magic(name, line, "".join(f"{row}\n" for row in rest))
        else:
            shell.run_line_magic(name, line)
        screens[:] = capsys.readouterr().out.split(cleared)
        return screens[-1]

    return run


def failure(cell: Cell, *rows: str) -> str:
    with pytest.raises(CellFailed) as caught:
        cell(*rows)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_cell_prints_what_the_server_prints(cell: Cell) -> None:
    assert cell("%%vm", "id -un", "echo problem >&2") == f"{MAY}\nproblem\n"
    assert cell(f"%%vm --as {MAY_NOT}", "id -un") == f"{MAY_NOT}\n"
    assert cell("%%vm --quiet", "echo much") == ""
    assert cell("%%vm --on server", "echo there") == "there\n"


def test_a_wrong_exit_status_is_one_line(cell: Cell) -> None:
    assert failure(cell, "%%vm", "true", "false") == "exit status 1 from line 2: false"
    assert cell("%%vm --expect 1", "false") == ""
    assert failure(cell, "%%vm --expect 1", "true") == "exit status 0, and 1 was expected"


def test_a_quiet_cell_that_fails_prints_what_it_had(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    failure(cell, "%%vm --quiet", "echo before", "false")
    assert capsys.readouterr().out == "before\n"


def test_a_cell_that_is_silent_says_that_it_runs_and_takes_it_back(
    cell: Cell, screens: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magics, "SILENCE", 0.3)
    monkeypatch.setattr(magics, "REFRESH", 0.3)
    assert cell("%%vm", "echo before", "sleep 2", "echo after") == "before\nafter\n"
    assert any(screen.startswith("before\nstill running, ") for screen in screens)
    assert cell("%%vm --quiet", "sleep 1") == ""
    assert screens[0].startswith("still running, ")
    monkeypatch.setattr(dead_mans_switch, "_shut", lambda *_: "the connection was refused")
    shut = cell('%%vm --undo "true" --within 5 --expect undone', "echo shut")
    assert shut == "shut\nNo new connection could be opened.\nThe server has undone the change: true\n"
    assert any(screen.startswith("shut\nstill running, ") for screen in screens)


def test_a_wrong_option_names_the_right_ones(cell: Cell) -> None:
    assert "--within" in failure(cell, "%%vm --whithin 3", "true")
    assert "invalid status" in failure(cell, "%%vm --expect none", "true")
    assert "needs --undo" in failure(cell, "%%vm --expect undone", "true")


def test_a_machine_that_is_off_is_said_with_the_way_to_start_it(
    cell: Cell, settings: Path, sshd: Sshd
) -> None:
    write_config(settings, sshd.config(Port=str(free_port())))
    expected = "cannot reach server: the connection was refused (is the machine off? make lab)"
    assert failure(cell, "%%vm", "true") == expected


def test_a_missing_configuration_is_said(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCHECK_CONFIG", str(tmp_path / "none.toml"))
    assert "make lab" in failure(cell, "%%vm", "true")


def test_a_cell_under_the_switch_says_how_it_ended(
    cell: Cell, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_mans_switch, "SHORTEST", 1)
    away, keys = f"{sshd.folder}/authorized.away", f"{sshd.folder}/authorized"
    undo = f"mv {away} {keys}"
    kept = cell(f'%%vm --undo "{undo}" --within 120', "echo harmless")
    assert kept == "harmless\nA new connection works: the change stays.\n"
    shut = f'%%vm --undo "{undo}" --within 2'
    refusal = f"No new connection could be opened.\nThe server has undone the change: {undo}\n"
    assert cell(f"{shut} --expect undone", f"sudo mv {keys} {away}") == refusal
    assert "would have locked you out" in failure(cell, shut, f"sudo mv {keys} {away}")
    slow = failure(cell, '%%vm --undo "true" --within 1', "sleep 2")
    assert slow == "the change was undone: it was not proved within 1 s; give it more time: --within 2"
    assert failure(cell, '%%vm --undo "true" --within 120', "false") == "exit status 1 from line 1: false"


def test_a_cell_that_breaks_something_runs_in_the_lab_alone(
    cell: Cell, settings: Path, tmp_path: Path
) -> None:
    text = settings.read_text()
    settings.write_text(f'{text}[lab]\nmarker = "{tmp_path}/marker"\n')
    assert "is not the lab's server" in failure(cell, "%%vm --break", "echo broken")
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    (tmp_path / "marker").touch()
    assert cell("%%vm --break", "echo broken") == "broken\n"


@pytest.fixture
def home(shared: Connection) -> Iterator[str]:
    yield shared.run("mktemp -d").stdout.strip()


def test_a_file_arrives_whole_with_its_owner_and_mode(cell: Cell, home: str, shared: Connection) -> None:
    path = f"{home}/a file's name"
    rows = ["first 'quoted' $HOME", "", "  last \\n ü"]
    assert cell(f'%%vm_file "{path}" --owner {MAY}:users --mode 640', *rows) == (
        f"{path}: 3 lines, {MAY}:users, 0640\n"
    )
    assert shared.run(f'cat "{path}"').stdout == "\n".join(rows) + "\n"
    assert cell(f'%%vm_file "{path}"', "other") == f"{path}: 1 line, {MAY}:users, 0640\n"
    assert cell(f"%%vm_file {home}/new", "x") == f"{home}/new: 1 line, root:root, 0644\n"
    assert shared.run(f"ls -A {home}").stdout.splitlines() == ["a file's name", "new"]


def test_a_root_login_needs_no_sudo_to_write_a_file(
    cell: Cell, settings: Path, sshd: Sshd, home: str, shared: Connection
) -> None:
    write_config(settings, sshd.config(User="root"))
    assert cell(f"%%vm_file {home}/of-root --mode 600", "x") == f"{home}/of-root: 1 line, root:root, 0600\n"


def test_a_link_stays_a_link(cell: Cell, home: str, shared: Connection) -> None:
    shared.run(f"touch {home}/target; ln -s target {home}/link")
    cell(f"%%vm_file {home}/link", "through the link")
    assert shared.run(f"cat {home}/target; readlink {home}/link").stdout == "through the link\ntarget\n"


def test_a_file_that_cannot_be_written_leaves_nothing_and_says_why(
    cell: Cell, home: str, shared: Connection
) -> None:
    assert failure(cell, f"%%vm_file {home}/none/file", "x") == (
        f"{home}/none/file was not written: the folder {home}/none is not there"
    )
    assert "is a folder" in failure(cell, f"%%vm_file {home}", "x")
    assert "invalid user" in failure(cell, f"%%vm_file {home}/file --owner no-such-user", "x")
    assert "must begin with a /" in failure(cell, "%%vm_file relative", "x")
    assert shared.run(f"ls -A {home}").stdout == ""


def test_a_cell_of_the_laptop_runs_in_the_checkout_with_the_programs_beside_this_python(cell: Cell) -> None:
    assert cell("%%laptop", "pwd", "command -v python", "echo problem >&2") == (
        f"{magics.CHECKOUT}\n{Path(sys.executable).with_name('python')}\nproblem\n"
    )
    assert cell("%%laptop --quiet", "echo much") == ""


def test_a_cell_of_the_laptop_has_nothing_of_the_persons_environment(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-persons-own")
    monkeypatch.setenv("DATABASE_URL", "postgresql://the-persons-own")
    said = cell("%%laptop", "env | grep -c persons || echo none", '[ "$HOME" = "$TMPDIR" ] && ls -A "$HOME"')
    assert said == "0\nnone\n"


def test_labcheck_in_a_cell_of_the_laptop_finds_the_server_that_check_finds(
    cell: Cell, settings: Path
) -> None:
    assert cell("%%laptop", 'echo "$LABCHECK_CONFIG"') == f"{settings}\n"


def test_a_cell_of_the_laptop_says_where_it_failed(cell: Cell) -> None:
    assert failure(cell, "%%laptop", "true", "false", "true") == "exit status 1 from line 2: false"
    assert failure(cell, "%%laptop", "true | false") == "exit status 1 from line 1: true | false"
    assert cell("%%laptop --expect 3", "exit 3") == ""
    assert failure(cell, "%%laptop --expect 1", "true") == "exit status 0, and 1 was expected"
    assert "invalid int value" in failure(cell, "%%laptop --expect none", "true")


def runs(pid: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def ended(pids: list[str]) -> None:
    """They have been asked to end; on a busy computer it takes them a moment."""
    assert pids
    wait_until(
        lambda: not any(runs(pid) for pid in pids), what="what was started to end", timeout=60, every=0.02
    )


# One that does not listen to the signal that asks, and one that does.
LEFT_RUNNING = [
    'cd "$TMPDIR"',
    "pwd",
    "(trap '' TERM; exec sleep 1000) &",
    "echo $!",
    "sleep 1000 &",
    "echo $!",
]


def test_leftovers_of_a_laptop_s_cell_are_gone_when_it_has_ended(cell: Cell) -> None:
    folder, *pids = cell("%%laptop", *LEFT_RUNNING).split()
    ended(pids)
    assert not Path(folder).exists()


def test_an_interrupt_ends_a_cell_of_the_laptop_with_all_that_it_started(
    cell: Cell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: magics._Output) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(magics._Output, "still_running", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cell("%%laptop", *LEFT_RUNNING, "echo and", "wait")
    folder, *pids, _ = capsys.readouterr().out.split()
    ended(pids)
    assert not Path(folder).exists()


def test_a_cell_of_the_laptop_that_takes_too_long_is_ended() -> None:
    ran = run_here("echo before; sleep 1000", folder=magics.CHECKOUT, timeout=3)
    assert (ran.exit_status, ran.output) == (TIMED_OUT, "before\n")


def test_missing_bash_is_said_in_a_sentence(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "there is no bash on this computer" in failure(cell, "%%laptop", "true")


def test_a_number_that_is_not_on_the_checklist_is_a_sentence(cell: Cell) -> None:
    count = len(ITEMS)
    wrong = f"there is no item {count + 1}: the checklist has 1 to {count}"
    assert failure(cell, f"%check {count + 1}") == wrong
    assert "usage" in failure(cell, "%check")
    assert "invalid item (a number, or all) value: 'every'" in failure(cell, "%check every")
    assert failure(cell, "%check 6 --reboot") == "%check: --reboot says what --exercise may do: give both"


def test_check_all_is_every_number_of_the_checklist_in_order() -> None:
    options = magics._check.parse_args(["all", "--exercise"])
    assert (options.items, options.exercise) == ([[item.number for item in ITEMS]], True)


def test_padlock_cell_without_a_browser_says_how_to_get_one_and_shows_a_saved_picture(
    cell: Cell, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    images: list[IPython.display.Image] = []
    monkeypatch.setattr(IPython.display, "display", images.append)
    assert "apt-get install chromium libnss3-tools" in cell("%padlock")
    assert [picture.data for picture in images] == [magics.PADLOCK.read_bytes()]
    settings.write_text(settings.read_text().replace('domain = "app.example"\n', ""))
    assert failure(cell, "%padlock").startswith("labcheck.toml names no site")


def test_done_saves_in_the_lab_and_nowhere_else(
    cell: Cell, settings: Path, tmp_path: Path, screens: list[str]
) -> None:
    assert cell("%done 01") == "This is not the lab's machine: nothing to save.\n"
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import os, sys, pathlib\nsaid = os.environ['LAB_MACHINE'] + ' '.join(sys.argv[1:])\n"
        f"pathlib.Path({str(tmp_path / 'said')!r}).write_text(said)\n"
        "sys.exit('no room' if sys.argv[2] == '09' else 0)\n"
    )
    lab = f'[lab]\ntool = ["{sys.executable}", "{tool}"]\nmachine = "test-"\n'
    settings.write_text(settings.read_text() + lab)
    assert cell("%done 01") == "Chapter 01 is done, and the machine is saved.\n"
    assert screens[0] == "saving the machine …\n"
    assert (tmp_path / "said").read_text() == "test-snapshot 01"
    assert failure(cell, "%done 09") == "the machine was not saved: no room"


def test_failure_in_a_notebook_is_one_line_without_a_traceback(settings: Path, tmp_path: Path) -> None:
    new = nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook(
        cells=[
            new("%load_ext labkit"),
            new("%%vm\necho a\nsleep 3\necho b >&2"),
            new("%check 7"),
            new("%%vm\nfalse"),
        ]
    )
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with pytest.raises(CellExecutionError):
        NotebookClient(book, timeout=60, kernel_name="python3").execute()
    printed = ["".join(o.text for o in c.outputs if o.output_type == "stream") for c in book.cells]
    # What a cell says while it is silent, and what the look at item 7 does, is gone when they have ended.
    assert printed.pop(2).startswith("7  ")
    assert printed == ["", "a\nb\n", ""]
    (error,) = book.cells[3].outputs
    assert error.traceback == ["CellFailed: exit status 1 from line 1: false"]


def test_the_core_works_without_ipython() -> None:
    code = (
        "import sys; sys.modules['IPython'] = None\n"
        "import labcheck.cli, labkit.magics, labkit.dead_mans_switch, labkit.cell\n"
        "sys.exit(bool([m for m in sys.modules if m.startswith(('jupyter', 'ipykernel', 'nbformat'))]))\n"
    )
    paths = [str(Path(each.__file__).parents[1]) for each in (magics, ssh)]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
