"""Which kind of machine to make on this computer, and why: in one sentence a person can act on."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..computer import System
from ..progress import Problem
from . import PROVIDERS, named
from .provider import Provider


@dataclass(frozen=True)
class Option:
    """A provider, in one of the ways in which it runs a machine."""

    provider: Provider
    driver: str

    @property
    def title(self) -> str:
        return self.provider.title(self.driver)


@dataclass(frozen=True)
class Options:
    """What may be tried, the best first, and why what is better than that cannot be had."""

    those: tuple[Option, ...]
    obstacles: tuple[str, ...]
    asked_for: bool


def rank(option: Option, system: System) -> tuple[bool, int]:
    """What is there, or is installed by the lab, before what a person would have to install."""
    by_hand = system.family != "debian" and bool(option.provider.missing(builds=False))
    return by_hand, option.provider.order(option.driver)


def options(system: System, existing: str = "") -> Options:
    """The kinds of machine for this computer, in the order in which they are to be tried. Raises Problem.

    `existing`: the provider of a machine that was made with Vagrant alone, and keeps its kind.
    """
    name = existing or os.environ.get("LAB_PROVIDER", "")
    providers = [named(name)] if name else [each for each in PROVIDERS if each.fits(system)]
    all_of_them = [Option(each, driver) for each in providers for driver in each.drivers(system)]
    obstacles = {option: option.provider.obstacle(system, option.driver) for option in all_of_them}
    usable = [option for option, reason in obstacles.items() if not reason]
    if not usable:
        raise Problem(
            f"no kind of machine can run here: {'; '.join(reason for reason in obstacles.values())}",
            "choose another one: LAB_PROVIDER=" + "|".join(each.name for each in PROVIDERS),
        )
    usable.sort(key=lambda option: rank(option, system))
    best = usable[0].provider.order(usable[0].driver)
    better = [
        text for option, text in obstacles.items() if text and option.provider.order(option.driver) < best
    ]
    return Options(tuple(usable), tuple(better), bool(name))


def sentence(chosen: Option, options: Options, command: str) -> list[str]:
    """What was chosen, why, and how to choose differently; a line each."""
    if options.asked_for:
        return [f"  The lab will use {chosen.title} (LAB_PROVIDER={chosen.provider.name})."]
    why = f", since {options.obstacles[0].rstrip('.')}" if options.obstacles else ""
    others = [option for option in options.those if option.provider.name != chosen.provider.name]
    alternative = (
        f"  Another: LAB_PROVIDER={others[0].provider.name} {command}: {others[0].title}." if others else ""
    )
    return [text for text in (f"  The lab will use {chosen.title}{why}.", alternative) if text]
