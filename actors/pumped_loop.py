"""An asyncio loop that lives inside an actor, in the actor's own thread.

An actor waits for its mail and for file descriptors; an asyncio loop waits for its own sockets and timers. Two threads
would have to wake each other for every step of every request, and they would take turns with the interpreter's lock.
So this loop never waits: it is *pumped*. `pump` runs everything that is ready and then says when time alone will make
it ready again; the descriptor `fileno` becomes readable when its sockets do, or when another thread calls it. The actor
watches the one and sets a timer for the other.

The trick is in the loop's selector: asked to wait, it looks once and, if there is nothing, stops the loop. It does so,
too, when a pump has lasted for `PUMP_MAX_NS`: a venue that answers quickly always has something ready, and the actor's
mail, a cancel in it, must not wait for the last of a thousand orders.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

NS_PER_S = 1_000_000_000
PUMP_MAX_NS = 20_000_000


class _Unwaiting(selectors.DefaultSelector):
    """Looks, and never waits; `on_idle` is told how long the loop would have waited, or 0 when the time is over."""

    on_idle: Callable[[float | None], None]
    is_over: Callable[[], bool]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if self.is_over():
            self.on_idle(0)
        elif not found and (timeout is None or timeout > 0):
            self.on_idle(timeout)
        return found


class PumpedLoop:
    """Runs coroutines whenever it is pumped. Belongs to one thread."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """`monotonic_ns` is the clock of its timers."""
        selector = _Unwaiting()
        selector.on_idle = self._note_idle
        selector.is_over = self._is_over
        self._clock_ns = monotonic_ns
        self._until_ns: int | None = None
        self._selector = selector
        self._loop = asyncio.SelectorEventLoop(selector)
        self._loop.time = lambda: monotonic_ns() / NS_PER_S  # type: ignore[method-assign]
        self._wait_s: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def _note_idle(self, wait_s: float | None) -> None:
        self._wait_s = wait_s
        self._loop.stop()

    def _is_over(self) -> bool:
        return self._until_ns is not None and self._clock_ns() >= self._until_ns

    def fileno(self) -> int:
        """Readable when the loop has something to do."""
        return self._selector.fileno()

    def start(self, work: Coroutine[Any, Any, Any], done: Callable[[asyncio.Task[Any]], None]) -> None:
        """Begin a coroutine; `done` is called from within a later `pump` with the finished task."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(done)

    def pump(self) -> float | None:
        """Run until nothing is ready, or for long enough. Returns in how many seconds to come again; None: there is no
        timer."""
        self._until_ns = self._clock_ns() + PUMP_MAX_NS
        self._loop.run_forever()
        return self._wait_s

    def complete(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        """Run a coroutine to its end, waiting. Raises `TimeoutError`, or what it raises."""
        results: list[asyncio.Task[Any]] = []
        self.start(work, results.append)
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        while True:
            wait_s = self.pump()
            if results:
                return results[0].result()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not done within {timeout_s:g} s")
            poll.poll((left if wait_s is None else min(left, wait_s)) * 1_000)

    def close(self) -> None:
        """Cancel what is running and release everything."""
        for task in tuple(self._tasks):
            task.cancel()
        self._until_ns = None
        self._loop.run_forever()
        self._loop.close()
