"""What a command printed."""

from __future__ import annotations


def last_line(text: str, otherwise: str = "it said nothing") -> str:
    """The last line that holds anything: where a program gives up, it says why there. `otherwise` if none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), otherwise)
