"""docs/performance.md: each benchmark has a part of its own there, between two markers, and owns nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, plots
from benchmarks.table import Table
from tools.output import cell

PAGE = "performance.md"
HEAD = """# Performance

Measured by `python -m benchmarks all --save`. Believe the ratios: both sides of each were measured in turn in one run
on one machine. The times belong to the machine that is named.
"""


def save(folder: Path, benchmark: str, figures: dict[str, Any], tables: Sequence[Table]) -> Path:
    """Draw the picture and write the part anew. Returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = f"performance-{benchmark}.png"
    plots.draw(benchmark, figures, folder / picture)
    page = folder / PAGE
    text = page.read_text() if page.exists() else HEAD
    page.write_text(replaced(text, benchmark, _part(benchmark, figures, tables, picture)))
    return page


def replaced(text: str, benchmark: str, part: str) -> str:
    """The page with this part in place of the old one, or at its end."""
    begin, end = (f"<!-- benchmarks: {benchmark} {edge} -->" for edge in ("begins", "ends"))
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    marked = f"{begin}\n{part}\n{end}"
    if not found or not closed:
        return f"{text.rstrip()}\n\n{marked}\n"
    return f"{before}{marked}{after}"


def _part(benchmark: str, figures: dict[str, Any], tables: Sequence[Table], picture: str) -> str:
    parts = [f"## {benchmark}", f"![{benchmark}]({picture})"]
    for table in tables:
        parts += [f"**{table.title}**", _markdown(table), *([table.note] if table.note else [])]
    quick = "A quick run, with small numbers. " if figures["quick"] else ""
    parts.append(f"{quick}Measured on: {machine.line(figures['machine'])}")
    return "\n\n".join(parts)


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---", *("---:" for _ in table.columns[1:])], *table.rows]
    return "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)
