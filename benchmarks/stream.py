"""A steady stream of intents that goes on whatever dies: each is asked about again with its key until its end is known.

An intent leaves when it is due, not when another one has ended, so what a dead part holds up piles up behind it as it
would in a live market. The stream does what a patient strategy should. No answer for a while: ask again. The router is
gone: ask the engine for the one that took its place, and ask that one about everything of its symbol. "Not now" is no
answer.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from actors.client import Client
from benchmarks.errors import BenchmarkFailed
from benchmarks.quantiles import milliseconds
from benchmarks.venue import Order
from core.errors import EngineNotRunning, RequestTimedOut
from core.ids import NS_PER_MS, NS_PER_S, IntentId
from core.intent import IntentRequest, Kind, Side
from core.lifecycle import is_terminal
from core.planning import Refusal
from core.records import IntentRecord
from messages.intents import IntentAnswered, IntentDone
from tools.trial.strategy import is_passing

SILENCE_NS = 250 * NS_PER_MS
"""No answer for so long: ask again."""
NOT_NOW_NS = 20 * NS_PER_MS
"""The engine said "not now", or is just finding out that the router is gone: ask again after this."""
PATIENCE_MAX_NS = 2 * NS_PER_S
"""Each question about an intent waits twice as long as the one before, up to this: who is slow must not be asked more.
Of one that is accepted, which is durable, there is no hurry at all."""
ROUTER_TIMEOUT_S = 2.0
TAKEN_MAX = 1_000
"""Messages at a time; then an intent may be due."""


class Asked(msgspec.Struct, kw_only=True):
    """One intent of the stream, and what was heard of it."""

    request: IntentRequest
    submitted_ns: int
    """Monotonic, when the strategy wanted it sent; the first attempt to send it may have failed."""
    due_ns: int
    """Monotonic, when it is asked about again."""
    asks: int = 0
    """How often it was asked about since its router was there."""
    accepted_ns: int = 0
    """Monotonic, when the strategy heard that it is accepted; 0: not yet."""
    intent_id: IntentId | None = None
    is_over: bool = False


class Stream:
    """On one client."""

    def __init__(self, client: Client, orders: list[Order], every_ns: int) -> None:
        """The orders take turns; one leaves `every_ns`."""
        self.submitted: list[Asked] = []
        """All of them, in the order in which they left."""
        self._client = client
        self._orders = itertools.cycle(orders)
        self._every_ns = every_ns
        self._next_ns = 0
        self._run = uuid.uuid4().hex[:8]
        self._open: dict[str, Asked] = {}
        self._by_request: dict[str, Asked] = {}
        self._found_ns: dict[str, int] = {}
        """Monotonic, by symbol: when a silence last made us ask the engine for its router."""

    def submit(self, order: Order) -> Asked:
        """One more, now."""
        now_ns = time.monotonic_ns()
        request = IntentRequest(
            symbol=order.symbol,
            side=Side(order.side),
            kind=Kind.MARKET,
            qty=Decimal(order.qty),
            key=f"bench-{self._run}-{len(self.submitted)}",
            source="benchmarks",
        )
        asked = Asked(request=request, submitted_ns=now_ns, due_ns=now_ns)
        self.submitted.append(asked)
        self._open[str(request.key)] = asked
        self._ask(asked)
        return asked

    @property
    def is_behind(self) -> bool:
        """Something of it waits for its acceptance longer than is usual."""
        late_ns = time.monotonic_ns() - SILENCE_NS
        return any(not asked.accepted_ns and asked.submitted_ns < late_ns for asked in self._open.values())

    def flow_until(self, is_done: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Let it flow until a condition is true. Raises `BenchmarkFailed`, naming `what`, when the time is over."""
        deadline_ns = time.monotonic_ns() + round(timeout_s * NS_PER_S)
        self._next_ns = max(self._next_ns, time.monotonic_ns())  # what was due while nobody let it flow is not made up
        while not is_done():
            now_ns = time.monotonic_ns()
            if now_ns > deadline_ns:
                raise BenchmarkFailed(f"not within {timeout_s:g} s: {what}; {self._state(now_ns)}")
            if self._next_ns <= now_ns:
                self._next_ns += self._every_ns
                self.submit(next(self._orders))
            self._ask_again(now_ns)
            self._listen()

    def flow_for(self, duration_ns: int) -> None:
        until_ns = time.monotonic_ns() + duration_ns
        self.flow_until(lambda: time.monotonic_ns() >= until_ns, "some time passes", 2 * duration_ns / NS_PER_S + 1)

    def _ask_again(self, now_ns: int) -> None:
        for asked in [one for one in self._open.values() if one.due_ns <= now_ns]:
            if asked.due_ns <= now_ns:  # one before it may have put off all of its symbol
                self._doubt_router(asked.request.symbol, now_ns)
                self._ask(asked)

    def _ask(self, asked: Asked) -> None:
        try:
            router = self._client.router(asked.request.symbol, ROUTER_TIMEOUT_S)
            if isinstance(router, Refusal):
                _put_off(asked, NOT_NOW_NS)
                return
            asked.asks += 1
            self._by_request[self._client.send_intent(router, asked.request, wait=True)] = asked
        except (EngineNotRunning, RequestTimedOut):
            self._lost(asked.request.symbol)
        else:
            _put_off(asked, PATIENCE_MAX_NS if asked.accepted_ns else SILENCE_NS)

    def _doubt_router(self, symbol: str, now_ns: int) -> None:
        """Not every road tells that nobody reads at its end; but the engine is not asked for each intent anew."""
        if now_ns - self._found_ns.get(symbol, 0) > SILENCE_NS:
            self._found_ns[symbol] = now_ns
            self._client.forget_router(symbol)

    def _lost(self, symbol: str) -> None:
        """The router is gone, and with it whatever it was asked."""
        self._client.forget_router(symbol)
        due_ns = time.monotonic_ns() + NOT_NOW_NS
        for asked in self._open.values():
            if asked.request.symbol == symbol:
                asked.due_ns, asked.asks = due_ns, 0

    def _listen(self) -> None:
        """What arrives until the next intent leaves or the next question is due; and all that is there already.

        Who asks again before he has read what he was told asks ever more.
        """
        due_ns = min([self._next_ns, *(asked.due_ns for asked in self._open.values())])
        wait_s = max(due_ns - time.monotonic_ns(), 0) / NS_PER_S
        for _ in range(TAKEN_MAX):
            message = self._client.next_message(wait_s)
            if message is None:
                return
            self._take(message)
            wait_s = 0

    def _take(self, message: Any) -> None:
        asked = self._by_request.get(getattr(message, "request_id", ""))
        if asked is None:
            return
        if isinstance(message, IntentDone):
            self._told(asked, message.record)
        elif isinstance(message, IntentAnswered):
            self._answered(asked, message)

    def _answered(self, asked: Asked, message: IntentAnswered) -> None:
        record, refusal = message.answer.record, message.answer.refusal
        if record is not None and refusal is None:
            self._told(asked, record)
        elif refusal is not None and is_passing(refusal):
            _put_off(asked, NOT_NOW_NS)
        else:
            raise BenchmarkFailed(f"an intent of the stream was refused: {message.answer!r}")

    def _told(self, asked: Asked, record: IntentRecord) -> None:
        now_ns = time.monotonic_ns()
        asked.intent_id = record.intent.intent_id
        asked.accepted_ns = asked.accepted_ns or now_ns
        _put_off(asked, PATIENCE_MAX_NS)
        if is_terminal(record.state):
            asked.is_over = True
            self._open.pop(str(asked.request.key), None)

    def _state(self, now_ns: int) -> str:
        """For the text of a failure."""
        waiting = [asked for asked in self._open.values() if not asked.accepted_ns]
        oldest_ms = milliseconds(now_ns - min((asked.submitted_ns for asked in waiting), default=now_ns))
        return f"{len(self._open)} intents are open, {len(waiting)} not accepted, the oldest for {oldest_ms} ms"


def _put_off(asked: Asked, first_ns: int) -> None:
    """Until it is asked about again: this long the first time."""
    asked.due_ns = time.monotonic_ns() + min(first_ns << max(asked.asks - 1, 0), PATIENCE_MAX_NS)
