"""Many facts in one round trip to a real sshd."""

from __future__ import annotations

import time

import pytest

from labcheck import gather as module
from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.gather import Observation, gather
from labcheck.result import Result
from labcheck.ssh import Connection
from tests.sshd import MAY, MAY_NOT, Sshd, free_port


def fact(name: str, command: str, *, sudo: bool = False, timeout: float = 60) -> Fact[Result]:
    return Fact(name, command, lambda result: result, sudo=sudo, timeout=timeout)


AFTER = fact("after", "echo after")


def reason(observed: Observation, asked: Fact[Result]) -> str:
    with pytest.raises(Unreadable) as caught:
        observed[asked]
    return str(caught.value)


def test_facts_come_each_with_its_own_output_errors_and_status(shared: Connection) -> None:
    one = fact("one", "echo out; echo err >&2; exit 3")
    two = fact("two", "printf 'no newline at the end'")
    none = fact("none", ":")
    observed = gather(shared, [one, two, none])
    assert observed[one] == Result("out\n", "err\n", 3)
    assert observed[two] == Result("no newline at the end", "", 0)
    assert observed[none] == Result("", "", 0)


def test_facts_run_as_root_in_the_c_locale(shared: Connection) -> None:
    asked = fact("asked", 'echo "$EUID $SUDO_USER $LC_ALL"', sudo=True)
    assert gather(shared, [asked])[asked].stdout == f"0 {MAY} C\n"


def test_sudo_is_not_used_without_a_fact_for_root(shared: Connection) -> None:
    asked = fact("asked", 'echo "$EUID"')
    assert gather(shared, [asked])[asked].stdout != "0\n"


def test_root_needs_no_sudo(sshd: Sshd) -> None:
    asked = fact("asked", "cat /etc/shadow", sudo=True)
    assert gather(sshd.connection(User="root"), [asked])[asked].exit_status == 0


def test_a_refused_sudo_hides_only_what_needs_it(sshd: Sshd) -> None:
    secret, open_to_all = fact("secret", "cat /etc/shadow", sudo=True), fact("open", "echo $USER")
    observed = gather(sshd.connection(User=MAY_NOT), [secret, open_to_all])
    assert observed[open_to_all].stdout == MAY_NOT + "\n"
    assert reason(observed, secret).startswith('sudo asks for a password on "server"')


def test_a_host_that_cannot_be_reached_makes_every_fact_unreadable(sshd: Sshd) -> None:
    observed = gather(sshd.connection(Port=str(free_port())), [AFTER])
    assert reason(observed, AFTER).startswith("server: the connection was refused (")


def test_a_fact_that_hangs_is_ended_with_its_children_and_hides_no_other(shared: Connection) -> None:
    hangs = fact("hangs", "sleep 4711 & sleep 4711; echo never", timeout=0.5)
    begin = time.monotonic()
    observed = gather(shared, [hangs, AFTER])
    assert time.monotonic() - begin < 60
    assert reason(observed, hangs) == "hangs took longer than 0.5 s"
    assert observed[AFTER].stdout == "after\n"
    assert shared.run("pgrep -fx 'sleep 4711'").exit_status == 1


def test_a_fact_that_ignores_being_asked_to_end_is_ended(shared: Connection) -> None:
    stubborn = fact("stubborn", "trap '' TERM INT; while :; do :; done", timeout=0.3)
    observed = gather(shared, [stubborn, AFTER])
    assert "longer than" in reason(observed, stubborn)
    assert observed[AFTER].stdout == "after\n"


def test_a_background_process_of_a_fact_does_not_hold_up_the_rest(shared: Connection) -> None:
    leaves = fact("leaves", "sleep 4712 & echo left")
    begin = time.monotonic()
    observed = gather(shared, [leaves, AFTER])
    assert (observed[leaves].stdout, observed[AFTER].stdout) == ("left\n", "after\n")
    assert time.monotonic() - begin < 60


def test_a_fact_that_reads_its_input_gets_nothing_of_the_script(shared: Connection) -> None:
    eats = fact("eats", "cat; read -r line; echo got: $line")
    observed = gather(shared, [eats, AFTER])
    assert (observed[eats].stdout, observed[AFTER].stdout) == ("got:\n", "after\n")


def test_a_fact_that_changes_its_shell_changes_no_other(shared: Connection) -> None:
    vandal = fact("vandal", "cd /; set -e; exec 9>&-; nonce=x; printf() { :; }; LC_ALL=x; false; echo no")
    replaced = fact("replaced", "exec echo replaced")
    observed = gather(shared, [vandal, replaced, AFTER])
    assert observed[vandal].exit_status == 1
    assert (observed[replaced].stdout, observed[AFTER].stdout) == ("replaced\n", "after\n")


def test_a_fact_with_a_syntax_error_or_a_missing_program_hides_no_other(shared: Connection) -> None:
    wrong, missing = fact("wrong", "if then"), fact("missing", "no-such-program")
    observed = gather(shared, [wrong, missing, AFTER])
    assert observed[wrong].exit_status != 0
    assert observed[missing].exit_status == 127
    assert "not found" in observed[missing].stderr
    assert observed[AFTER].stdout == "after\n"


def test_an_output_that_looks_like_the_frame_is_an_output(shared: Connection) -> None:
    text = "\n0123456789abcdef01234567 end 0 0\n"
    liar = fact("liar", f"printf %s '{text}'")
    observed = gather(shared, [liar, AFTER])
    assert (observed[liar].stdout, observed[AFTER].stdout) == (text, "after\n")


def test_binary_output_keeps_its_nuls_and_shows_its_other_bytes(shared: Connection) -> None:
    binary = fact("binary", r"printf 'a=1\0b=\377\0'")
    assert gather(shared, [binary])[binary].stdout == "a=1\0b=\\xff\0"


def test_a_fact_that_prints_too_much_is_named_and_hides_no_other(
    shared: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, large = fact("endless", "yes"), fact("large", "yes | head -c 5000000")
    before = fact("before", "echo before")
    observed = gather(shared, [before, large, endless, AFTER])
    assert (observed[before].stdout, observed[AFTER].stdout) == ("before\n", "after\n")
    assert reason(observed, endless) == "endless printed more than 4 MiB"
    assert reason(observed, large) == "large printed more than 4 MiB"


def test_a_connection_that_is_lost_in_the_middle_keeps_what_had_come(sshd: Sshd) -> None:
    first = fact("first", "echo first")
    killer = fact("killer", f"sleep 0.3; pkill -KILL -f '^sshd: {MAY}'; sleep 3", sudo=True)
    observed = gather(sshd.connection(), [first, killer, AFTER])
    assert observed[first].stdout == "first\n"
    assert "lost in the middle" in reason(observed, AFTER)


def test_a_profile_that_prints_and_a_login_shell_that_is_not_bash_do_not_matter(sshd: Sshd) -> None:
    server = sshd.connection()
    server.run("echo 'echo welcome; echo error >&2' > ~/.bashrc; sudo chsh -s /bin/sh " + MAY)
    try:
        observed = gather(server, [AFTER, fact("root", "echo $EUID", sudo=True)])
    finally:
        server.run("rm ~/.bashrc; sudo chsh -s /bin/bash " + MAY)
    assert observed[AFTER] == Result("after\n", "", 0)


def test_a_hundred_facts_need_one_round_trip(shared: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = []
    real = module._ask
    monkeypatch.setattr(module, "_ask", lambda *a: (trips.append(1), real(*a))[1])
    facts = [fact(f"f{n}", f"echo {n}") for n in range(100)]
    observed = gather(shared, facts)
    assert [observed[f].stdout for f in facts] == [f"{n}\n" for n in range(100)]
    assert len(trips) == 1


def test_fact_that_was_not_asked_for_is_unreadable() -> None:
    assert reason(Observation(), AFTER) == "after was not asked for"
