"""labcheck.toml, as it is written for a machine of the lab."""

from __future__ import annotations

import tomllib

from vagrant.host import (
    labcheck_config,
)
from vagrant.host.machine import Machine


def test_labcheck_toml_says_what_labcheck_reads(made: Machine) -> None:
    config = tomllib.loads(labcheck_config.text(made))
    assert config["target"] == {
        "host": "server", "ssh_config": str(made.ssh_config), "domain": "app.lab.example",
        "account": "aiapp", "app_port": 8000,
    }  # fmt: skip
    assert config["vantage"]["reference"] == "ports.lab.example"
    assert config["lab"]["machine"] == "lab"
    assert config["lab"]["marker"] == made.settings["LAB_MARKER"]
    assert config["lab"]["tool"][1] == str(made.checkout / "vagrant" / "lab.py")
