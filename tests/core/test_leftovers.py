"""What is alive at the venue and wanted by no intent is told, is a difference, and is canceled until it is gone."""

from __future__ import annotations

import pytest

from core.events import AlertFired
from core.inquiry import AskOrder
from core.intent import TimeInForce
from core.lifecycle import State
from core.records import AttemptRecord, AttemptStatus
from core.reports import OrderStatus
from tests.builders import dec, snapshot, unknown
from tests.core.office import Office, VenueOrder


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def alerts(office: Office) -> list[str]:
    return [event.code for event in office.events(AlertFired)]


def wrongly_proven_absent(office: Office) -> tuple[AttemptRecord, VenueOrder]:
    """A resting order that no read shows until it counts as not placed; its intent waits for the next attempt."""
    attempt = office.accept(tif=TimeInForce.GTC)
    order = office.venue.place(attempt)
    office.venue.hidden.add(order.order_id)
    office.desk.apply(unknown(attempt))
    office.wait(60)
    assert office.desk.state(attempt) is State.RETRY
    return attempt, order


def test_an_order_that_appears_after_its_intent_has_ended_is_canceled(office: Office) -> None:
    """It is told, once, and what it filled before is booked; then nothing of it is left anywhere."""
    attempt, order = wrongly_proven_absent(office)
    office.desk.cancel(attempt.intent_id)
    office.venue.fill(order, "0.004", ends=False)
    office.venue.hidden.clear()
    office.wait(120)
    assert order.status is OrderStatus.CANCELED
    assert alerts(office).count("ORDER_STILL_OPEN") == 1
    assert {"LATE_FILL"} <= set(alerts(office))
    record = office.desk.record(attempt.intent_id)
    assert (record.state, record.filled_qty) == (State.PARTIAL_SUCCESS, dec("0.004"))
    assert office.desk.attempt(attempt.intent_id).status is AttemptStatus.CLOSED
    assert list(office.book.leftovers()) == []


def test_while_it_is_open_it_is_a_difference(office: Office) -> None:
    """`verify` names it, whatever the book calls the attempt."""
    attempt, _ = wrongly_proven_absent(office)
    office.desk.cancel(attempt.intent_id)
    office.venue.hidden.clear()
    office.venue.loses_cancels = True
    office.wait(120)
    (found,) = office.verify().differences
    assert (found.kind, found.subject) == ("order_open", attempt.client_order_id)


def test_a_cancel_that_is_lost_is_asked_again(office: Office) -> None:
    """With waits that double, by a new reconciler, too; told once."""
    attempt, order = wrongly_proven_absent(office)
    office.desk.cancel(attempt.intent_id)
    office.venue.hidden.clear()
    office.venue.loses_cancels = True
    office.wait(120)
    assert 5 <= len(office.canceled) <= 12
    office.restart()
    office.start()
    office.venue.loses_cancels = False
    office.wait(2)
    assert order.status is OrderStatus.CANCELED
    assert alerts(office).count("ORDER_STILL_OPEN") == 1


def test_when_it_is_gone_nobody_asks_any_more(office: Office) -> None:
    attempt, _ = wrongly_proven_absent(office)
    office.desk.cancel(attempt.intent_id)
    office.venue.hidden.clear()
    office.wait(120)
    office.canceled.clear()
    office.asked.clear()
    office.wait(300)
    assert (office.canceled, office.asked_of(AskOrder)) == ([], [])


def test_an_order_that_appears_while_its_intent_waits_is_followed(office: Office) -> None:
    """It is what the intent wants: nothing is canceled, and no other attempt is sent."""
    attempt, order = wrongly_proven_absent(office)
    office.venue.hidden.clear()
    office.wait(120)
    assert (office.desk.state(attempt), order.status) == (State.SENT, OrderStatus.OPEN)
    assert (office.canceled, list(office.book.leftovers())) == ([], [])


def test_an_older_attempt_that_lives_is_canceled(office: Office) -> None:
    """The present one goes on: it is what the intent wants."""
    attempt, older = wrongly_proven_absent(office)
    second = office.desk.begin(attempt.intent_id)
    present = office.venue.place(second)
    office.see(second)
    office.venue.hidden.clear()
    office.wait(120)
    assert (older.status, present.status) == (OrderStatus.CANCELED, OrderStatus.OPEN)
    assert office.desk.state(attempt) is State.SENT


@pytest.mark.parametrize("filled", ["0.01", "0.004"])
def test_a_late_fill_cancels_the_present_attempt(office: Office, filled: str) -> None:
    """R8: it would fill what is filled already; in part is too much, too."""
    attempt, older = wrongly_proven_absent(office)
    second = office.desk.begin(attempt.intent_id)
    office.venue.place(second)
    office.see(second)
    office.venue.fill(older, filled)
    office.venue.hidden.clear()
    office.see(attempt)
    record = office.desk.record(attempt.intent_id)
    assert (record.state, record.cancel_requested, record.filled_qty) == (State.CANCELING, True, dec(filled))


def test_a_late_fill_cancels_an_attempt_that_is_on_its_way(office: Office) -> None:
    """As soon as it is proven to be there."""
    attempt, older = wrongly_proven_absent(office)
    second = office.desk.begin(attempt.intent_id)
    office.venue.fill(older, "0.01")
    office.venue.hidden.clear()
    office.see(attempt)
    assert office.desk.state(attempt) is State.SENDING
    office.venue.place(second)
    assert office.see(second).state is State.CANCELING


def test_under_quarantine_no_attempt_is_begun(office: Office) -> None:
    """The intent ends by what was filled and its money returns; an old wish does not wait until somebody has looked."""
    attempt, order = wrongly_proven_absent(office)
    office.desk.begin(attempt.intent_id)
    other = office.accept("other")
    office.desk.apply(snapshot(other, OrderStatus.EXPIRED))
    assert office.desk.state(other) is State.RETRY
    office.venue.hidden.clear()
    office.see(attempt)
    office.desk.begin(other.intent_id)
    record = office.desk.record(other.intent_id)
    assert (record.state, record.attempts) == (State.CANCELED, 1)
    assert "SYMBOL_QUARANTINED" in record.end_reason
    assert office.book.reservation(other.intent_id) is None
    assert order.status is OrderStatus.OPEN


def test_a_second_order_under_one_name_is_canceled(office: Office) -> None:
    """The first one is over; whoever asks by the name hears of the other."""
    attempt, _ = office.working()
    first = office.venue.orders[-1]
    first.status = OrderStatus.CANCELED
    office.see(attempt)
    twin = office.venue.place(attempt)
    first.name = ""
    office.see(attempt)
    office.wait(5)
    assert twin.status is OrderStatus.CANCELED
    assert "DUPLICATE_AT_VENUE" in alerts(office)
    assert list(office.book.leftovers()) == []
