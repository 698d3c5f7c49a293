"""labkit: the course's own: its magics, a dead man's switch, pictures, and how a chapter runs unattended."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext labkit`."""
    from labkit import magics

    magics.register(shell)
