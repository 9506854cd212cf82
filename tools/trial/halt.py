"""An operator stops trading in the middle of a trial, and lets it go on later.

From the moment in which he is told that trading is halted to the moment in which he asks for it to go on, no order may
reach the venue, whatever dies and is restarted meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from core.ids import NS_PER_MS, NS_PER_S
from core.records import TradingState
from tools.trial.strategy import Strategy

SPARED_S: Final = 15.0
"""So long nobody is killed while an answer is awaited: under fire the daemon may not come up at all."""
HELD_S: Final = 4.0
"""So long at least."""
KILLS_MEANWHILE: Final = 6
"""And so many kills, if that many are left."""


class Halt:
    """Begins when `begin` is called; `step` is to be called often after that, until `is_over`."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._asked_ns = 0
        self._told_ns = 0
        self._resumed_ns = 0
        self._kills_then = 0
        self.kills = 0
        """While trading was halted."""
        self.is_over = False

    def begin(self) -> None:
        self._asked_ns = time.time_ns()
        self._strategy.insist_on(TradingState.HALTED)

    @property
    def has_begun(self) -> bool:
        return bool(self._asked_ns)

    @property
    def spares(self) -> bool:
        """Whether the operator waits for an answer, and shall get it."""
        asked_ns = self._resumed_ns or self._asked_ns
        return self._strategy.insists and time.time_ns() - asked_ns < SPARED_S * NS_PER_S

    def step(self, kills: int, *, more_kills: bool) -> None:
        """`kills` so far; `more_kills`: some are still to come."""
        now_ns = time.time_ns()
        if not self.has_begun or self.is_over or self._strategy.insists:
            return
        if not self._told_ns:
            self._told_ns, self._kills_then = self._strategy.told_ns, kills
        elif not self._resumed_ns:
            self.kills = kills - self._kills_then
            enough = self.kills >= KILLS_MEANWHILE or not more_kills
            if enough and now_ns - self._told_ns >= HELD_S * NS_PER_S:
                self._resumed_ns = now_ns
                self._strategy.insist_on(TradingState.ACTIVE)
        else:
            self.is_over = True

    def figures(self, orders: Iterable[tuple[str, int]]) -> dict[str, Any]:
        """`orders`: of the venue, client id and the time it came there, in ms."""
        told_ms, resumed_ms = self._told_ns // NS_PER_MS, self._resumed_ns // NS_PER_MS
        after = sorted(name for name, at_ms in orders if told_ms < at_ms < resumed_ms)
        return {
            "orders_after_halt": len(after),
            "halt": {
                "acknowledged_ms": (self._told_ns - self._asked_ns) / NS_PER_MS,
                "held_s": round((self._resumed_ns - self._told_ns) / NS_PER_S, 3),
                "kills": self.kills,
                "is_over": self.is_over,
                "orders": after,
            },
        }
