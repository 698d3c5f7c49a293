"""What is a secret, by its name and its value, and how one is kept out of a text.

The parts of an address that name an account alone are none, nor is Sentry's DSN: it lets events in, and
nobody look at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

SHORTEST = 8  # characters: what is shorter stands in many places by chance
HIDDEN = "••••••"

_SECRET = re.compile(
    r"(?:SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:_|$)|(?:KEYS?|TOKENS?|_PASS|_PAT)(?:_?\d+)?$"
)
# What has such a word in its name, and says where something is, what it is called, or how long it lasts.
_NO_SECRET = re.compile(
    r"(?:^|_)(?:PUBLIC|PUBLISHABLE)_|_(?:FILE|PATH|DIR|NAME|ID|PREFIX|TTL|SECONDS|LENGTH|COMMAND)$"
)
_NO_VALUE = re.compile(r"|[\d.]{1,7}|true|false|yes|no|on|off|none|null", re.I)
_PASSWORD_IN_URL = re.compile(r"[A-Za-z][\w+.-]*://[^/?#@:]*:([^/?#]+)@")


def secret_parts(name: str, value: str) -> list[str]:
    """The parts of a variable's value that have to stay secret; none if it holds no secret."""
    if in_url := _PASSWORD_IN_URL.match(value):
        return list(dict.fromkeys([in_url[1], unquote(in_url[1])]))
    value, name = value.strip(), name.upper()
    if not _SECRET.search(name) or _NO_SECRET.search(name) or _NO_VALUE.fullmatch(value):
        return []
    if value.startswith("/") and len(value) < 200 and Path(value).exists():
        return []
    if "\n" in value:
        return [max(value.splitlines(), key=len)]
    # user_1:key,user_2:key and the like: the keys alone.
    return [part.strip().partition(":")[2] or part.strip() for part in value.split(",") if part.strip()]


def hide(text: str, values: Iterable[str]) -> str:
    """The text without any of these values."""
    for value in sorted(filter(None, values), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
