"""The life of a machine: brought up and provisioned, switched off, removed."""

from __future__ import annotations

import shutil

from . import failures, labcheck_config, ssh_files, subprocesses
from .inputs import machine_inputs, provisioning_inputs
from .machine import Machine
from .vagrant_output import Phases


def is_ready(machine: Machine) -> bool:
    """Whether there is nothing to do: provisioned from the present inputs, running, answering."""
    state = machine.state
    return (
        state.choices() is not None
        and state.recall("provisioned") == provisioning_inputs(machine.checkout)
        and state.recall("identity") == machine.identity()
        and state.recall("bare") != ""
        and machine.labcheck.exists()
        and machine.answers()
    )


def up(machine: Machine) -> None:
    """Bring the machine up, provisioned as the checkout says. Raises Problem."""
    state = machine.state
    inputs = provisioning_inputs(machine.checkout)
    provision = state.recall("provisioned") != inputs or state.recall("identity") != machine.identity()
    # Vagrant takes a machine whose provisioning was interrupted for provisioned: hence --provision.
    arguments = ["up", "--provision"] if provision else ["up"]
    state.forget("provisioned")
    ended = vagrant_up(machine, arguments)
    provider = machine.provider
    if ended.status != 0 and (provider.is_passing(ended) or provider.remove_leftovers(machine, ended)):
        ended = vagrant_up(machine, arguments)
    if ended.status != 0:
        raise failures.failure("vagrant up", ended, machine.log)
    ssh_files.write(machine)
    labcheck_config.write(machine)
    if state.recall("identity") != machine.identity():
        state.forget("bare", "stands-at")  # the snapshots were another machine's
    state.remember("identity", machine.identity())
    state.remember("provisioned", inputs)


def vagrant_up(machine: Machine, arguments: list[str]) -> subprocesses.Ended:
    with Phases("asking Vagrant for the server") as phases:
        ended = machine.vagrant(*arguments, watch=phases.see)
        phases.current.failed = ended.status != 0
    return ended


def switch_off(machine: Machine, title: str, *options: str) -> None:
    """Halt the machine, if there is one, as one step. Raises Problem."""
    if machine.identity():
        machine.hang_up()
        machine.change(title, "halt", *options)


def destroy(machine: Machine) -> None:
    """Remove the machine, its snapshots, and all that is remembered about it."""
    machine.hang_up()
    if machine.identity():
        machine.change("removing the server and its snapshots", "destroy", "-f")
    machine.provider.removed(machine)
    if machine.folder.exists():
        shutil.rmtree(machine.folder)
    if machine.name == "lab":
        (machine.checkout / "labcheck.toml").unlink(missing_ok=True)


def destroy_if_outdated(machine: Machine) -> None:
    """A server that was made from other files than those that are here now is no server of theirs."""
    if machine.identity() and machine.state.recall("bare") != machine_inputs(machine.checkout):
        destroy(machine)
