"""The orders that should be open are, and no others of ours; others' are noted and never touched."""

from __future__ import annotations

import pytest

from core.events import AlertFired, ExternalOrderSeen
from core.inquiry import AskOpenOrders, AskOrder
from core.lifecycle import State
from core.reconciling import ORDERS
from core.reports import OrderStatus
from tests.builders import not_placed
from tests.core.office import Office

STRAY = "in" + "a" * 16


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def look(office: Office, times: int = 1) -> None:
    for _ in range(times):
        office.desk.later(60)
        office.tick(ORDERS)


def alerts(office: Office) -> list[str]:
    return [event.code for event in office.events(AlertFired)]


def test_a_list_that_agrees_costs_one_question(office: Office) -> None:
    """For all symbols; nothing is looked up, whatever the orders have filled: their routers follow them."""
    _, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.asked.clear()
    look(office, 3)
    assert [type(question) for question in office.asked] == [AskOpenOrders] * 3


def test_an_order_that_is_missing_twice_is_looked_up(office: Office) -> None:
    """Once may be the lag of the list. What the look-up shows is booked."""
    attempt, order = office.working()
    order.status = OrderStatus.CANCELED
    look(office)
    assert office.desk.state(attempt) is State.SENT
    look(office)
    assert office.desk.state(attempt) is State.CANCELED
    assert alerts(office) == []


def test_a_young_order_need_not_be_listed(office: Office) -> None:
    """The list may lag behind its placement."""
    office.working()
    office.venue.hidden.add(office.venue.orders[-1].order_id)
    for _ in range(3):
        office.tick(ORDERS)
    assert office.asked_of(AskOrder) == []


def test_a_working_order_that_the_venue_does_not_know_is_told_once(office: Office) -> None:
    """It proves nothing, so nothing is ended; somebody has to look."""
    attempt, order = office.working()
    office.venue.hidden.add(order.order_id)
    look(office, 8)
    assert alerts(office) == ["ORDER_MISSING"]
    assert office.desk.state(attempt) is State.SENT


def test_a_failed_look_up_is_not_a_missing_order(office: Office) -> None:
    """G3: nothing was learned."""
    _, order = office.working()
    office.venue.hidden.add(order.order_id)
    office.venue.broken.add(AskOrder)
    look(office, 8)
    assert alerts(office) == []


def test_a_failed_list_is_not_an_empty_one(office: Office) -> None:
    """G3: it is said, and nobody is looked up because of it."""
    office.working()
    office.venue.broken.add(AskOpenOrders)
    look(office, 4)
    assert office.asked_of(AskOrder) == []
    assert {said.event for said in office.said} == {"orders_not_listed"}


def test_an_order_that_was_proven_absent_and_is_listed_is_booked(office: Office) -> None:
    """It is at the venue after all: its fill is booked, and somebody is told."""
    attempt = office.accept()
    office.desk.apply(not_placed(attempt))
    office.venue.fill(office.venue.place(attempt), "0.004", ends=False)
    look(office)
    assert office.desk.state(attempt) is State.PARTIAL_SUCCESS
    assert "LATE_FILL" in alerts(office)


def test_an_order_that_is_over_and_still_open_is_told_once(office: Office) -> None:
    """Twice in a row, after a look-up each time; the book does not open it again."""
    attempt, order = office.working()
    order.status = OrderStatus.CANCELED
    office.see(attempt)
    order.status = OrderStatus.OPEN
    office.venue.loses_cancels = True
    look(office)
    assert (alerts(office), office.canceled) == ([], [])
    look(office, 5)
    assert alerts(office) == ["ORDER_STILL_OPEN"]
    assert office.desk.state(attempt) is State.CANCELED
    office.venue.loses_cancels = False
    look(office)
    assert order.status is OrderStatus.CANCELED


def test_others_orders_are_noted_once(office: Office) -> None:
    """C4: after a restart neither, and nobody asks for them or cancels them."""
    office.venue.outside("web-1")
    look(office, 3)
    office.restart()
    office.start()
    look(office)
    (seen,) = office.events(ExternalOrderSeen)
    assert (seen.client_order_id, seen.symbol) == ("web-1", "BTC/USDT")
    assert office.asked_of(AskOrder) == []


def test_a_stray_is_told(office: Office) -> None:
    """Named as ours are, and the book has no such attempt: once, as an alert."""
    office.venue.outside(STRAY)
    look(office, 3)
    assert alerts(office) == ["STRAY_ORDER"]


def test_an_order_without_a_name_is_nobodys(office: Office) -> None:
    """It is not taken for external, since it may be ours."""
    office.venue.outside("")
    look(office, 2)
    assert office.events(ExternalOrderSeen) == []


def test_one_look_at_a_time(office: Office) -> None:
    """The next begins when the last one is answered or given up."""
    office.answers_itself = False
    office.asked.clear()
    for _ in range(3):
        office.tick(ORDERS)
    assert len(office.asked) == 1
    office.wait(40)
    office.tick(ORDERS)
    assert len(office.asked_of(AskOpenOrders)) == 2
