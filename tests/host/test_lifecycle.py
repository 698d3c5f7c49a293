"""Bringing a machine up."""

from __future__ import annotations

import pytest

from vagrant.host import (
    lifecycle,
    subprocesses,
)
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem

# What Vagrant 2.3.4 ends with where the lease of an hour ago runs out while the machine boots.
INACCESSIBLE = """The guest machine entered an invalid state while waiting for it
to boot. Valid states are 'running'. The machine is in the
'inaccessible' state. Please verify everything is configured
properly and try again."""


@pytest.mark.parametrize(("output", "tries"), [(INACCESSIBLE, 2), ("There are errors in the Vagrantfile", 1)])
def test_a_lease_that_runs_out_while_the_machine_boots_costs_a_second_try(
    made: Machine, monkeypatch: pytest.MonkeyPatch, output: str, tries: int
) -> None:
    tried = []

    def fails(_: Machine, arguments: list[str]) -> subprocesses.Ended:
        tried.append(arguments)
        return subprocesses.Ended(1, tuple(output.splitlines()))

    monkeypatch.setattr(lifecycle, "vagrant_up", fails)
    with pytest.raises(Problem, match="vagrant up failed"):
        lifecycle.up(made)
    assert len(tried) == tries
