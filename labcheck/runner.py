"""Judging a target: observe it from inside and from outside, then call every criterion."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labcheck.checks.model import Context, Criterion, Item, Target
from labcheck.errors import Unreachable, Unreadable
from labcheck.external import planning, probing, questions
from labcheck.external.model import Answers
from labcheck.facts import Fact
from labcheck.facts.network import interface_addresses
from labcheck.gather import Observation, gather
from labcheck.result import Result
from labcheck.verdict import Depth, Finding, Verdict, overall, unknown


def _was_exercised(findings: Iterable[Finding]) -> bool:
    proven = (Verdict.PASS, Verdict.FAIL)
    return any(finding.depth is Depth.EXERCISE and finding.verdict in proven for finding in findings)


@dataclass(frozen=True)
class Judged:
    """An item and everything that was found about it."""

    item: Item
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        return overall(self.findings)

    @property
    def depth(self) -> Depth:
        return Depth.EXERCISE if _was_exercised(self.findings) else Depth.LOOK

    @property
    def not_exercised(self) -> bool:
        """Whether more could have been proved than was: the item has an exercise that was not done."""
        return self.item.exercise is not None and self.depth is Depth.LOOK

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is verdict)


@dataclass(frozen=True)
class Report:
    """What one run of labcheck found. `system` is the server's distribution, and `address` where its name
    leads from outside: both empty where they could not be seen. `evidence` is each fact's command and what
    it printed, or why it could not be asked. `unreachable` is why no login was possible, where none was.
    """

    target: Target
    items: tuple[Judged, ...]
    started: datetime
    duration: float
    system: str = ""
    address: str = ""
    evidence: tuple[tuple[Fact[object], Result | str], ...] = ()
    unreachable: str = ""

    def count(self, verdict: Verdict) -> int:
        return sum(judged.verdict is verdict for judged in self.items)

    def exit_status(self, *, strict: bool = False) -> int:
        """1 if anything fails, else 2 if something could not be observed (`strict`: or is SKIP), else 0."""
        if self.count(Verdict.FAIL):
            return 1
        return 2 if self.count(Verdict.UNKNOWN) or (strict and self.count(Verdict.SKIP)) else 0


def run(
    items: Sequence[Item],
    context: Context,
    *,
    exercise: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Judge `items` on a target. With `exercise`, also make things happen where the read-only check found no
    fault.

    Everything that is wanted of the server comes in one round trip, and everything from outside in another;
    a third one is for facts about what these requests left behind. `progress` gets a line before each
    step. Where no login is possible, nothing else is asked. Raises nothing for what is wrong with the target.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    needs = [need for item in items for criterion in item.criteria for need in criterion.needs.values()]
    asked_outside = [need for need in needs if not isinstance(need, Fact)]
    facts = [need for need in needs if isinstance(need, Fact)]
    facts += [fact for question in asked_outside for fact in (*questions.NEEDS, *question.needs)]
    observed, answers = Observation(), Answers({}, "nothing was asked from outside")
    required = list({fact.name: fact for fact in [_system, *facts]}.values())
    late = [fact for fact in required if fact.late and asked_outside]
    if needs:
        progress(f"looking at {context.target.host}")
        early = [fact for fact in required if fact not in late]
        observed = gather(context.server, early, root=any(fact.sudo for fact in late))
    if asked_outside and observed.unreachable:
        answers = Answers({}, next(iter(observed.reasons.values())))
    elif asked_outside:
        progress(f"looking from {context.target.vantage}")
        answers = _ask_from_outside(observed, context, [question.part for question in asked_outside])
    if late and observed.results:
        progress(f"looking at what that left on {context.target.host}")
        observed |= gather(context.server, late)
    elif late:  # a host that could not be asked before cannot be asked now
        observed |= Observation({}, {fact.name: next(iter(observed.reasons.values())) for fact in late})
    judged = tuple(Judged(item, judge(item, observed, answers, context.target)) for item in items)
    if exercise:
        judged = tuple(_exercised(one, context, progress) for one in judged)
    return Report(
        target=context.target,
        items=judged,
        started=started,
        duration=time.monotonic() - clock,
        system=_or_empty(lambda: observed[_system]),
        address=_or_empty(lambda: ", ".join(answers[questions.resolver].ipv4)),
        evidence=tuple((fact, _printed(observed, fact)) for fact in required) if needs else (),
        unreachable=observed.unreachable,
    )


def judge(item: Item, observed: Observation, answers: Answers, target: Target) -> tuple[Finding, ...]:
    """The findings of each criterion by itself: a blind spot in one hides nothing that another one sees."""
    findings = [
        finding for criterion in item.criteria for finding in _said(criterion, observed, answers, target)
    ]
    return tuple(dict.fromkeys(findings))


def _said(criterion: Criterion, observed: Observation, answers: Answers, target: Target) -> Iterator[Finding]:
    try:
        known: dict[str, object] = {
            name: observed[need] if isinstance(need, Fact) else answers[need]
            for name, need in criterion.needs.items()
        }
        if "target" in inspect.signature(criterion.judge).parameters:
            known["target"] = target
        yield from criterion(**known)
    except Unreadable as reason:
        yield unknown(str(reason))
    except Exception as fault:  # noqa: BLE001  a fault in one check must not take the other items along
        yield unknown(f"a fault in labcheck itself, in {criterion.name}: {type(fault).__name__}: {fault}")


def _exercised(judged: Judged, context: Context, progress: Callable[[str], None]) -> Judged:
    item = judged.item
    seen = [finding for finding in judged.findings if not finding.until_exercised]
    if item.exercise is None or overall(seen) is not Verdict.PASS:
        return judged
    leaves = f" ({item.leaves})" if item.leaves else ""
    progress(f"exercising item {item.number}: {item.title}{leaves}")
    findings = list(judged.findings)
    try:
        for finding in item.exercise(context.server, context):
            findings.append(finding.exercised())
    except Unreachable as problem:
        reason = f"{problem.host}: {problem.reason}"
        findings.append(unknown(reason, next=problem.next, detail=problem.detail).exercised())
    except Unreadable as reason:
        findings.append(unknown(str(reason)).exercised())
    if _was_exercised(findings):
        findings = [finding for finding in findings if not finding.until_exercised]
    return Judged(item, tuple(findings))


def _ask_from_outside(observed: Observation, context: Context, parts: Sequence[str]) -> Answers:
    target = context.target
    names = tuple(dict.fromkeys(part for part in parts if part))
    plan = planning.plan(
        observed,
        domain=target.domain,
        reference=target.reference,
        wanted=names,
        chat_path=target.chat_path,
        chat_key=target.chat_key,
    )
    try:
        own = observed[interface_addresses]
    except Unreadable:
        own = ()
    return probing.ask_and_watch(plan, context.vantage, context.server, own)


def _printed(observed: Observation, fact: Fact[object]) -> Result | str:
    return observed.results.get(fact.name) or observed.reasons.get(fact.name, "not asked")


def _parse_system(result: Result) -> str:
    values = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    name, version = values.get("NAME", "").strip('"'), values.get("VERSION_ID", "").strip('"')
    if not name:
        raise Unreadable("/etc/os-release names no system")
    return f"{name.removesuffix(' GNU/Linux')} {version}".strip()


_system = Fact("system", 'printf "%s\\n" "$(</etc/os-release)"', _parse_system)


def _or_empty(value: Callable[[], str]) -> str:
    try:
        return value()
    except Unreadable:
        return ""
