"""Whose turn is it? Every request to the venue enters through its lane, and leaves it when it is over.

A cancel or a question without room waits here: cancels first, then look-ups, then lists, then lists on demand, each
lane in its own order.
Who waits has not been sent, so the request's own time-out has not begun; nobody waits longer than `wait_max_ns`, and no
lane holds more than `QUEUE_MAX`. A placement is never kept waiting for the budget: it is told when to come again
(`core/rates.py`). All of them wait for one of the connections, which orders and questions have each of their own, so no
number of questions holds an order up; a cancel takes the next one before any placement.

Belongs to one event loop. Who uses it: `exchange/client.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from core.ids import NS_PER_S
from core.rates import BANNED, TOO_MANY, Held, Lane, Pass, Rates, Stop
from exchange.binance import TraceRecord

IN_FLIGHT_MAX: Final = 32
"""Requests on the wire at one time, for orders and for questions each."""
PROBE_S: Final = 0.5
"""The longest wait of other placements for the answer to a gateway's first one."""
KEPT_FOR_CANCELS: Final = 8
"""Connections more, which no placement takes: a venue that hangs must not hold a cancel up."""
QUEUE_MAX: Final = 2_000
"""Requests that wait in one lane."""
SLOT_TIMEOUT_S: Final = 4.0
"""The longest wait of an order for a connection."""
ORDERS, QUESTIONS = "orders", "questions"
CONNECTIONS: Final = {
    Lane.CANCEL: ORDERS, Lane.PLACE: ORDERS, Lane.LOOK_UP: QUESTIONS, Lane.SWEEP: QUESTIONS,
    Lane.ON_DEMAND: QUESTIONS,
}  # fmt: skip
WEIGHT, ORDERS_10S, ORDERS_1D = 0, 1, 2


class NoRoom(Exception):
    """The request was not sent; the text says why."""


class _Waiting(NamedTuple):
    weight: int
    turn: asyncio.Future[Pass | None]


class Lanes:
    def __init__(
        self, rates: Rates, now_ns: Callable[[], int], wait_max_ns: int, on_hit: Callable[[int, Stop], None]
    ) -> None:
        """`on_hit` is told when the venue says "too many", with its HTTP status."""
        self.rates = rates
        self._now_ns = now_ns
        self._wait_max_s = wait_max_ns / NS_PER_S
        self._on_hit = on_hit
        self._free = {ORDERS: IN_FLIGHT_MAX + KEPT_FOR_CANCELS, QUESTIONS: IN_FLIGHT_MAX}
        self._queues: dict[Lane, deque[_Waiting]] = {lane: deque() for lane in Lane}
        self._alarm: asyncio.TimerHandle | None = None
        self._probing = False
        self._is_probed = False
        """The first placement was answered, or took too long for the others to wait."""

    @property
    def queued(self) -> dict[Lane, int]:
        return {lane: len(queue) for lane, queue in self._queues.items()}

    @property
    def in_flight(self) -> int:
        return 2 * IN_FLIGHT_MAX + KEPT_FOR_CANCELS - sum(self._free.values())

    def end_placing(self, wait_max_ns: int) -> None:
        """No placement comes any more: questions get their room, and those that come now wait so long at most."""
        self.rates.end_placing()
        self._wait_max_s = min(self._wait_max_s, wait_max_ns / NS_PER_S)
        self._dispatch()

    # ── cancels and questions ─────────────────────────────────────────────────────────────────────────────────────

    async def enter(self, lane: Lane, weight: int) -> Pass:
        """Wait for the turn. Raises `NoRoom`; whoever gets a pass gives it to `leave`."""
        queue = self._queues[lane]
        if not queue and self._free[CONNECTIONS[lane]]:
            found = self.rates.ask(lane, weight, self._now_ns())
            if isinstance(found, Pass):
                self._free[CONNECTIONS[lane]] -= 1
                return found
        passed = await self._wait(lane, weight, self._wait_max_s)
        assert passed is not None
        return passed

    def leave(self, passed: Pass, trace: TraceRecord | None) -> None:
        """The request is over; `trace` is its HTTP exchange, None if there was none."""
        now_ns = self._now_ns()
        if trace is None:
            self.rates.give_back(passed)
        else:
            self.rates.settle(passed, (trace.used_weight, trace.order_count, trace.order_count_day), now_ns)
            if trace.status in {TOO_MANY, BANNED}:
                retry_after_ns = trace.retry_after_s * NS_PER_S
                self._on_hit(trace.status, self.rates.refused(trace.status, trace.code, retry_after_ns, now_ns))
            elif passed.lane is Lane.PLACE and trace.status is not None:
                self.rates.order_answered()
        self._release(passed.lane, has_left=trace is not None)

    # ── placements ────────────────────────────────────────────────────────────────────────────────────────────────

    async def enter_to_place(self, intent_id: str, weight: int) -> Pass | Held:
        """At once where the budget has no room; else as soon as a connection is free. Raises `NoRoom`.

        The first one goes ahead, since its answer shows how many orders the venue counts already; but the others do not
        wait long for it: a venue that does not answer, or does not tell, must not hold them up.
        """
        now_ns = self._now_ns()
        held = self.rates.would_hold(intent_id, weight, now_ns)
        if held is not None:
            return self.rates.come_again(intent_id, held.until_ns, held.reason, now_ns)
        if self._queues[Lane.PLACE] or not self._may_place():
            await self._wait(Lane.PLACE, weight, SLOT_TIMEOUT_S)
        else:
            self._take_connection(Lane.PLACE)
        found = self.rates.place(intent_id, weight, self._now_ns())
        if isinstance(found, Held):
            self._release(Lane.PLACE, has_left=False)
        return found

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_place(self) -> bool:
        return self._free[ORDERS] > KEPT_FOR_CANCELS and (self._is_probed or not self._probing)

    def _take_connection(self, lane: Lane) -> None:
        self._free[CONNECTIONS[lane]] -= 1
        if lane is Lane.PLACE and not (self._is_probed or self.rates.orders_are_known):
            self._probing = True
            asyncio.get_running_loop().call_later(PROBE_S, self._end_probe)

    def _end_probe(self) -> None:
        self._is_probed = True
        self._dispatch()

    def _release(self, lane: Lane, *, has_left: bool) -> None:
        self._free[CONNECTIONS[lane]] += 1
        if lane is Lane.PLACE:
            self._is_probed |= has_left
            self._probing = False  # if it has shown nothing, the next one goes ahead
        self._dispatch()

    async def _wait(self, lane: Lane, weight: int, longest_s: float) -> Pass | None:
        """The pass; None for a placement, which has only its connection then."""
        queue = self._queues[lane]
        if len(queue) >= QUEUE_MAX:
            raise NoRoom(f"{len(queue)} requests wait in the lane {lane}; nothing was sent")
        waiting = _Waiting(weight, asyncio.get_running_loop().create_future())
        queue.append(waiting)
        self._dispatch()
        try:
            async with asyncio.timeout(longest_s):
                return await waiting.turn
        except BaseException as error:
            self._forget(lane, waiting)
            if isinstance(error, TimeoutError):
                raise NoRoom(f"{self._why(lane, weight)} for {longest_s:g} s; nothing was sent") from None
            raise

    def _why(self, lane: Lane, weight: int) -> str:
        found = self.rates.ask(lane, weight, self._now_ns())
        if isinstance(found, Held):
            return found.reason
        self.rates.give_back(found)
        return f"no connection was free in the lane {lane}"

    def _forget(self, lane: Lane, waiting: _Waiting) -> None:
        """It waits no longer; if its turn came in this very moment, it is the next one's."""
        if waiting in self._queues[lane]:
            self._queues[lane].remove(waiting)
        elif waiting.turn.done() and not waiting.turn.cancelled():
            passed = waiting.turn.result()
            if passed is not None:
                self.rates.give_back(passed)
            self._release(lane, has_left=False)

    def _dispatch(self) -> None:
        """Let in whoever has room, by priority; look again when there may be more."""
        now_ns, again_ns = self._now_ns(), 0
        for lane, queue in self._queues.items():
            while queue and self._free[CONNECTIONS[lane]]:
                if queue[0].turn.done():  # it has given up
                    queue.popleft()
                    continue
                passed: Pass | None = None
                if lane is Lane.PLACE and not self._may_place():
                    break
                if lane is not Lane.PLACE:
                    found = self.rates.ask(lane, queue[0].weight, now_ns)
                    if isinstance(found, Held):
                        again_ns = min(again_ns or found.until_ns, found.until_ns)
                        break
                    passed = found
                self._take_connection(lane)
                queue.popleft().turn.set_result(passed)
        if again_ns:
            self._look_again((again_ns - now_ns) / NS_PER_S)

    def _look_again(self, delay_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(max(0.001, delay_s), self._dispatch)
