"""The command line of lab.py: what each command takes, and that a wrong word makes nothing happen."""

from __future__ import annotations

import re
import shlex
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from tests.host.checkout import ROOT, lab
from vagrant.host import command_line
from vagrant.host.progress import Problem

COMMANDS = sorted(command_line.all_commands().runs)
PASSED_ON = ("check",)
"""Their options are another program's."""

NOTES_ITS_WORDS = """#!/bin/sh
for word; do printf '%s\\n' "$word"; done > "{note}"
echo "$LAB_MACHINE" > "{note}.machine"
"""


@pytest.fixture
def running(checkout: Path) -> Path:
    """A checkout whose server seems to run. Each program notes its words in a file of its own name."""
    folder = checkout / ".lab" / "lab"
    folder.mkdir(parents=True)
    for name in ("ssh_config", "labcheck.toml"):
        (folder / name).touch()
    environment = checkout / ".venv" / "bin"
    environment.mkdir(parents=True)
    for place in (
        checkout / "bin" / "ssh",
        checkout / "bin" / "vagrant",
        environment / "python",
        environment / "labcheck",
    ):
        place.write_text(NOTES_ITS_WORDS.format(note=checkout / f"words-of-{place.name}"))
        place.chmod(0o755)
    return checkout


def files(checkout: Path) -> set[Path]:
    return {path for path in checkout.rglob("*") if "__pycache__" not in path.parts}


def words(checkout: Path, program: str) -> list[str]:
    """What a program was called with last."""
    return (checkout / f"words-of-{program}").read_text().splitlines()


def parsed(*arguments: str) -> Namespace:
    given = command_line.parse(command_line.all_commands(), arguments)
    assert given is not None
    return given


# ---- nothing happens ----


@pytest.mark.parametrize("ask", [["{}", "--help"], ["{}", "-h"], ["help", "{}"]], ids=" ".join)
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_it_and_nothing_happens(
    checkout: Path, command: str, ask: list[str]
) -> None:
    before = files(checkout)
    ran = lab(checkout, *(word.format(command) for word in ask))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"usage: lab.py {command} ")
    assert len(ran.stdout.split("\n\n")[1]) > 20, "what it does is said"
    assert files(checkout) == before


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in PASSED_ON])
def test_a_wrong_option_is_one_sentence_and_nothing_happens(checkout: Path, command: str) -> None:
    before = files(checkout)
    ran = lab(checkout, command, "--froce")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"lab.py {command}: unrecognized arguments: --froce\n"
        f"  next: see what it takes: python3 vagrant/lab.py {command} --help\n"
    )
    assert files(checkout) == before


@pytest.mark.parametrize(
    ("arguments", "sentence", "next_step"),
    [
        (["frobnicate"], "there is no command frobnicate", "python3 vagrant/lab.py help"),
        (["help", "frobnicate"], "there is no command frobnicate", "python3 vagrant/lab.py help"),
        (["stop", "now"], "unrecognized arguments: now", "see what it takes"),
        (["destroy", "--ye"], "unrecognized arguments: --ye", "see what it takes"),
        (["test", "mutant"], "there is no part mutant", "the parts are: bare, kind, "),
        (["test", "--al"], "unrecognized arguments: --al", "see what it takes"),
        (["ssh", "nowhere"], "there is no host nowhere", "hosts of the lab: server, internet"),
        (["goto", "07"], "there is no chapter 07", "chapters here: 00 to 00"),
        (["goto"], "there is no chapter (none given)", "chapters here: 00 to 00"),
        (["snapshot", "seven"], "there is no chapter seven", "chapters here: 00 to 00"),
        (["course", "--timeout"], "argument --timeout: expected one argument", "see what it takes"),
        (["course", "--save", "99"], "there is no chapter 99", "chapters here: 00 to 00"),
        (["restore", "bare", "after-00"], "unrecognized arguments: after-00", "see what it takes"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_what_to_do(
    checkout: Path, arguments: list[str], sentence: str, next_step: str
) -> None:
    ran = lab(checkout, *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    first, second = ran.stderr.splitlines()
    assert first.partition(": ")[2] == sentence
    assert second.startswith(f"  next: {next_step}")


def test_called_by_make_a_wrong_word_names_the_target(checkout: Path) -> None:
    ran = subprocess.run(
        ["make", "goto", "CHAPTER=07"], cwd=checkout, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("make goto: there is no chapter 07\n  next: ")


def test_missing_command_means_help(checkout: Path) -> None:
    assert lab(checkout).stdout == lab(checkout, "help").stdout == lab(checkout, "--help").stdout


# ---- what each command takes ----


@pytest.mark.parametrize(
    ("variables", "expected_by_target"),
    [
        ({}, {"lab": {"no_jupyter": False}, "test": {"parts": [], "all": False}, "destroy": {"yes": False},
              "test-all": {"parts": [], "all": True}, "ssh": {"host": "server", "passed_on": []},
              "check": {"passed_on": []}, "course": {"chapters": [], "save": False, "timeout": None},
              "uninstall": {"yes": False}, "stop": {}, "test-fast": {}}),
        ({"PART": "mutants off", "HOST": "internet", "ARGS": "--item 6 -v",
          "CHAPTERS": "01 2", "CHAPTER": "04"},
         {"test": {"parts": ["mutants", "off"], "all": False}, "ssh": {"host": "internet"},
          "test-all": {"parts": ["mutants", "off"], "all": True}, "goto": {"chapter": "04"},
          "check": {"passed_on": ["--item", "6", "-v"]}, "course": {"chapters": ["01", "02"]}}),
    ],
    ids=["bare", "with variables"],
)  # fmt: skip
def test_every_target_of_the_makefile_is_understood(
    variables: dict[str, str], expected_by_target: dict[str, dict[str, object]]
) -> None:
    rows = re.findall(
        r"^([a-z-]+): +; @\$\(PYTHON\) vagrant/lab\.py (.+)$", (ROOT / "Makefile").read_text(), re.M
    )
    recipes = dict(rows)
    assert {*expected_by_target} <= {*recipes}
    for target, expected in expected_by_target.items():
        recipe = re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], ""), recipes[target])
        given = vars(parsed(*shlex.split(recipe)))
        assert {name: given[name] for name in expected} == expected, target


def test_options_and_parts_come_in_any_order() -> None:
    for order in ("--all mutants off", "mutants --all off", "mutants off --all"):
        options = parsed("test", *order.split())
        assert (options.parts, options.all) == (["mutants", "off"], True)
    assert parsed("test", "debian13").parts == ["debian13"]
    options = parsed("course", "01", "--timeout", "60", "2", "--save")
    assert (options.chapters, options.timeout, options.save) == (["01", "02"], 60.0, True)
    assert parsed("destroy", "--yes").yes and parsed("uninstall", "--yes").yes
    assert parsed("lab", "--no-jupyter").no_jupyter


def test_a_command_on_a_host_is_passed_on_word_by_word(running: Path) -> None:
    assert lab(running, "ssh", "internet", "ls", "-la", "--", "--help", "a b").returncode == 0
    config = str(running / ".lab" / "lab" / "ssh_config")
    assert words(running, "ssh") == ["-F", config, "internet", "ls", "-la", "--", "--help", "a b"]
    assert lab(running, "ssh").returncode == 0
    assert words(running, "ssh") == ["-F", config, "server"]


def test_the_options_of_check_are_labchecks(running: Path) -> None:
    arguments = ["--item", "6", "-v", "--json", "--no-such-option"]
    assert lab(running, "check", *arguments).returncode == 0
    assert words(running, "labcheck") == arguments


def test_the_options_of_course_reach_the_chapters(running: Path) -> None:
    assert lab(running, "course", "--save", "--timeout=90", "0").returncode == 0
    assert words(running, "python") == ["-m", "labkit.course", "--save", "--timeout=90.0", "00"]
    assert lab(running, "course").returncode == 0
    assert words(running, "python") == ["-m", "labkit.course"]


@pytest.mark.parametrize("arguments", [["snapshot", "0"], ["snapshot", "00_start_here"]])
def test_a_snapshot_is_called_by_its_chapter(running: Path, arguments: list[str]) -> None:
    ran = lab(running, *arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert words(running, "vagrant") == ["snapshot", "save", "--force", "after-00"]


def test_stop_and_destroy_do_what_they_did(running: Path) -> None:
    assert lab(running, "stop").returncode == 0
    assert words(running, "vagrant") == ["halt"]
    assert lab(running, "destroy", "--yes").returncode == 0
    assert words(running, "vagrant") == ["destroy", "-f"]
    assert not (running / ".lab" / "lab").exists()


def test_lab_machine_chooses_the_machine(running: Path) -> None:
    (running / ".lab" / "lab").rename(running / ".lab" / "other")
    assert lab(running, "check", LAB_MACHINE="other").returncode == 0
    assert (running / "words-of-labcheck.machine").read_text() == "other\n"
    assert "there is no server yet" in lab(running, "check").stderr


def test_unknown_word_of_a_command_raises_before_anything_is_run() -> None:
    with pytest.raises(Problem, match="there is no part of") as caught:
        command_line.parse(command_line.all_commands(), ["test", "of"])
    assert caught.value.next_steps[0].endswith("debian13")
