"""When a server can be used again after a start or a restore: it answers, and time has spoilt nothing."""

from __future__ import annotations

from .certificates import renew
from .clock import set_clock
from .machine import Machine
from .progress import step


def after_restore(machine: Machine) -> None:
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


def after_start(machine: Machine) -> None:
    """After a start the guest's clock and certificates may be from before the pause."""
    with step("clock and certificates") as current:
        off = set_clock(machine)
        state = renew(machine)
        current.result = (
            f"clock was {off:.0f} s off, certificates {state}" if abs(off) > 1 else f"certificates {state}"
        )
    if is_deployed(machine):
        with step("the application") as current:
            current.result = wait_for_application(machine)
