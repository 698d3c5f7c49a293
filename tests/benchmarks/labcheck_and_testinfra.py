"""labcheck's check of its six items against the same made with pytest-testinfra, on the running machine.

    python -m tests.benchmarks.labcheck_and_testinfra [--rounds 5] [--config .lab/test/labcheck.toml]

Both go over the same ssh_config, whose connections are shared and already open. Before anything is timed,
both must say the same of every criterion of every item. Read-only: nothing on the server is changed.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from testinfra.host import Host, get_host  # type: ignore[import-untyped]

from labcheck import config, runner
from labcheck.checklist import items
from labcheck.verdict import Verdict
from tests.benchmarks import by_testinfra
from tests.benchmarks.measure import in_turn, show, spread

Answers = dict[int, dict[str, str]]
"""By item and criterion: ok, FAIL or UNKNOWN."""


def by_labcheck(target: config.Config) -> Answers:
    """One check by labcheck, a criterion at a time, so that two wrongs cannot hide behind one verdict."""
    whole = items(sorted(by_testinfra.ITEMS))
    single = [replace(item, criteria=(criterion,)) for item in whole for criterion in item.criteria]
    answers: Answers = {item.number: {} for item in whole}
    for judged in runner.run(single, target.context()).items:
        # A criterion with nothing to object to may say nothing.
        word = judged.verdict.value if judged.findings else "ok"
        answers[judged.item.number][judged.item.criteria[0].name] = "ok" if word == "PASS" else word
    return answers


def observe(target: config.Config) -> by_testinfra.Observations:
    """testinfra's two hosts as a fresh run of pytest has them: nothing that an earlier one found is kept."""
    assert target.vantage
    Host._host_cache.clear()
    server, internet = (
        get_host(f"ssh://{place.host}?ssh_config={place.config}") for place in (target.server, target.vantage)
    )
    settings = target.target
    return by_testinfra.Observations(
        server,
        internet,
        domain=settings.domain,
        account=settings.account,
        port=settings.app_port,
        reference=settings.reference,
    )


def words(findings: Mapping[int, Mapping[str, list[str]]]) -> Answers:
    return {
        number: {name: "FAIL" if wrong else "ok" for name, wrong in criteria.items()}
        for number, criteria in findings.items()
    }


class Counter(logging.Handler):
    """testinfra logs each command that it runs on a host."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.commands = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.commands += record.msg.startswith("RUN ")


def commands_of(observed: by_testinfra.Observations) -> tuple[Answers, int]:
    """testinfra's answers, and how many commands they took."""
    log, counter = logging.getLogger("testinfra"), Counter()
    log.addHandler(counter)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        return words(by_testinfra.judge(observed)), counter.commands
    finally:
        log.removeHandler(counter)
        log.setLevel(logging.WARNING)


def compare(labchecks: Answers, testinfras: Answers) -> list[str]:
    """The criteria of which the two do not say the same."""
    assert {n: set(criteria) for n, criteria in labchecks.items()} == {
        n: set(criteria) for n, criteria in testinfras.items()
    }
    return [
        f"item {number}, {name}: labcheck says {verdict}, testinfra says {testinfras[number][name]}"
        for number, criteria in labchecks.items()
        for name, verdict in criteria.items()
        if verdict != testinfras[number][name]
    ]


def overall(answers: Answers) -> dict[int, str]:
    return {number: "FAIL" if "FAIL" in criteria.values() else "PASS" for number, criteria in answers.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default 5)")
    parser.add_argument("--config", type=Path, help="a labcheck.toml (default: as labcheck finds it)")
    options = parser.parse_args()
    target = config.load(options.config)
    if target.vantage is None or not target.target.reference:
        parser.error("labcheck.toml names no [vantage] with a reference: it is half of what is compared")

    try:
        return compare_and_time(target, options.rounds)
    except RuntimeError as lost:  # testinfra's word for an ssh that ends with 255
        print(f"the machine was lost on the way: {lost}", file=sys.stderr)
        return 1


def compare_and_time(target: config.Config, rounds: int) -> int:
    """Both must say the same; then each is timed, in turn."""
    labcheck = by_labcheck(target)
    if blind := [
        name for criteria in labcheck.values() for name, word in criteria.items() if word == "UNKNOWN"
    ]:
        print("labcheck cannot observed everything now, so there is nothing to compare:", *blind, sep="\n  ")
        return 1
    testinfra, commands = commands_of(observe(target))
    if differences := compare(labcheck, testinfra):
        print("the two do not say the same, so there is nothing to compare:", *differences, sep="\n  ")
        return 1
    verdicts = overall(labcheck)
    criteria = sum(map(len, labcheck.values()))
    state = {frozenset({"FAIL"}): "a bare server", frozenset({"PASS"}): "a finished server"}.get(
        frozenset(verdicts.values()), "a server half done"
    )
    print(f"{state}: " + ", ".join(f"item {number} {verdict}" for number, verdict in verdicts.items()))
    print(f"both say the same of all {criteria} criteria")

    built = items(sorted(by_testinfra.ITEMS))

    def check_by_labcheck() -> None:
        report = runner.run(built, target.context())
        again = {judged.item.number: judged.verdict.value for judged in report.items}
        assert again == verdicts and report.count(Verdict.UNKNOWN) == 0, again

    def check_by_testinfra() -> None:
        again = overall(words(by_testinfra.judge(observe(target))))
        assert again == verdicts, again

    durations = in_turn({"labcheck": check_by_labcheck, "testinfra": check_by_testinfra}, rounds)
    unit = statistics.median(durations["labcheck"])
    round_trips = {"labcheck": "2", "testinfra": str(commands)}
    show(
        f"six items, rounds in turn: {rounds}",
        ("", "seconds", "round trips", "ratio"),
        [
            (name, spread(times), round_trips[name], f"{statistics.median(times) / unit:.2f}")
            for name, times in durations.items()
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
