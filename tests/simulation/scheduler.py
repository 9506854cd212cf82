"""Virtual time: one queue of what shall happen, and a clock that jumps from one event to the next.

Everything in a simulated world happens through here, one event after the other, so a run is a pure function of its
seed. Events of the same moment happen in the order in which they were planned.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Scheduler:
    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.now_ns = start_ns
        """ns UTC, virtual."""
        self.steps = 0
        """Events that have happened."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0

    def at(self, when_ns: int, event: Callable[[], None]) -> None:
        """Let it happen then; what is planned for the past happens now."""
        self._planned += 1
        heapq.heappush(self._queue, (max(when_ns, self.now_ns), self._planned, event))

    def after(self, delay_ns: int, event: Callable[[], None]) -> None:
        self.at(self.now_ns + delay_ns, event)

    def step(self) -> None:
        """The next event."""
        self.now_ns, _, event = heapq.heappop(self._queue)
        self.steps += 1
        event()

    @property
    def elapsed_s(self) -> float:
        """Since the start, virtual."""
        return (self.now_ns - self.start_ns) / NS_PER_S
