"""The gateway's shell: an order leaves once, and never in a mode or at a moment that forbids it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace

from actors.gateway import STALE_NS, Gateway
from core.records import AttemptRecord
from core.reports import NotPlaced
from core.settings import from_mapping
from messages.book import ApplyReport
from messages.venue import PlaceOrder
from tests.actors.recorded import Recorded
from tests.builders import Desk

ROUTER, BOOK = "router", "portfolio"


class RecordedGateway(Recorded, Gateway):
    def __init__(self, mode: str = "sim") -> None:
        super().__init__()
        self.sent, self.woken = [], []
        self.settings = from_mapping({"engine": {"mode": mode}})
        self.portfolio = BOOK
        self.started: list[Any] = []

    def run(self, receiver: Any, _work: Any) -> None:
        """The work is not done: what counts is whether it was begun."""
        self.started.append(receiver)


@pytest.fixture
def attempt() -> AttemptRecord:
    return replace(Desk().accept(), created_ns=time.time_ns())


def answers(gateway: RecordedGateway) -> list[NotPlaced]:
    """What the book is told; nobody else hears of a placement."""
    assert gateway.to(ROUTER) == []
    return [message.report for message in gateway.to(BOOK, ApplyReport)]


def test_a_placement_that_is_delivered_twice_is_sent_once(attempt: AttemptRecord) -> None:
    """The venue would execute the second one: its ids are unique among open orders only."""
    gateway = RecordedGateway()
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.started == [BOOK]
    assert answers(gateway) == []


@pytest.mark.parametrize(("mode", "code"), [("observe", "OBSERVE_MODE"), ("live", "ORDER_BLOCKED_LIVE_TRADING")])
def test_modes_that_do_not_send_do_not_send(attempt: AttemptRecord, mode: str, code: str) -> None:
    """The order is answered as definitely not placed, and no request is begun."""
    gateway = RecordedGateway(mode)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.started) == (code, False, [])


def test_an_order_that_waited_too_long_is_not_sent(attempt: AttemptRecord) -> None:
    """Its price was made for another moment; nothing has left, so it may be tried again."""
    gateway = RecordedGateway()
    old = replace(attempt, created_ns=time.time_ns() - STALE_NS - 1)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=old), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.started) == ("STALE", True, [])


def test_nothing_is_sent_any_more_when_the_engine_stops(attempt: AttemptRecord) -> None:
    """After the gateway has said that it is prepared, an order is refused with proof."""
    gateway = RecordedGateway()
    assert gateway.on_prepare_stop()
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, gateway.started) == ("STOPPING", [])
