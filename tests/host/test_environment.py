"""The checkout's virtual environment."""

from __future__ import annotations

from pathlib import Path

from vagrant.host.environment import Environment


def test_the_environment_is_ready_only_while_the_lock_stays_the_same(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("rich==14.0.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    environment = Environment(tmp_path)
    assert not environment.is_ready()
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.stamp.write_text(environment.fingerprint() + "\n")
    assert environment.is_ready()
    (tmp_path / "requirements.lock").write_text("rich==14.0.1\n")
    assert not environment.is_ready()
