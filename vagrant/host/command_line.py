"""The command line of lab.py: which commands there are, what each takes, and how what went wrong is said.

Nothing happens before all words are understood: a wrong one is a sentence and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from . import chapters, commands, test_command
from .bring_up import Lab
from .progress import Problem, called, line
from .settings import CHECKOUT

HELP = """\
The lab: a real server on this computer, and notebooks that lead through a first deployment.

  make lab              make or start the server, then JupyterLab (OPEN=no: without; PORT=8889: there)
  make check            check the server: the items of the checklist (ARGS="--item 6 -v")
  make course           run the chapters unattended (CHAPTERS="01 02": these alone; --steps: only the
                        cells that change the server)
  make goto CHAPTER=NN  bring the server to the start of a chapter
  make ssh              log in to the server (HOST=internet: to the stand-in internet)
  make stop             switch the server off; make lab goes on later
  make destroy          remove the server with its snapshots
  make uninstall        name all that the lab put onto this computer, and remove it after a yes
  make test             prove everything, on a machine of its own
  make test-all         the same, with every mutant (else one for each item) and every cell twice
                        (both: PART="mutants off", these parts alone; on the server that was tested last)
  make test-fast        prove what needs no machine, in two to four minutes

Without make (Windows): python vagrant/lab.py lab, python vagrant/lab.py check --item 6, and so on.
There also: snapshot NN (keep the server as it is now, as after-NN), restore NAME (bare, after-NN), up (make
or start the server, and no JupyterLab), and programs (install what the tests use, and start none of it:
make test does that by itself). What a command takes: python vagrant/lab.py COMMAND --help.
LAB_DISTRO=ubuntu2404 (ubuntu2204, debian12, debian13) chooses the server's system when it is made,
LAB_PROVIDER=docker (libvirt, virtualbox, vmware_desktop) what kind of machine it is."""

FAILED = 1  # exit status
USAGE = 2
HOSTS = ("server", "internet")
ASK = ("-h", "--help")
PASS_ON = {"check": 0, "ssh": 1}  # what follows so many words is for another program, as it was typed


class Arguments(argparse.ArgumentParser):
    """Raises Problem for what it does not understand, and takes no option by a part of its name."""

    def __init__(self, command: str, description: str, usage: str) -> None:
        name = f"lab.py {command}"
        super().__init__(
            prog=name,
            description=description,
            usage=f"{name} [-h] {usage}" if usage else None,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise Problem(message, f"see what it takes: python3 vagrant/{self.prog} --help")


Run = Callable[[Lab, argparse.Namespace], int]
"""What a command does with the lab and its words."""


class Commands:
    """The commands by their names: how the words of each are read, and what it does."""

    def __init__(self) -> None:
        self.parsers: dict[str, Arguments] = {}
        self.runs: dict[str, Run] = {}

    def add(self, name: str, description: str, run: Run, usage: str = "") -> Arguments:
        """`usage`: where argparse cannot tell, since what it does not read is passed on."""
        self.runs[name] = run
        self.parsers[name] = Arguments(name, description, usage)
        return self.parsers[name]


def chapter(text: str) -> str:
    """A chapter's number. Raises Problem."""
    return chapters.number(text, CHECKOUT)


def host(text: str) -> str:
    """One of the lab's hosts. Raises Problem."""
    if text not in HOSTS:
        raise Problem(f"there is no host {text}", f"hosts of the lab: {', '.join(HOSTS)}")
    return text


def add_machine(known: Commands) -> None:
    """What makes the server, switches it off, and removes it."""
    known.add(
        "lab",
        "Make the server, or start it, then start JupyterLab in the foreground. What is done already is "
        "skipped. Environment: OPEN=no starts no JupyterLab, PORT=8889 gives it another port; LAB_PROVIDER "
        "and LAB_DISTRO choose the kind of machine and its system when it is made.",
        lambda lab, options: commands.lab_command(lab, with_jupyter=not options.no_jupyter),
    ).add_argument("--no-jupyter", action="store_true", help="make or start the server alone")
    known.add(
        "up",
        "Make the server, or start it, and start no JupyterLab.",
        lambda lab, _: commands.lab_command(lab, with_jupyter=False),
    )
    known.add(
        "stop",
        "Switch the server off; make lab goes on later.",
        lambda lab, _: commands.stop_command(lab),
    )
    known.add(
        "destroy",
        "Remove the server with its snapshots, after a yes.",
        lambda lab, options: commands.destroy_command(lab, yes=options.yes),
    ).add_argument("--yes", action="store_true", help="do not ask")
    known.add(
        "uninstall",
        "Name all that the lab put onto this computer, and remove it after a yes.",
        lambda lab, options: commands.uninstall_command(lab, yes=options.yes),
    ).add_argument("--yes", action="store_true", help="do not ask")


def add_course(known: Commands) -> None:
    """What a learner does with the server."""
    known.add(
        "ssh",
        "Log in to the server or to the stand-in internet, or run one command there.",
        lambda lab, options: commands.ssh_command(lab, options.host, options.passed_on),
        usage="[HOST [COMMAND ...]]",
    ).add_argument(
        "host",
        metavar="HOST",
        nargs="?",
        type=host,
        default="server",
        help="server (the default) or internet",
    )
    known.add(
        "check",
        "Check the server: the items of the checklist. Every option is labcheck's: --item 6 -v, --exercise, "
        "--json and others, which .venv/bin/labcheck --help explains.",
        lambda lab, options: commands.check_command(lab, options.passed_on),
        usage="[OPTION ...]",
    )
    course = known.add(
        "course",
        "Run chapters unattended, all of them or those that are named, up to the first cell that fails.",
        lambda lab, options: commands.course_command(
            lab, options.chapters, save=options.save, steps=options.steps, limit=options.timeout
        ),
    )
    extent = course.add_mutually_exclusive_group()
    extent.add_argument("--save", action="store_true", help="write the outputs of each chapter into its file")
    extent.add_argument("--steps", action="store_true", help="only the cells that change the server")
    course.add_argument("--timeout", type=float, metavar="SECONDS", help="limit for one cell")
    course.add_argument("chapters", metavar="NN", nargs="*", type=chapter, help="a chapter's number: 04")
    known.add(
        "goto",
        "Bring the server to the start of a chapter, from a snapshot or by the steps of those before it.",
        lambda lab, options: commands.goto_command(lab, options.chapter),
    ).add_argument("chapter", metavar="NN", nargs="?", type=chapter, help="its number: 04")
    known.add(
        "snapshot",
        "Keep the server as it is now, as the state after this chapter: after-NN.",
        lambda lab, options: commands.snapshot_command(lab, options.chapter),
    ).add_argument("chapter", metavar="NN", nargs="?", type=chapter, help="its number: 04")
    known.add(
        "restore",
        "Bring a snapshot back. Without a name, say which there are.",
        lambda lab, options: commands.restore_command(lab, options.name),
    ).add_argument("name", metavar="NAME", nargs="?", default="", help="bare, or after-NN")


def add_tests(known: Commands) -> None:
    """What proves that the lab is right."""
    test = known.add(
        "test",
        "Prove everything, or the parts that are named, on machines of its own, switched off at the end.",
        lambda lab, given: test_command.test_command(lab, given.parts, every=given.all),
    )
    test.add_argument(
        "--all", action="store_true", help="every mutant, not one for each item, and every cell twice"
    )
    test.add_argument(
        "parts",
        metavar="PART",
        nargs="*",
        type=test_command.part,
        help="a part alone, on the server that was tested last: mutants, off, debian13, ...",
    )
    known.add(
        "test-fast",
        "Prove what needs no machine: format, lint, types, shell scripts, and tests.",
        lambda lab, _: test_command.fast_command(lab),
    )
    known.add(
        "programs",
        "Install the programs that the tests use, and start none of them.",
        lambda lab, _: test_command.programs_command(lab),
    )


def all_commands() -> Commands:
    known = Commands()
    for add in (add_machine, add_course, add_tests):
        add(known)
    return known


def parse(known: Commands, words: Sequence[str]) -> argparse.Namespace | None:
    """What was asked for, with the command as `run`; None where that is help, which has been given.

    Raises Problem for a wrong word. What another program is to read is in `passed_on`.
    """
    command, *arguments = list(words) or ["help"]
    if command == "help" and arguments:
        command, arguments = arguments[0], ["--help", *arguments[1:]]
    if command in ("help", *ASK):
        line(HELP)
        return None
    if command not in known.runs:
        raise Problem(f"there is no command {command}", "python3 vagrant/lab.py help")
    parser = known.parsers[command]
    count = PASS_ON.get(command, len(arguments))
    if {*ASK} & {*arguments[: max(count, 1)]}:
        line(parser.format_help().rstrip())
        return None
    options = parser.parse_intermixed_args(arguments[:count])
    if vars(options).get("chapter", "") is None:  # its sentence says which there are
        chapter("")
    options.run, options.passed_on = known.runs[command], arguments[count:]
    return options


def say(command: str, problem: Problem) -> None:
    """A problem on standard error: a sentence, then what to do next."""
    sys.stderr.write(f"{called(command) if command else 'lab.py'}: {problem.sentence}\n")
    for index, text in enumerate(problem.next_steps):
        sys.stderr.write(f"  {'next: ' if index == 0 else '      '}{text}\n")


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit status. A person's problem is a sentence, never a traceback."""
    command = arguments[0] if arguments else "help"
    # SIGINT too: a shell that starts this in the background has it ignored, here and in all children.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupted)
    known = all_commands()
    try:
        try:
            options = parse(known, arguments)
        except Problem as problem:
            say(command if command in known.runs else "", problem)
            return USAGE
        if options is None:
            return 0
        machine = os.environ.get("LAB_MACHINE") or ("test" if command == "test" else "lab")
        status: int = options.run(Lab(machine), options)
        return status
    except Problem as problem:
        say(command, problem)
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{called(command)}: interrupted: run it again, it goes on\n")
        return 130
    except BrokenPipeError:  # the program that read our output has gone: `lab.py help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        say(command, Problem(f"{error.strerror or error}{where}", "mend that, then run it again"))
        return FAILED


def _interrupted(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
