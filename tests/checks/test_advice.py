"""What labcheck advises does no harm to a person who follows it without thinking: every `next` of every
check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcheck import checks

CHECKS = Path(checks.__file__).parent


def advice() -> Iterator[tuple[str, str]]:
    """Where each `next=` stands, and its words; what is filled in is …"""
    for path in sorted(CHECKS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "next":
                yield f"{path.stem}:{node.value.lineno}", words(node.value, named)


def words(node: ast.expr, named: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part, named) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return words(node.value, named)
    if isinstance(node, ast.Name) and node.id in named:
        return words(named[node.id], named)
    if isinstance(node, ast.BoolOp):
        return " | ".join(words(part, named) for part in node.values)
    if isinstance(node, ast.IfExp):
        return f"{words(node.body, named)} | {words(node.orelse, named)}"
    if isinstance(node, ast.BinOp):
        return words(node.left, named) + words(node.right, named)
    return "…"


FOUND = dict(advice())


def test_advice_is_there_and_was_read() -> None:
    assert len(FOUND) > 100
    assert sum(text == "…" for text in FOUND.values()) < 10


@pytest.mark.parametrize("where", [where for where, text in FOUND.items() if "ufw enable" in text])
def test_a_firewall_is_enabled_with_the_rule_for_ssh_first(where: str) -> None:
    assert re.search(r"ufw allow OpenSSH.*ufw enable", FOUND[where]), FOUND[where]


@pytest.mark.parametrize(
    "harmful", [r"\brm\b", r"chmod o-\w*x", r"chmod -R", r"\bkill\b", r"ufw (disable|reset)"]
)
def test_advice_removes_closes_and_ends_nothing_that_others_may_need(harmful: str) -> None:
    assert not {where: text for where, text in FOUND.items() if re.search(harmful, text)}
