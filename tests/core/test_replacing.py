"""Another price or quantity for a working intent: one live order at most, enough held for both, nothing twice."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import book as rules_of_book
from core.events import OrderReplaced, ReplaceLapsed
from core.intent import TimeInForce
from core.lifecycle import State
from core.outcomes import LOOK_UP
from core.planning import Refusal, plan_retry
from core.reports import OrderStatus
from core.settings import RouterSettings
from tests.builders import Desk, dec, in_state, not_placed, quote, request, snapshot, unknown
from tests.core.amending import LOW, WAIT_S, ask, held, over, replaced, taken, working


def test_the_next_order_leaves_when_the_one_before_is_proven_over() -> None:
    """Until then the intent is CANCELING at its old terms; afterwards all of it goes out at the new price."""
    desk = Desk()
    attempt = working(desk)
    asked = taken(desk, attempt.intent_id, price="41000")
    assert (asked.state, asked.worst_price) == (State.CANCELING, dec("40000"))
    desk.apply(snapshot(attempt, source=LOOK_UP))  # it is still there
    assert desk.state(attempt) is State.CANCELING
    record = replaced(desk, attempt)
    assert (record.state, record.worst_price, record.retry_at_ns) == (State.RETRY, dec("41000"), desk.now_ns)
    second = desk.begin(attempt.intent_id)
    assert (second.attempt, second.qty, second.price) == (2, dec("0.01"), dec("41000"))
    assert held(desk, attempt.intent_id) == dec("0.01") * 41000 * dec("1.001")


def test_what_the_cancel_crosses_counts() -> None:
    """A fill between request and cancel is booked, and only what is left of the new quantity is ordered."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, qty="0.02")
    replaced(desk, attempt, desk.trade("0.004", "40000"))
    second = desk.begin(attempt.intent_id)
    assert (second.qty, desk.record(attempt.intent_id).qty) == (dec("0.016"), dec("0.02"))


def test_more_than_the_new_quantity_may_be_filled_before() -> None:
    """Then nothing more is ordered: the intent is filled with what it got."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, qty="0.005")
    record = replaced(desk, attempt, desk.trade("0.007", "40000"))
    assert (record.state, record.qty, record.filled_qty) == (State.FILLED, dec("0.007"), dec("0.007"))
    assert list(desk.book.reservations()) == []


def test_a_raised_quantity_goes_on_when_the_old_order_was_filled() -> None:
    """All of the old order is not all that is wanted."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, qty="0.02")
    whole = desk.trade("0.01", "40000")
    over(desk, attempt, whole, status=OrderStatus.FILLED)
    assert desk.state(attempt) is State.CANCELING
    desk.later(WAIT_S)
    over(desk, attempt, whole, status=OrderStatus.FILLED)
    assert desk.begin(attempt.intent_id).qty == dec("0.01")


def test_a_price_lapses_when_the_old_order_is_filled() -> None:
    """The intent is FILLED, and its trail tells that the new terms never came into force."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    record = desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01", "40000")]))
    assert (record.state, record.amendment) == (State.FILLED, None)
    assert [event.price for event in desk.events(ReplaceLapsed)] == [dec("41000")]
    assert desk.events(OrderReplaced) == []


def test_a_rest_that_is_dust_ends_it() -> None:
    """What is left of the new quantity is too small for the venue: named as dust, and nothing is held any more."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, qty="0.0080")
    record = replaced(desk, attempt, desk.trade("0.00799", "40000"))
    assert (record.state, record.dust_qty) == (State.PARTIAL_SUCCESS, dec("0.00001"))
    assert list(desk.book.reservations()) == []


# ── when is it over? ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_further_fill_begins_the_wait_anew() -> None:
    """Venues do report fills after a cancel; what is reported within the wait is not ordered again."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    over(desk, attempt)
    desk.later(WAIT_S)
    late = desk.trade("0.004", "40000")
    assert over(desk, attempt, late).state is State.CANCELING
    desk.later(WAIT_S)
    assert over(desk, attempt, late).remaining_qty == dec("0.006")
    assert desk.begin(attempt.intent_id).qty == dec("0.006")


@pytest.mark.parametrize(("later_s", "asked_s", "state"), [
    (1.9, 0, State.CANCELING),
    (2.0, 0, State.RETRY),
    (9.0, 7.5, State.CANCELING),
    (-5, 0, State.CANCELING),
])  # fmt: skip
def test_the_second_look_is_sent_after_the_wait(later_s: float, asked_s: float, state: State) -> None:
    """A look is as old as its question: one that was slow, or is told of again, proves nothing new. A clock that is
    set back begins the wait anew."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    over(desk, attempt)
    desk.later(later_s)
    assert over(desk, attempt, asked_s=asked_s).state is state


def test_a_look_that_is_told_of_twice_is_one_look() -> None:
    """The book has taken it in, whoever asked has not heard so, and tells it again after a restart."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    look = replace(snapshot(attempt, OrderStatus.CANCELED, source=LOOK_UP), asked_ns=desk.now_ns)
    desk.apply(look)
    desk.later(10 * WAIT_S)
    assert desk.apply(look).state is State.CANCELING


def test_a_look_that_shows_the_order_open_is_no_second_look() -> None:
    """The venue's reads lag, so it is older than the look that has shown the end, and would not show a further fill;
    or the order works after all."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    over(desk, attempt)
    desk.later(WAIT_S)
    assert over(desk, attempt, status=OrderStatus.OPEN).state is State.CANCELING
    assert over(desk, attempt).state is State.RETRY


def test_news_of_the_stream_is_no_look() -> None:
    """It may have been on its way."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    for _ in range(3):
        desk.apply(snapshot(attempt, OrderStatus.CANCELED, source="stream"))
        desk.later(WAIT_S)
    assert desk.state(attempt) is State.CANCELING


def test_trades_that_are_missing_are_waited_for() -> None:
    """An order of which the venue says that more is filled than its trades show is not over."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    for _ in range(3):
        desk.apply(snapshot(attempt, OrderStatus.CANCELED, filled="0.003", source=LOOK_UP))
        desk.later(WAIT_S)
    assert desk.state(attempt) is State.CANCELING


def test_without_a_wait_the_first_look_counts() -> None:
    """`router.replace_wait` 0: for venues that never report fills late."""
    desk = Desk(settings=RouterSettings(replace_wait=0))
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    assert over(desk, attempt).state is State.RETRY


# ── when nobody knows where the order is ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_lost", [False, True])
def test_an_order_that_is_on_its_way_is_replaced_when_it_has_arrived(is_lost: bool) -> None:
    """SENDING and UNKNOWN: the wish is kept, and the order is canceled as soon as it is proven to be there."""
    desk = Desk()
    attempt = desk.accept(request(**LOW))
    if is_lost:
        desk.apply(unknown(attempt))
    assert taken(desk, attempt.intent_id, price="41000").state in {State.SENDING, State.UNKNOWN}
    assert desk.apply(snapshot(attempt)).state is State.CANCELING
    assert replaced(desk, attempt).worst_price == dec("41000")


def test_an_order_that_never_arrived_is_sent_at_the_new_terms() -> None:
    """Proven not to be placed: they are in force at once."""
    desk = Desk()
    attempt = desk.accept(request(**LOW))
    taken(desk, attempt.intent_id, price="41000", qty="0.02")
    record = desk.apply(not_placed(attempt, retryable=True))
    assert (record.state, record.worst_price, record.qty) == (State.RETRY, dec("41000"), dec("0.02"))
    assert desk.begin(attempt.intent_id).price == dec("41000")


def test_a_plan_for_terms_that_were_replaced_is_not_begun() -> None:
    """In RETRY the terms change at once; an attempt that was planned before would leave at the old ones."""
    desk = Desk()
    attempt = in_state(desk, State.RETRY, TimeInForce.GTC)
    plan = plan_retry(desk.record(attempt.intent_id), desk.market, quote(), desk.settings)
    taken(desk, attempt.intent_id, price="41000")
    with desk.book.transaction() as unit:
        record = rules_of_book.begin_attempt(unit, attempt.intent_id, 2, plan, desk.now_ns)  # type: ignore[arg-type]
    assert (record.state, record.attempts) == (State.RETRY, 1)
    assert desk.begin(attempt.intent_id).price == dec("41000")


def test_an_end_that_was_found_for_terms_that_were_replaced_is_none() -> None:
    """The rest was too small to be ordered; whoever asked for more meanwhile was told that it is in force."""
    desk = Desk()
    attempt = in_state(desk, State.RETRY, TimeInForce.GTC)
    taken(desk, attempt.intent_id, qty="0.02")
    with desk.book.transaction() as unit:
        record = rules_of_book.give_up(unit, attempt.intent_id, Refusal("DUST", "too small"), desk.now_ns)
    assert (record.state, record.dust_qty) == (State.RETRY, dec("0"))
    assert desk.begin(attempt.intent_id).qty == dec("0.02")


def test_replacing_uses_up_no_retry() -> None:
    """However often it is replaced, as many attempts may fail as before."""
    desk = Desk()
    attempt = working(desk)
    for price in ("41000", "42000", "43000", "44000", "45000"):
        desk.later()
        taken(desk, attempt.intent_id, price=price)
        replaced(desk, attempt)
        attempt = desk.begin(attempt.intent_id)
        desk.apply(snapshot(attempt))
    record = desk.record(attempt.intent_id)
    assert (record.attempts, record.real_attempts) == (6, 1)


# ── who asks last ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_newer_terms_take_the_place_of_older_ones() -> None:
    """While the order is being canceled, what was asked for last counts."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    desk.later()
    taken(desk, attempt.intent_id, qty="0.02")
    record = replaced(desk, attempt)
    assert (record.qty, record.worst_price) == (dec("0.02"), dec("41000"))


def test_a_request_that_comes_twice_or_late_changes_nothing() -> None:
    """The same one is answered with the intent as it stands; one that was asked before a newer one is refused."""
    desk = Desk()
    attempt = working(desk)
    first_ns = desk.now_ns
    taken(desk, attempt.intent_id, price="41000")
    desk.later()
    newest = taken(desk, attempt.intent_id, price="42000")
    again = ask(desk, attempt.intent_id, price="42000", asked_ns=newest.amended_ns)
    assert (again.record, again.refusal) == (newest, None)
    late = ask(desk, attempt.intent_id, price="41000", asked_ns=first_ns)
    assert late.refusal is not None
    assert late.refusal.code == "OVERTAKEN"
    assert replaced(desk, attempt).worst_price == dec("42000")


def test_what_is_so_already_cancels_nothing() -> None:
    """The order keeps its place in the queue."""
    desk = Desk()
    attempt = working(desk)
    assert (
        taken(desk, attempt.intent_id, price="40000.009", qty="0.01").state is State.SENT
    )  # on the tick it is the same


def test_a_cancel_wins() -> None:
    """Whoever wants it gone while it is being replaced gets that."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    desk.cancel(attempt.intent_id)
    record = over(desk, attempt, desk.trade("0.004", "40000"))
    assert (record.state, record.amendment) == (State.PARTIAL_SUCCESS, None)
    assert list(desk.book.reservations()) == []
