"""What a benchmark is doing, on standard error: one line that changes on a terminal, one line per step elsewhere.

Nothing is drawn by a thread or by a clock: only between two measurements, never in one.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from tools.output import console_for

COLUMNS = ("{task.fields[benchmark]:10}", "{task.fields[text]:42}")


class Progress:
    """One benchmark's line."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._quiet = not sys.stderr.isatty()
        columns = [*(TextColumn(text) for text in COLUMNS), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self._rich = RichProgress(
            *columns, console=console_for(sys.stderr), transient=True, auto_refresh=False, disable=self._quiet
        )
        self._task = self._rich.add_task("", total=None, benchmark=benchmark, text="")

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()

    def step(self, text: str, total: int | None = None) -> None:
        """Something new begins; it has `total` parts."""
        if self._quiet:
            print(f"{self._benchmark}: {text}", file=sys.stderr, flush=True)
        self._rich.reset(self._task, total=total, text=text)
        self._rich.refresh()

    def advance(self) -> None:
        """One part is done."""
        self._rich.advance(self._task)
        self._rich.refresh()
