"""Times as programs write them."""

from __future__ import annotations

import re
from datetime import datetime

_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def seconds(text: str) -> float:
    """An RFC 3339 time, with any number of digits behind the point, in seconds since 1970.

    Go writes nine digits, and the year 1 for never. Raises ValueError.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"a time is not understood: {text!r}")
    # Python reads a Z since 3.11 alone.
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    return whole + float(match[2] or 0)
