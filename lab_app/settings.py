"""What can be set: environment variables first, then the file `.env` in the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


def _fit_for_a_header(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces: was something pasted along with it?")
    return secret


ApiKey = Annotated[SecretStr, AfterValidator(_fit_for_a_header)]


class Settings(BaseSettings):
    """Each field is a variable of the same name in capitals. Nothing is needed to start on a laptop."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,  # OPENAI_API_KEY= means "none", not "the empty key"
        extra="ignore",  # the file may hold variables of other programs
        hide_input_in_errors=True,  # what is refused may be a secret
        frozen=True,
    )

    openai_api_key: ApiKey | None = None
    openai_base_url: AnyHttpUrl = AnyHttpUrl("https://api.openai.com/v1")
    openai_model: str = "gpt-4o-mini"
    openai_timeout: Annotated[float, Field(gt=0, le=600)] = 20  # seconds for a whole answer
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_dir: Path | None = None  # for the log files; without it the log goes to standard output
    # Off unless asked for: a setting that was forgotten on a server must not publish the whole interface.
    api_docs: bool = False


def load_settings() -> Settings:
    """The settings; ends the program with one sentence where they are wrong or cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit(f"settings: {wrong} (set in the environment or in .env)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"settings: cannot read .env: {error}") from None
