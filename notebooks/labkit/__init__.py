"""labkit: reach a server, look at it, judge it, and say why."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext labkit`."""
    from labkit import magic

    magic.register(shell)
