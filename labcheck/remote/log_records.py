"""What a line of an application's log says: the one place that knows in which formats logs are written.

It is read on this computer and on the server: it travels with the programs that read logs there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

REQUEST_ID = re.compile(rb'"request_id": ?"([^"]+)"')
"""A request's id anywhere in a log, for what is too much to be read line by line."""


def record(line: str, *, number: Callable[[str], Any] | None = None) -> dict[str, Any] | None:
    """A line of a log as a mapping; None where it is none.

    `number` makes a value of the digits of a number: `str` keeps each of them.
    """
    try:
        value = json.loads(line, parse_float=number, parse_int=number)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
