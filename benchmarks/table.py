"""A benchmark's figures as rows, the same for the terminal and for docs/performance.md."""

from __future__ import annotations

from typing import Any, NamedTuple


class Table(NamedTuple):
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    note: str = ""
    """What a reader must know to believe it."""
