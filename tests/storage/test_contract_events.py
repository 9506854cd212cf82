"""What every book must do with events: they come back in order, of one kind, and of one intent."""

from __future__ import annotations

from msgspec.structs import replace

from core import events
from core.ids import ClientOrderId, ExchangeOrderId, IntentId
from core.records import LedgerTransaction
from tests.builders import SYMBOL, T0
from tests.storage.records import Book


def test_events_come_back_in_the_order_they_were_appended(book: Book) -> None:
    """Sequences begin with 1, have no gap over transactions, and can be read on from any place."""
    for block in ("ab", "cde"):
        with book.transaction() as unit:
            for letter in block:
                unit.append_event(events.AlertFired(at_ns=T0, code=letter, text=""))
    with book.snapshot() as view:
        assert [(n, event.code) for n, event in view.events()] == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
        assert [(n, event.code) for n, event in view.events(after=3, limit=1)] == [(4, "d")]
        assert list(view.events(after=5)) == []


def test_the_trail_of_an_intent_holds_its_own_events_in_order(book: Book) -> None:
    """A trail leaves out other intents, even one whose id begins the same."""
    with book.transaction() as unit:
        for number in range(300):
            owner = IntentId(("i1", "i11", "i2")[number % 3])
            unit.append_event(events.AlertFired(at_ns=T0, intent_id=owner, code=str(number), text=""))
    with book.snapshot() as view:
        assert [str(number) for number in range(0, 300, 3)] == [event.code for event in view.trail(IntentId("i1"))]


def test_a_refusal_is_found_by_what_the_wish_would_have_become(book: Book) -> None:
    """In its own transaction and later; an intent that was accepted has none, whatever follows in its trail."""
    refused = events.IntentRefused(
        at_ns=T0, intent_id=IntentId("i1"), symbol=SYMBOL, idempotency_key=None, code="NO", reason="no"
    )
    accepted = events.AlertFired(at_ns=T0, intent_id=IntentId("i11"), code="FIRST", text="")
    with book.transaction() as unit:
        unit.append_event(accepted)
        unit.append_event(replace(refused, intent_id=IntentId("i11")))
        unit.append_event(refused)
        unit.append_event(replace(refused, intent_id=None))
        assert unit.refusal(IntentId("i1")) == refused
    with book.snapshot() as view:
        found = [view.refusal(IntentId(name)) for name in ("i", "i1", "i11", "i2")]
    assert found == [None, refused, None, None]


def test_events_of_a_kind_are_found_among_the_others(book: Book) -> None:
    """With their own sequence, from one to another, and no event that only speaks of such a one."""
    wanted = events.ExternalOrderSeen(
        at_ns=T0, symbol=SYMBOL, exchange_order_id=ExchangeOrderId("X9"), client_order_id=ClientOrderId("web-1")
    )
    other = events.AlertFired(at_ns=T0, code="ExternalOrderSeen", text="ExternalOrderSeen")
    with book.transaction() as unit:
        for event in (other, wanted, other, wanted, wanted):
            unit.append_event(event)
    with book.snapshot() as view:
        kinds = (events.ExternalOrderSeen,)
        assert list(view.events_of(kinds, 0, 5)) == [(2, wanted), (4, wanted), (5, wanted)]
        assert list(view.events_of(kinds, 2, 4)) == [(4, wanted)]
        assert list(view.events_of(kinds, 5, 5)) == []
        assert [each for each, _ in view.events_of((events.AlertFired, *kinds), 0, 3)] == [1, 2, 3]


def test_the_latest_events_of_some_kinds_come_newest_first(book: Book) -> None:
    """Without the others; none in an empty book."""
    kinds = (events.AlertFired, events.BalancesCompared)
    with book.snapshot() as view:
        assert list(view.latest_events(kinds)) == []
    told = [
        events.AlertFired(at_ns=1, code="A", text="balances_compared"),
        events.QuarantineLifted(at_ns=2, symbol=SYMBOL, reason="alert_fired"),
        events.BalancesCompared(at_ns=3, drift={}),
    ]
    with book.transaction() as unit:
        for event in told:
            unit.append_event(event)
    with book.snapshot() as view:
        assert list(view.latest_events(kinds)) == [told[2], told[0]]


def test_the_last_sequence_is_that_of_the_newest_row(book: Book) -> None:
    """0 before the first one; ledger and outbox count for themselves, and are read on from there."""
    with book.snapshot() as view:
        assert (view.last_sequence("audit"), view.last_sequence("ledger")) == (0, 0)
    rows = [LedgerTransaction(at_ns=T0 + number, kind="fill", text="", postings=()) for number in range(3)]
    with book.transaction() as unit:
        for row in rows:
            unit.append_ledger(row)
        unit.append_event(events.AlertFired(at_ns=T0, code="X", text=""))
    with book.snapshot() as view:
        assert (view.last_sequence("audit"), view.last_sequence("ledger")) == (1, 3)
        assert list(view.ledger(after=1)) == rows[1:]
