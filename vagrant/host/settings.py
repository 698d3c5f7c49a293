"""The checkout that this program is in, and the settings that Ruby, bash and Python share there."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def read_settings(source: Path) -> dict[str, str]:
    """The pairs of vagrant/lab.env: KEY=value, no quotes."""
    lines = (text.strip() for text in source.read_text(encoding="utf-8").splitlines())
    return dict(text.split("=", 1) for text in lines if text and not text.startswith("#"))
