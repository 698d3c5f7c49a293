"""Judging: criteria apart from each other, verdicts added up, exercises only where they may be done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labcheck import checklist, runner
from labcheck.checks.model import Context, Criterion, Item, Target, criterion
from labcheck.errors import Unreachable, Unreadable
from labcheck.external import probing, questions
from labcheck.external.model import Answers, Questions
from labcheck.facts import Fact
from labcheck.gather import Observation
from labcheck.result import Result
from labcheck.ssh import Connection
from labcheck.verdict import Depth, Finding, Verdict, failed, passed, skipped, unknown
from tests.sshd import MAY_NOT, Sshd, free_port

OPEN = Fact("open", "echo open", lambda result: result.stdout.strip())
ROOT = Fact("root", "echo $EUID", lambda result: result.stdout.strip(), sudo=True)
TARGET = Target("server", "app.example")


@criterion(value=OPEN)
def is_open(value: str) -> Iterator[Finding]:
    yield passed(f"it is {value}") if value == "open" else failed(value, expected="open", why="so")


@criterion(value=ROOT)
def is_root(value: str) -> Iterator[Finding]:
    yield passed("root") if value == "0" else failed(value, expected="0", why="so")


@criterion()
def names_its_target(target: Target) -> Iterator[Finding]:
    yield passed(target.domain)


@criterion(value=OPEN)
def has_a_fault(value: str) -> Iterator[Finding]:
    yield passed(str(1 // (len(value) - len(value))))


def item(*criteria: Criterion, number: int = 1) -> Item:
    return Item(number, "A title", "Short", "01_vm_setup", "A section", criteria)


def judge(one: Item, observed: Observation) -> tuple[Finding, ...]:
    return runner.judge(one, observed, Answers({}, "nothing was asked"), TARGET)


def test_a_criterion_that_cannot_be_seen_hides_no_other() -> None:
    observed = Observation({"open": Result("shut\n", "", 0)}, {"root": "sudo asks for a password"})
    findings = judge(item(is_root, is_open), observed)
    assert [f.verdict for f in findings] == [Verdict.UNKNOWN, Verdict.FAIL]
    assert findings[0].observed == "sudo asks for a password"


def test_a_criterion_gets_the_target_where_it_asks_for_it() -> None:
    assert judge(item(names_its_target), Observation())[0].observed == "app.example"


def test_blind_spot_of_several_criteria_is_said_once() -> None:
    assert len(judge(item(is_root, is_root), Observation({}, {"root": "why"}))) == 1


def test_a_fault_in_a_check_is_not_a_verdict_on_the_server() -> None:
    (finding,) = judge(item(has_a_fault), Observation({"open": Result("x", "", 0)}))
    assert finding.verdict is Verdict.UNKNOWN
    assert "a fault in labcheck itself, in has_a_fault: ZeroDivisionError" in finding.observed


def run(server: Connection, *items: Item, exercise: bool = False) -> runner.Report:
    return runner.run(items, Context(TARGET, server), exercise=exercise)


def test_run_observes_a_real_host(shared: Connection) -> None:
    report = run(shared, item(is_open, is_root))
    assert [f.verdict for f in report.items[0].findings] == [Verdict.PASS, Verdict.PASS]
    assert report.system
    assert {fact.name for fact, _ in report.evidence} == {"system", "open", "root"}
    assert report.exit_status() == 0


def test_late_fact_sees_what_the_questions_from_outside_left_behind(
    shared: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "left"
    early = Fact("early", f"ls {tmp_path}", lambda result: result.stdout.strip(), sudo=True)
    late = replace(early, name="late", late=True)

    def look(asked: Questions, vantage: Connection | None) -> Answers:
        trace.touch()
        return Answers({"web": {"value": {"handshakes": [], "redirects": [], "gets": []}}})

    @criterion(before=early, after=late, edge=questions.edge)
    def both(before: str, after: str, edge: dict[str, str]) -> Iterator[Finding]:
        yield passed(f"{before or 'nothing'}, then {after or 'nothing'}")

    monkeypatch.setattr(probing, "ask", look)
    assert run(shared, item(both)).items[0].findings[0].observed == "nothing, then left"


def test_early_fact_is_read_as_root_where_a_late_one_is(
    shared: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = Fact("early", "echo $EUID", lambda result: result.stdout.strip())
    late = replace(ROOT, late=True)

    @criterion(before=early, after=late, edge=questions.edge)
    def both(before: str, after: str, edge: dict[str, str]) -> Iterator[Finding]:
        yield passed(f"{before}, then {after}")

    monkeypatch.setattr(probing, "ask", lambda asked, vantage: Answers({"web": {"unreadable": "no answer"}}))
    assert run(shared, item(both)).items[0].findings[0].observed == "0, then 0"


def test_item_that_needs_sudo_is_unknown_without_it_and_the_rest_is_judged(sshd: Sshd) -> None:
    report = run(sshd.connection(User=MAY_NOT), item(is_open), item(is_root, number=2))
    assert [judged.verdict for judged in report.items] == [Verdict.PASS, Verdict.UNKNOWN]
    assert "sudo asks for a password" in report.items[1].findings[0].observed
    assert report.exit_status() == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"Port": "closed"}, "the connection was refused"), ({"IdentityFile": "other"}, "it refused every key")],
)
def test_host_that_refuses_the_login_makes_everything_unknown(
    sshd: Sshd, changes: dict[str, str], reason: str
) -> None:
    words = {"closed": str(free_port()), "other": str(sshd.folder / "other")}
    connection = sshd.connection(**{key: words[value] for key, value in changes.items()})
    late = Fact("late", "echo late", lambda result: result.stdout, late=True)
    look_late = Criterion({"value": late, "edge": questions.edge}, is_open.judge)
    items = [*checklist.items([7, 9]), item(look_late, number=4)]
    report = runner.run(items, Context(TARGET, connection))
    assert {judged.verdict for judged in report.items} == {Verdict.UNKNOWN}
    assert all(any(reason in f.observed for f in judged.findings) for judged in report.items)


def exercised(read_only: Criterion, server: Connection, *outcomes: Finding | Exception) -> runner.Judged:
    def exercise(server: Connection, context: Context) -> Iterator[Finding]:
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    return run(server, replace(item(read_only), exercise=exercise), exercise=True).items[0]


def test_an_exercise_adds_findings_of_its_own_depth(shared: Connection) -> None:
    judged = exercised(is_open, shared, passed("it came back"))
    assert judged.findings[-1] == Finding(Verdict.PASS, "it came back", depth=Depth.EXERCISE)
    assert (judged.depth, judged.not_exercised) == (Depth.EXERCISE, False)


def test_an_exercise_that_loses_the_host_is_unknown_and_keeps_what_it_found(shared: Connection) -> None:
    problem = Unreachable("server", "the connection timed out", "start it")
    judged = exercised(is_open, shared, passed("first"), problem)
    assert [f.observed for f in judged.findings] == [
        "it is open",
        "first",
        "server: the connection timed out",
    ]
    assert judged.verdict is Verdict.UNKNOWN
    assert exercised(is_open, shared, Unreadable("why")).verdict is Verdict.UNKNOWN


def test_exercise_is_not_done_where_the_read_only_check_found_a_fault(shared: Connection) -> None:
    shut = Criterion({"value": Fact("shut", "echo shut", lambda r: r.stdout.strip())}, is_open.judge)
    judged = exercised(shut, shared, passed("never"))
    assert [f.observed for f in judged.findings] == ["shut"]


def test_an_item_with_an_exercise_that_was_not_done_was_only_looked_at(shared: Connection) -> None:
    def exercise(server: Connection, context: Context) -> Iterator[Finding]:
        yield passed("never")

    judged = run(shared, replace(item(is_open), exercise=exercise)).items[0]
    assert judged.not_exercised


@criterion(value=OPEN)
def cannot_tell(value: str) -> Iterator[Finding]:
    yield unknown("only an exercise tells", until_exercised=True)


def test_exercise_is_done_where_the_read_only_check_left_a_question_to_it(shared: Connection) -> None:
    def both(*said: Finding) -> runner.Judged:
        def exercise(server: Connection, context: Context) -> Iterator[Finding]:
            yield from said

        return run(shared, replace(item(is_open, cannot_tell), exercise=exercise), exercise=True).items[0]

    assert both(passed("it holds")).verdict is Verdict.PASS
    assert both(failed("it does not", expected="it does", why="so")).verdict is Verdict.FAIL
    undecided = both(unknown("no host answered"))
    assert [f.observed for f in undecided.of(Verdict.UNKNOWN)] == [
        "only an exercise tells",
        "no host answered",
    ]
    assert exercised(cannot_tell, shared, passed("never")).verdict is Verdict.UNKNOWN  # nothing else was seen


def test_the_exit_status_follows_from_the_verdicts() -> None:
    def status(*findings: Finding, strict: bool = False) -> int:
        judged = tuple(runner.Judged(item(), (one,)) for one in findings)
        report = runner.Report(TARGET, judged, started=runner.datetime.now(runner.UTC), duration=0)
        return report.exit_status(strict=strict)

    bad, good, blind = failed("x", expected="y", why="z"), passed("x"), unknown("x")
    skip = skipped("no state")
    assert (status(good, skip), status(good, blind), status(blind, bad, good)) == (0, 2, 1)
    assert (status(good, skip, strict=True), status(good, strict=True)) == (2, 0)


def test_the_checklist_has_its_items_in_order_each_in_a_chapter() -> None:
    count = len(checklist.ITEMS)
    assert [one.number for one in checklist.ITEMS] == list(range(1, count + 1))
    assert all(one.title and one.short and one.section for one in checklist.ITEMS)
    assert [one.number for one in checklist.items([9, 2])] == [2, 9]
    with pytest.raises(ValueError, match=f"there is no item 0: the checklist has 1 to {count}"):
        checklist.items([0])
