"""labcheck.toml: what labcheck is to check on a machine of the lab, and from where."""

from __future__ import annotations

import json
import os
import shutil

from .machine import Machine


def write(machine: Machine) -> None:
    """Write it as the checkout has it now; the learner's also where labcheck finds it."""
    machine.labcheck.write_text(text(machine), encoding="utf-8")
    if machine.name == "lab":
        shutil.copyfile(machine.labcheck, machine.checkout / "labcheck.toml")


def text(machine: Machine) -> str:
    settings = machine.settings
    tool = [str(machine.checkout / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"),
            str(machine.checkout / "vagrant" / "lab.py")]  # fmt: skip
    received = (
        "curl -sf -H @<(sed 's/^/Authorization: Bearer /' /etc/prometheus/pager.key) "
        f"https://{settings['LAB_ALERTS_NAME']}/messages"
    )
    rows = [
        "# Written by vagrant/lab.py: what labcheck looks at, and from where.",
        "[target]", 'host = "server"', f"ssh_config = {json.dumps(str(machine.ssh_config))}",
        f"domain = {json.dumps(settings['LAB_APP_NAME'])}",
        f"account = {json.dumps(settings['LAB_ACCOUNT'])}",
        f"app_port = {int(settings['LAB_APP_PORT'])}", "",
        "[vantage]", 'host = "internet"', 'name = "the stand-in internet"',
        f"reference = {json.dumps(settings['LAB_REFERENCE_NAME'])}", "",
        "[alerts]", f"received = {json.dumps(received)}", "",
        "[errors]", 'event = "/srv/errors/event"', "",
        "[lab]", f"tool = {json.dumps(tool)}", f"machine = {json.dumps(machine.name)}",
        f"marker = {json.dumps(settings['LAB_MARKER'])}",
    ]  # fmt: skip
    return "\n".join(rows) + "\n"
