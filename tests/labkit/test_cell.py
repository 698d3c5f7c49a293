"""Cells run as bash on a real host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labcheck import ssh
from labcheck.result import TIMED_OUT
from labcheck.ssh import Connection
from labcheck.wait import wait_until
from labkit import cell as module
from labkit.cell import LINES, run_cell
from tests.sshd import MAY_NOT, Sshd


def test_output_and_errors_come_in_the_order_in_which_they_were_written(shared: Connection) -> None:
    ran = run_cell(shared, "echo one\necho two >&2\necho three\nls /nowhere-1 2>&1 || echo four\n")
    assert ran.output.splitlines()[:3] == ["one", "two", "three"]
    assert ran.output.splitlines()[-1] == "four"
    assert ran.exit_status == 0


def test_the_first_failure_ends_the_cell_and_its_line_is_named(shared: Connection) -> None:
    ran = run_cell(shared, "echo before\n\ngrep -q nobody-of-that-name /etc/passwd\necho after\n")
    assert ran.output == "before\n"
    assert ran.why() == "exit status 1 from line 3: grep -q nobody-of-that-name /etc/passwd"


def test_a_failure_inside_a_pipe_a_function_or_a_substitution_ends_the_cell(shared: Connection) -> None:
    assert run_cell(shared, "false | cat\necho no\n").why() == "exit status 1 from line 1: false | cat"
    assert run_cell(shared, "x=$(exit 3)\necho no\n").exit_status == 3
    failing = run_cell(shared, "f() {\n  test -e /nowhere\n}\nf > /dev/null\necho no\n")
    assert (failing.output, failing.line, failing.command) == ("", 2, "test -e /nowhere")


def test_a_failure_under_sudo_names_the_cell_s_line(shared: Connection) -> None:
    ran = run_cell(shared, "echo before\nsudo test -e /nowhere\necho no\n")
    assert ran.output == "before\n"
    assert ran.why() == "exit status 1 from line 2: sudo test -e /nowhere"
    piped = run_cell(shared, "f() {\n  sudo test -e /nowhere 2>&1 | cat\n}\n\nf\n")
    assert (piped.output, piped.exit_status) == ("", 1)


def test_a_variable_that_is_not_set_ends_the_cell(shared: Connection) -> None:
    ran = run_cell(shared, "echo $NOT_SET_AT_ALL\necho no\n")
    assert ran.exit_status != 0
    assert "NOT_SET_AT_ALL: unbound variable" in ran.output


def test_a_syntax_error_is_shown(shared: Connection) -> None:
    ran = run_cell(shared, "if true\n")
    assert ran.exit_status != 0
    assert "syntax error" in ran.output


def test_a_condition_that_is_false_is_no_failure(shared: Connection) -> None:
    assert run_cell(shared, "if false; then echo no; fi\nfalse || echo yes\n").output == "yes\n"


def test_an_exit_status_of_its_own_is_given_back(shared: Connection) -> None:
    assert run_cell(shared, "exit 7\n").why() == "exit status 7"


def test_blank_lines_and_a_missing_last_newline_survive(shared: Connection) -> None:
    assert run_cell(shared, r"printf '\n\na\n\n\nb'").output == "\n\na\n\n\nb\n"


def test_output_is_shown_as_it_comes(shared: Connection) -> None:
    shown: list[tuple[str, float]] = []
    run_cell(shared, "echo a\nsleep 3\necho b\n", show=lambda text: shown.append((text, time.monotonic())))
    assert [text for text, _ in shown] == ["a\n", "b\n"]
    assert shown[1][1] - shown[0][1] > 0.5


def test_long_output_is_cut_and_says_so(shared: Connection) -> None:
    ran = run_cell(shared, "seq 100000\n")
    assert ran.output.splitlines()[-2:] == [str(LINES), "… (the rest is not shown)"]
    assert ran.exit_status == 0


def test_a_cell_that_reads_its_input_finds_it_empty(shared: Connection) -> None:
    assert run_cell(shared, "cat\nread -r line || echo nothing\necho on\n").output == "nothing\non\n"


def test_apt_asks_nothing_also_under_sudo(shared: Connection) -> None:
    ran = run_cell(shared, "sudo env | grep -c -E '^(DEBIAN_FRONTEND=noninteractive|NEEDRESTART_MODE=a)$'\n")
    assert ran.output == "2\n"


def test_account_of_a_cell_works_in_its_own_home(shared: Connection) -> None:
    ran = run_cell(shared, 'id -un\npwd\necho "$HOME"\nfalse\n', account=MAY_NOT)
    assert ran.output == f"{MAY_NOT}\n/home/{MAY_NOT}\n/home/{MAY_NOT}\n"
    assert ran.why() == "exit status 1 from line 4: false"


def test_an_account_that_is_not_there_is_said(shared: Connection) -> None:
    ran = run_cell(shared, "echo no\n", account="no-such-account")
    assert ran.exit_status != 0
    assert "no-such-account" in ran.output


def test_a_cell_is_never_part_of_a_command_line(shared: Connection) -> None:
    ran = run_cell(shared, "hidden=4a1c9b\nsudo ps axww -o args | grep -c '[4]a1c9b' || echo none\n")
    assert ran.output == "0\nnone\n"
    look = "hidden=4a1c9b\nps axww -o args | grep -c '[4]a1c9b' || echo none\n"
    assert run_cell(shared, look, account=MAY_NOT).output == "0\nnone\n"


def test_a_background_process_neither_holds_the_cell_nor_outlives_it(shared: Connection) -> None:
    begin = time.monotonic()
    ran = run_cell(shared, "sleep 4721 &\necho started\n")
    assert ran.output == "started\n"
    assert time.monotonic() - begin < 60
    assert shared.run("pgrep -fx 'sleep 4721'").exit_status == 1


def test_process_that_left_the_cell_by_setsid_stays_and_does_not_hold_it(shared: Connection) -> None:
    begin = time.monotonic()
    run_cell(shared, "setsid sleep 4722 &\necho started\n")
    assert time.monotonic() - begin < 60
    assert shared.run("pkill -fx 'sleep 4722'").exit_status == 0


def test_a_time_limit_ends_the_cell_on_the_host_too(shared: Connection) -> None:
    ran = run_cell(shared, "echo begun\nsudo sleep 4723\n", timeout=5)
    assert (ran.output, ran.exit_status) == ("begun\n", TIMED_OUT)
    ended = "test -z \"$(pgrep -fx 'sleep 4723')\""
    wait_until(lambda: shared.run(ended).exit_status == 0, what="the cell's process to end", timeout=60)


def test_an_interrupt_ends_the_cell_on_the_host_too(
    sshd: Sshd, shared: Connection, running: Callable[[str], list[str]]
) -> None:
    config = sshd.config()
    code = (
        "from pathlib import Path\nfrom labkit.cell import run_cell\n"
        "from labcheck.ssh import Connection\n"
        f"run_cell(Connection('server', config=Path({str(config)!r})), 'sleep 4724', account={MAY_NOT!r})\n"
    )
    paths = [str(Path(each.__file__).parents[1]) for each in (module, ssh)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment)
    wait_until(lambda: running("sleep 4724"), what="the cell to start", timeout=60, every=0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not running(f"-F {config}")
    wait_until(lambda: not running("sleep 4724 "), what="the cell to end", timeout=60, every=0.1)
