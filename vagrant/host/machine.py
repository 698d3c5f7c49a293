"""One machine of the lab: Vagrant brings it up, plain OpenSSH reaches it, files under .lab/ remember it.

`vagrant` costs one to eight seconds before it does anything, so it is called only to change something.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from . import subprocesses
from .progress import Problem, Step, step
from .providers import Choices, Provider, named

# Environment and files of the host that provisioning carries into the guest.
HOST_SETTINGS = re.compile(
    r"^(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|(DEFAULT_)?TIMEOUT)|(https?|no)_proxy)$", re.I
)
HOST_FILES = (
    Path("/usr/local/share/ca-certificates"),
    Path("/etc/pip.conf"),
    Path("~/.pip/pip.conf").expanduser(),
    Path("~/.config/pip/pip.conf").expanduser(),
)

# Vagrant's own words -> the step that a person sees.
MILESTONES = (
    (
        re.compile(r"Adding box|could not be found\. Attempting|Downloading:|Uploading base box"),
        "fetching the box",
    ),
    (
        re.compile(r"Creating image|Creating domain|Importing base box|Cloning VM|Creating the container"),
        "creating the server",
    ),
    (
        re.compile(
            r"Starting domain|Booting VM|Starting the VM|Resuming|Starting container|to become available"
        ),
        "booting the server",
    ),
    (re.compile(r"Running provisioner: (\S+)"), "provisioning: {}"),
)


def read_settings(source: Path) -> dict[str, str]:
    """The pairs of vagrant/lab.env: KEY=value, no quotes."""
    lines = (text.strip() for text in source.read_text(encoding="utf-8").splitlines())
    return dict(text.split("=", 1) for text in lines if text and not text.startswith("#"))


def files_below(folder: Path) -> Iterator[Path]:
    """Every file that was written by a person, in a stable order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


def fingerprint(places: Iterable[Path], words: Iterable[str] = ()) -> str:
    """A hash of files (whole folders too) and words."""
    parts = hashlib.sha256()
    for place in places:
        for path in files_below(place) if place.is_dir() else [place] if place.exists() else []:
            parts.update(f"{path}\0".encode() + path.read_bytes())
    for word in words:
        parts.update(word.encode() + b"\0")
    return parts.hexdigest()


def chapter_texts(checkout: Path) -> Iterator[str]:
    """Each chapter's name and prose: what the Vagrantfile takes of the notebooks. Raises Problem."""
    for path in sorted((checkout / "notebooks").glob("*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        except (ValueError, KeyError, TypeError):
            raise Problem(f"{path.name} is no notebook", f"restore it: git checkout {path}") from None
        yield "\n\n".join([path.stem, *prose])


class Phases:
    """Folds Vagrant's output into steps: each milestone ends one and begins the next."""

    def __init__(self, first: str) -> None:
        self.stack = ExitStack()
        self.title = first

    def __enter__(self) -> Phases:
        self.current: Step = self.stack.enter_context(step(self.title))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    def see(self, text: str) -> None:
        """Take one line of output."""
        plain = re.sub(r"^(==> |    )[\w.-]+: ?", "", text).strip()
        for pattern, title in MILESTONES:
            found = pattern.search(plain)
            if text.startswith("==> ") and found:
                words = title.format(*(group.replace("-", " ") for group in found.groups()))
                if words != self.title:
                    self.stack.close()
                    self.title = words
                    self.current = self.stack.enter_context(step(words))
                return
        if plain:
            self.current.detail = plain.rsplit("\r", 1)[-1]


class Machine:
    """The machine `name` of a checkout, and everything that is remembered about it."""

    def __init__(self, checkout: Path, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", name):
            raise Problem(
                f"{name!r} is no name for a machine", "use small letters, digits and dashes: LAB_MACHINE=test"
            )
        self.checkout = checkout
        self.name = name
        self.folder = checkout / ".lab" / name
        self.lock = checkout / ".lab" / f"{name}.lock"
        # The learner's machine is Vagrant's ordinary one: `vagrant ssh` in the checkout reaches it too.
        self.dotfile = checkout / ".vagrant" if name == "lab" else self.folder / "vagrant"
        self.log = self.folder / "log" / "vagrant.log"
        self.settings = read_settings(checkout / "vagrant" / "lab.env")

    # ---- what is remembered ----

    @property
    def choices_file(self) -> Path:
        return self.folder / "choices.json"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def labcheck(self) -> Path:
        return self.folder / "labcheck.toml"

    def choices(self) -> Choices | None:
        """What was chosen, or None where nothing (or nothing readable) was."""
        try:
            found = json.loads(self.choices_file.read_text(encoding="utf-8"))
            return Choices(**found)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def choose(self, choices: Choices) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.choices_file.write_text(json.dumps(asdict(choices), indent=2) + "\n", encoding="utf-8")

    @property
    def provider(self) -> Provider:
        """Who runs it: as was chosen, or as Vagrant remembers of one that was made without lab.py."""
        if choices := self.choices():
            return named(choices.provider)
        found = sorted(self.dotfile.glob(f"machines/{self.name}/*/id"))
        return named(found[0].parent.name if found else "libvirt")

    def memory(self, key: str) -> str:
        """One remembered word: `provisioned` and `bare` are hashes, `identity` is Vagrant's id.

        `stands-at` is the snapshot that was saved or restored last.
        """
        source = self.folder / f"{key}.stamp"
        return source.read_text(encoding="utf-8").strip() if source.exists() else ""

    def remember(self, key: str, word: str) -> None:
        target = self.folder / f"{key}.stamp"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(word + "\n", encoding="utf-8")

    def forget(self, *keys: str) -> None:
        for key in keys:
            (self.folder / f"{key}.stamp").unlink(missing_ok=True)

    def identity(self) -> str:
        """Vagrant's own id of the machine, empty where there is none."""
        found = sorted(self.dotfile.glob(f"machines/{self.name}/*/id")) or sorted(
            self.dotfile.glob("machines/*/*/id")
        )
        word = found[0].read_text(encoding="utf-8").strip() if found else ""
        return "" if word == "preparing" else word  # Vagrant's word for one that it has only begun

    def provisioning_inputs(self) -> str:
        """A hash of all that provisioning lays into the server."""
        sources = [self.checkout / "Vagrantfile", self.checkout / "lab_app", *HOST_FILES]
        sources += [self.checkout / "vagrant" / part for part in ("lab.env", "provision", "internet")]
        words = [f"{key}={value}" for key, value in sorted(os.environ.items()) if HOST_SETTINGS.match(key)]
        return fingerprint(sources, [*words, *chapter_texts(self.checkout)])

    def machine_inputs(self) -> str:
        """A hash of all that makes the machine from nothing: provisioning, and what it is made from."""
        images = [self.checkout / "vagrant" / part for part in ("server", "box", "container")]
        return fingerprint(images, [self.provisioning_inputs()])

    # ---- Vagrant ----

    def environment(self) -> dict[str, str]:
        choices = self.choices()
        env = {
            "LAB_MACHINE": self.name,
            "VAGRANT_CWD": str(self.checkout),
            "VAGRANT_DOTFILE_PATH": str(self.dotfile),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
        }
        return env | ({"VAGRANT_DEFAULT_PROVIDER": choices.provider} if choices else {})

    def vagrant(
        self, *arguments: str, step: Step | None = None, watch: Callable[[str], None] | None = None
    ) -> subprocesses.Ended:
        return subprocesses.run(
            self.provider.command(["vagrant", *arguments]),
            log=self.log,
            step=step,
            watch=watch,
            env=self.environment(),
            cwd=self.checkout,
        )

    def change(self, title: str, *arguments: str) -> None:
        """One Vagrant command as one step. Raises Problem."""
        with step(title) as current:
            ended = self.vagrant(*arguments, step=current)
            if ended.status != 0:
                raise subprocesses.failure(f"vagrant {' '.join(arguments)}", ended, self.log)

    def up(self) -> None:
        """Bring the machine up, provisioned as the checkout says. Raises Problem."""
        inputs = self.provisioning_inputs()
        provision = self.memory("provisioned") != inputs or self.memory("identity") != self.identity()
        # Vagrant takes a machine whose provisioning was interrupted for provisioned: so it is told.
        arguments = ["up", "--provision"] if provision else ["up"]
        self.forget("provisioned")
        ended = self._up(arguments)
        if ended.status != 0 and (
            self.provider.is_passing(ended) or self.provider.remove_leftovers(self, ended)
        ):
            ended = self._up(arguments)
        if ended.status != 0:
            raise subprocesses.failure("vagrant up", ended, self.log)
        self.write_ssh_files()
        if self.memory("identity") != self.identity():
            self.forget("bare", "stands-at")  # the snapshots were another machine's
        self.remember("identity", self.identity())
        self.remember("provisioned", inputs)

    def _up(self, arguments: list[str]) -> subprocesses.Ended:
        with Phases("asking Vagrant for the server") as phases:
            ended = self.vagrant(*arguments, watch=phases.see)
            phases.current.failed = ended.status != 0
        return ended

    def full_name(self) -> str:
        """The name that the Vagrantfile gives the machine among all of this computer."""
        mark = hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]
        return f"shipshape-{mark}-{self.name}"

    # ---- OpenSSH ----

    def ssh(
        self, host: str, command: str, *, stdin: str = "", limit: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line on `server` or `internet`; no answer in time is status 124."""
        return subprocesses.quick(
            ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", host, command],
            limit=limit,
            stdin=stdin,
        )

    def answers(self, limit: float = 6.0) -> bool:
        """Whether the server answers now, over a connection that proves it. Costs under a second."""
        return self.ssh_config.exists() and self.ssh("server", "true", limit=limit).returncode == 0

    def is_ready(self) -> bool:
        """Whether there is nothing to do: provisioned from the present inputs, running, answering."""
        return (
            self.choices() is not None
            and self.memory("provisioned") == self.provisioning_inputs()
            and self.memory("identity") == self.identity()
            and self.memory("bare") != ""
            and self.labcheck.exists()
            and self.answers()
        )

    def needed(self) -> None:
        """Raises Problem where there is no running server to talk to."""
        if not self.ssh_config.exists():
            raise Problem("there is no server yet", "make it first: make lab")
        if not self.answers(limit=15.0):
            raise Problem("the server does not answer", "start it: make lab")

    def hang_up(self) -> None:
        """End shared connections: after a restore or a halt they would hang for ever."""
        if self.ssh_config.exists() and subprocesses.POSIX:
            for host in ("internet", "server"):
                subprocesses.quick(["ssh", "-F", str(self.ssh_config), "-O", "exit", host], limit=5.0)

    def wait_for(self, host: str, limit: float = 180.0) -> None:
        """Wait until `host` answers. Raises Problem with ssh's own reason."""
        deadline = time.monotonic() + limit
        while (answer := self.ssh(host, "true", limit=15.0)).returncode != 0:
            if time.monotonic() > deadline:
                reason = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
                raise Problem(
                    f"{host} did not answer within {limit:.0f} s: {reason}",
                    f"see why: ssh -v -F {self.ssh_config} {host}",
                    "or go back to a known state: make goto CHAPTER=01",
                )
            time.sleep(0.5)

    def control_path(self) -> str:
        """A short path for shared connections: a socket's path may have about a hundred characters."""
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        folder = Path(runtime) if runtime and os.access(runtime, os.W_OK) else Path.home() / ".ssh"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return str(folder / f"shipshape-{mark}-%n")

    def write_ssh_files(self) -> None:
        """Write ssh_config, known_hosts and labcheck.toml from what Vagrant says. Raises Problem."""
        self.hang_up()
        with step("reading the server's address and host keys") as current:
            ended = self.vagrant("ssh-config", step=current)
            if ended.status != 0:
                raise subprocesses.failure("vagrant ssh-config", ended, self.log)
            found = parse_ssh_config(ended.text)
            if self.memory("identity") != self.identity():
                self.known_hosts.unlink(missing_ok=True)  # another machine has other keys
            if not self.known_hosts.exists():
                self._fetch_server_keys(found)
            self.ssh_config.write_text(self._ssh_config(found), encoding="utf-8")
            self.ssh_config.chmod(0o600)
            self.wait_for("server")
            self._fetch_internet_keys()
            self.wait_for("internet")
        self.write_labcheck()

    def write_labcheck(self) -> None:
        """Write labcheck.toml as the checkout has it now; the learner's also where labcheck finds it."""
        self.labcheck.write_text(self._labcheck(), encoding="utf-8")
        if self.name == "lab":
            shutil.copyfile(self.labcheck, self.checkout / "labcheck.toml")

    def _fetch_server_keys(self, found: dict[str, str]) -> None:
        """Take the server's host keys from its console, where there is one that can be asked.

        Else over Vagrant's own channel, which ends in this computer: the one moment without a known key.
        """
        told, problem = self.provider.host_keys(self), ""
        if not told:
            told, problem = self._ask_for_keys(found)
        keys = [
            " ".join(text.split()[:2]) for text in told.splitlines() if text.startswith(("ssh-", "ecdsa-"))
        ]
        if not keys:
            raise Problem(
                f"the server's host keys could not be read: {problem or 'it gave none'}",
                "run the same command again",
            )
        self.known_hosts.write_text("".join(f"server {key}\n" for key in keys), encoding="utf-8")

    def _ask_for_keys(self, found: dict[str, str]) -> tuple[str, str]:
        """What the server says its host keys are, and what went wrong."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}",
                   "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
                   "-o", "ConnectTimeout=20", "-i", found["IdentityFile"], "-p", found["Port"]]  # fmt: skip
        answer = subprocesses.quick(
            [
                "ssh",
                "-F",
                os.devnull,
                *options,
                f"{found['User']}@{found['HostName']}",
                "cat /etc/ssh/ssh_host_*_key.pub",
            ],
            limit=60,
        )
        return answer.stdout, answer.stderr.strip()

    def _fetch_internet_keys(self) -> None:
        """Take the keys of the stand-in internet's sshd on the server, over its verified connection."""
        if re.search(r"^internet ", self.known_hosts.read_text(encoding="utf-8"), re.M):
            return
        address = self.settings["LAB_INTERNET_IPV4"]
        deadline = time.monotonic() + 120
        while True:
            answer = self.ssh("server", f"ssh-keyscan -T 5 -t ed25519,ecdsa,rsa {address}", limit=30)
            keys = re.findall(rf"^{re.escape(address)} (\S+ \S+)$", answer.stdout, re.M)
            if keys:
                break
            if time.monotonic() > deadline:
                raise Problem(
                    "the stand-in internet does not answer to SSH",
                    "look at it: make ssh, then: sudo machinectl status internet",
                )
            time.sleep(1)
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.writelines(f"internet {key}\n" for key in keys)

    def _ssh_config(self, found: dict[str, str]) -> str:
        common = [f"UserKnownHostsFile {quoted(self.known_hosts)}", "StrictHostKeyChecking yes",
                  f"IdentityFile {quoted(found['IdentityFile'])}", "IdentitiesOnly yes", "LogLevel ERROR",
                  "ServerAliveInterval 5", "ServerAliveCountMax 6", "ConnectTimeout 10"]  # fmt: skip
        if subprocesses.POSIX:  # OpenSSH on Windows cannot share connections
            common += [
                "ControlMaster auto",
                f"ControlPath {quoted(self.control_path())}",
                "ControlPersist 10m",
            ]
        server = [
            f"HostName {found['HostName']}",
            f"Port {found['Port']}",
            f"User {found['User']}",
            "HostKeyAlias server",
        ]
        internet = [f"HostName {self.settings['LAB_INTERNET_IPV4']}", "User root", "ProxyJump server",
                    "HostKeyAlias internet"]  # fmt: skip
        blocks = ["# Written by vagrant/lab.py, and anew whenever the machine's address may have changed."]
        for host, own in (("server", server), ("internet", internet)):
            blocks += [f"\nHost {host}", *(f"  {text}" for text in own + common)]
        return "\n".join(blocks) + "\n"

    def _labcheck(self) -> str:
        settings = self.settings
        tool = [str(self.checkout / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"),
                str(self.checkout / "vagrant" / "lab.py")]  # fmt: skip
        received = (
            "curl -sf -H @<(sed 's/^/Authorization: Bearer /' /etc/prometheus/pager.key) "
            f"https://{settings['LAB_ALERTS_NAME']}/messages"
        )
        rows = [
            "# Written by vagrant/lab.py: what labcheck looks at, and from where.",
            "[target]", 'host = "server"', f"ssh_config = {json.dumps(str(self.ssh_config))}",
            f"domain = {json.dumps(settings['LAB_APP_NAME'])}",
            f"account = {json.dumps(settings['LAB_ACCOUNT'])}",
            f"app_port = {int(settings['LAB_APP_PORT'])}", "",
            "[vantage]", 'host = "internet"', 'name = "the stand-in internet"',
            f"reference = {json.dumps(settings['LAB_REFERENCE_NAME'])}", "",
            "[alerts]", f"received = {json.dumps(received)}", "",
            "[errors]", 'event = "/srv/errors/event"', "",
            "[lab]", f"tool = {json.dumps(tool)}", f"machine = {json.dumps(self.name)}",
            f"marker = {json.dumps(settings['LAB_MARKER'])}",
        ]  # fmt: skip
        return "\n".join(rows) + "\n"

    def use_the_key_of(self, other: Machine) -> None:
        """Log in with another machine's key: after a copy of its disk has become this one's."""
        key = re.compile(r"(?m)^(\s*IdentityFile) .*$")
        found = key.search(other.ssh_config.read_text(encoding="utf-8"))
        assert found is not None
        own = self.ssh_config.read_text(encoding="utf-8")
        self.ssh_config.write_text(key.sub(lambda _: found[0], own), encoding="utf-8")

    # ---- the clock ----

    def set_clock(self) -> float:
        """Give the server this computer's time if it is off by over a second; returns by how much."""
        before = time.time()
        answer = self.ssh("server", "date -u +%s.%N")
        try:
            off = (before + time.time()) / 2 - float(answer.stdout)
        except ValueError:
            raise Problem(
                f"the server does not tell its time: {answer.stderr.strip()}", "run it again"
            ) from None
        if abs(off) > 1:
            answer = self.ssh("server", f"sudo -n date -u --set=@{time.time():.2f}")
            if answer.returncode != 0:
                raise Problem(f"the server's clock cannot be set: {answer.stderr.strip()}", "run it again")
        return off


def quoted(value: Path | str) -> str:
    """A value for ssh_config: in quotes where it holds blanks, with forward slashes on Windows too."""
    text = str(value).replace("\\", "/")
    return f'"{text}"' if " " in text else text


def parse_ssh_config(text: str) -> dict[str, str]:
    """HostName, Port, User and IdentityFile of what `vagrant ssh-config` prints. Raises Problem."""
    found: dict[str, str] = {}
    for row in text.splitlines():
        key, _, value = row.strip().partition(" ")
        if key in ("HostName", "Port", "User", "IdentityFile"):
            # Several keys may be offered, the machine's own first.
            found.setdefault(key, shlex.split(value)[0] if value.startswith('"') else value)
    if len(found) != 4:
        raise Problem("vagrant ssh-config does not say how to reach the server", "start it: make lab")
    return found
