"""Programs that the lab needs: installed here, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagrant.host import (
    computer,
    tools,
)
from vagrant.host.progress import Problem
from vagrant.host.providers import (
    PROVIDERS,
)
from vagrant.host.providers.provider import Provider


@pytest.mark.parametrize("family", ["fedora", "arch", "macos", "windows", "other"])
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_elsewhere_the_exact_commands_are_named(family: str, provider: Provider) -> None:
    system = computer.System(family, family, "1", "This System 1", False)
    problem = tools.instructions(system, ["vagrant"], provider.by_hand(system))
    assert "on This System 1" in problem.sentence
    assert problem.next_steps[-1] == "then run the same command again"
    assert len(problem.next_steps) > 1


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="this system has no apt")
def test_an_apt_mirror_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/nowhere";\n'
        'Acquire::http::Proxy "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(Problem) as caught:
        tools.mirror_answers()
    assert "the apt mirror http://127.0.0.1:9/debian" in caught.value.sentence
    assert "apt-get update" in caught.value.next_steps[0]
