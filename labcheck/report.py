"""What was found, for people (terminal, pipe, notebook) and for programs (JSON)."""

from __future__ import annotations

import html
import json
import re
import textwrap

from rich.console import Console
from rich.text import Text

from labcheck.result import Result
from labcheck.runner import Judged, Report
from labcheck.verdict import Finding, Verdict

SCHEMA = 2
HIDDEN = "••••••"
WORDS = {Verdict.PASS: "PASS", Verdict.FAIL: "FAIL", Verdict.UNKNOWN: " ?? ", Verdict.SKIP: "SKIP"}
COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "yellow", Verdict.SKIP: "dim"}
PAINT = {
    Verdict.PASS: "#1a7f37",
    Verdict.FAIL: "#cf222e",
    Verdict.UNKNOWN: "#9a6700",
    Verdict.SKIP: "#6e7781",
}

# ---- secrets ---------------------------------------------------------------

_NAMED = re.compile(
    r"""(?ix) (?P<name> [\w.-]* (?:secret|token|passw(?:or)?d|passphrase|_key\b|(?:api|private|access)_?key
        |dsn) [\w-]* ["']? \s* [=:] \s* ["']?) (?P<value> [^\s"',;\x00]{4,})"""
)
_SHAPED = re.compile(
    r"""(?x) (?P<before> ://[^/\s:@]*: ) [^@\s/]+ (?=@)                        # user:password@ in an address
        | \b(?:sk|pk|rk)-[\w-]{8,} | \bgh[opsu]_\w{20,} | \bAKIA[0-9A-Z]{16}\b   # keys that say what they are
        | \$(?:2[aby]|[156y]|argon2\w*)\$[\w./$=,+-]{10,}                        # hashes of passwords
        | (?s:-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*-----|\Z))"""
)

# All but tab and newline: the controls of ASCII and of ISO 8859, and what changes the direction of a text.
_CONTROLS = r"[\x01-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"


def printable(text: str) -> str:
    """What may reach a terminal, a pipe or a page: no secret, and nothing that a terminal would obey."""
    return visible(mask(text))


def visible(text: str) -> str:
    """The text without what a terminal would obey: NUL becomes a newline, a control \\xNN or \\uNNNN."""
    text = text.replace("\0", "\n").replace("\r\n", "\n")
    return re.sub(_CONTROLS, lambda found: _escaped(found[0]), text)


def _escaped(control: str) -> str:
    return f"\\x{ord(control):02x}" if ord(control) < 0x100 else f"\\u{ord(control):04x}"


def mask(text: str) -> str:
    """The text without what looks like a secret."""
    text = _SHAPED.sub(lambda match: (match["before"] or "") + HIDDEN, text)
    return _NAMED.sub(lambda match: match["name"] + HIDDEN, text)


# ---- text ------------------------------------------------------------------


def headline(judged: Judged, *, detail: bool) -> str:
    """The item in one line, after its verdict and name. `detail` adds what changes from check to check."""
    return one_line(_headline(judged, detail))


def _headline(judged: Judged, detail: bool) -> str:
    verdict = judged.verdict
    first = next(iter(judged.of(verdict)), None)
    if verdict is Verdict.PASS and first:
        return _with_detail(first, detail)
    if verdict is Verdict.UNKNOWN:
        return f"could not look: {first.observed if first else 'nothing was seen'}"
    if verdict is Verdict.SKIP and first:
        return first.observed
    count = len(judged.of(Verdict.FAIL))
    return "" if count == 1 else f"{count} things are wrong"


def _with_detail(finding: Finding, detail: bool) -> str:
    return f"{finding.observed}, {finding.detail}" if detail and finding.detail else finding.observed


def _explained(judged: Judged, *, detail: bool) -> list[tuple[str, str]]:
    """What has to be said below an item that is not all well: (label, text) pairs, an empty label between."""
    pairs: list[tuple[str, str]] = []
    for finding in judged.of(Verdict.FAIL):
        if pairs:
            pairs.append(("", ""))
        pairs += [("observed", _with_detail(finding, detail)), ("expected", finding.expected)]
        pairs += [("why", finding.why), ("next", finding.next)]
    blind = judged.of(Verdict.UNKNOWN)
    if judged.verdict is Verdict.FAIL:
        pairs += [("not seen", finding.observed) for finding in blind]
    else:
        pairs += [("and", finding.observed) for finding in blind[1:]]
    pairs += [("next", finding.next) for finding in blind if finding.next]
    if judged.verdict is Verdict.FAIL:
        pairs.append(("taught in", f'{judged.item.chapter}, "{judged.item.section}"'))
    return [(label, one_line(text)) for label, text in pairs if text or not label]


def one_line(text: str) -> str:
    """Printable, and in one line: a program's answer in a sentence of ours may have several."""
    return "; ".join(line.strip() for line in printable(text).splitlines() if line.strip())


def _verdict(judged: Judged) -> str:
    word = WORDS[judged.verdict]
    return f"{word} (looked)" if judged.verdict is Verdict.PASS and judged.not_exercised else word


def summary(report: Report) -> str:
    """The counts, in words."""
    total = len(report.items)
    failing, blind = report.count(Verdict.FAIL), report.count(Verdict.UNKNOWN)
    parts = [f"{report.count(Verdict.PASS)} of {total} pass"]
    if failing:
        parts.append(f"{failing} {'fails' if failing == 1 else 'fail'}")
    if blind:
        parts.append(f"{blind} could not be looked at")
    if skips := report.count(Verdict.SKIP):
        parts.append(f"{skips} skipped")
    return " · ".join(parts)


def terminal(report: Report, console: Console, *, verbose: bool = False) -> None:
    """Print the report: one line where all is well, a few more where it is not. Piped, it is plain text."""

    def put(text: Text) -> None:
        console.print(text, soft_wrap=not console.is_terminal, highlight=False)

    target = report.target
    head = [target.domain or target.host, report.address, report.system, f"seen from {target.vantage}"]
    put(Text(one_line(" · ".join(part for part in head if part)), style="bold"))
    put(Text())
    wide = max((len(_verdict(judged)) for judged in report.items), default=4)
    name = max((len(judged.item.short) for judged in report.items), default=10) + 2
    indent = " " * 11
    for judged in report.items:
        line = Text(f"{judged.item.number:3}  ")
        line.append(f"{_verdict(judged):{wide}}", style=COLOURS[judged.verdict])
        line.append(f"  {judged.item.short:{name}}{headline(judged, detail=True)}".rstrip())
        put(line)
        for label, text in _explained(judged, detail=True):
            put(_hanging(indent, label, text, console))
        if verbose:
            for finding in judged.of(Verdict.PASS):
                put(_hanging(indent, "seen", one_line(_with_detail(finding, True)), console))
    put(Text())
    put(_last_line(report, console))
    if verbose:
        _evidence(report, put)


def _hanging(indent: str, label: str, text: str, console: Console) -> Text:
    """A labelled line whose continuation lines stand under its text. Where no terminal shows it, one line."""
    margin = f"{indent}{label:11}"
    if not console.is_terminal:
        return Text((margin + text).rstrip())
    width = max(console.width - len(margin), 30)
    lines = textwrap.wrap(text, width) or [""]
    styled = Text(margin, style="dim")
    styled.append(("\n" + " " * len(margin)).join(lines), style="not dim")
    return styled


def _last_line(report: Report, console: Console) -> Text:
    words, duration = summary(report), f"{report.duration:.1f} s"
    colour = COLOURS[Verdict.FAIL if report.count(Verdict.FAIL) else Verdict.PASS]
    gap = max(min(console.width, 100) - len(words) - len(duration), 4)
    return Text.assemble((words, colour), " " * gap, (duration, "dim"))


def _evidence(report: Report, put: object) -> None:
    assert callable(put)
    for fact, printed in report.evidence:
        put(Text())
        put(Text(f"── {fact.name}{' (as root)' if fact.sudo else ''}", style="bold"))
        put(Text(mask(textwrap.indent(fact.command.strip(), "$ ")), style="dim"))
        if isinstance(printed, str):
            put(Text(printable(f"could not look: {printed}")))
            continue
        put(Text(printable(_shown(printed))))


def _shown(result: Result) -> str:
    parts = [result.stdout.rstrip("\n")]
    if result.stderr.strip():
        parts.append("standard error: " + result.stderr.strip())
    if result.exit_status:
        parts.append(f"exit status {result.exit_status}")
    return "\n".join(part for part in parts if part)


# ---- notebooks -------------------------------------------------------------


def notebook(judged: Judged, reference: bool = True) -> str:
    """An item as text that is the same on every check of an unchanged server."""
    item = judged.item
    line = f"{item.number}  {_verdict(judged).strip()}  {item.title}"
    rows = [line]
    head = headline(judged, detail=False)
    if judged.verdict is Verdict.PASS:
        return f"{line}: {head}" if head else line
    if head:
        rows.append(f"      {head}")
    for label, text in _explained(judged, detail=False):
        if label == "taught in":
            continue
        rows += textwrap.wrap(
            text, 118, initial_indent=f"      {label:10}", subsequent_indent=" " * 16, break_long_words=False
        ) or [""]
    return "\n".join(rows)


def board_text(report: Report) -> str:
    """The checklist, a line an item, the same on every check of an unchanged server."""
    wide = max(len(_verdict(judged).strip()) for judged in report.items)
    rows = [
        f"{judged.item.number:2}  {_verdict(judged).strip():{wide}}  {judged.item.title}"
        for judged in report.items
    ]
    return "\n".join([*rows, "", summary(report)])


def board_html(report: Report) -> str:
    """The same as a table with colours."""
    rows = []
    for judged in report.items:
        colour = PAINT[judged.verdict]
        word = html.escape(_verdict(judged).strip())
        rows.append(
            f'<tr><td style="text-align:right">{judged.item.number}</td>'
            f'<td style="text-align:left"><b style="color:{colour}">{word}</b></td>'
            f'<td style="text-align:left">{html.escape(judged.item.title)}</td>'
            f'<td style="text-align:left;color:#6e7781">{judged.item.chapter}</td></tr>'
        )
    table = "\n".join(rows)
    return f"<table>\n{table}\n</table>\n<p><b>{html.escape(summary(report))}</b></p>"


# ---- JSON ------------------------------------------------------------------


def as_json(report: Report) -> str:
    """The report for programs, as docs/report.schema.json describes it.

    `schema` changes when a field is renamed, changes its meaning or goes away.
    """
    target = report.target
    data = {
        "schema": SCHEMA,
        "target": {
            "host": target.host,
            "domain": target.domain,
            "address": report.address,
            "system": report.system,
            "vantage": target.vantage,
        },
        "started": report.started.isoformat(timespec="seconds"),
        "duration_ms": round(report.duration * 1000),
        "items": [
            {
                "item": judged.item.number,
                "title": judged.item.title,
                "verdict": judged.verdict.value,
                "depth": judged.depth.value,
                "findings": [_finding(finding, judged.item.chapter) for finding in judged.findings],
            }
            for judged in report.items
        ],
    }
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return re.sub(
        _CONTROLS, lambda found: f"\\u{ord(found[0]):04x}", text
    )  # the same string to a program that reads JSON


def _finding(finding: Finding, chapter: str) -> dict[str, str]:
    return {
        "verdict": finding.verdict.value,
        "depth": finding.depth.value,
        "observed": mask(finding.observed),
        "expected": mask(finding.expected),
        "why": mask(finding.why),
        "next": mask(finding.next),
        "detail": mask(finding.detail),
        "chapter": chapter,
    }
