"""What people and programs get to read."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from labcheck import report
from labcheck.checks.model import Item, Target
from labcheck.facts import Fact
from labcheck.result import Result
from labcheck.runner import Judged, Report
from labcheck.verdict import Depth, Verdict, failed, passed, skipped, unknown

ROOT = Path(__file__).parents[2]

FAIL = failed(
    "8000/tcp open: uvicorn on 0.0.0.0:8000",
    expected="nothing but 22/tcp, 80/tcp, 443/tcp and udp",
    why="without the proxy there is no TLS",
    next="bind uvicorn to 127.0.0.1",
    detail="after 3 s",
)


def item(number: int, short: str) -> Item:
    return Item(number, f"{short} configured", short, "01_vm_setup", "Firewall", ())


def made(*judged: Judged) -> Report:
    return Report(
        Target("server", "app.example", vantage="the stand-in internet"),
        judged,
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        duration=2.44,
        system="Debian 12",
        address="198.51.100.10",
    )


REPORT = made(
    Judged(item(1, "Domain"), (passed("A 198.51.100.10 is this server", detail="TTL 60 s"),)),
    Judged(item(6, "Firewall"), (passed("rules persist"), FAIL, unknown("no IPv6 here"))),
    Judged(item(7, "Account"), (unknown("sudo asks for a password", next="add NOPASSWD"),)),
    Judged(item(15, "Cost"), (skipped("no state"),)),
)


def printed(to_print: Report, *, verbose: bool = False, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=80, force_terminal=terminal, color_system="truecolor" if terminal else None
    )
    report.terminal(to_print, console, verbose=verbose)
    return file.getvalue()


def test_report_to_a_pipe_is_one_plain_line_where_all_is_well_and_the_reasons_where_not() -> None:
    assert printed(REPORT) == (
        "app.example · 198.51.100.10 · Debian 12 · seen from the stand-in internet\n"
        "\n"
        "  1  PASS  Domain    A 198.51.100.10 is this server, TTL 60 s\n"
        "  6  FAIL  Firewall\n"
        "           observed   8000/tcp open: uvicorn on 0.0.0.0:8000, after 3 s\n"
        "           expected   nothing but 22/tcp, 80/tcp, 443/tcp and udp\n"
        "           why        without the proxy there is no TLS\n"
        "           next       bind uvicorn to 127.0.0.1\n"
        "           not seen   no IPv6 here\n"
        '           taught in  01_vm_setup, "Firewall"\n'
        "  7   ??   Account   could not look: sudo asks for a password\n"
        "           next       add NOPASSWD\n"
        " 15  SKIP  Cost      no state\n"
        "\n"
        "1 of 4 pass · 1 fails · 1 could not be looked at · 1 skipped" + " " * 15 + "2.4 s\n"
    )


def test_report_on_a_terminal_has_colours_and_wraps_under_the_text() -> None:
    long = replace(FAIL, why="word " * 30)
    text = printed(made(Judged(item(6, "Firewall"), (long,))), terminal=True)
    assert "\x1b[1;31mFAIL" in text
    assert "\n                      word" in text


def test_item_that_was_only_looked_at_says_so() -> None:
    looked = replace(item(9, "Supervisor"), exercise=lambda server, context: iter(()))
    one = made(Judged(looked, (passed("running"),)), Judged(item(1, "Domain"), (passed("there"),)))
    assert "  9  PASS (looked)  Supervisor  running\n  1  PASS           Domain      there\n" in printed(one)


def test_report_in_a_notebook_shows_nothing_that_changes_from_run_to_run() -> None:
    texts = [report.notebook(judged) for judged in REPORT.items]
    assert texts[0] == "1  PASS  Domain configured: A 198.51.100.10 is this server"
    assert texts[1].splitlines() == [
        "6  FAIL  Firewall configured",
        "      observed  8000/tcp open: uvicorn on 0.0.0.0:8000",
        "      expected  nothing but 22/tcp, 80/tcp, 443/tcp and udp",
        "      why       without the proxy there is no TLS",
        "      next      bind uvicorn to 127.0.0.1",
        "      not seen  no IPv6 here",
    ]
    assert texts[2].splitlines()[1] == "      could not look: sudo asks for a password"
    assert not any("60 s" in text or "3 s" in text for text in [*texts, report.board_text(REPORT)])


def test_the_board_has_a_line_an_item_and_the_counts() -> None:
    lines = report.board_text(REPORT).splitlines()
    assert lines[0] == " 1  PASS  Domain configured"
    assert lines[-1] == "1 of 4 pass · 1 fails · 1 could not be looked at · 1 skipped"
    table = report.board_html(REPORT)
    assert table.count("<tr>") == 4
    assert "Domain configured" in table


SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))


def test_json_report_is_what_its_schema_describes() -> None:
    """And nothing more: each object of the schema names all its fields, and allows no other."""
    Draft202012Validator.check_schema(SCHEMA)
    valid = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    data = json.loads(report.as_json(REPORT))
    assert [error.message for error in valid.iter_errors(data)] == []
    assert SCHEMA["properties"]["schema"]["const"] == report.SCHEMA
    data["items"][1]["findings"][1]["saw"] = data["items"][1]["findings"][1].pop("observed")
    assert len(list(valid.iter_errors(data))) == 2


def test_json_schema_of_the_report_knows_each_verdict_and_depth() -> None:
    for part in ("item", "finding"):
        fields = SCHEMA["$defs"][part]["properties"]
        assert set(fields["verdict"]["enum"]) == {verdict.value for verdict in Verdict}
        assert set(fields["depth"]["enum"]) == {depth.value for depth in Depth}


def test_json_report_has_the_values_of_the_report() -> None:
    data = json.loads(report.as_json(REPORT))
    assert (data["started"], data["duration_ms"]) == ("2026-01-02T03:04:05+00:00", 2440)
    assert data["target"]["domain"] == "app.example"
    firewall = data["items"][1]
    assert (firewall["item"], firewall["verdict"], firewall["depth"]) == (6, "FAIL", "look")
    assert firewall["findings"][1]["observed"] == FAIL.observed
    assert firewall["findings"][1]["chapter"] == "01_vm_setup"


SECRET = "q7Xw9pLm3nRt"


@pytest.mark.parametrize(
    "text",
    [
        f"OPENAI_API_KEY={SECRET}",
        f"LLM_KEY='{SECRET}'",
        f'"db_password": "{SECRET}"',
        f"postgres://aiapp:{SECRET}@localhost/aiapp",
        f"key sk-{SECRET} was used",
        f"SECRET_TOKEN={SECRET}\0OTHER=1",
        f"root:$6$salt${SECRET}:19000",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_is_masked_in_every_output(text: str) -> None:
    fact = Fact("environment", "cat /proc/1/environ", lambda result: result, sudo=True)
    evidence = ((fact, Result(text, text, 0)), (fact, text))
    blind = Judged(item(8, "Secrets"), (unknown(text, next=text),))
    bad = failed(text, expected=text, why=text, next=text, detail=text)
    one = replace(made(Judged(item(8, "Secrets"), (passed(text), bad)), blind), evidence=evidence)
    shown = [printed(one, verbose=True), report.as_json(one), *(report.notebook(j) for j in one.items)]
    assert not any(SECRET in text for text in shown)
    assert all(report.HIDDEN in text for text in shown)


CONTROLS = "\x1b]0;owned\x07 \x1b[2J \x9b31m \x08 \r \x7f \u202e \u2066 \u2028 \x85 \x0c \0"


def test_output_has_nothing_that_a_terminal_would_obey() -> None:
    """Process names, file names, answers: a server's words may be an attacker's."""
    fact = Fact("processes", "cat /proc/1/cmdline", lambda result: result)
    bad = failed(CONTROLS, expected=CONTROLS, why=CONTROLS, next=CONTROLS, detail=CONTROLS)
    blind = Judged(item(8, "Secrets"), (unknown(CONTROLS, next=CONTROLS),))
    hostile = made(Judged(item(8, "Secrets"), (passed(CONTROLS, detail=CONTROLS), bad)), blind,
               Judged(item(9, "Other"), (skipped(CONTROLS),)))  # fmt: skip
    hostile = replace(
        hostile, system=CONTROLS, address=CONTROLS, evidence=((fact, Result(CONTROLS, CONTROLS, 0)),)
    )
    shown = [
        printed(hostile, verbose=True),
        report.as_json(hostile),
        report.board_text(hostile),
        report.board_html(hostile),
    ]
    shown += [report.notebook(judged) for judged in hostile.items]
    for text in shown:
        assert all(letter == "\n" or letter.isprintable() for letter in text), ascii(text)
    observed = json.loads(report.as_json(hostile))["items"][0]["findings"][1]["observed"]
    assert observed == CONTROLS  # to a program it is what it was


@pytest.mark.parametrize("text", ["PasswordAuthentication no", "key refused: no such key", "443/tcp open"])
def test_text_that_is_no_secret_is_left_alone(text: str) -> None:
    assert report.mask(text) == text


def test_verbose_report_shows_each_command_and_what_it_printed_without_moving_the_cursor() -> None:
    fact = Fact("processes", "ps ax", lambda result: result, sudo=True)
    text = printed(
        replace(REPORT, evidence=((fact, Result("a\x1b[2Jb\0c\n", "warning\n", 3)), (fact, "it is off"))),
        verbose=True,
    )
    assert "── processes (as root)\n$ ps ax\na\\x1b[2Jb\nc\nstandard error: warning\nexit status 3\n" in text
    assert "could not look: it is off" in text
