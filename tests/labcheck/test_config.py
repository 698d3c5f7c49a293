"""labcheck.toml: found, read, and refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcheck.config import MARKER, Config, find, load
from labcheck.errors import ConfigError
from labcheck.ssh import Connection

FULL = """
[target]
host = "server"
ssh_config = "keys/ssh_config"
domain = "app.example"
account = "web"
app_port = 9000
[vantage]
host = "internet"
name = "the stand-in internet"
reference = "ports.example"
[lab]
tool = ["python", "lab.py"]
machine = "test"
"""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCHECK_CONFIG", raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "labcheck.toml"
    path.write_text(text)
    return path


def test_config_file_is_used_in_everything_that_it_says(tmp_path: Path) -> None:
    config = load(write(tmp_path, FULL))
    ssh_config = tmp_path / "keys/ssh_config"
    assert config.server == Connection("server", config=ssh_config)
    assert config.vantage == Connection("internet", config=ssh_config)
    target = config.target
    assert (target.domain, target.account, target.app_port) == ("app.example", "web", 9000)
    assert (target.vantage, target.reference, target.lab) == ("the stand-in internet", "ports.example", True)
    assert (config.tool, config.machine, config.marker) == (("python", "lab.py"), "test", MARKER)
    assert config.connection("other").config == ssh_config


def test_config_file_needs_a_host_and_nothing_else(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[target]\nhost = "me@example.org"\n'))
    assert isinstance(config, Config)
    assert (config.server, config.vantage) == (Connection("me@example.org"), None)
    assert (config.target.account, config.target.app_port) == ("aiapp", 8000)
    assert (config.target.vantage, config.target.lab) == ("this computer", False)


def test_config_file_nearest_upwards_counts_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    path = write(tmp_path, FULL)
    assert find(inner) == path
    near = write(tmp_path / "a", FULL)
    assert find(inner) == near
    monkeypatch.setenv("LABCHECK_CONFIG", str(path))
    assert find(inner) == path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[target]\n", r"\[target\] needs host"),
        ("[target\n", "is not TOML"),
        ('[target]\nhost = "x"\nport = 2\n', r"\[target\] has no port; it has host, "),
        ('[target]\nhost = "x"\napp_port = "8000"\n', "app_port in .* must be int, not '8000'"),
        ("[target]\nhost = 5\n", "host in .* must be str, not 5"),
        ('target = "x"\n', "target must be a table"),
        ('[target]\nhost = "x"\n[server]\n', r"\[server\] is not a table of it"),
    ],
)
def test_config_file_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, text))


def test_chat_key_is_read_from_the_environment_and_never_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[target]\nhost = "x"\n[chat]\npath = "/v1/ask"\nkey_from = "LABCHECK_KEY"\n'
    monkeypatch.delenv("LABCHECK_KEY", raising=False)
    with pytest.raises(ConfigError, match="names LABCHECK_KEY, which the environment does not have"):
        load(write(tmp_path, text))
    monkeypatch.setenv("LABCHECK_KEY", "the-key-of-labcheck")
    target = load(write(tmp_path, text)).target
    assert (target.chat_path, target.chat_key) == ("/v1/ask", "the-key-of-labcheck")
    assert "the-key-of-labcheck" not in repr(target)
    with pytest.raises(ConfigError, match=r"\[chat\] has no key; it has path, key_from"):
        load(write(tmp_path, '[target]\nhost = "x"\n[chat]\nkey = "the-key-of-labcheck"\n'))


def test_config_file_that_is_missing_is_said_with_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="make lab"):
        load(tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no labcheck.toml here or above.*labcheck HOST"):
        load()
