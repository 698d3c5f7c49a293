"""VirtualBox: virtual machines on macOS and Windows, and on Linux where it is installed. Not run here."""

from __future__ import annotations

from ..computer import System
from ..tools import which
from .virtual_machine import VirtualMachine


class VirtualBox(VirtualMachine):
    name = "virtualbox"

    def title(self, driver: str) -> str:
        return "a virtual machine (VirtualBox)"

    def fits(self, system: System) -> bool:
        if system.arm:
            return False
        return system.family in ("macos", "windows") or which("VBoxManage") is not None

    def missing(self, *, builds: bool) -> list[str]:
        return super().missing(builds=builds) + ([] if which("VBoxManage") else ["virtualbox"])

    def by_hand(self, system: System) -> tuple[str, ...]:
        if system.family == "macos":
            return (
                "brew install --cask hashicorp/tap/hashicorp-vagrant",
                "brew install --cask virtualbox",
            )
        if system.family == "windows":
            return ("winget install Hashicorp.Vagrant", "winget install Oracle.VirtualBox")
        return ("install Vagrant and VirtualBox from their makers",)
