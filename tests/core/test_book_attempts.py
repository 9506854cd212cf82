"""What may be done to an accepted intent: the next attempt, giving up, cancels."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from msgspec.structs import replace

from core import book as rules_of_book
from core import events, private_data
from core.errors import InvariantViolated
from core.holdings import violations
from core.intent import TimeInForce
from core.lifecycle import State
from core.planning import OrderPlan, Refusal, plan_retry
from core.records import AttemptRecord, IntentRecord, PrivateData, PrivateDataState
from core.reports import OrderStatus
from tests.builders import (
    SECOND,
    T0,
    Desk,
    dec,
    in_state,
    not_placed,
    quote,
    request,
    sell,
    snapshot,
    unknown,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ── the next attempt ──────────────────────────────────────────────────────────────────────────────────────────────────


def retry_plan(desk: Desk, attempt_intent: object) -> OrderPlan:
    record = desk.record(attempt_intent)  # type: ignore[arg-type]
    plan = plan_retry(record, desk.market, quote(), desk.settings)
    assert isinstance(plan, OrderPlan)
    return plan


def test_the_next_attempt_is_written_once(desk: Desk) -> None:
    """Repeating `begin_attempt` changes nothing: one attempt, one event, the same record."""
    first = in_state(desk, State.RETRY)
    plan = retry_plan(desk, first.intent_id)
    with desk.book.transaction():
        once = rules_of_book.begin_attempt(desk.book, first.intent_id, 2, plan, T0)
    told = len(list(desk.book.events()))
    with desk.book.transaction():
        twice = rules_of_book.begin_attempt(desk.book, first.intent_id, 2, plan, T0)
    assert (once, told) == (twice, len(list(desk.book.events())))
    assert (once.state, once.attempts) == (State.SENDING, 2)
    second = desk.attempt(first.intent_id, 2)
    assert second.client_order_id != first.client_order_id


@pytest.mark.parametrize("state", [State.SENDING, State.SENT, State.UNKNOWN, State.FILLED, State.CANCELED])
def test_no_attempt_begins_outside_of_retry(desk: Desk, state: State) -> None:
    """F3: in every other state `begin_attempt` changes nothing."""
    attempt = in_state(desk, state)
    plan = OrderPlan(
        qty=dec("0.01"),
        price=dec(50_000),
        tif=TimeInForce.IOC,
        reference=dec(50_000),
        asked_price=None,
        slippage_bps=dec(20),
        capped=False,
    )
    before = desk.record(attempt.intent_id)
    with desk.book.transaction():
        rules_of_book.begin_attempt(desk.book, attempt.intent_id, 2, plan, T0)
    assert before == desk.record(attempt.intent_id)
    assert desk.book.attempt(attempt.intent_id, 2) is None


@pytest.mark.parametrize("change", [{"price": dec("50000.01")}, {"qty": dec("0.01001")}])
def test_an_attempt_is_never_worse_than_accepted(desk: Desk, change: dict[str, Decimal]) -> None:
    """A plan dearer or larger than what was accepted is refused or bounded, never written as it is."""
    attempt = in_state(desk, State.RETRY)
    plan = replace(retry_plan(desk, attempt.intent_id), **change)
    with suppress(InvariantViolated), desk.book.transaction():
        rules_of_book.begin_attempt(desk.book, attempt.intent_id, 2, plan, T0)
    second = desk.book.attempt(attempt.intent_id, 2)
    assert second is None or (second.price, second.qty) == (dec(50_000), dec("0.01"))


def test_an_attempt_of_a_sell_is_never_worse_than_accepted(desk: Desk) -> None:
    """A sell is bounded from below."""
    attempt = desk.accept(sell())
    desk.apply(not_placed(attempt, retryable=True))
    plan = replace(retry_plan(desk, attempt.intent_id), price=dec("49989.99"))
    with suppress(InvariantViolated), desk.book.transaction():
        rules_of_book.begin_attempt(desk.book, attempt.intent_id, 2, plan, T0)
    second = desk.book.attempt(attempt.intent_id, 2)
    assert second is None or second.price == dec("49990")


def test_no_attempt_begins_while_an_earlier_order_works(desk: Desk) -> None:
    """F3, R8: an order that was proven absent and appears after all is alive; a second one must not join it."""
    first = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(not_placed(first, retryable=True))
    plan = retry_plan(desk, first.intent_id)
    desk.apply(snapshot(first, OrderStatus.OPEN))
    with desk.book.transaction():
        rules_of_book.begin_attempt(desk.book, first.intent_id, 2, plan, T0)
    assert desk.book.attempt(first.intent_id, 2) is None


def test_a_retry_that_was_planned_before_a_late_fill_is_not_sent(desk: Desk) -> None:
    """A late fill that crosses `begin_attempt` is an ordinary race: no order, and no contradiction in the book."""
    attempt = in_state(desk, State.RETRY)
    plan = retry_plan(desk, attempt.intent_id)
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    with desk.book.transaction():
        rules_of_book.begin_attempt(desk.book, attempt.intent_id, 2, plan, T0)
    begun = desk.book.attempt(attempt.intent_id, 2)
    assert begun is None or begun.qty <= dec("0.006")


# ── too old ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def expire(desk: Desk, attempt: AttemptRecord, stale_after_s: int = 60) -> IntentRecord:
    with desk.book.transaction():
        return rules_of_book.expire_stale(desk.book, attempt.intent_id, stale_after_s * SECOND, desk.now_ns)


def test_an_old_intent_that_never_left_ends_and_its_money_returns(desk: Desk) -> None:
    """I6: every attempt is proven not to have been placed; the reason says so."""
    attempt = in_state(desk, State.RETRY)
    desk.later(59)
    assert expire(desk, attempt).state is State.RETRY
    desk.later(1)
    ended = expire(desk, attempt)
    assert (ended.state, ended.end_reason.split(":")[0], ended.dust_qty) == (State.EXPIRED, "STALE", 0)
    assert desk.book.reservation(attempt.intent_id) is None
    assert expire(desk, attempt) == ended


def test_an_old_intent_does_not_begin_its_next_attempt(desk: Desk) -> None:
    """I6: it expires in the very transaction that would have sent it, as after a long stop of the daemon."""
    attempt = in_state(desk, State.RETRY)
    plan = retry_plan(desk, attempt.intent_id)
    desk.later(3_600)
    with desk.book.transaction():
        ended = rules_of_book.begin_attempt(desk.book, attempt.intent_id, 2, plan, desk.now_ns, 60 * SECOND)
    assert (ended.state, desk.book.attempt(attempt.intent_id, 2)) == (State.EXPIRED, None)


@pytest.mark.parametrize("state", [State.SENDING, State.SENT, State.PARTIAL, State.UNKNOWN, State.CANCELING])
def test_what_may_be_at_the_venue_is_never_dropped_for_its_age(desk: Desk, state: State) -> None:
    """I6: it is resolved first, however long that takes."""
    attempt = in_state(desk, state)
    desk.later(3_600)
    assert expire(desk, attempt).state is state


def test_the_rest_of_what_was_at_the_venue_is_not_stale(desk: Desk) -> None:
    """An order was there and expired unfilled; the retries go on as long as there are any."""
    attempt = desk.accept(request(tif=TimeInForce.IOC))
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED))
    assert desk.state(attempt) is State.RETRY
    desk.later(3_600)
    assert expire(desk, attempt).state is State.RETRY


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_giving_up_names_the_dust(desk: Desk) -> None:
    """R5: an intent in RETRY whose rest cannot be ordered ends by quantity, releases, and names the rest."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    with desk.book.transaction():
        ended = rules_of_book.give_up(desk.book, attempt.intent_id, Refusal("DUST", "too small"), T0)
    assert (ended.state, ended.dust_qty) == (State.PARTIAL_SUCCESS, dec("0.006"))
    assert "DUST" in ended.end_reason
    assert desk.book.reservation(attempt.intent_id) is None


def test_giving_up_with_nothing_filled_expires(desk: Desk) -> None:
    """With nothing filled the end is EXPIRED, and giving up twice changes nothing."""
    attempt = in_state(desk, State.RETRY)
    refusal = Refusal("DUST", "too small")
    with desk.book.transaction():
        once = rules_of_book.give_up(desk.book, attempt.intent_id, refusal, T0)
        twice = rules_of_book.give_up(desk.book, attempt.intent_id, refusal, T0)
    assert (once.state, once) == (State.EXPIRED, twice)


# ── cancels ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (State.SENDING, State.SENDING),
        (State.UNKNOWN, State.UNKNOWN),
        (State.SENT, State.CANCELING),
        (State.PARTIAL, State.CANCELING),
        (State.RETRY, State.CANCELED),
        (State.FILLED, State.FILLED),
        (State.PARTIAL_SUCCESS, State.PARTIAL_SUCCESS),
        (State.CANCELED, State.CANCELED),
    ],
)
def test_where_a_cancel_leads(desk: Desk, state: State, after: State) -> None:
    """R7: working orders are canceled, waiting intents end at once, unproven ones are only marked."""
    attempt = in_state(desk, state)
    record = desk.cancel(attempt.intent_id)
    assert record == desk.record(attempt.intent_id)
    assert record is not None
    assert record.state is after
    assert violations(desk.book) == []


def test_a_cancel_is_told_once(desk: Desk) -> None:
    """Asking again changes nothing and tells nothing."""
    attempt = in_state(desk, State.SENT)
    desk.later(5)
    once, twice = desk.cancel(attempt.intent_id), desk.cancel(attempt.intent_id, "again")
    assert once == twice
    (told,) = desk.events(events.OrderCancel)
    assert (told.reason, told.age_ns) == ("enough", 5 * SECOND)


def test_an_unknown_intent_cannot_be_canceled(desk: Desk) -> None:
    """The answer for an id that is not in the book is None."""
    assert desk.cancel("1-BTCUSDT-00000000") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["snapshot", "unknown, then snapshot"])
def test_a_cancel_asked_while_sending_is_kept(desk: Desk, first: str) -> None:
    """As soon as the order is proven to be there, the cancel is due."""
    attempt = in_state(desk, State.SENDING)
    desk.cancel(attempt.intent_id)
    if first != "snapshot":
        assert desk.apply(unknown(attempt)).state is State.UNKNOWN
    assert desk.apply(snapshot(attempt)).state is State.CANCELING


def test_a_cancel_asked_while_sending_ends_an_order_that_was_not_placed(desk: Desk) -> None:
    """Nothing is retried that somebody wants gone."""
    attempt = in_state(desk, State.SENDING)
    desk.cancel(attempt.intent_id)
    assert desk.apply(not_placed(attempt, retryable=True)).state is State.CANCELED


def test_a_cancel_during_a_retry_with_fills_is_a_partial_success(desk: Desk) -> None:
    """What is filled stays filled: the end is judged by quantity."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    record = desk.cancel(attempt.intent_id)
    assert record is not None
    assert (record.state, record.filled_qty) == (State.PARTIAL_SUCCESS, dec("0.004"))


def test_a_buy_that_waits_for_the_account_writes_no_attempt() -> None:
    """It is put off for as long as it takes: nothing is added that whoever begins the next one must look through."""
    desk = Desk()
    attempt = in_state(desk, State.RETRY, TimeInForce.GTC)
    with desk.book.transaction() as unit:
        unit.put_private_data(PrivateData(state=PrivateDataState.GONE, since_ns=desk.now_ns, reason="502", revision=1))
    record = desk.record(attempt.intent_id)
    plan = plan_retry(record, desk.market, quote(), desk.settings)
    assert isinstance(plan, OrderPlan)
    with desk.book.transaction() as unit:
        put_off = rules_of_book.begin_attempt(unit, attempt.intent_id, 2, plan, desk.now_ns)
    assert (put_off.state, put_off.attempts, put_off.retry_at_ns) == (
        State.RETRY,
        1,
        desk.now_ns + private_data.LOOK_AGAIN_NS,
    )
    assert put_off.end_reason.startswith(private_data.GONE)
