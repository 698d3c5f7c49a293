"""What is a secret, and what only looks like one."""

from __future__ import annotations

import pytest

from labcheck.remote import secrets

KEY = "sk-lab-0123456789abcdef"
PASSWORD = "correct horse/battery"
URL = "postgresql://aiapp:correct%20horse%2Fbattery@127.0.0.1/aiapp"


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("OPENAI_API_KEY", KEY, [KEY]),
        ("API_KEYS", "user_1:one-key-123,user_2:two:key", ["one-key-123", "two:key"]),
        ("DATABASE_URL", URL, ["correct%20horse%2Fbattery", PASSWORD]),
        ("REDIS_URL", "redis://:hunter22@localhost:6379/0", ["hunter22"]),
        ("SECRET_KEY_BASE", "0123456789", ["0123456789"]),
        ("JWT_SECRET", "/base64+begins/so=", ["/base64+begins/so="]),
        ("SIGNING_KEY_2", "-----BEGIN-----\nlonger-line-of-it\n--END--", ["longer-line-of-it"]),
        ("openai_api_key", KEY, [KEY]),
        ("MAX_TOKENS", "4000", []),
        ("TOKENIZERS_PARALLELISM", "false", []),
        ("STRIPE_PUBLISHABLE_KEY", "pk-live-123456789", []),
        ("TLS_KEY", "/etc/hostname", []),  # a path
        ("KEY_FILE", "anything-else", []),
        ("REDIS_URL", "redis://localhost:6379/0", []),
        ("OPENAI_BASE_URL", "https://llm.lab.example/v1", []),
        ("PWD", "/home/aiapp", []),
        ("SSH_AUTH_SOCK", "/tmp/ssh-1234567/agent", []),
        ("OPENAI_API_KEY", "", []),
        ("PGPASSWORD", "hunter22", ["hunter22"]),
        ("BORG_PASSPHRASE", "hunter22", ["hunter22"]),
        ("RESTIC_PASSWORD_COMMAND", "pass show restic", []),
        ("AWS_ACCESS_KEY_ID", "AKIA0123456789", []),
        ("SENTRY_DSN", "https://0123456789abcdef@errors.example/7", []),  # it lets events in, and reads none
        ("DATABASE_URL", "postgresql://postgres@/aiapp", []),  # an account's name
    ],
)
def test_secret_is_distinguished_from_other_variables(name: str, value: str, parts: list[str]) -> None:
    assert secrets.secret_parts(name, value) == parts


def test_longer_one_of_two_values_is_hidden_first() -> None:
    assert secrets.hide("key-1 and key-12", ["", "key-1", "key-12"]) == "•••••• and ••••••"
