"""When is a part that died started again, and when is it enough?

The idea is Erlang's: a part that fails is replaced by a fresh one that starts from the book, and if parts fail too
often, replacing them does not help and somebody must look. Pure: names and times come in, decisions go out.

Too often, with N = `engine.restarts_max`, is

* more than N restarts of parts, whichever they are, within `engine.restart_window`: a storm;
* more than N deaths of one part in a row, none of them after it had been ready for `READY_ENOUGH_NS`: a crash loop,
  whose growing delays keep it below the first limit for ever.

One kind of death is neither, and uses up nothing of N: a part has said that it ends over something from outside that
can pass by itself (`core.errors.PASSING`: a full disk, a venue that does not answer). A disk that is full stops several
parts at once, again and again. Such a part is tried again for as long as it takes, after longer and longer pauses,
every `DELAY_MAX_NS` at last, and works when that has passed. Whatever else a part says, a contradiction in the book for
one, the next one would find again, so it counts like a death without a word.
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
READY_ENOUGH_NS = 5 * NS_PER_S
"""A part that was ready for this long before it died is no crash loop, whatever kills it: it did work meanwhile."""


class Restart(NamedTuple):
    """Start it again after this long."""

    after_ns: int


class Exhausted(NamedTuple):
    """Leave it; trading must stop."""

    reason: str


class Supervision:
    """At most `restarts` of all parts together within any `within_ns`, and of one part in a row; but see `passing`."""

    def __init__(self, restarts: int, within_ns: int) -> None:
        self._limit = restarts
        self._within_ns = within_ns
        self._restarts: deque[int] = deque()
        """When; without those of a passing cause."""
        self._failures: dict[str, int] = {}
        self._died_ns: dict[str, int] = {}
        self._ready_ns: dict[str, int] = {}
        """Since when a part that is there has been ready."""
        self._in_a_row: dict[str, int] = {}
        self.total = 0
        """Restarts since the start, all of them."""

    def ready(self, name: str, now_ns: int) -> None:
        """A part can work."""
        self._ready_ns[name] = now_ns

    def died(self, name: str, now_ns: int, *, passing: bool = False) -> Restart | Exhausted:
        """A part is gone, or could not start. `passing`: it has said so, and why: from outside, and it can pass."""
        if now_ns - self._ready_ns.pop(name, now_ns) >= READY_ENOUGH_NS:
            self._in_a_row[name] = 0
        if not passing:
            reason = self._enough(name, now_ns)
            if reason:
                return Exhausted(reason)
            self._restarts.append(now_ns)
        lived_ns = now_ns - self._died_ns.get(name, now_ns - STEADY_NS)
        failures = 0 if lived_ns >= STEADY_NS else self._failures.get(name, 0)
        self._failures[name], self._died_ns[name] = failures + 1, now_ns
        self.total += 1
        return Restart(0 if failures == 0 else min(DELAY_FIRST_NS << (failures - 1), DELAY_MAX_NS))

    def _enough(self, name: str, now_ns: int) -> str:
        """Why a restart does not help any more; empty when it may. Only for what counts."""
        while self._restarts and now_ns - self._restarts[0] > self._within_ns:
            self._restarts.popleft()
        if len(self._restarts) >= self._limit:
            seconds = self._within_ns // NS_PER_S
            return (
                f"{name} died; parts were restarted {len(self._restarts)} times within {seconds} s, which is the limit"
            )
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        if self._in_a_row[name] <= self._limit:
            return ""
        return (
            f"{name} died {self._in_a_row[name]} times in a row, never ready for {READY_ENOUGH_NS // NS_PER_S} s; "
            f"{self._limit} restarts are the limit"
        )
