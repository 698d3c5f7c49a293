"""What can be set: environment variables first, then the file `.env` in the working directory."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, BeforeValidator, Field, Secret, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

STAND_IN = "stand-in"  # the OPENAI_MODEL for which lab_app.stand_in answers

# What fits into a header: something that was pasted along with a key usually does not.
ApiKey = Secret[Annotated[str, StringConstraints(pattern=r"^[!-~]+$")]]

Seconds = Annotated[float, Field(gt=0, le=3600)]


def split_keys(given: str) -> dict[str, str]:
    """The key of each user, as in "user_1:key,user_2:key"."""
    pairs = [pair.strip().partition(":") for pair in given.split(",")]
    if not all(user and key for user, _, key in pairs):
        raise ValueError("must be pairs with a colon: user_1:key,user_2:key")
    keys = {user: key for user, _, key in pairs}
    if len(set(keys.values())) < len(pairs):
        raise ValueError("names a user or a key twice")
    return keys


class Settings(BaseSettings):
    """Each field is a variable of the same name in capitals. Nothing is needed to start on a laptop."""

    # OPENAI_API_KEY= means "none", not "the empty key"; .env may hold variables of other programs; what is
    # refused may be a secret; the defaults are right, and not in the form that is read here.
    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore") | (
        SettingsConfigDict(hide_input_in_errors=True, validate_default=False, frozen=True)
    )

    openai_api_key: ApiKey | None = None
    openai_base_url: AnyHttpUrl = AnyHttpUrl("https://api.openai.com/v1")
    openai_model: str = "gpt-4o-mini"
    openai_embedding_model: str = "text-embedding-3-small"
    # Whose price is counted, for an address that serves models under names of its own.
    openai_priced_as: str | None = None
    # A model may think for minutes before its first piece; between two pieces it does not, nor over an
    # embedding. A process that is stopped needs as long as a whole answer may take, and a minute more.
    openai_timeout: Seconds = 300  # for a whole answer
    openai_first_piece_timeout: Seconds = 240
    openai_silence_timeout: Seconds = 20  # between two pieces, and for an embedding
    openai_max_tokens: Annotated[int, Field(gt=0)] = 1000  # of an answer: so that it has a highest price
    # Without these, on a laptop: SQLite in a file, the memory of this process, and no documents to look into.
    database_url: Secret[str] | None = None  # postgresql://account:password@host/name
    redis_url: Secret[str] | None = None
    chroma_url: AnyHttpUrl | None = None
    # Who may ask: "user_1:key,user_2:key". Without any, everyone may.
    api_keys: Annotated[dict[str, ApiKey], NoDecode, BeforeValidator(split_keys)] = {}
    chat_limit: Annotated[int, Field(gt=0)] = 10  # questions a minute, for each client
    cache_seconds: Annotated[int, Field(ge=0)] = 3600  # how long an answer is given again; 0: never
    # Where errors go that nobody expected: https://key@host/project.
    sentry_dsn: Secret[str] | None = None
    daily_budget_usd: Annotated[float, Field(gt=0)] = 100  # what is above it is told, and not refused
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_dir: Path | None = None  # for the log files; without it the log goes to standard output
    # Of the token that /metrics wants; without one there is no such page.
    metrics_token_file: Path | None = None
    # Off unless asked for: a setting that was forgotten on a server must not publish the whole interface.
    api_docs: bool = False

    @property
    def is_stand_in(self) -> bool:
        """Whether the built-in stand-in was asked for, by its name."""
        return self.openai_model == STAND_IN

    @property
    def can_answer(self) -> bool:
        """Whether there is something that answers questions."""
        return self.is_stand_in or self.openai_api_key is not None


def load_settings() -> Settings:
    """The settings; ends the program with one sentence where they are wrong or cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit(f"settings: {wrong} (set in the environment or in .env)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"settings: cannot read .env: {error}") from None
