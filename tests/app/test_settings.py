"""Settings: from the environment and from .env, secrets kept to themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab_app.settings import Settings, load_settings

from .conftest import ROOT

NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_TIMEOUT", "LOG_LEVEL", "API_DOCS")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_has_to_be_set() -> None:
    assert Settings().openai_api_key is None


def test_a_file_named_env_in_the_working_directory_is_read() -> None:
    Path(".env").write_text("OPENAI_API_KEY=sk-lab-file\nSOMETHING_ELSE=1\n")
    key = Settings().openai_api_key
    assert key is not None and key.get_secret_value() == "sk-lab-file"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("OPENAI_MODEL=file\n")
    monkeypatch.setenv("OPENAI_MODEL", "environment")
    assert Settings().openai_model == "environment"


def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert Settings().openai_api_key is None


def test_printing_the_settings_does_not_print_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-lab-secret")
    assert "sk-lab-secret" not in repr(Settings()) + str(Settings()) + Settings().model_dump_json()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("OPENAI_API_KEY='sk-lab secret'", "OPENAI_API_KEY"),
        ("OPENAI_API_KEY=sk-lab-sécret", "OPENAI_API_KEY"),
        ("OPENAI_TIMEOUT=secret", "OPENAI_TIMEOUT"),
        ("OPENAI_BASE_URL=secret", "OPENAI_BASE_URL"),
        ("LOG_LEVEL=secret", "LOG_LEVEL"),
    ],
)
def test_a_wrong_value_ends_the_start_with_its_name_and_without_the_value(line: str, says: str) -> None:
    Path(".env").write_text(line + "\n")
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "secret" not in str(caught.value) and "sécret" not in str(caught.value)


def test_a_file_that_is_not_text_ends_the_start_with_a_sentence() -> None:
    Path(".env").write_bytes(b"OPENAI_API_KEY=\xff\xfe\n")
    with pytest.raises(SystemExit, match=r"cannot read \.env"):
        load_settings()


# ---- the README ----

ROW = re.compile(r"^\| `([A-Z][A-Z_]+)` \| (.+) \| (.+) \|$", re.M)
SETTINGS = {
    name: (what, without) for name, what, without in ROW.findall((ROOT / "lab_app" / "README.md").read_text())
}


def test_the_readme_lists_every_setting_and_no_other() -> None:
    assert set(SETTINGS) == {name.upper() for name in Settings.model_fields}


def test_the_readme_tells_the_default_of_every_setting_that_has_one() -> None:
    for name, field in Settings.model_fields.items():
        if field.default:
            assert SETTINGS[name.upper()][1] == f"`{field.default}`"


def test_the_readme_says_which_settings_are_secrets() -> None:
    secret = {name for name, (what, _) in SETTINGS.items() if re.search(r"; (a secret|secrets)$", what)}
    hidden = {
        name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
    }
    assert secret == hidden
