"""Draws docs/architecture.svg from the imports in the code: `python docs/draw_architecture.py`.

PARTS says which box a module belongs to, and how high the box stands. An import may only lead downwards:
whatever stands higher knows what stands lower, and never the other way round. tests/test_architecture.py
holds the code to that, and the committed picture to this script. An arrow that follows from others is not
drawn. Imports for the type checker alone (`if TYPE_CHECKING:`) are not counted, since they are never run.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"

# Where each import package lies. `host` is called so by vagrant/lab.py, which lies beside it.
PACKAGES = {
    "notebooks": "notebooks",
    "labkit": "notebooks/labkit",
    "labcheck": "labcheck",
    "lab_app": "lab_app",
    "lab": "vagrant/lab.py",
    "host": "vagrant/host",
}

Imports = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Box:
    """A box of the picture: the modules in it, or whole packages, what they are for, and where it stands.

    `at` is its middle, from the left edge of its part, and `width` is its own, both in pixels.
    """

    modules: tuple[str, ...]
    words: str
    at: int
    width: int = 170

    @property
    def title(self) -> str:
        package = self.modules[0].partition(".")[0]
        names = [module.removeprefix(f"{package}.") for module in self.modules]
        return {"lab": "lab.py"}.get(names[0], ", ".join(names))


@dataclass(frozen=True)
class Part:
    """A part of the picture, its boxes in rows from the top down."""

    title: str
    left: int
    width: int
    rows: tuple[tuple[Box, ...], ...]


PARTS = (
    Part(
        "notebooks/ the course, labcheck/ the checker",
        left=20,
        width=560,
        rows=(
            (Box(("notebooks",), "the chapters", 150),),
            (
                Box(("labkit",), "magics, pictures, course runner", 150, 220),
                Box(("labcheck.cli",), "the program labcheck", 440, 180),
            ),
            (
                Box(("labcheck.report",), "terminal, notebook, JSON", 105),
                Box(("labcheck.config",), "labcheck.toml", 285),
                Box(("labcheck.checklist",), "the items in their order", 465),
            ),
            (Box(("labcheck.runner",), "asks, then judges", 105),),
            (Box(("labcheck.checks",), "a module for each item: facts in, findings out", 285, 330),),
            (Box(("labcheck.external",), "questions asked from outside", 285, 220),),
            (Box(("labcheck.gather",), "all facts in one round trip", 285, 220),),
            (Box(("labcheck.facts",), "a fact: a command and its parser", 285, 240),),
            (
                Box(("labcheck.remote_program",), "sends a program with its modules", 195, 220),
                Box(("labcheck.promql",), "reads an alert's expression", 445, 190),
            ),
            (Box(("labcheck.ssh", "labcheck.ssh_errors"), "OpenSSH's client", 195),),
            (
                Box(
                    ("labcheck.errors", "labcheck.result", "labcheck.verdict", "labcheck.wait"),
                    "what all of it speaks of",
                    195,
                    230,
                ),
                Box(("labcheck.remote",), "the programs that travel", 445, 190),
            ),
        ),
    ),
    Part(
        "vagrant/ what makes the machine",
        left=600,
        width=480,
        rows=(
            (Box(("lab",), "starts on any Python", 240, 170),),
            (Box(("host.command_line",), "which words each command takes", 240, 240),),
            (
                Box(("host.commands",), "what they do with the server", 125, 210),
                Box(("host.test_command",), "what make test does", 355, 210),
            ),
            (
                Box(
                    (
                        "host.test_servers",
                        "host.test_run",
                        "host.test_stages",
                        "host.test_fast",
                        "host.test_reports",
                    ),
                    "the tests in their stages, and what they report",
                    240,
                    440,
                ),
            ),
            (
                Box(("host.jupyter", "host.uninstall"), "the chapters; what the lab leaves", 125, 210),
                Box(("host.programs",), "what the tests use", 355, 170),
            ),
            (
                Box(("host.bring_up", "host.preflight"), "from an empty computer to a server", 125, 220),
                Box(("host.chapters",), "run, and gone to", 355, 170),
            ),
            (
                Box(
                    ("host.snapshots", "host.lifecycle", "host.readiness"),
                    "saved, brought up, usable again",
                    240,
                    260,
                ),
            ),
            (
                Box(
                    ("host.ssh_files", "host.labcheck_config", "host.clock", "host.certificates"),
                    "what a machine is reached by, and what time touches",
                    240,
                    370,
                ),
            ),
            (
                Box(("host.machine",), "Vagrant, and OpenSSH", 150, 180),
                Box(("host.environment",), ".venv from the lock", 365, 160),
            ),
            (Box(("host.providers",), "one module for each kind of machine", 240, 240),),
            (
                Box(
                    ("host.inputs", "host.vagrant_output", "host.ssh_config"),
                    "what a machine is made from, and reached by",
                    140,
                    260,
                ),
                Box(("host.tools",), "packages and daemons", 375, 160),
            ),
            (
                Box(
                    ("host.computer", "host.subprocesses", "host.failures", "host.lock"),
                    "this computer, and processes on it",
                    240,
                    260,
                ),
            ),
            (
                Box(
                    ("host.progress", "host.record", "host.settings", "host.state"),
                    "what is said, and what is remembered",
                    240,
                    260,
                ),
            ),
        ),
    ),
    Part(
        "lab_app/ what is deployed",
        left=1100,
        width=220,
        rows=((Box(("lab_app",), "knows nothing of the lab", 110, 180),),),
    ),
)

ROW, HEIGHT, TOP, MARGIN = 78, 44, 96, 20
BOXES = [box for part in PARTS for row in part.rows for box in row]


# ---- what the code imports ---------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Each module and each chapter, by its name."""
    paths: dict[str, Path] = {}
    for package, place in PACKAGES.items():
        top = ROOT / place
        if top.is_file():
            paths[package] = top
        elif package == "notebooks":
            paths |= {f"{package}.{path.stem}": path for path in sorted(top.glob("*.ipynb"))}
        else:
            for path in sorted(top.rglob("*.py")):
                inside = path.relative_to(top).with_suffix("").parts
                paths[".".join([package, *(part for part in inside if part != "__init__")])] = path
    return paths


def source(path: Path) -> str:
    """The Python of a module, or of a chapter's cells; `%load_ext` is an import."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    python = "\n".join(cell for cell in cells if not cell.lstrip().startswith("%%"))
    return re.sub(r"(?m)^%(?!load_ext ).*$", "", python).replace("%load_ext ", "import ")


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that are run, wherever they stand."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        else:
            yield from statements(node)


def names(node: ast.Import | ast.ImportFrom, module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """What a statement names, in full: the module, and the module with a name from it."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, alias.name) for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        above = module.split(".")[: len(module.split(".")) - node.level + is_package]
        base = ".".join([*above, *filter(None, [node.module])])
    yield from ((base, f"{base}.{alias.name}") for alias in node.names)


def imports() -> Imports:
    """For each module the modules that it imports, of this project alone."""
    known = modules()
    imported = {}
    for module, path in known.items():
        named: set[str] = set()
        for node in statements(ast.parse(source(path))):
            for base, whole in names(node, module, path.name == "__init__.py"):
                named |= {whole if whole in known else base} & set(known)
        imported[module] = frozenset(named - {module})
    return imported


# ---- what may be -------------------------------------------------------------------------------


def circle(graph: Imports) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def box_of(module: str) -> Box | None:
    """The box that a module is in, by itself or with its package."""
    inside = [box for box in BOXES for each in box.modules if f"{module}.".startswith(f"{each}.")]
    return inside[0] if inside else None


def homeless(graph: Imports) -> list[str]:
    """Modules that are in no box. A package's own __init__ needs none, where it imports nothing."""
    return [
        module for module in graph if not box_of(module) and not (module in PACKAGES and not graph[module])
    ]


def arrows(graph: Imports) -> set[tuple[Box, Box]]:
    """Which box imports from which other one."""
    edges = set()
    for module, named in graph.items():
        for other in named:
            first, second = box_of(module), box_of(other)
            if first and second and first != second:
                edges.add((first, second))
    return edges


def height(box: Box) -> int:
    """The row that a box stands in, from the top."""
    return next(number for part in PARTS for number, row in enumerate(part.rows) if box in row)


def not_downwards(all_arrows: Iterable[tuple[Box, Box]]) -> list[str]:
    """The arrows that lead upwards, or to the side."""
    wrong = [(first, second) for first, second in all_arrows if height(second) <= height(first)]
    return sorted(f"{first.title} imports {second.title}" for first, second in wrong)


def needed(all_arrows: set[tuple[Box, Box]]) -> list[tuple[Box, Box]]:
    """Those that do not follow from others."""
    after: dict[Box, set[Box]] = {}
    for first, second in all_arrows:
        after.setdefault(first, set()).add(second)

    def reached(box: Box) -> set[Box]:
        return {far for near in after.get(box, ()) for far in {near, *reached(near)}}

    essential = [
        (first, second)
        for first, second in all_arrows
        if not any(second in reached(near) for near in after[first] - {second})
    ]
    return sorted(essential, key=lambda arrow: (BOXES.index(arrow[0]), BOXES.index(arrow[1])))


# ---- the picture -------------------------------------------------------------------------------


def middle(box: Box) -> int:
    return next(part.left + box.at for part in PARTS for row in part.rows if box in row)


def foot(part: Part) -> int:
    """Where a part ends."""
    return TOP + len(part.rows) * ROW - (ROW - HEIGHT) + MARGIN


def port(box: Box, other: Box, others: Iterable[Box]) -> float:
    """Where on its edge a box is left or entered: side by side, in the order of the other ends."""
    those = sorted(others, key=lambda each: (middle(each), BOXES.index(each)))
    step = min(36.0, box.width / (len(those) + 1))
    return middle(box) + (those.index(other) - (len(those) - 1) / 2) * step


def drawn(box: Box) -> Iterator[str]:
    x, y = middle(box), TOP + height(box) * ROW
    left = x - box.width // 2
    size = f'width="{box.width}" height="{HEIGHT}" rx="6"'
    yield f'  <rect x="{left}" y="{y}" {size} fill="#ffffff" stroke="#5b6b7a"/>'
    yield f'  <text x="{x}" y="{y + 19}" font-weight="bold">{escape(box.title)}</text>'
    yield f'  <text x="{x}" y="{y + 35}" font-size="11.5" fill="#5b6b7a">{escape(box.words)}</text>'


def picture(graph: Imports) -> str:
    """The picture as SVG."""
    shown = needed(arrows(graph))
    bottom = max(map(foot, PARTS))
    wide = max(part.left + part.width for part in PARTS) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {bottom + MARGIN}" width="{wide}" '
        f'height="{bottom + MARGIN}" role="img" aria-labelledby="title desc" '
        'font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif" font-size="13" fill="#22313f" '
        'text-anchor="middle">',
        '  <title id="title">What imports what</title>',
        '  <desc id="desc">The modules of the project as boxes. Each arrow leads down, to what is imported. '
        + "; ".join(f"{first.title} imports {second.title}" for first, second in shown)
        + ".</desc>",
        '  <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#5b6b7a"/></marker></defs>',
        f'  <rect width="{wide}" height="{bottom + MARGIN}" fill="#ffffff"/>',
        f'  <text x="{wide // 2}" y="34" font-size="15">What imports what: each arrow leads down; '
        "one that follows from others is left out</text>",
    ]
    for part in PARTS:
        size = f'width="{part.width}" height="{foot(part) - 54}" rx="10"'
        lines.append(f'  <rect x="{part.left}" y="54" {size} fill="#f3f6f8"/>')
        lines.append(f'  <text x="{part.left + part.width // 2}" y="78">{escape(part.title)}</text>')
    for first, second in shown:
        x1 = port(first, second, [to for one, to in shown if one == first])
        x2 = port(second, first, [one for one, to in shown if to == second])
        y1, y2 = TOP + height(first) * ROW + HEIGHT, TOP + height(second) * ROW - 1
        lines.append(
            f'  <path d="M{x1:g} {y1} C{x1:g} {y1 + 22} {x2:g} {y2 - 26} {x2:g} {y2}" fill="none" '
            'stroke="#5b6b7a" stroke-width="1.4" marker-end="url(#tip)"/>'
        )
    for box in BOXES:
        lines += drawn(box)
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    PICTURE.write_text(picture(imports()), encoding="utf-8")


if __name__ == "__main__":
    main()
