"""Which part may know which: the rules that keep the parts apart, as assertions on the files themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.notebooks.test_shape import own_hosts
from vagrant.host import test_fast

ROOT = Path(__file__).resolve().parents[1]

REQUIRED = {"Makefile", "Vagrantfile", "pyproject.toml", "requirements.lock"} | {
    "README.md",
    "LICENSE",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    ".editorconfig",
    ".gitignore",
    ".pre-commit-config.yaml",
    "docs",
    "notebooks",
    "labcheck",
    "lab_app",
    "vagrant",
    "tests",
    ".ci",
    ".github",
    ".devcontainer",
}
ALLOWED = REQUIRED | {".gitattributes"}
SHARED_NAMES = re.compile(r"198\.51\.10[01]\.\d+|2001:db8:10[01]:|\b[a-z0-9-]+\.lab\.example\b")


@cache
def files() -> tuple[Path, ...]:
    """The project's files: what is committed, and what would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def under(*folders: str) -> list[Path]:
    return [path for path in files() if path.relative_to(ROOT).parts[0] in folders]


def python_in(folder: str) -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / folder)]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def is_program(path: Path) -> bool:
    """Ruby, bash and Python can read lab.env; a configuration file cannot."""
    if path.name in ("Vagrantfile", "Makefile") or path.suffix in (".py", ".sh", ".rb"):
        return True
    return not path.suffix and text(path).startswith("#!")


def modules(path: Path) -> Iterator[str]:
    """The names of what a module imports, wherever in it; relative imports are its own."""
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path) -> Iterator[str]:
    """The top-level names of it."""
    yield from (each.partition(".")[0] for each in modules(path))


def matches(paths: list[Path], pattern: str | re.Pattern[str]) -> list[str]:
    """`file:line: text` for each line that matches, comments left out."""
    lines = []
    for path in paths:
        for number, line in enumerate(text(path).splitlines(), start=1):
            code = "" if line.lstrip().startswith("#") else line
            if re.search(pattern, code):
                lines.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    return lines


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_the_top_level_is_the_one_that_was_designed() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in files()}
    assert not (missing := REQUIRED - entries), f"missing: {sorted(missing)}"
    assert not (extra := entries - ALLOWED), f"not in the design: {sorted(extra)}"


def test_no_conflict_of_a_merge_is_left() -> None:
    readable = [path for path in files() if b"\0" not in path.read_bytes()]
    assert len(readable) > 300
    report(matches(readable, r"^(<{7}|>{7}|\|{7}) "))


def anchors(page: Path) -> set[str]:
    """What a link into a page can name: its headings, as GitHub spells them."""
    headings = re.findall(r"(?m)^#+ +(.+)$", text(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def pages() -> list[Path]:
    """What is read on GitHub, or in the checkout."""
    return [path for path in files() if path.suffix == ".md" and name(path).count("/") < 2]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_a_page_leads_nowhere_that_is_not_there(page: Path) -> None:
    problems = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        place, _, anchor = target.partition("#")
        to = page.parent / place if place else page
        if "://" in target or target.startswith("mailto:"):
            continue
        if not to.exists() or (anchor and anchor not in anchors(to)):
            problems.append(f"{name(page)}: {target}")
    report(problems)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_a_page_names_files_that_are_there(page: Path) -> None:
    """Those that are named from the top. NN and <name> stand for any, and 16 for a number yet to come."""
    tops = "|".join(re.escape(each) for each in sorted(ALLOWED))
    named = set(re.findall(rf"`((?:{tops})/[\w./*<>-]*)`", text(page)))
    patterns = {each: re.sub(r"<\w+>|NN|16", "*", each.rstrip("/")) for each in sorted(named)}
    report([f"{name(page)}: {each}" for each, pattern in patterns.items() if not any(ROOT.glob(pattern))])


def test_notebooks_holds_chapters_pictures_and_labkit_alone() -> None:
    problems = [
        name(path)
        for path in under("notebooks")
        if path.relative_to(ROOT).parts[1] not in ("labkit", "pictures")
        and not re.fullmatch(r"\d\d_[a-z_]+\.ipynb", path.name)
    ]
    report(problems)


@pytest.mark.parametrize("path", python_in("lab_app"), ids=name)
def test_the_application_imports_nothing_of_the_lab(path: Path) -> None:
    assert not {"labcheck", "labkit", "vagrant", "tests"} & set(imports(path))


def test_the_application_does_not_know_that_there_is_a_lab() -> None:
    lab = r"(?i)\blab(check|kit)\b|\bvagrant\b|lab\.example|198\.51\.100|shipshape"
    report(matches(under("lab_app"), lab))


@pytest.mark.parametrize("path", [*python_in("labcheck"), *python_in("notebooks/labkit")], ids=name)
def test_the_checker_and_labkit_import_nothing_of_the_application(path: Path) -> None:
    assert not {"lab_app", "vagrant", "tests"} & set(imports(path))


@pytest.mark.parametrize("path", python_in("labcheck"), ids=name)
def test_the_checker_imports_nothing_of_the_course(path: Path) -> None:
    """Nor of Jupyter: it judges a server wherever there is a terminal."""
    course = {"labkit", "IPython", "ipykernel", "jupyter_client", "nbclient", "nbformat", "matplotlib"}
    assert not course & set(imports(path))


@pytest.mark.parametrize("path", python_in("labcheck/remote"), ids=name)
def test_a_program_that_travels_imports_the_standard_library_and_its_neighbours_alone(path: Path) -> None:
    """Where it arrives there is nothing else. The probe does without names where dnspython is missing."""
    problems = [
        f"{name(path)} imports {each}"
        for each in modules(path)
        if each.partition(".")[0] not in sys.stdlib_module_names
        and not each.startswith("labcheck.remote.")
        and not (name(path) == "labcheck/remote/external/dns.py" and each.startswith("dns."))
    ]
    report(problems)


def test_the_checker_and_labkit_know_nothing_of_vagrant() -> None:
    """An ssh_config file and a domain name are all that they have to know a server by."""
    paths = [*under("labcheck"), *(path for path in under("notebooks") if "labkit" in path.parts)]
    report([f"{name(path)} mentions it" for path in paths if re.search(r"(?i)vagrant", text(path))])


@pytest.mark.parametrize(
    "path", [path for path in python_in("labcheck/checks") if path.stem.startswith("item_")], ids=name
)
def test_a_check_does_no_looking_of_its_own(path: Path) -> None:
    """Facts in, findings out."""
    looking = {"subprocess", "socket", "ssl", "urllib", "http", "pathlib", "os", "shutil", "dns", "asyncio"}
    assert not looking & set(imports(path))


def test_vagrant_is_called_from_its_folder_alone() -> None:
    """The benchmarks and the tests of the lab program may: they compare with it."""
    elsewhere = [path for path in files() if path.relative_to(ROOT).parts[0] not in ("vagrant", "tests")]
    programs = [
        path for path in elsewhere if path.name != "Vagrantfile" and path.suffix not in (".md", ".svg")
    ]
    report(
        matches(
            programs,
            r"""^\s*(sudo )?vagrant (up|ssh|halt|reload|destroy|snapshot|box|status)|["']vagrant["'],""",
        )
    )


def test_every_make_target_is_one_call_of_the_lab_program() -> None:
    recipes: dict[str, list[str]] = {}
    target = ""
    for line in text(ROOT / "Makefile").splitlines():
        if line.startswith("\t"):
            recipes[target].append(line.strip())
        elif found := re.match(r"([a-z][\w-]*(?: [a-z][\w-]*)*)\s*:(?!=)", line):
            target = found[1]
            recipes.setdefault(target, [])
            recipes[target] += [line.partition(";")[2].strip()] if ";" in line else []
    assert {"lab", "test", "help"} <= {word for each in recipes for word in each.split()}
    report(
        [
            f"{each}: {lines}"
            for each, lines in recipes.items()
            if len(lines) > 1 or any("lab.py" not in line and "$(LAB)" not in line for line in lines)
        ]
    )


def test_the_lab_program_runs_before_anything_is_installed() -> None:
    """Python's standard library and the modules beside it, nothing else."""
    own = {"lab", "host", "vagrant"} | {path.stem for path in python_in("vagrant/host")}
    problems = []
    for path in [ROOT / "vagrant" / "lab.py", *python_in("vagrant/host")]:
        foreign = set(imports(path)) - set(sys.stdlib_module_names) - own
        problems += [f"{name(path)} imports {each}" for each in sorted(foreign)]
    report(problems)


def test_a_module_of_the_lab_program_is_read_in_one_sitting() -> None:
    lines = {path: len(text(path).splitlines()) for path in python_in("vagrant/host")}
    report([f"{name(path)}: {count} lines" for path, count in lines.items() if count > 300])


def projects(requirements: Iterable[str]) -> set[str]:
    """The names of what is required, in the form in which they can be compared."""
    names = (re.match(r"[\w.-]+", each) for each in requirements)
    return {re.sub(r"[-_.]+", "-", found[0]).lower() for found in names if found}


def required(extra: str = "") -> set[str]:
    """The projects that pyproject.toml requires: of the package itself, or of one of its extras."""
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    return projects(project["optional-dependencies"][extra] if extra else project["dependencies"])


def imported_from(folder: str) -> set[str]:
    """The projects from which a folder's modules import, whatever is installed as a part of another one."""
    known = packages_distributions()
    names = {each for path in python_in(folder) for each in imports(path)}
    return projects(found for each in names - set(sys.stdlib_module_names) for found in known.get(each, []))


def test_labcheck_requires_what_it_imports_and_nothing_else() -> None:
    """`pip install .` brings no Jupyter, no plots and no web framework to a person who wants to check a
    server."""
    assert required() == imported_from("labcheck") - {"shipshape"}


def test_labkit_imports_what_the_extra_lab_requires() -> None:
    assert imported_from("notebooks/labkit") - {"shipshape"} <= required() | required("lab")


def test_the_extra_app_requires_what_is_installed_on_a_server() -> None:
    lines = text(ROOT / "lab_app" / "requirements.in").splitlines()
    assert required("app") == projects(line for line in lines if not line.startswith("#"))


def test_the_lock_holds_every_requirement() -> None:
    locked = projects(re.findall(r"(?m)^([\w.-]+)==", text(ROOT / "requirements.lock")))
    assert required() | required("lab") | required("app") | required("test") <= locked


def test_names_and_addresses_are_written_once() -> None:
    """lab.env is where Ruby, bash and Python read them; what a learner reads says them in full."""
    readers = [path for path in files() if path.relative_to(ROOT).parts[0] != "tests" and is_program(path)]
    report(matches(readers, SHARED_NAMES))


def test_shared_settings_are_plain_enough_for_three_languages() -> None:
    for line in text(ROOT / "vagrant" / "lab.env").splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"LAB_[A-Z0-9_]+=[\w./:-]+", line), line


def test_no_file_names_the_machine_it_was_written_on() -> None:
    texts = [path for path in files() if path.suffix not in (".png", ".lock")]
    problems = [f"{name(path)}: {host}" for path in texts for host in own_hosts() if host in text(path)]
    home = str(ROOT) + "/"
    problems += [f"{name(path)}: {home}" for path in texts if len(ROOT.parts) > 2 and home in text(path)]
    report(problems)


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "lab_app/pip.lock",
        "lab_app/requirements.lock",
        "vagrant/internet/repository/chroma/requirements.lock",
        "vagrant/internet/errors/requirements.lock",
    ],
)
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    lines = text(ROOT / lock).splitlines()
    report(
        [
            f"{lock}:{number}: {line}"
            for number, line in enumerate(lines, start=1)
            if re.search(r"https?://|file://|--(extra-)?index|--find-links|^/", line)
        ]
    )
    pinned = [line for line in lines if re.match(r"[A-Za-z0-9_.-]+(\[.*\])?==", line)]
    assert pinned
    assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)


def test_no_failure_is_swallowed() -> None:
    folders = ("vagrant", "lab_app", "labcheck", "notebooks", ".ci", ".devcontainer", "Makefile")
    programs = [path for path in under(*folders) if is_program(path)]
    report(matches(programs, r"\|\|\s*(true|:)(\s|$|\))"))


def linters() -> set[str]:
    """What `make test-fast` has ruff and mypy do, as lab.py has it, after `python -m`."""
    commands = set()
    for path in python_in("vagrant/host"):
        for node in ast.walk(ast.parse(text(path))):
            parts = [each.value for each in getattr(node, "elts", ()) if isinstance(each, ast.Constant)]
            if isinstance(node, ast.List) and parts[:2] in (["-m", "ruff"], ["-m", "mypy"]):
                commands.add(" ".join(parts[1:]))
    return commands


def hooks() -> dict[str, dict[str, str]]:
    """The hooks of pre-commit, by the program that they call."""
    config = YAML(typ="safe", pure=True).load(text(ROOT / ".pre-commit-config.yaml"))
    return {hook["entry"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_the_hooks_of_pre_commit_are_what_make_test_fast_runs() -> None:
    shellcheck = ".venv/bin/shellcheck -x"
    assert set(hooks()) == {f".venv/bin/python -m {each}" for each in linters()} | {shellcheck}
    assert len(linters()) == 4


def test_the_hook_for_shell_scripts_sees_each_of_them() -> None:
    """pre-commit knows a shell script by its suffix, or by its first line where it is executable."""
    places = re.compile(hooks()[".venv/bin/shellcheck -x"]["files"])
    scripts = [path for path in test_fast.shell_scripts(ROOT) if ROOT / path in files()]
    assert scripts
    report(
        [
            f"{path} is not executable, and has no suffix"
            for path in scripts
            if not places.search(path) or not (path.endswith(".sh") or (ROOT / path).stat().st_mode & 0o100)
        ]
    )


def test_the_issue_forms_are_what_github_takes() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 3
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-issue-forms"]
    ended = subprocess.run([*command, *map(str, forms)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_continuous_integration_calls_make_test() -> None:
    """And installs no more than it takes to begin with: the rest, `make test` installs by itself."""
    script = text(ROOT / ".ci" / "run")
    packages = re.search(r"for package in (.+); do", script)
    assert packages and set(packages[1].split()) == {"make", "git", "python3", "python3-venv"}
    assert script.splitlines()[-1] == "exec make test"
