"""A gateway that notes what it sends, before a venue that notes what would leave the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actors.gateway import Gateway
from core.breaker import Breaker
from core.ids import NS_PER_S
from core.in_flight import InFlight
from core.rates import Lane, RateFigures, Rates
from core.records import AttemptRecord
from core.reports import NotPlaced, OpenOrder, OrderAbsent, OutcomeUnknown, QueryFailed, Report
from core.settings import from_mapping
from core.timestamps import Timestamps
from exchange.pages import OrdersPage, TradesPage
from messages.book import ApplyReport
from storage.book_store import BookStore
from tests.actors.recorded import Recorded

BOOK, ROUTER = "portfolio", "router"
RECV_WINDOW_NS = 3_600 * NS_PER_S


class Venue:
    """Notes what would leave the machine."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.canceled: list[str] = []
        self.waits_ns: list[int] = []
        self.in_flight = 0
        self.lanes: list[Lane] = []
        """Of lists that were asked for."""
        self.timestamps = Timestamps()
        self.answer: Callable[[AttemptRecord], Report] = lambda attempt: OutcomeUnknown(
            client_order_id=attempt.client_order_id, reason="the venue does not answer"
        )

    def rate_figures(self) -> RateFigures:
        return Rates().figures({}, 1)

    def come_again(self, attempt: AttemptRecord, code: str, reason: str, wait_ns: int) -> NotPlaced:
        return NotPlaced(
            client_order_id=attempt.client_order_id, code=code, reason=reason, retryable=True, retry_after_ns=wait_ns
        )

    async def place(self, attempt: AttemptRecord, blocked: Callable[[], NotPlaced | None]) -> Report:
        refused = blocked()
        if refused is not None:
            return refused
        self.sent.append(attempt.client_order_id)
        return self.answer(attempt)

    async def look_up(self, attempt: AttemptRecord) -> OrderAbsent:
        return OrderAbsent(client_order_id=attempt.client_order_id)

    async def open_orders(self, _symbol: str | None, lane: Lane) -> tuple[OpenOrder, ...]:
        self.lanes.append(lane)
        return ()

    async def orders(self, _symbol: str, _from_order_id: str | None, _since_ns: int, lane: Lane) -> OrdersPage:
        self.lanes.append(lane)
        return OrdersPage((), complete=True)

    async def trades(self, _symbol: str, _from_trade_id: str | None, _since_ns: int, lane: Lane) -> TradesPage:
        self.lanes.append(lane)
        return TradesPage((), complete=True)

    async def balances(self, lane: Lane) -> QueryFailed:
        self.lanes.append(lane)
        return QueryFailed(reason="no answer")

    async def end_placing(self, wait_max_ns: int) -> None:
        self.waits_ns.append(wait_max_ns)

    async def cancel(self, attempt: AttemptRecord) -> str:
        self.canceled.append(attempt.client_order_id)
        return "accepted"


class RecordedGateway(Recorded, Gateway):
    venue_client: Venue

    def __init__(self, store: BookStore, mode: str = "sim") -> None:
        super().__init__()
        self.sent, self.woken = [], []
        self.settings = from_mapping({"engine": {"mode": mode}, "exchange": {"user_stream": False}})
        self.portfolio = BOOK
        self.store = store
        self.in_flight = InFlight(recv_window_ns=RECV_WINDOW_NS, now_ns=0)  # its predecessor died long ago
        with store.snapshot() as view:
            self.breaker = Breaker(self.settings.breaker, view.breaker())
        self.client = self.venue_client = Venue()  # type: ignore[assignment]

    def run(self, receiver: Any, work: Any) -> None:
        """At once."""
        self.results.append((receiver, asyncio.run(work())))
        self.pump()

    def pump(self) -> None:
        while self.results:
            self.deliver(*self.results.popleft())

    @property
    def left(self) -> list[str]:
        return self.venue_client.sent


def answers(gateway: RecordedGateway) -> list[NotPlaced]:
    """What the book is told; nobody else hears of a placement."""
    assert gateway.to(ROUTER) == []
    reports = [message.report for message in gateway.to(BOOK, ApplyReport)]
    return [report for report in reports if isinstance(report, NotPlaced)]
