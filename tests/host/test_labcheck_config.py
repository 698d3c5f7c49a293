"""labcheck.toml, as it is written for a machine of the lab."""

from __future__ import annotations

import tomllib

from vagrant.host import (
    labcheck_config,
)
from vagrant.host.machine import Machine


def test_labcheck_toml_says_what_labcheck_reads(made: Machine) -> None:
    told = tomllib.loads(labcheck_config.text(made))
    assert told["target"] == {
        "host": "server", "ssh_config": str(made.ssh_config), "domain": "app.lab.example",
        "account": "aiapp", "app_port": 8000,
    }  # fmt: skip
    assert told["vantage"]["reference"] == "ports.lab.example"
    assert told["lab"]["machine"] == "lab"
    assert told["lab"]["marker"] == made.settings["LAB_MARKER"]
    assert told["lab"]["tool"][1] == str(made.checkout / "vagrant" / "lab.py")
