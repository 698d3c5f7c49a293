"""Docker: the server as a system container, at native speed wherever Docker runs, on the host's kernel.

Vagrant's docker provider makes and starts it. Its disk is a file in the container's own anonymous volume, and
so are its snapshots (vagrant/container/pool.sh): all of it leaves with the container.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from .. import failures, ssh_config, subprocesses
from ..computer import System
from ..progress import Problem, step
from ..state import Choices
from ..tools import candidates, in_group, is_root, which
from . import docker_probe
from .docker_daemon import answers, docker, join_docker_group, start_docker, start_lxcfs
from .provider import (
    GB,
    Cost,
    Image,
    Machine,
    Provider,
    box_of,
    built_version,
    distro_wanted,
)

CONTAINER = Path(__file__).resolve().parents[2] / "container"
REGISTRY_LIMIT = 10.0  # seconds; a registry that is slower is none to download from
# What opens a pool's file systems, and nothing else: for the snapshots' own short-lived container.
KEEPER = (
    "--rm", "--pull=never", "--network=none", "--security-opt=apparmor=unconfined",
    "--security-opt=label=disable", "--cap-drop=ALL", "--cap-add=SYS_ADMIN", "--cap-add=MKNOD",
    "--cap-add=DAC_OVERRIDE", "--device-cgroup-rule=b 7:* rwm", "--device-cgroup-rule=c 10:237 rwm",
)  # fmt: skip
FEWER_SHARES = 512  # of the processors, beside a container with the 1,024 that Docker gives
DISK_IN_USE = 4  # exit status of vagrant/container/snapshots
TOOLS_BASE = "debian:12"  # of the Dockerfile's second stage


class Docker(Provider):
    name = "docker"
    programs: Mapping[str, str] = {
        "vagrant": "vagrant",
        "docker.io": "dockerd",
        "openssh-client": "ssh",
    }
    builders: Mapping[str, str] = {"mmdebstrap": "mmdebstrap", "e2fsprogs": "mkfs.ext4", "zstd": "zstd"}
    tools = Cost(0.1 * GB, 0.5 * GB)
    image = Cost(0.4 * GB, 2.0 * GB)
    server = Cost(0.3 * GB, 12 * GB)

    copies = True
    tests = ("tests/container",)

    def title(self, driver: str) -> str:
        docker = f"Docker {answers()}".strip()
        return f"a system container ({docker}): as fast as this computer, and on its kernel"

    def fits(self, system: System) -> bool:
        return True

    def order(self, driver: str) -> int:
        return 1

    def obstacle(self, system: System, driver: str) -> str:
        if system.family in ("macos", "windows") and not answers():
            return "Docker does not answer"
        return ""

    def missing(self, *, builds: bool) -> list[str]:
        if answers():  # of whatever make: Docker's own packages, Docker Desktop, a socket
            packages = [package for package in super().missing(builds=builds) if package != "docker.io"]
        else:
            packages = super().missing(builds=builds)
            # Debian 13 has the client in a package of its own.
            if which("docker") is None and candidates(["docker-cli"])["docker-cli"]:
                packages.append("docker-cli")
        # Not needed: without it `free` in the server shows this computer's memory.
        unasked = bool(packages) or is_root() or subprocesses.quick(["sudo", "-n", "true"]).returncode == 0
        if which("lxcfs") is None and which("apt-get") and unasked and candidates(["lxcfs"])["lxcfs"]:
            packages.append("lxcfs")
        return packages

    def by_hand(self, system: System) -> tuple[str, ...]:
        if system.family == "fedora":
            return ("sudo dnf install vagrant moby-engine", "sudo systemctl enable --now docker")
        if system.family == "arch":
            return ("sudo pacman -S vagrant docker openssh", "sudo systemctl enable --now docker")
        if system.family == "macos":
            return (
                "brew install --cask hashicorp/tap/hashicorp-vagrant",
                "brew install --cask docker, and start it",
            )
        if system.family == "windows":
            return ("run the lab in WSL2: wsl --install -d Ubuntu", "there: make lab")
        return ("install Vagrant, Docker and OpenSSH from your system's packages",)

    def consequences(self, packages: list[str]) -> tuple[str, ...]:
        if "docker.io" not in packages:
            return ()
        return (
            "Docker's daemon runs as root; a member of the group docker is as good as root here",
            "it sets the policy of iptables' FORWARD chain to DROP, which can cut other virtual machines off "
            "the network",
        )

    def start(self, log: Path) -> None:
        start_docker(log / "docker.log")
        start_lxcfs(log / "lxcfs.log")
        join_docker_group()

    def command(self, command: list[str]) -> list[str]:
        return in_group("docker", command)

    def disk(self) -> Path:
        answer = docker("info", "--format", "{{.DockerRootDir}}")
        return Path(answer.stdout.strip() if answer.returncode == 0 else "/var/lib/docker")

    # ---- the image ----

    def can_look(self) -> bool:
        return bool(answers())

    def pick(self, system: System, settings: Mapping[str, str]) -> Image:
        asked_for = distro_wanted(settings)
        distro = asked_for or "ubuntu2204"
        tag = f"shipshape/{distro}:{dockerfile_version(box_of(settings, distro, self.name))}"
        bases = (box_of(settings, distro, self.name), TOOLS_BASE)
        if is_there(tag) or all(registry_answers(base) for base in bases):
            return Image(distro, tag, is_there=is_there(tag))
        if asked_for and not asked_for.startswith("debian"):
            raise Problem(
                f"no registry of images answers, and {asked_for} comes from there",
                "check the network or the proxy, or take a system that is built here: "
                "LAB_DISTRO=debian12 make lab",
            )
        if system.family != "debian":
            raise Problem(
                "no registry of images answers",
                "check the network, or the daemon's proxy settings, then run the same command again",
            )
        distro = asked_for or "debian12"
        tag = built_version(CONTAINER / "build.sh", distro).replace(" ", ":")
        return Image(distro, tag.partition(":")[0], built_here=True, is_there=is_there(tag))

    def get(self, checkout: Path, image: Image, driver: str, log: Path) -> Choices:
        if image.is_there and not image.built_here:
            return Choices(self.name, driver, image.distro, *image.name.split(":"))
        if image.built_here:
            number = image.distro.removeprefix("debian")
            title = f"the Debian {number} image, from the apt mirror"
            builder = ["bash", str(checkout / "vagrant" / "container" / "build.sh"), number]
        else:
            base = image.distro
            title = f"the {base} image, by its Dockerfile"
            builder = ["docker", "build", "--tag", image.name, "--file", str(CONTAINER / "Dockerfile")]
            settings = (CONTAINER.parent / "lab.env").read_text(encoding="utf-8")
            row = re.search(rf"(?m)^LAB_BOX_{base.upper()}_DOCKER=(\S+)$", settings)
            assert row is not None
            builder += ["--build-arg", f"BASE={row[1]}", str(CONTAINER.parent)]
        with step(title) as current:
            ended = subprocesses.run(self.command(builder), log=log, step=current, cwd=checkout)
            if ended.status != 0:
                raise failures.failure("making the image", ended, log)
            name, version = ended.tail[-1].split(" ", 1) if image.built_here else image.name.split(":")
            current.result = version
        return Choices(self.name, driver, image.distro, name, version)

    def probe(self, choices: Choices, log: Path) -> None:
        docker_probe.probe(image_of(choices))

    # ---- the life of a machine ----

    def keep(self, machine: Machine, *arguments: str, options: Sequence[str] = ()) -> subprocesses.Ended:
        """Run vagrant/container/snapshots on the machine's volume."""
        choices = machine.state.choices()
        assert choices is not None
        pool = f"--volumes-from={machine.full_name()}"
        program = [image_of(choices), "/shipshape/snapshots", *arguments]
        return subprocesses.run(
            self.command(["docker", "run", *KEEPER, pool, *options, *program]), log=machine.log
        )

    def save(self, machine: Machine, name: str) -> None:
        with step(f"saving the snapshot {name}"):
            ended = self.keep(machine, "save", name)
            if ended.status != 0:
                raise failures.failure(f"saving the snapshot {name}", ended, machine.log)

    def restore(self, machine: Machine, name: str) -> None:
        if name not in self.saved(machine):
            raise Problem(f"there is no snapshot {name}", "make lab makes the first one")
        container = machine.full_name()
        with step(f"restoring the snapshot {name}"):
            docker("kill", container)  # what it has not written yet is thrown away with the rest
            deadline = time.monotonic() + 10
            # The kernel lets go of a killed server's loop devices a moment later.
            while (ended := self.keep(machine, "restore", name)).status == DISK_IN_USE:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            started = docker("start", container, limit=60)
            if ended.status != 0:
                raise failures.failure(f"restoring the snapshot {name}", ended, machine.log)
            if started.returncode != 0:
                raise Problem(f"the server does not start: {started.stderr.strip()}", "run it again")

    def saved(self, machine: Machine) -> list[str]:
        ended = self.keep(machine, "list")
        if ended.status != 0:
            raise failures.failure("looking for snapshots", ended, machine.log)
        return list(ended.tail)

    def copy(self, source: Machine, target: Machine, name: str) -> None:
        """From now on the target's key and host keys are those of its new disk, which are the source's."""
        form = '{{range .Mounts}}{{if eq .Destination "/pool"}}{{.Name}}{{end}}{{end}}'
        volume = docker("inspect", "--format", form, source.full_name()).stdout.strip()
        with step(f"copying the snapshot {name} to {target.name}"):
            ended = self.keep(target, "take", name, options=[f"--volume={volume}:/source:ro"])
            if ended.status != 0:
                raise failures.failure(f"copying the snapshot {name}", ended, target.log)
        target.known_hosts.write_text(source.known_hosts.read_text(encoding="utf-8"), encoding="utf-8")
        ssh_config.take_key(source.ssh_config, target.ssh_config)

    def step_back(self, machine: Machine) -> None:
        docker("update", f"--cpu-shares={FEWER_SHARES}", machine.full_name())

    def host_keys(self, machine: Machine) -> str:
        return docker("exec", machine.full_name(), "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").stdout

    def remove_leftovers(self, machine: Machine, ended: subprocesses.Ended) -> bool:
        container = machine.full_name()
        if f'The container name "/{container}" is already in use' not in " ".join(ended.text.split()):
            return False
        with step(f"removing what an interruption left: {container}"):
            return docker("rm", "--force", "--volumes", container, limit=60).returncode == 0

    def removed(self, machine: Machine) -> None:
        choices = machine.state.choices()
        if choices is None:
            return
        docker("rm", "--force", "--volumes", machine.full_name(), limit=60)
        docker_probe.remove_probes()
        # Refused as long as another machine's container uses it. Built here, it is in the cache as well.
        docker("image", "rm", image_of(choices))


def image_of(choices: Choices) -> str:
    return f"{choices.box}:{choices.box_version}"


def is_there(tag: str) -> bool:
    return docker("image", "inspect", tag).returncode == 0


def registry_answers(base: str) -> bool:
    """Whether the base image can be had: it is here, or its registry tells of it."""
    return is_there(base) or docker("manifest", "inspect", base, limit=REGISTRY_LIMIT).returncode == 0


def dockerfile_version(base: str) -> str:
    """A tag that stands for all that makes the image by the Dockerfile."""
    parts = sha256(base.encode())
    for path in sorted([*CONTAINER.iterdir(), *(CONTAINER.parent / "server").iterdir()]):
        parts.update(path.name.encode() + path.read_bytes())
    return parts.hexdigest()[:12]
