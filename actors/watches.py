"""What else than mail can wake a process: points in time, and file descriptors that an actor watches."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import threading
import time
from datetime import timedelta
from typing import Any

from thespian.actors import WakeupMessage
from thespian.system.timing import ExpirationTimer


class Timers:
    """They fire oldest first. May be set by any thread."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ExpirationTimer, Any]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, period: timedelta, payload: Any) -> None:
        due_s = time.monotonic() + period.total_seconds()
        with self._lock:
            heapq.heappush(self._heap, (due_s, next(self._numbers), ExpirationTimer(period), payload))

    def next_s(self) -> float | None:
        """When the first one is due, monotonic."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self) -> list[WakeupMessage]:
        now_s, due = time.monotonic(), []
        with self._lock:
            while self._heap and self._heap[0][0] <= now_s:
                _, _, timer, payload = heapq.heappop(self._heap)
                due.append(WakeupMessage(timer.duration, payload))
        return due

    def pending(self) -> list[Any]:
        """thespian's description of each."""
        with self._lock:
            return [timer for _, _, timer, _ in sorted(self._heap)]


class Watches:
    """The descriptors that an actor watches for something to read."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._watched: list[int] = []
        self.may_be_closed = False
        """Since they were last registered."""

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._watched

    def set(self, descriptors: list[int]) -> None:
        """Watch exactly these. One that cannot be watched is left out."""
        if descriptors == self._watched:
            self.may_be_closed = bool(descriptors)
            return
        for descriptor in set(self._watched) - set(descriptors):
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(descriptor)
        self._watched = list(descriptors)
        self.may_be_closed = False
        for descriptor in set(descriptors):
            self._register(descriptor)

    def look_again(self) -> None:
        """Before a wait: a descriptor that was closed is no longer watched, and its number may be that of another."""
        self.may_be_closed = False
        for descriptor in self._watched:
            self._register(descriptor)

    def _register(self, descriptor: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            try:
                self._epoll.modify(descriptor, select.EPOLLIN)
            except FileNotFoundError:
                self._epoll.register(descriptor, select.EPOLLIN)
