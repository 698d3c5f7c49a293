"""The workflows under .github/: against GitHub's schema, and against what this project has and asks for."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vagrant.host import tools
from vagrant.host.providers import PROVIDERS as KINDS

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))

Mapping = dict[str, Any]


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def load(source: str) -> Mapping:
    """As YAML 1.2 has it, where `on` is a word and no truth."""
    loaded: Mapping = YAML(typ="safe", pure=True).load(source)
    return loaded


def schema_errors(*paths: Path) -> set[str]:
    """The names of those files that GitHub's schema for workflows refuses; nothing is fetched for that."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    ended = subprocess.run(
        [*command, "--output-format=json", *map(str, paths)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode in (0, 1) and ended.stdout, ended.stderr
    said = json.loads(ended.stdout)
    refused = {Path(error["filename"]).name for error in (*said["errors"], *said.get("parse_errors", []))}
    assert bool(refused) == (ended.returncode == 1)
    return refused


def jobs(workflow: Mapping) -> list[Mapping]:
    return list(workflow["jobs"].values())


def steps(workflow: Mapping) -> Iterator[Mapping]:
    for job in jobs(workflow):
        yield from job["steps"]


def commands(source: str) -> Iterator[list[str]]:
    """The commands of a `run`, as words; a newline that is escaped does not end one."""
    for line in source.replace("\\\n", " ").splitlines():
        command: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if set(word) <= set("();<>|&"):
                yield command
                command = []
            else:
                command.append(word)
        yield command


def make_targets(source: str) -> set[str]:
    """What `make` is asked for in a `run`: no options, no variables."""
    return {
        word
        for command in commands(source)
        if "make" in command
        for word in command[command.index("make") + 1 :]
        if not word.startswith("-") and "=" not in word
    }


def own_programs(source: str) -> set[str]:
    """The project's own scripts that a `run` calls."""
    return {word for command in commands(source) for word in command if word.startswith((".ci/", "./"))}


def values(workflow: Mapping, name: str) -> set[str]:
    """What an environment variable is set to anywhere in a workflow, each value of a matrix included."""
    collected: set[str] = set()
    for job in jobs(workflow):
        matrix = job.get("strategy", {}).get("matrix", {})
        for env in (holder.get("env", {}) for holder in (workflow, job, *job["steps"])):
            value = str(env.get(name, ""))
            if row := re.fullmatch(r"\$\{\{ *matrix\.(\w+) *\}\}", value):
                included = [each[row[1]] for each in matrix.get("include", []) if row[1] in each]
                collected |= {str(each) for each in (*matrix.get(row[1], []), *included)}
            elif value:
                collected.add(value)
        runs = (step.get("run", "") for step in job["steps"])
        collected |= {each for run in runs for each in re.findall(rf"\b{name}=(\w+)", run)}
    return collected


def rows() -> list[tuple[str, str]]:
    """Distribution and provider of each row of boxes in lab.env."""
    found = re.findall(r"^LAB_BOX_([A-Z0-9]+)_([A-Z_]+)=", text(ROOT / "vagrant" / "lab.env"), re.M)
    return [(distro.lower(), provider.lower()) for distro, provider in found]


PROVIDERS = {provider.name for provider in KINDS}
DISTROS = {distro for distro, _ in rows()}

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def test_workflows_are_found() -> None:
    assert {"tests.yml", "lab-container.yml", "lab-virtual-machine.yml"} <= {path.name for path in WORKFLOWS}


def test_workflows_fit_githubs_schema() -> None:
    assert schema_errors(*WORKFLOWS) == set()


def test_the_schema_refuses_a_workflow_that_is_wrong(tmp_path: Path) -> None:
    """Else the test before would pass whatever stands in a workflow."""
    right = text(ROOT / ".github" / "workflows" / "tests.yml")
    wrong = {
        "misspelled": ("runs-on:", "run-on:"),
        "no-such-event": ("  pull_request:\n", "  pull_requests:\n"),
        "no-number": ("timeout-minutes: 30", "timeout-minutes: soon"),
        "no-such-permission": ("contents: read", "contents: rd"),
        "no-yaml": ("jobs:", "jobs: ]"),
    }
    copies = []
    for name, (before, after) in wrong.items():
        assert before in right
        copies.append(tmp_path / f"{name}.yml")
        copies[-1].write_text(right.replace(before, after), encoding="utf-8")
    unchanged = tmp_path / "unchanged.yml"
    unchanged.write_text(right, encoding="utf-8")
    assert schema_errors(*copies, unchanged) == {path.name for path in copies}


@every_workflow
def test_a_workflow_may_read_the_repository_and_nothing_else(path: Path) -> None:
    workflow = load(text(path))
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in jobs(workflow) if "permissions" in job]
    assert "pull_request_target" not in workflow["on"], "it runs a stranger's code with the project's rights"
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step.get("with", {}).get("persist-credentials") is False for step in checkouts)


@every_workflow
def test_a_workflow_ends(path: Path) -> None:
    """By a limit of its own (GitHub's is six hours), or by the next run for the same branch."""
    workflow = load(text(path))
    limits = [job.get("timeout-minutes") for job in jobs(workflow)]
    assert all(isinstance(limit, int) and 0 < limit <= 180 for limit in limits)
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in workflow["concurrency"]["group"]


@every_workflow
def test_no_step_hides_a_failure(path: Path) -> None:
    workflow = load(text(path))
    assert workflow["defaults"]["run"]["shell"] == "bash --noprofile --norc -euo pipefail {0}"
    assert not [step for step in steps(workflow) if "shell" in step or "continue-on-error" in step]
    assert not [job for job in jobs(workflow) if "defaults" in job or "continue-on-error" in job]
    assert not re.search(r"\|\|\s*(true|:)(\s|$)", text(path))


@every_workflow
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    """A tag can be moved to other code; the version beside the commit is for people."""
    used = re.findall(r"^\s*(?:- )?uses: *(.+)$", text(path), re.M)
    assert len(used) == sum("uses" in step for step in steps(load(text(path))))
    wrong = [each for each in used if not re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)]
    assert not wrong


def test_an_action_has_the_same_version_in_all_workflows() -> None:
    pins = {pin for path in WORKFLOWS for pin in re.findall(r"uses: *(\S+@\S+ # \S+)", text(path))}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins}), sorted(pins)


@every_workflow
def test_a_workflow_calls_what_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", text(ROOT / "Makefile"), re.M))
    runs = [step["run"] for step in steps(load(text(path))) if "run" in step]
    asked = {target for run in runs for target in make_targets(run)}
    assert asked and asked <= targets, f"the Makefile has no {sorted(asked - targets)}"
    programs = {program for run in runs for program in own_programs(run)}
    assert not [program for program in programs if not os.access(ROOT / program, os.X_OK)]


@pytest.mark.parametrize(
    ("run", "targets"),
    [
        ("make test", {"test"}),
        ("sudo make tset # a comment", {"tset"}),
        ("cd x && OPEN=no make -s lab PORT=8889; make check", {"lab", "check"}),
        ("make \\\n  test-fast\necho make", {"test-fast"}),
        ("make test | tee log", {"test"}),
        ('sudo --preserve-env=A make test PYTHON="$(command -v python3)"', {"test"}),
        ("remake test", set()),
    ],
)
def test_targets_are_found_in_a_command(run: str, targets: set[str]) -> None:
    assert make_targets(run) == targets


@every_workflow
def test_variables_that_are_chosen_pass_sudo(path: Path) -> None:
    """sudo keeps what it is configured to keep of the environment: without, the default would be tested."""
    workflow = load(text(path))
    for job in jobs(workflow):
        for step in job["steps"]:
            if not re.search(r"\bsudo\b.*\bmake\b", step.get("run", "")):
                continue
            kept = re.findall(r"--preserve-env=(\S+)", step["run"])
            chosen = {name for holder in (workflow, job, step) for name in holder.get("env", {})}
            assert chosen | {"CI"} == {name for names in kept for name in names.split(",")}


@every_workflow
def test_a_workflow_chooses_what_the_lab_knows(path: Path) -> None:
    workflow = load(text(path))
    assert values(workflow, "LAB_PROVIDER") <= PROVIDERS
    assert values(workflow, "LAB_DISTRO") <= DISTROS


def test_choices_are_found_wherever_they_are_made() -> None:
    workflow = load(
        "env: {LAB_DISTRO: a}\n"
        "jobs:\n"
        "  one:\n"
        "    strategy: {matrix: {system: [b, c], include: [{system: d}]}}\n"
        "    env: {LAB_DISTRO: '${{ matrix.system }}'}\n"
        "    steps: [{run: LAB_DISTRO=e make test}, {run: make test, env: {LAB_DISTRO: f}}]\n"
    )
    assert values(workflow, "LAB_DISTRO") == set("abcdef")


def test_each_kind_of_machine_is_proved_by_a_workflow() -> None:
    loaded = {path.name: load(text(path)) for path in WORKFLOWS}
    assert values(loaded["lab-container.yml"], "LAB_PROVIDER") == {"docker"}
    assert values(loaded["lab-virtual-machine.yml"], "LAB_PROVIDER") == {"libvirt"}
    assert values(loaded["lab-virtual-machine.yml"], "LAB_DISTRO") == {"ubuntu2204", "ubuntu2404"}


def test_the_oldest_and_the_newest_python_are_tested() -> None:
    limits = re.findall(r"^(?:OLDEST|NEWEST) = \((\d+), (\d+)\)", text(ROOT / "vagrant" / "lab.py"), re.M)
    matrix = load(text(ROOT / ".github" / "workflows" / "tests.yml"))["jobs"]["fast"]["strategy"]["matrix"]
    assert matrix["python"] == [".".join(version) for version in limits]


@every_workflow
def test_the_logs_of_a_run_that_failed_are_kept(path: Path) -> None:
    """.lab is hidden, and what is hidden is left out unless it is asked for."""
    uploads = [step for step in steps(load(text(path))) if "/upload-artifact@" in step.get("uses", "")]
    assert len(uploads) == 1
    assert uploads[0]["if"] in ("always()", "failure()")
    assert re.fullmatch(r"\.lab/\S+/log/", uploads[0]["with"]["path"])
    assert uploads[0]["with"]["include-hidden-files"] is True


def test_vagrant_comes_from_where_a_person_is_sent() -> None:
    def addresses(source: str) -> set[str]:
        return set(re.findall(r"https://[^\s\"']+", source))

    assert addresses(text(ROOT / ".ci" / "install-vagrant")) == addresses(
        "\n".join(tools.VAGRANT_FROM_HASHICORP)
    )
