"""A gateway whose clock is not the venue's; and which lane what it is asked for takes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from core import timestamps
from core.ids import NS_PER_S, ClientOrderId
from core.in_flight import InFlight
from core.rates import Lane
from core.records import AttemptRecord
from core.reports import OrderAbsent, QueryFailed
from messages.book import (
    RecordClock,
)
from messages.venue import (
    FetchBalances,
    FetchOpenOrders,
    FetchOrder,
    FetchRecentOrders,
    FetchTrades,
    OrderReported,
    PlaceOrder,
)
from storage.book_store import BookStore
from tests.actors.recorded_gateway import BOOK, ROUTER, RecordedGateway, answers


def test_no_order_leaves_while_the_clock_is_doubted(store: BookStore, attempt: AttemptRecord) -> None:
    """It would be refused; it waits in RETRY, and what never left uses up no retry."""
    gateway = RecordedGateway(store)
    gateway.client.timestamps.refused(0, 0)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.left == []
    assert [(answer.code, answer.never_left) for answer in answers(gateway)] == [("CLOCK_DOUBTED", True)]


def test_a_correction_is_durable_before_an_order_leaves_with_it(store: BookStore, attempt: AttemptRecord) -> None:
    """The book is told until it knows; who proves absences reads it there."""
    gateway = RecordedGateway(store)
    gateway.client.timestamps.read(120 * NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S, 0)
    gateway.clock_read()
    gateway.note_clock()
    assert gateway.to(BOOK, RecordClock) == [RecordClock(correction_ns=20 * NS_PER_S)] * 2
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.left == []
    assert [(answer.code, answer.never_left) for answer in answers(gateway)] == [("CLOCK_NOT_RECORDED", True)]
    with store.transaction() as unit:
        timestamps.note(unit, 20 * NS_PER_S, 1)
    gateway.note_clock()
    assert len(gateway.to(BOOK, RecordClock)) == 2
    later = replace(attempt, client_order_id=ClientOrderId("another"))
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=later), ROUTER)
    assert gateway.left == ["another"]


def test_a_lost_order_with_a_later_time_keeps_the_wire_busy_for_longer(
    store: BookStore, attempt: AttemptRecord
) -> None:
    """The venue takes it for as much longer."""
    gateway = RecordedGateway(store)
    gateway.in_flight = InFlight(recv_window_ns=1, now_ns=0)
    gateway.client.timestamps.read(120 * NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S, 0)
    with store.transaction() as unit:
        timestamps.note(unit, 20 * NS_PER_S, 1)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    now_ns = gateway.monotonic_ns()
    assert gateway.in_flight.orders(now_ns + 20 * NS_PER_S) == {attempt.client_order_id}
    assert gateway.in_flight.orders(now_ns + 22 * NS_PER_S) == frozenset()


def test_no_such_order_is_no_answer_before_the_book_has_the_clock(store: BookStore, attempt: AttemptRecord) -> None:
    """A venue that has fallen back may still take the order; how much later it does not, is read in the book."""
    gateway = RecordedGateway(store)
    gateway.client.timestamps.read(80 * NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S, 0)
    gateway.receiveMsg_FetchOrder(FetchOrder(attempt=attempt), ROUTER)
    with store.transaction() as unit:
        timestamps.note(unit, -20 * NS_PER_S, 1)
    gateway.receiveMsg_FetchOrder(FetchOrder(attempt=attempt), ROUTER)
    early, late = (told.report for told in gateway.to(ROUTER, OrderReported))
    assert isinstance(early, QueryFailed)
    assert isinstance(late, OrderAbsent)


def test_a_lost_order_keeps_the_wire_busy_for_longer_when_the_venues_clock_falls_back(
    store: BookStore, attempt: AttemptRecord
) -> None:
    """It was sent before that, and claims a time that has yet to come there."""
    gateway = RecordedGateway(store)
    gateway.in_flight = InFlight(recv_window_ns=1, now_ns=0)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    gateway.client.timestamps.read(80 * NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S, 0)
    gateway.clock_read()
    now_ns = gateway.monotonic_ns()
    assert gateway.in_flight.orders(now_ns + 20 * NS_PER_S) == {attempt.client_order_id}
    assert gateway.in_flight.orders(now_ns + 22 * NS_PER_S) == frozenset()


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("on_demand", "lane"), [(False, Lane.SWEEP), (True, Lane.ON_DEMAND)])
def test_lists_that_somebody_wants_have_a_lane_of_their_own(store: BookStore, lane: Lane, *, on_demand: bool) -> None:
    """Behind those of the regular checks, which keep their part of the budget."""
    gateway = RecordedGateway(store)
    gateway.receiveMsg_FetchOpenOrders(FetchOpenOrders(symbol=None, on_demand=on_demand), ROUTER)
    page: dict[str, Any] = {"symbol": "BTC/USDT", "since_ns": 0, "on_demand": on_demand}
    gateway.receiveMsg_FetchRecentOrders(FetchRecentOrders(from_order_id=None, **page), ROUTER)
    gateway.receiveMsg_FetchTrades(FetchTrades(from_trade_id=None, **page), ROUTER)
    gateway.receiveMsg_FetchBalances(FetchBalances(on_demand=on_demand), ROUTER)
    assert gateway.venue_client.lanes == [lane] * 4
