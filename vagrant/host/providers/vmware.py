"""VMware Fusion: virtual machines on Apple silicon. Not run here."""

from __future__ import annotations

from ..computer import System
from .virtual_machine import VirtualMachine


class VMware(VirtualMachine):
    name = "vmware_desktop"

    def title(self, driver: str) -> str:
        return "a virtual machine (VMware)"

    def fits(self, system: System) -> bool:
        return system.family == "macos" and system.arm

    def by_hand(self, system: System) -> tuple[str, ...]:
        return (
            "brew install --cask hashicorp/tap/hashicorp-vagrant",
            "install VMware Fusion, and the Vagrant VMware Utility",
            "vagrant plugin install vagrant-vmware-desktop",
        )
