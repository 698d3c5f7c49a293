"""Go to the start of a chapter: from a snapshot if there is one, else by running the chapters before it."""

from __future__ import annotations

import re
import ssl
import time
from pathlib import Path

from . import subprocesses
from .clock import set_clock
from .environment import Environment
from .machine import Machine
from .progress import Problem, line, step
from .providers.provider import SNAPSHOT

BARE = "bare"  # the snapshot of the server as it was handed over
DEPLOYED = "09"  # after it all fifteen are green; the chapters that follow leave the server as they found it

# Both ends of a certificate's life, as the stand-in internet sees it.
CERTIFICATE = (
    "echo | timeout 10 openssl s_client -connect {name}:443 -servername {name} 2>&1 "
    "| openssl x509 -noout -startdate -enddate"
)


def files(checkout: Path) -> list[Path]:
    """The chapters that there are, in order."""
    return sorted((checkout / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def chapters(checkout: Path) -> list[str]:
    """Their numbers."""
    return [path.name[:2] for path in files(checkout)]


def number(text: str, checkout: Path) -> str:
    """A chapter's number as it was typed (4, 04, 04_logging), checked. Raises Problem."""
    found = re.match(r"\d{1,2}", text)
    known = chapters(checkout)
    if found is None or found.group().zfill(2) not in known:
        there = f"{known[0]} to {known[-1]}" if known else "none"
        raise Problem(
            f"there is no chapter {text or '(none given)'}",
            f"chapters here: {there}; type: make goto CHAPTER=01",
        )
    return found.group().zfill(2)


def snapshot_name(chapter: str) -> str:
    return f"after-{chapter}"


def path_to(chapter: str, known: list[str], saved: list[str]) -> tuple[str, list[str]]:
    """The snapshot to restore and the chapters to run from there, to stand at the start of `chapter`.

    Raises Problem where there is no snapshot to start from.
    """
    before = [other for other in known if other < chapter]
    for count in range(len(before), 0, -1):
        if snapshot_name(before[count - 1]) in saved:
            return snapshot_name(before[count - 1]), before[count:]
    if BARE not in saved:
        raise Problem(
            "the snapshot of the bare server is gone, and there is none to start from",
            "make the server anew: make destroy, then make lab",
        )
    return BARE, before


def save(machine: Machine, name: str) -> None:
    """Save the server as it is now, over an older snapshot of that name."""
    machine.provider.save(machine, name)
    machine.state.remember("stands-at", name)


def is_past(machine: Machine, name: str) -> bool:
    """Whether the server has come further than `name`: a chapter done again does not take one back to it."""
    stands_at = machine.state.recall("stands-at")
    return stands_at != BARE and stands_at > name


def restore(machine: Machine, name: str) -> None:
    """Bring a snapshot back, and with it all that depends on time. Raises Problem."""
    if not SNAPSHOT.fullmatch(name):
        raise no_snapshot(machine, name, machine.provider.saved(machine))
    machine.hang_up()
    machine.state.forget("stands-at")
    try:
        machine.provider.restore(machine, name)
    except Problem:
        # Asked only now: each call of Vagrant costs seconds.
        if name in (names := machine.provider.saved(machine)):
            raise
        raise no_snapshot(machine, name, names) from None
    machine.state.remember("stands-at", name)
    settle(machine)


def no_snapshot(machine: Machine, name: str, names: list[str]) -> Problem:
    """What to say of a snapshot that is not there."""
    return Problem(
        f"the machine {machine.name} has no snapshot {name or '(none given)'}",
        f"snapshots of it: {', '.join(names) or 'none'}",
    )


def settle(machine: Machine) -> None:
    """After a restore or a pause: answers, clock, certificates; only then is the server to be used."""
    with step("the server answers"):
        machine.wait_for("server")
    with step("the server's clock") as current:
        off = set_clock(machine)
        current.result = f"was {off:.0f} s behind, set" if off > 1 else "right"
    with step("the stand-in internet answers"):
        machine.wait_for("internet")
    with step("certificates") as current:
        current.result = renew(machine)
    if is_deployed(machine):
        with step("the application") as current:
            current.result = wait_for_application(machine)


def parse_lifetime(text: str) -> tuple[float, float]:
    """notBefore and notAfter of what openssl prints, in seconds since 1970. Raises ValueError."""
    found = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", text, re.M))
    if len(found) != 2:
        raise ValueError(text.strip() or "nothing")
    return ssl.cert_time_to_seconds(found["notBefore"]), ssl.cert_time_to_seconds(found["notAfter"])


def is_stale(begin: float, end: float, now: float) -> bool:
    """Whether a certificate is outside its life, or in its last third, where it should have been renewed."""
    return not begin <= now < end - (end - begin) / 3


def freshness(machine: Machine, name: str) -> str:
    """Empty where `name` shows a fresh certificate to the internet, else what is wrong."""
    answer = machine.ssh("internet", CERTIFICATE.format(name=name), limit=20)
    try:
        begin, end = parse_lifetime(answer.stdout)
    except ValueError:
        return f"{name} shows no certificate"
    return f"{name}'s certificate is not fresh" if is_stale(begin, end, time.time()) else ""


def renew(machine: Machine) -> str:
    """Restart Caddy where a certificate is not fresh, the authority first. Says what was done."""
    names = [(machine.settings["LAB_CA_NAME"], "internet", "systemctl restart caddy")]
    # What a learner has put on the server decides whether there is a certificate to speak of.
    running = machine.ssh("server", "systemctl is-active caddy").stdout.strip() == "active"
    if (
        running
        and machine.ssh(
            "server", f"sudo -n grep -q {machine.settings['LAB_APP_NAME']} /etc/caddy/Caddyfile"
        ).returncode
        == 0
    ):
        names.append((machine.settings["LAB_APP_NAME"], "server", "sudo -n systemctl restart caddy"))
    restarted = []
    for name, host, restart in names:
        wrong = freshness(machine, name)
        if not wrong:
            continue
        answer = machine.ssh(host, restart, limit=60)
        if answer.returncode != 0:
            raise Problem(
                f"{wrong}, and Caddy on {host} does not restart: {answer.stderr.strip()}", "make goto again"
            )
        deadline = time.monotonic() + 120
        while wrong := freshness(machine, name):
            if time.monotonic() > deadline:
                raise Problem(
                    f"{wrong}, 120 s after Caddy on {host} was restarted",
                    "see: make ssh, journalctl -u caddy",
                )
            time.sleep(1)
        restarted.append(name)
    return f"renewed for {', '.join(restarted)}" if restarted else "fresh"


def is_deployed(machine: Machine) -> bool:
    """Whether a chapter has put something on the server that Supervisor starts at a boot."""
    asked = "ls /etc/supervisor/conf.d/*.conf && systemctl -q is-enabled supervisor"
    return machine.ssh("server", asked).returncode == 0


def wait_for_application(machine: Machine, limit: int = 120) -> str:
    """Wait for the application after a boot, `limit` seconds at most: it may be broken. Says how it went."""
    address = f"http://127.0.0.1:{machine.settings['LAB_APP_PORT']}/health/live"
    alive = f"curl -sf -o /dev/null --max-time 5 {address}"
    waiting = f"timeout {limit} bash -c 'until {alive}; do sleep 0.5; done'"
    if machine.ssh("server", waiting, limit=limit + 20).returncode == 0:
        return "answers"
    return f"no answer within {limit} s, make check says more"


def run(machine: Machine, environment: Environment, numbers: list[str]) -> int:
    """Run chapters unattended, with their progress; the exit status of labkit.course."""
    command = [str(environment.python), "-m", "labkit.course", *numbers]
    return subprocesses.foreground(command, env=context(machine), cwd=machine.checkout)


def context(machine: Machine) -> dict[str, str]:
    """The environment in which labkit's programs find this machine."""
    return {"LABCHECK_CONFIG": str(machine.labcheck), "LAB_MACHINE": machine.name}


def goto(machine: Machine, environment: Environment, chapter: str) -> None:
    """Stand at the start of `chapter`. Raises Problem."""
    if not machine.ssh_config.exists():
        raise Problem("there is no server yet", "make it first: make lab")
    name, numbers = path_to(chapter, chapters(machine.checkout), machine.provider.saved(machine))
    restore(machine, name)
    if numbers:
        line(f"  --  no snapshot of the start of chapter {chapter}: running {', '.join(numbers)} first")
        if run(machine, environment, numbers) != 0:
            raise Problem(
                f"a chapter before {chapter} did not run through",
                "its output is above; go back with: make goto CHAPTER=" + numbers[0],
            )
        settle(machine)
    line(f"The server is at the start of chapter {chapter}.")
