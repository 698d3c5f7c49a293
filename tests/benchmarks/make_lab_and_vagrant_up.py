"""`make lab` against a bare `vagrant up` of the same box, with provisioning apart.

    python -m tests.benchmarks.make_lab_and_vagrant_up [--rounds 1]

A round makes each machine from nothing, one after the other, and removes it again. The bare one has the same
box, memory, processors and virtual hardware, no folder shared, and nothing else. The box and .venv must be
there already (`make lab` makes both): building them is no part of this. Takes five minutes a round where the
processor is emulated.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.measure import show, spread
from vagrant.host import computer, failures, subprocesses
from vagrant.host.environment import Environment
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem, line
from vagrant.host.providers import named
from vagrant.host.providers.libvirt import VIRSH
from vagrant.host.state import Choices
from vagrant.host.vagrant_output import MILESTONES

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "benchmark"
BARE_PREFIX = "shipshape-benchmark-bare-"

Steps = dict[str, float]
"""Seconds by step, in their order; together they are the whole."""

FETCHING = "fetching the box"
"""Once for each box and computer: the first run pays for it, so it is in neither sum."""
BOOTING = ("asking Vagrant for the server", "creating the server", "booting the server")
STEP = re.compile(r"^  ok  (provisioning: .+?|.+?)(?:: .*)?  \(.+\)$")
"""A step that has ended, as lab.py prints it: title, result, duration."""


class Clock:
    """Gives the time that has passed to what has just ended."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.steps: Steps = {}

    def ended(self, title: str) -> None:
        now = time.perf_counter()
        self.steps[title] = self.steps.get(title, 0.0) + now - self.last
        self.last = now


def make_lab(log: Path) -> tuple[Steps, Choices]:
    """Make the lab's machine as a person does, and remove it; what it took, and what was chosen for it."""
    clock = Clock()

    def watch(text: str) -> None:
        if found := STEP.match(text):
            clock.ended(found[1])

    machine = Machine(CHECKOUT, NAME)
    environment = {"LAB_MACHINE": NAME, "OPEN": "no", "LAB_PROVIDER": "libvirt"}
    # The Python of .venv: another version would make .venv anew.
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "lab"]
    if shutil.which("make") is None:
        command = [sys.executable, "vagrant/lab.py", "lab"]
    try:
        ended = subprocesses.run(command, log=log, watch=watch, env=environment, cwd=CHECKOUT)
        if ended.status != 0:
            raise failures.failure("make lab", ended, log)
        clock.ended("starting and ending lab.py")
        choices = machine.state.choices()
        assert choices is not None
    finally:
        remove(log)
    return clock.steps, choices


def remove(log: Path) -> None:
    """Remove the lab's machine of the benchmark. Raises Problem."""
    command = [sys.executable, "vagrant/lab.py", "destroy", "--yes"]
    ended = subprocesses.run(command, log=log, env={"LAB_MACHINE": NAME}, cwd=CHECKOUT)
    if ended.status != 0:
        raise failures.failure("lab.py destroy", ended, log)


def setting(subject: str, pattern: str) -> str:
    """What the Vagrantfile says, as the pattern's group finds it."""
    match = re.search(pattern, (CHECKOUT / "Vagrantfile").read_text(encoding="utf-8"))
    if match is None:
        raise Problem(f"the Vagrantfile does not say {subject}", "mend this benchmark")
    return match[1]


def processor(driver: str) -> str:
    """The lines for the same processor, emulated or the host's own."""
    if driver == "kvm":
        return 'machine.cpu_mode = "host-passthrough"'
    model = setting("which processor is emulated", r'libvirt\.cpu_model = "(\w+)"')
    features = setting("what else it can do", r"%w\[([\w. ]+)\]\.each \{ \|name\| libvirt\.cpu_feature")
    return f"""machine.cpu_mode, machine.cpu_model = "custom", {json.dumps(model)}
    %w[{features}].each {{ |name| machine.cpu_feature name: name, policy: "require" }}"""


def bare_vagrantfile(choices: Choices) -> str:
    """The same box on the same virtual hardware, and nothing else."""
    memory, processors = (
        setting(f"how much {name}", rf'choices\["{name}"\] \|\| (\d+)') for name in ("memory", "cpus")
    )
    version = f"  config.vm.box_version = {json.dumps(choices.box_version)}\n" if choices.box_version else ""
    hardware = {
        "libvirt": f"""
    machine.default_prefix = {json.dumps(BARE_PREFIX)}
    machine.driver = {json.dumps(choices.driver)}
    {processor(choices.driver)}
    machine.machine_type = "q35"
    machine.graphics_type = "none"
    machine.video_type = "none"
    machine.disk_driver cache: "unsafe"
    machine.cpus, machine.memory = {processors}, {memory}""",
        "virtualbox": f"\n    machine.cpus, machine.memory = {processors}, {memory}",
        "vmware_desktop": f"""
    machine.vmx["numvcpus"] = "{processors}"
    machine.vmx["memsize"] = "{memory}\"""",
    }[choices.provider]
    return f"""Vagrant.configure("2") do |config|
  config.vm.box = {json.dumps(choices.box)}
{version}  config.vm.box_check_update = false
  config.vm.boot_timeout = 600
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :{choices.provider} do |machine|{hardware}
  end
end
"""


def vagrant_up(choices: Choices, log: Path) -> Steps:
    """Bring the bare machine up in a folder of its own, and remove it; what it took."""
    clock = Clock()
    title = BOOTING[0]

    def watch(text: str) -> None:
        nonlocal title
        for pattern, following in MILESTONES:
            if text.startswith("==> ") and pattern.search(text):
                if following != title:
                    clock.ended(title)
                    title = following
                return

    with tempfile.TemporaryDirectory(prefix="shipshape-bare-") as folder:
        (Path(folder) / "Vagrantfile").write_text(bare_vagrantfile(choices), encoding="utf-8")
        environment = {
            "VAGRANT_CWD": folder,
            "VAGRANT_DOTFILE_PATH": f"{folder}/.vagrant",
            "VAGRANT_DEFAULT_PROVIDER": choices.provider,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
        }
        try:
            up = named("libvirt").command(["vagrant", "up"])
            ended = subprocesses.run(up, log=log, watch=watch, env=environment, cwd=Path(folder))
            if ended.status != 0:
                raise failures.failure("vagrant up", ended, log)
            clock.ended(title)
        finally:
            destroy = named("libvirt").command(["vagrant", "destroy", "-f"])
            gone = subprocesses.run(destroy, log=log, env=environment, cwd=Path(folder))
            if gone.status != 0:
                raise failures.failure("vagrant destroy", gone, log)
    return clock.steps


# ---- before, and after ----


def running() -> list[str]:
    """The lab's machines that run now: of this checkout, and with libvirt of any."""
    places = sorted((CHECKOUT / ".lab").glob("*/ssh_config"))
    names = [place.parent.name for place in places]
    machines = [name for name in names if Machine(CHECKOUT, name).answers()]
    listed = subprocesses.quick(named("libvirt").command([*VIRSH, "list", "--name"]))
    # Where libvirt is not there or does not run, it runs no machine.
    return machines + [name for name in listed.stdout.split() if name.startswith("shipshape-")]


def check() -> None:
    """Raises Problem for what would make the times say something else."""
    if others := running():
        raise Problem(
            f"another machine of the lab runs ({', '.join(others)}): the two would slow each other down",
            "switch it off: make stop (LAB_MACHINE=test for that of the tests)",
        )
    if not Environment(CHECKOUT).is_ready():
        raise Problem(".venv is not that of the present lock: making it would be timed", "make test-fast")
    machine = Machine(CHECKOUT, NAME)
    system = computer.system()
    box = named("libvirt").pick(system, machine.settings)
    if not box.is_there:
        raise Problem(
            f"the box {box.name} is not there yet: getting it would be timed", "make lab, make destroy"
        )


def part(steps: Mapping[str, float], *, vagrants: bool) -> float:
    """Vagrant's own part, or lab.py's: provisioning and the first fetch of the box belong to neither."""
    return sum(
        seconds
        for title, seconds in steps.items()
        if title != FETCHING and not title.startswith("provisioning: ") and (title in BOOTING) == vagrants
    )


def report(labs: list[Steps], bares: list[Steps]) -> None:
    """The table: what each took, and how many times the bare one's time that is."""
    unit = statistics.median([part(steps, vagrants=True) for steps in bares])

    def row(title: str, lab: list[float], bare: list[float] | None = None) -> tuple[str, str, str, str]:
        ratio = f"{statistics.median(lab) / unit:.2f}"
        return title, spread(lab), spread(bare) if bare else "", ratio

    boots = [part(steps, vagrants=True) for steps in labs]
    own = [part(steps, vagrants=False) for steps in labs]
    provisioning = [
        sum(seconds for title, seconds in steps.items() if title.startswith("provisioning: "))
        for steps in labs
    ]
    rows = [row("Vagrant: create, boot, log in", boots, [part(steps, vagrants=True) for steps in bares])]
    rows.append(row("lab.py's own steps", own))
    for title in labs[0]:
        if title not in (*BOOTING, FETCHING) and not title.startswith("provisioning: "):
            rows.append(row(f"  {title}", [steps.get(title, 0.0) for steps in labs]))
    rows.append(row("together, without provisioning", [a + b for a, b in zip(boots, own, strict=True)]))
    rows.append(row("provisioning", provisioning))
    show(
        f"rounds: {len(labs)}; ratio to the bare machine's time",
        ("", "make lab", "vagrant up", "ratio"),
        rows,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each is made (default 1)")
    options = parser.parse_args()
    labs: list[Steps] = []
    bares: list[Steps] = []
    with tempfile.TemporaryDirectory(prefix="shipshape-benchmark-") as folder:
        log = Path(folder) / "output.log"
        try:
            if Machine(CHECKOUT, NAME).identity():
                line("removing what an interrupted run has left")
                remove(log)
            check()
            for number in range(1, options.rounds + 1):
                line(f"round {number} of {options.rounds}: make lab")
                steps, choices = make_lab(log)
                labs.append(steps)
                line(f"round {number} of {options.rounds}: vagrant up of {choices.box}, {choices.driver}")
                bares.append(vagrant_up(choices, log))
        except Problem as problem:
            print(problem.sentence, file=sys.stderr)
            print(*(f"  next: {step}" for step in problem.next_steps), sep="\n", file=sys.stderr)
            if log.exists():
                print("the last of what was printed:", file=sys.stderr)
                print(*log.read_text(encoding="utf-8").splitlines()[-20:], sep="\n", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130  # both machines are gone by now
    report(labs, bares)
    return 0


if __name__ == "__main__":
    sys.exit(main())
