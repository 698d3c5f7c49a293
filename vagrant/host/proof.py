"""What `make test-fast` and `make test` run, in their order."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType

from . import chapters, subprocesses
from .environment import Environment
from .machine import Machine
from .progress import Problem, Step, line, seconds, step

STAGE_LIMIT = 7200.0  # seconds; the longest takes an hour on an emulated machine
NOTE = "mutants: "  # with it begins the line in which pytest says how they were chosen, to be shown
NIGHT = 8 * 3600.0  # seconds; for a server for every mutant, each with all its items looked at


def shell_scripts(checkout: Path) -> list[str]:
    """Every shell script of the checkout, by its name or its first line."""
    found = []
    for top in ("vagrant", "tests", ".ci", ".devcontainer"):
        for path in sorted((checkout / top).rglob("*")):
            if not path.is_file() or path.suffix in (".py", ".pyc", ".png"):
                continue
            with path.open("rb") as file:
                first = file.readline(80)
            if path.suffix == ".sh" or (
                first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"/sh"))
            ):
                found.append(str(path.relative_to(checkout)))
    return found


@dataclass(frozen=True)
class Checked:
    """What one program said of the checkout, and how long it took, in seconds."""

    title: str
    seconds: float
    ended: subprocesses.Ended
    log: Path
    report: Path | None = None  # JUnit's

    @property
    def passed(self) -> bool:
        return self.ended.status == 0

    def failures(self) -> list[str]:
        """Its title, with the lines in which pytest sums up what failed; nothing if it passed."""
        summed_up = [text for text in self.ended.tail if text.startswith(("FAILED ", "ERROR "))]
        return [] if self.passed else [self.title, *summed_up]

    def skipped(self) -> Counter[str]:
        return skipped(self.report) if self.report else Counter()


def fast(
    checkout: Path,
    environment: Environment,
    log: Path,
    stopped: threading.Event | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Checked]:
    """Format, lint, types, shell scripts and the tests that need no machine, until `stopped`.

    In three lanes: the tests of the first wait for an sshd and for time limits most of the time. All step
    back for the servers beside them, on which everything else waits. `environ` is added to the environment.
    """
    python = str(environment.python)
    pytest = [python, "-m", "pytest", "-q", "-m", "not vm", "-p", "no:cacheprovider"]
    checker = [f"tests/{each}" for each in ("checks", "facts", "labcheck", "labkit", "remote")]
    nice = ["nice", "-n", "5"] if shutil.which("nice") else []
    lanes = (
        [("tests of labcheck and labkit", [*pytest, *checker])],
        [("tests of lab_app", [*pytest, "tests/app"])],
        [
            ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
            ("ruff check", [python, "-m", "ruff", "check", "."]),
            ("mypy: labcheck, labkit and lab_app", [python, "-m", "mypy"]),
            ("mypy: vagrant/host", [python, "-m", "mypy", "vagrant/host"]),
            ("shellcheck", [str(environment.program("shellcheck")), "-x", *shell_scripts(checkout)]),
            (
                "the other tests that need no machine",
                [*pytest, *(f"--ignore={path}" for path in (*checker, "tests/app"))],
            ),
        ],
    )
    logs = [log, log.with_stem(f"{log.stem}-2"), log.with_stem(f"{log.stem}-3")]
    with step("format, lint, types, shell scripts, and the tests that need no machine") as current:

        def run_lane(lane: list[tuple[str, list[str]]], log: Path, ours: threading.Event) -> list[Checked]:
            checked: list[Checked] = []
            for title, command in lane:
                if ours.is_set() or (stopped is not None and stopped.is_set()):
                    break
                began = time.monotonic()
                report = None
                if "pytest" in command:
                    report = log.with_suffix(".xml")
                    report.unlink(missing_ok=True)
                    command = [*command, f"--junitxml={report}"]
                ended = subprocesses.run([*nice, *command], log=log, step=current, env=environ, cwd=checkout)
                checked.append(Checked(title, time.monotonic() - began, ended, log, report))
            return checked

        found = subprocesses.side_by_side(
            *(partial(run_lane, *each) for each in zip(lanes, logs, strict=True))
        )
        checks = [one for lane in found for one in lane]
        current.failed = any(not one.passed for one in checks)
    return checks


def say(checks: list[Checked]) -> int:
    """A line for each, and the last words of what failed; 1 if anything did."""
    for one in checks:
        said = f": {one.ended.tail[-1].strip('= ')}" if one.ended.tail and one.passed else ""
        line(f"  {'ok' if one.passed else '!!'}  {one.title}{said}  ({seconds(one.seconds)})")
        if not one.passed:
            for text in one.ended.tail:
                line(f"        {text}")
            line(f"        (the whole output is in {one.log})")
    return 0 if all(one.passed for one in checks) else 1


# ---- on the machine ----


@dataclass(frozen=True)
class Stage:
    """One run of pytest on the server in the state of the snapshot `start`.

    The stage before leaves that state, unless it failed, or this one is to begin `afresh`. `makes`: the state
    that it leaves, and that later ones start from. `patient`: left out where the processor is emulated,
    unless it is asked for. `spare`: left out unless it is asked for, since another stage shows the same.
    `server`: on which of the servers that work side by side, as far as there are so many. `limit`: seconds
    after which it is stopped.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    start: str
    afresh: bool = False
    makes: str = ""
    patient: bool = False
    spare: bool = False
    server: int = 1
    limit: float = STAGE_LIMIT

    @property
    def part(self) -> str:
        """What PART calls it: a stage in two halves is one part."""
        return re.sub(r"-\d$", "", self.name)


@dataclass(frozen=True)
class Failure:
    """A test or a cell that failed: its name, what its report says first, and all that it says."""

    name: str
    says: str
    why: tuple[str, ...]

    def lines(self) -> list[str]:
        """At most fifty lines of it."""
        why = self.why if len(self.why) <= 50 else (*self.why[:10], "…", *self.why[-35:])
        return [self.name, *(f"  {text}" for text in why)]


@dataclass(frozen=True)
class Took:
    """How long something took, in seconds, whether it went well, and what did not."""

    title: str
    seconds: float
    passed: bool
    failures: tuple[str, ...] = ()  # a line for each
    skipped: Counter[str] = field(default_factory=Counter)  # for each reason, how many tests

    def lines(self) -> list[str]:
        """For the table at the end: who reads nothing else still learns what failed."""
        shown = [*self.failures[:10], *(["…"] if len(self.failures) > 10 else [])]
        first = f"  {'ok' if self.passed else '!!'}  {seconds(self.seconds):>12}  {self.title}"
        return [first, *(f"{'':20}{text}" for text in shown)]


def stages(checkout: Path, every: bool, kind: Sequence[str] = ()) -> list[Stage]:
    """The stages in their order: what shows a state of the server comes before what changes it.

    `every`: all mutants, not one for each item of the checklist; a hundred read-only checks where five are
    enough from day to day; a reboot outside of the last chapter; the chapters again with every cell, not only
    with those that do something. What they leave is the finished server. `kind`: the tests of this kind of
    machine.
    """
    files = chapters.files(checkout)
    notebooks = [str(path.relative_to(checkout)) for path in files]
    deploying = [
        name for path, name in zip(files, notebooks, strict=True) if path.name[:2] <= chapters.DEPLOYED
    ]
    finished, last = map(chapters.snapshot_name, (chapters.DEPLOYED, files[-1].name[:2]))
    tests = ("-m", "vm", "--tb=short", "--durations=10")
    cells = ("--nbval", "-p", "tests.notebooks.nbval_guard")
    title, program = "servers that look right and are wrong", (*tests, "tests/vm/test_4_mutants.py")
    extent = ("--all-mutants",) if every else ()
    on = (
        (1, 2, 3) if every else (1, 3)
    )  # the second one is at the last chapters for longer than the mutants take
    mutants = [
        Stage(f"mutants-{share}", f"{title}, {share} of {len(on)}",
              (*program, *extent, f"--share={share}/{len(on)}"), finished,
              server=server, limit=NIGHT if every else STAGE_LIMIT)
        for share, server in enumerate(on, start=1)
    ]  # fmt: skip
    return [
        Stage("bare", "the bare server, and the internet beside it",
              (*tests, "tests/vm/test_1_bare.py", "tests/provision"), start=chapters.BARE, server=2),
        *([Stage("kind", "the kind of machine: what it separates, and its snapshots",
                 (*tests, *kind), start=chapters.BARE, server=2)] if kind else []),
        Stage("chapters-1", f"the chapters to {chapters.DEPLOYED}, every output compared",
              (*cells, *deploying), start=chapters.BARE, afresh=True, makes=finished),
        Stage("chapters-2", "the chapters after it, every output compared",
              (*cells, *notebooks[len(deploying) :]), start=finished, makes=last, server=2),
        Stage("again", "the chapters' steps again, on the finished server",
              (*cells, f"--lab-run={'again' if every else 'steps'}", *notebooks),
              start=finished, patient=not every, server=3),
        Stage("after-again", "what they leave", (*tests, "tests/vm/test_2_finished.py", "-k", "both_depths"),
              start=finished, patient=not every, server=3),
        Stage("finished", "the finished server, and what cannot be seen of it",
              (*tests, "tests/vm/test_2_finished.py", *(("--many-looks",) if every else ())), start=finished),
        # The last chapter does the same, from a notebook.
        Stage("rebooted", "after a reboot", (*tests, "tests/vm/test_3_rebooted.py"), start=finished,
              spare=not every),
        *mutants,
        # On the server that made the snapshot: Vagrant logs in with the key that it made for that one alone.
        Stage("off", "a server that is off, and on again", (*tests, "tests/vm/test_5_off.py"), start=finished,
              afresh=True),
    ]  # fmt: skip


def chosen(
    every: list[Stage], names: Sequence[str], saved: Sequence[str] = (), emulated: bool = False
) -> list[Stage]:
    """The stages of these names, or else all but the spare and, on an emulated machine, the patient ones.

    Before them, what makes a state that is not saved yet. Raises Problem for a name that no stage has.
    """
    known = [stage.part for stage in every]
    if wrong := [name for name in names if name not in known]:
        raise Problem(f"there is no part {wrong[0]}", f"the parts are: {', '.join(dict.fromkeys(known))}")
    left_out = [stage for stage in every if stage.spare or (emulated and stage.patient)]
    wanted = [stage for stage in every if (stage.part in names if names else stage not in left_out)]
    missing = {stage.start for stage in wanted} - set(saved)
    return [stage for stage in every if stage in wanted or (stage.makes and stage.makes in missing)]


@dataclass
class Server:
    """One server of the tests, and the snapshot in whose state it is; empty where that is not known.

    `make`: what is still to be done before it can be used.
    """

    machine: Machine
    state: str = ""
    make: Callable[[], None] = lambda: None


class OnTheServers:
    """The stages, on one server in their order, or on several of which each does its own."""

    def __init__(
        self,
        environment: Environment,
        logs: Path,
        wanted: list[Stage],
        servers: list[Server],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.environment = environment
        self.logs = logs
        self.wanted = wanted
        self.servers = servers
        self.environ = dict(environ or {})
        # The states that stages make for others: set when it is known who made them, or that nobody did.
        self.made = {stage.makes: threading.Event() for stage in wanted if stage.makes}
        self.makers: dict[str, Server] = {}

    def run(self) -> list[Took]:
        """How long each took, in their order; each leaves its output and a JUnit report. Raises Problem."""
        lanes: list[list[Stage]] = [[] for _ in self.servers]
        for stage in self.wanted:
            lanes[min(stage.server, len(lanes)) - 1].append(stage)
        works = [partial(self.lane, server, lane) for server, lane in zip(self.servers, lanes, strict=True)]
        order = [stage.title for stage in self.wanted]
        took = [one for lane in subprocesses.side_by_side(*works) for one in lane]
        return sorted(took, key=lambda one: order.index(one.title))

    def lane(self, server: Server, stages: list[Stage], stopped: threading.Event) -> list[Took]:
        """Stages on one server, as far as they can be run."""
        took: list[Took] = []
        try:
            if stages:
                server.make()
            for stage in stages:
                made = self.made.get(stage.start)
                while made is not None and not made.wait(0.5) and not stopped.is_set():
                    continue
                if stopped.is_set():
                    break
                if made is not None and stage.start not in self.makers:
                    line(f"  --  {stage.title}: not run, since what it starts from was not made")
                    continue
                started = time.monotonic()
                line(f"{stage.title}{self.where(server)}:")
                self.hand_over(server, stage.start)
                if stage.afresh or server.state != stage.start:
                    chapters.restore(server.machine, stage.start)
                context = {**self.environ, **chapters.context(server.machine)}
                ran = run(stage, server.machine.checkout, self.environment.python, context, self.logs)
                took.append(replace(ran, seconds=time.monotonic() - started))
                server.state = (stage.makes or stage.start) if ran.passed else ""
                if stage.makes and ran.passed:
                    self.makers[stage.makes] = server
                if stage.makes:
                    self.made[stage.makes].set()
        finally:
            for stage in stages:
                if stage.makes:
                    self.made[stage.makes].set()
        return took

    def hand_over(self, server: Server, name: str) -> None:
        """A server gets the snapshots that another one has made; the first has those of before."""
        maker = self.makers.get(name, self.servers[0])
        if server is not maker and name not in server.machine.provider.saved(server.machine):
            server.machine.provider.copy(maker.machine, server.machine, name)
            server.state = ""

    def where(self, server: Server) -> str:
        """Which of several servers it is."""
        return "" if len(self.servers) == 1 else f" (on {server.machine.name})"


def run(stage: Stage, checkout: Path, python: Path, context: dict[str, str], logs: Path) -> Took:
    """One stage: what it does, as it does it, then what failed."""
    started = time.monotonic()
    log, report = logs / f"test-{stage.name}.log", logs / f"test-{stage.name}.xml"
    for old in (log, report):
        old.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider",
               f"--junitxml={report}", *stage.arguments]  # fmt: skip
    environ = {**context, "PYTHONUNBUFFERED": "1"}
    notebooks = [checkout / part for part in stage.arguments if part.endswith(".ipynb")]
    if notebooks:
        with Sections(cells_of(notebooks)) as sections:
            ended = subprocesses.run(
                command, log=log, watch=sections.see, env=environ, cwd=checkout, limit=stage.limit
            )
            sections.failed = sections.failed or ended.status != 0
    else:
        with step(" ".join(part for part in stage.arguments if part.startswith("tests/"))) as current:
            notes: list[str] = []

            def note(text: str) -> None:
                if text.startswith(NOTE):
                    notes.append(text)

            ended = subprocesses.run(
                command, log=log, step=current, watch=note, env=environ, cwd=checkout, limit=stage.limit
            )
            current.failed = ended.status != 0
            current.result = ended.tail[-1].strip("= ") if ended.tail else ""
        for text in notes:
            line(f"  --  {text}")
    failed = failures(report) if ended.status != 0 else []
    if ended.status != 0:
        for text in [text for one in failed for text in one.lines()] or ended.tail[-20:]:
            line(f"        {text}")
        line(f"        (exit status {ended.status}; the whole output is in {log})")
    shown = tuple(f"{one.name}: {one.says}" for one in failed)
    return Took(stage.title, time.monotonic() - started, ended.status == 0, shown, skipped(report))


def cells_of(notebooks: list[Path]) -> dict[tuple[str, int], str]:
    """The section of each code cell, by the file's name and nbval's number of the cell, in their order."""
    found: dict[tuple[str, int], str] = {}
    for path in notebooks:
        section, count = f"{path.name[:2]}  Start", 0
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                found[path.name, count] = section
                count += 1
            elif heading := re.findall(r"^## +(.+)$", "".join(cell["source"]), re.M):
                section = f"{path.name[:2]}  {heading[-1]}"
    return found


class Sections:
    """Folds pytest's lines for single cells into a step for each section of a chapter."""

    # With -v, pytest writes 01_vm_setup::ipynb for nbval's 01_vm_setup.ipynb.
    LINE = re.compile(r"(?:\S*/)?(\w+)(?:\.|::)ipynb::Cell (\d+) (PASSED|FAILED|ERROR)")

    def __init__(self, cells: dict[tuple[str, int], str]) -> None:
        self.left = list(cells.items())
        self.stack = ExitStack()
        self.failed = False

    def __enter__(self) -> Sections:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.current.failed = self.failed
        self.stack.__exit__(kind, error, trace)

    def _begin(self) -> None:
        self.title = self.left[0][1] if self.left else "nothing"
        self.current: Step = self.stack.enter_context(step(self.title))

    def see(self, text: str) -> None:
        """Take one line of output. After a cell that failed no other is run: the rest folds into one step."""
        found = self.LINE.match(text)
        if found is None or self.failed:
            return
        self.failed = found[3] != "PASSED"
        cell = (f"{found[1]}.ipynb", int(found[2]))
        self.current.detail = f"cell {found[2]}"
        self.left = [(other, title) for other, title in self.left if other > cell]
        if self.left and self.left[0][1] != self.title and not self.failed:
            self.stack.close()
            self._begin()


def failures(report: Path) -> list[Failure]:
    """What failed and why, from a JUnit report; a cell that was not run because of another is no news."""
    if not report.exists():
        return []
    found: list[Failure] = []
    for case in ElementTree.parse(report).iter("testcase"):
        for one in (*case.iter("failure"), *case.iter("error")):
            why = (one.text or one.get("message") or "").strip().splitlines() or ["no reason is given"]
            if not why[0].startswith("not run: "):
                says = ((one.get("message") or "").strip() or why[0]).splitlines()[0]
                found.append(Failure(f"{case.get('classname')}::{case.get('name')}", says, tuple(why)))
    return found


def skipped(report: Path) -> Counter[str]:
    """How many tests were not run for each reason, from a JUnit report; a line of reason is one."""
    if not report.exists():
        return Counter()
    found = ElementTree.parse(report).iter("skipped")
    return Counter(reason for one in found for reason in (one.get("message") or "no reason").splitlines())


def concluded(passed: bool, reasons: Counter[str]) -> str:
    """Say what was not tested, a line for each reason; a word for the last line."""
    for reason, count in reasons.most_common():
        line(f"  --  not tested ({count} test{'s' * (count > 1)}): {reason}")
    if not passed:
        return "failed"
    return "passed, but for what is named above" if reasons else "passed"
