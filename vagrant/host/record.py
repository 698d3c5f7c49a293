"""What the lab has added to this computer, written down when it is done: for `make uninstall`."""

from __future__ import annotations

import json
import os
from pathlib import Path


def record() -> Path:
    """Where it is written down: one file for all checkouts of this account."""
    state = os.environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
    return Path(state) / "shipshape" / "installed.json"


def recorded() -> dict[str, list[str]]:
    """`packages` and `groups` that the lab has added; empty where nothing was written down."""
    try:
        known = json.loads(record().read_text(encoding="utf-8"))
        return {key: [str(each) for each in known[key]] for key in known}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def remember(key: str, names: list[str]) -> None:
    """Add to what is written down, before it is done: an interruption leaves nothing unnamed."""
    known = recorded()
    known[key] = sorted({*known.get(key, []), *names})
    record().parent.mkdir(parents=True, exist_ok=True)
    part = record().with_suffix(".part")
    part.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    part.replace(record())
