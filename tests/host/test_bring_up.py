"""From an empty computer to a server: a kind of machine that does not work is followed by the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagrant.host import (
    bring_up,
)
from vagrant.host.providers import (
    Unusable,
    choosing,
)
from vagrant.host.providers.provider import Image
from vagrant.host.providers.virtualbox import VirtualBox
from vagrant.host.state import Choices


class Broken(VirtualBox):
    """One whose probe fails."""

    def probe(self, choices: Choices, log: Path) -> None:
        raise Unusable("it does not boot", "do something else")

    def get(self, checkout: Path, image: Image, driver: str, log: Path) -> Choices:
        return Choices(self.name, driver, image.distro, "a box")


class Working(Broken):
    def probe(self, choices: Choices, log: Path) -> None:
        assert choices.driver == "second"


def settled(monkeypatch: pytest.MonkeyPatch, *options: choosing.Option) -> Choices:
    image = Image("debian12", "a box", is_there=True)
    monkeypatch.setattr(bring_up.Lab, "prepare", lambda lab, provider, there: image)
    return bring_up.Lab("try").settle_on(choosing.Options(options, (), asked_for=False), image)


def test_next_kind_is_taken_and_both_are_named_where_the_trial_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = choosing.Option(Broken(), "first"), choosing.Option(Working(), "second")
    assert settled(monkeypatch, first, second).driver == "second"
    said = capsys.readouterr().out
    assert "it does not boot" in said and "The lab will use a virtual machine (VirtualBox) instead." in said
    with pytest.raises(Unusable, match="it does not boot"):
        settled(monkeypatch, first)
