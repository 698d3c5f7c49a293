"""The kinds of machine that the lab can use, one module each."""

from __future__ import annotations

from ..progress import Problem
from .docker import Docker
from .libvirt import Libvirt
from .provider import Provider, Unusable
from .virtualbox import VirtualBox
from .vmware import VMware

PROVIDERS: tuple[Provider, ...] = (Libvirt(), VirtualBox(), VMware(), Docker())


def named(name: str) -> Provider:
    """The provider that Vagrant calls so. Raises Problem."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    names = ", ".join(provider.name for provider in PROVIDERS)
    raise Problem(f"LAB_PROVIDER={name} is not known", f"choose one of: {names}")


__all__ = ["PROVIDERS", "Provider", "Unusable", "named"]
