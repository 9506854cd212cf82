"""How far a run is, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

EVERY_S = 10.0
"""Where nobody watches."""
REDRAW_S = 0.2


class Progress:
    """Of one run."""

    def __init__(self, name: str, *, is_silent: bool = False) -> None:
        """`is_silent`: somebody else tells."""
        self._name = name
        self._is_silent = is_silent
        self._is_watched = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._told_s = -EVERY_S
        self._what = ""

    def tell(self, what: str, done: int | None = None, total: int = 0, left_s: float | None = None) -> None:
        """`left_s` is an estimate. What is new is told at once."""
        now_s = time.monotonic()
        if self._is_silent:
            return
        if what == self._what and now_s - self._told_s < (REDRAW_S if self._is_watched else EVERY_S):
            return
        self._what, self._told_s = what, now_s
        line = f"{self._name}, {now_s - self._began_s:.0f} s: {what}"
        line += "" if done is None else f", {done} of {total}"
        line += "" if left_s is None else f", about {max(left_s, 0):.0f} s left"
        print(f"\r\033[K{line}" if self._is_watched else line, end="" if self._is_watched else "\n", file=sys.stderr)
        sys.stderr.flush()

    def end(self) -> None:
        if self._is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
