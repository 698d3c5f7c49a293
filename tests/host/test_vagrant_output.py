"""Vagrant's output as steps."""

from __future__ import annotations

import pytest

from vagrant.host.vagrant_output import Phases


def test_vagrants_lines_are_folded_into_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Phases("asking Vagrant for the server") as phases:
        for text in (
            "Bringing machine 'lab' up with 'libvirt' provider...",
            "==> lab: Uploading base box image as volume into Libvirt storage...",
            "==> lab: Creating image (snapshot of base box volume).",
            "==> lab: Creating domain with the following settings...",
            "==> lab:  -- Memory:            2048M",
            "==> lab: Starting domain.",
            "==> lab: Waiting for domain to get an IP address...",
            "==> lab: Running provisioner: host-trust (shell)...",
            "    lab: updating certificates",
            "==> lab: Running provisioner: internet (shell)...",
        ):
            phases.see(text)
    shown = [row.split("  ")[2] for row in capsys.readouterr().out.splitlines()]
    assert shown == [
        "asking Vagrant for the server", "fetching the box", "creating the server", "booting the server",
        "provisioning: host trust", "provisioning: internet",
    ]  # fmt: skip
