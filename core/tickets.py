"""When a placement without room shall come back, so that thousands of them do not come at once.

Each window of the order limit has as many tickets as orders. Who is refused gets the next free one: with 100 orders per
ten seconds the 250th is told to come in the third window. Within it the holders come one after the other during its
first third, and nobody who comes unasked takes their room meanwhile; a ticket that was not used by then has lapsed. No
ticket is further ahead than intents live that were never sent: whoever would have to wait longer asks again then. So
tickets of intents that have ended hold up nobody for long.
"""

from __future__ import annotations

from typing import Final

from core.meter import Meter

FIRST_PART: Final = 3
"""One in so many: the part of a window in which its tickets are good."""
CAPACITY_WITHOUT_LIMIT: Final = 1_000
"""Tickets per window where the venue has no order limit."""


class Tickets:
    def __init__(self, orders: Meter, ahead_ns: int) -> None:
        """`orders` is the meter of the shortest order limit: its windows are the tickets'. None is further ahead than
        `ahead_ns`."""
        self._orders = orders
        self._ahead = max(1, ahead_ns // orders.length_ns)
        self._capacity = orders.limit or CAPACITY_WITHOUT_LIMIT
        self._given: dict[int, int] = {}
        """By window."""
        self._left: dict[int, int] = {}
        """Of these, the ones that were not used yet."""
        self._holders: dict[str, int] = {}
        """Window by intent."""
        self._last = -1
        """The window in which tickets are given out at the moment; all before it have none left."""

    def waiting(self, now_ns: int) -> int:
        """Intents that were told to come in this window or later."""
        self._forget(self._orders.window_at(now_ns))
        return len(self._holders)

    def kept(self, intent_id: str, now_ns: int) -> int:
        """Room in this window that belongs to others than this intent."""
        window = self._orders.window_at(now_ns)
        if window not in self._left or self._has_lapsed(window, now_ns):
            return 0
        return 0 if self._holders.get(intent_id, window + 1) <= window else self._left[window]

    def use(self, intent_id: str, now_ns: int) -> None:
        """It has its room."""
        window = self._holders.pop(intent_id, None)
        if window in self._left:
            self._left[window] -= 1
        self._forget(self._orders.window_at(now_ns))

    def give(self, intent_id: str, from_ns: int, now_ns: int) -> int:
        """When to come, not before `from_ns`; ns of ours."""
        self.use(intent_id, now_ns)  # one that it has: it came too early, or others were faster
        first = max(self._orders.window_at(from_ns), self._orders.window_at(now_ns))
        furthest = first + self._ahead
        window = min(max(first, self._last), furthest)
        if self._given.get(window, 0) >= self._capacity and window < furthest:
            window += 1
        self._last = window
        number = self._given[window] = self._given.get(window, 0) + 1
        self._holders[intent_id] = window
        if number <= self._capacity:
            self._left[window] = self._left.get(window, 0) + 1
        share_ns = self._orders.length_ns // FIRST_PART
        step_ns = share_ns * ((number - 1) % self._capacity) // self._capacity
        return max(self._orders.begins_at(window), from_ns) + step_ns

    def _has_lapsed(self, window: int, now_ns: int) -> bool:
        return now_ns >= self._orders.begins_at(window) + self._orders.length_ns // FIRST_PART + self._slack_ns

    @property
    def _slack_ns(self) -> int:
        return self._orders.length_ns // (4 * FIRST_PART)

    def _forget(self, present: int) -> None:
        """Windows that are over, and the holders who never came."""
        over = [window for window in self._given if window < present]
        if over:
            for window in over:
                del self._given[window]
                self._left.pop(window, None)
            self._holders = {name: window for name, window in self._holders.items() if window >= present}
