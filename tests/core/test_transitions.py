"""Moving along the table: the record, the event and the time marks move together, or nothing does."""

from __future__ import annotations

import pytest

from core import events
from core.errors import IllegalTransition, InvariantViolated
from core.holdings import release, reserve, violations
from core.ids import IntentId
from core.lifecycle import Cause, State
from core.records import Balance, IntentRecord, Reservation
from core.reports import OrderStatus
from core.transitions import advance, latency_ns
from tests.builders import SECOND, T0, Desk, dec, in_state, intent, not_placed, opening, snapshot
from tests.fakes import MemoryBook


def record(state: State = State.NEW) -> IntentRecord:
    return IntentRecord(
        intent=intent(),
        payload_hash=opening().payload_hash,
        state=state,
        qty=dec("0.01"),
        worst_price=dec(50_000),
        retries_max=3,
        backoff_ms=400,
    )


def test_an_illegal_move_changes_nothing() -> None:
    """F2: no event, no record, no revision."""
    book = MemoryBook()
    with book.transaction(), pytest.raises(IllegalTransition):
        advance(book, record(), Cause.ACK, T0)
    assert list(book.events()) == []
    assert list(book.intents()) == []


def test_a_move_is_one_event() -> None:
    """F6: from, to, cause, quantities, time and note of the transition."""
    book = MemoryBook()
    with book.transaction():
        moved = advance(book, record(), Cause.RESERVE, T0 + 5, "why")
    assert (moved.state, moved.marks) == (State.RESERVED, {"reserved": T0 + 5})
    assert book.intent(moved.intent.intent_id) == moved
    ((_, event),) = book.events()
    assert isinstance(event, events.StateChanged)
    assert (event.from_state, event.to_state, event.cause) == (State.NEW, State.RESERVED, Cause.RESERVE)
    assert (event.at_ns, event.note, event.remaining_qty) == (T0 + 5, "why", dec("0.01"))


def test_every_change_is_a_newer_revision() -> None:
    """A receiver can tell which of two copies of a record is the newer one."""
    desk = Desk()
    attempt = desk.accept()
    reports = [snapshot(attempt), snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")])]
    revisions = [desk.record(attempt.intent_id).revision, *(desk.apply(report).revision for report in reports)]
    assert revisions == sorted(set(revisions))


def test_marks_keep_the_first_time() -> None:
    """A second attempt does not make the first one look later."""
    desk = Desk()
    attempt = desk.accept()
    desk.later(1)
    desk.apply(not_placed(attempt, retryable=True))
    desk.later(1)
    second = desk.begin(attempt.intent_id)
    desk.later(1)
    desk.apply(snapshot(second, OrderStatus.FILLED, [desk.trade("0.01")]))
    marks = desk.record(attempt.intent_id).marks
    assert marks == {"reserved": T0, "sent": T0, "filled": T0 + 3 * SECOND, "done": T0 + 3 * SECOND}


def test_the_latency_of_an_order_that_rested() -> None:
    """O5: total, reserve, placement and fill, in ns."""
    desk = Desk()
    attempt = desk.accept()
    desk.later(1)
    desk.apply(snapshot(attempt))
    desk.later(2)
    done = desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01")]))
    assert latency_ns(done) == {"total": 3 * SECOND, "reserve": 0, "placement": SECOND, "fill": 2 * SECOND}


def test_stages_that_did_not_happen_have_no_latency() -> None:
    """An order that was refused was never filled."""
    desk = Desk()
    attempt = in_state(desk, State.REJECTED)
    assert set(latency_ns(desk.record(attempt.intent_id))) == {"total", "reserve"}


# ── reservations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def held(amount: str, owner: str = "i1", currency: str = "BTC") -> Reservation:
    return Reservation(intent_id=IntentId(owner), currency=currency, amount=dec(amount), created_ns=T0)


def funded() -> MemoryBook:
    book = MemoryBook()
    with book.transaction():
        book.put_balance(Balance(currency="BTC", total=dec(1)))
    return book


@pytest.mark.parametrize("bad", [held("1.1"), held("0"), held("-1"), held("1", currency="ETH")])
def test_what_is_not_free_cannot_be_reserved(bad: Reservation) -> None:
    """Too much, nothing, less than nothing, or of a currency that is not there."""
    book = funded()
    with pytest.raises(InvariantViolated), book.transaction():
        reserve(book, bad)
    assert list(book.reservations()) == []


def test_an_intent_holds_one_reservation() -> None:
    """A second one for the same intent is a contradiction."""
    book = funded()
    with book.transaction():
        reserve(book, held("0.1"))
    with pytest.raises(InvariantViolated), book.transaction():
        reserve(book, held("0.1"))
    assert list(book.reservations()) == [held("0.1")]


def test_releasing_gives_back_what_is_left() -> None:
    """The amount is free again; releasing twice gives nothing."""
    book = funded()
    with book.transaction():
        reserve(book, held("0.4"))
        amounts = release(book, IntentId("i1")), release(book, IntentId("i1"))
    balance = book.balance("BTC")
    assert balance is not None
    assert (amounts, balance.free, balance.reserved) == ((dec("0.4"), dec(0)), dec(1), 0)


def test_contradictions_are_found() -> None:
    """A reservation without its intent, and a balance that disagrees, are both named."""
    book = funded()
    with book.transaction():
        book.put_reservation(held("0.4"))
    found = violations(book)
    assert len(found) == 2
    assert "i1" in found[0]
    assert "BTC" in found[1]


def test_an_open_intent_without_money_is_found() -> None:
    """Each open intent holds a reservation."""
    book = funded()
    with book.transaction():
        book.put_intent(record(State.SENT))
    assert [record().intent.intent_id in problem for problem in violations(book)] == [True]
