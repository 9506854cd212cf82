"""The other side: a strategy that submits intents and waits for their end, one at a time or many at once."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from actors.client import Client
from benchmarks.errors import BenchmarkFailed
from benchmarks.flow import Flow
from benchmarks.venue import Order
from core.intent import IntentRequest, Kind, Side
from core.lifecycle import is_terminal
from core.planning import Refusal
from core.records import IntentRecord
from messages.intents import IntentAnswered, IntentDone

ANSWER_TIMEOUT_S = 30.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One intent, with the client's own times beside the engine's."""

    record: IntentRecord
    sent_ns: int
    """Wall clock, when the client sent it."""
    done_ns: int
    """Wall clock, when the client heard of its end."""


class Strategy:
    """On one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._run = uuid.uuid4().hex[:8]
        self._count = 0
        self.ended: list[Ended] = []
        """Of the last `trade` with a window."""

    def trade_one_by_one(self, orders: Sequence[Order]) -> Flow:
        """Each is submitted when the one before is done. Raises `BenchmarkFailed` if one is not filled."""
        latencies_ns: list[int] = []
        began_ns = time.monotonic_ns()
        for order in orders:
            router, request = self._router(order), self._request(order)
            sent_ns = time.monotonic_ns()
            answer = self._client.submit(router, request, wait=True, timeout_s=ANSWER_TIMEOUT_S)
            latencies_ns.append(time.monotonic_ns() - sent_ns)
            _check(answer.record, answer)
        return Flow(elapsed_ns=time.monotonic_ns() - began_ns, latencies_ns=latencies_ns)

    def trade(self, orders: Sequence[Order], window: int) -> Flow:
        """`window` of them under way at a time; what became of each is in `ended`."""
        self.ended = []
        sent: dict[str, int] = {}
        left = iter(orders)
        began_ns = time.monotonic_ns()
        for order in itertools.islice(left, window):
            self._send(order, sent)
        while sent:
            if self._take(sent) and (another := next(left, None)) is not None:
                self._send(another, sent)
        return Flow(
            elapsed_ns=time.monotonic_ns() - began_ns,
            latencies_ns=[one.done_ns - one.sent_ns for one in self.ended],
        )

    def _send(self, order: Order, sent: dict[str, int]) -> None:
        now_ns = time.time_ns()
        sent[self._client.send_intent(self._router(order), self._request(order), wait=True)] = now_ns

    def _take(self, sent: dict[str, int]) -> bool:
        """Handle one message; True when an intent has ended."""
        message = self._client.next_message(ANSWER_TIMEOUT_S)
        if message is None:
            raise BenchmarkFailed(f"{len(sent)} intents have no answer after {ANSWER_TIMEOUT_S:g} s")
        record = _end_in(message)
        if record is None:
            return False
        _check(record, message)
        self.ended.append(Ended(record=record, sent_ns=sent.pop(message.request_id), done_ns=time.time_ns()))
        return True

    def _router(self, order: Order) -> Any:
        router = self._client.router(order.symbol, ANSWER_TIMEOUT_S)
        if isinstance(router, Refusal):
            raise BenchmarkFailed(f"the engine has no router: {router.reason}")
        return router

    def _request(self, order: Order) -> IntentRequest:
        self._count += 1
        return IntentRequest(
            symbol=order.symbol,
            side=Side(order.side),
            kind=Kind.MARKET,
            qty=Decimal(order.qty),
            key=f"bench-{self._run}-{self._count}",
            source="benchmarks",
        )


def _end_in(message: Any) -> IntentRecord | None:
    """The record of an intent whose end the message tells."""
    if isinstance(message, IntentDone):
        return message.record
    if not isinstance(message, IntentAnswered):
        raise BenchmarkFailed(f"the engine sent {message!r}")
    record = message.answer.record
    if record is None:
        _check(record, message.answer)
    return record if record is not None and is_terminal(record.state) else None


def _check(record: IntentRecord | None, told: Any) -> None:
    if record is None or record.filled_qty != record.qty:
        raise BenchmarkFailed(f"an intent was not filled: {told!r}")
