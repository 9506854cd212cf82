"""When is a part that died started again, and when is it enough?

The idea is Erlang's: a part that fails is replaced by a fresh one that starts from the book, and if parts fail too
often in too short a time, replacing them does not help and somebody must look. Pure: names and times come in, decisions
go out.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from core.ids import NS_PER_MS, NS_PER_S

DELAY_FIRST_NS = 50 * NS_PER_MS
"""Before the second restart of a part; doubles with each, up to `DELAY_MAX_NS`. The first one is immediate."""
DELAY_MAX_NS = 10 * NS_PER_S
STEADY_NS = 30 * NS_PER_S
"""A part that lived this long starts from no delay again."""


class Restart(NamedTuple):
    """Start it again after this long."""

    after_ns: int


class Exhausted(NamedTuple):
    """Leave it; trading must stop."""

    reason: str


class Supervision:
    """Of all parts together: at most `restarts` of them within any `within_ns`."""

    def __init__(self, restarts: int, within_ns: int) -> None:
        self._limit = restarts
        self._within_ns = within_ns
        self._restarts: deque[int] = deque()
        self._failures: dict[str, int] = {}
        self._died_ns: dict[str, int] = {}
        self.total = 0
        """Restarts since the start."""

    def died(self, name: str, now_ns: int) -> Restart | Exhausted:
        """A part is gone, or could not start."""
        while self._restarts and now_ns - self._restarts[0] > self._within_ns:
            self._restarts.popleft()
        if len(self._restarts) >= self._limit:
            return Exhausted(
                f"{name} died; parts were restarted {len(self._restarts)} times within "
                f"{self._within_ns // NS_PER_S} s, which is the limit"
            )
        lived_ns = now_ns - self._died_ns.get(name, now_ns - STEADY_NS)
        failures = 0 if lived_ns >= STEADY_NS else self._failures.get(name, 0)
        self._failures[name], self._died_ns[name] = failures + 1, now_ns
        self._restarts.append(now_ns)
        self.total += 1
        return Restart(0 if failures == 0 else min(DELAY_FIRST_NS << (failures - 1), DELAY_MAX_NS))
