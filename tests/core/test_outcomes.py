"""What a report makes of an intent: booked by trade, judged by quantity, and the same however often it is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from core import events
from core.errors import InvariantViolated
from core.holdings import violations
from core.ids import NS_PER_MS, NS_PER_S, ClientOrderId, IntentId
from core.intent import TimeInForce
from core.lifecycle import TERMINAL, State
from core.outcomes import BELIEVED_AFTER_NS, backoff_ns
from core.records import AttemptRecord, AttemptStatus
from core.reports import OrderStatus, OutcomeUnknown, Report
from core.settings import RouterSettings
from tests.builders import SECOND, SYMBOL, Desk, dec, in_state, not_placed, request, rules, sell, snapshot, unknown

REACHABLE = [state for state in State if state not in {State.NEW, State.RESERVED, State.ERROR, State.FAILED_FINAL}]
REPORTS: dict[str, Callable[[Desk, AttemptRecord], Report]] = {
    "open": lambda _, attempt: snapshot(attempt),
    "open, part filled": lambda desk, attempt: snapshot(attempt, trades=[desk.trade("0.002")]),
    "filled": lambda desk, attempt: snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.006"), desk.trade("0.004")]),
    "filled, trades lag": lambda _, attempt: snapshot(attempt, OrderStatus.FILLED, filled="0.01"),
    "canceled": lambda _, attempt: snapshot(attempt, OrderStatus.CANCELED),
    "expired, part filled": lambda desk, attempt: snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.002")]),
    "rejected": lambda _, attempt: snapshot(attempt, OrderStatus.REJECTED),
    "not placed": lambda _, attempt: not_placed(attempt),
    "not placed, retryable": lambda _, attempt: not_placed(attempt, retryable=True),
    "unknown": lambda _, attempt: unknown(attempt),
}


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ── any report in any state ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("state", "name"), list(itertools.product(REACHABLE, REPORTS)))
def test_any_report_in_any_state_is_safe(desk: Desk, state: State, name: str) -> None:
    """No report breaks the book, moves an ended intent back, or loses or doubles a fill; told twice it is told once."""
    attempt = in_state(desk, state)
    report = REPORTS[name](desk, attempt)
    before = desk.record(attempt.intent_id)
    after = desk.apply(report)
    assert violations(desk.book) == []
    assert after.filled_qty == sum(fill.qty for fill in desk.book.fills(attempt.intent_id))
    assert after.filled_qty >= before.filled_qty
    if state in TERMINAL:
        assert after.state in TERMINAL
    if after.filled_qty >= after.qty and state is not State.RETRY:
        assert after.state is State.FILLED
    told = list(desk.book.events())
    money = list(desk.book.balances())
    assert after == replace(desk.apply(report), revision=after.revision)
    assert (told, money) == (list(desk.book.events()), list(desk.book.balances()))


def test_a_report_about_an_unknown_order_is_a_violation(desk: Desk) -> None:
    """Orders that are not ours never reach the book."""
    with pytest.raises(InvariantViolated):
        desk.apply(OutcomeUnknown(client_order_id=ClientOrderId("not-ours"), reason=""))


# ── what the venue has ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_fills_at_once(desk: Desk) -> None:
    """SENDING → FILLED in one step; the reservation is gone and the money is where the trade put it."""
    record = desk.filled(request())
    assert (record.state, record.filled_qty, record.filled_notional) == (State.FILLED, dec("0.01"), dec(500))
    assert (desk.free("USDT"), desk.free("BTC")) == (dec(9500), dec("1.01"))
    assert list(desk.book.reservations()) == []


def test_the_story_of_a_filled_intent(desk: Desk) -> None:
    """O3: acknowledged, filled, posted, position, FILLED, done with quantity, price, fees and latency."""
    attempt = desk.accept()
    told_before = len(list(desk.book.events()))
    desk.later(2)
    desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01", fee="0.5")]))
    told = [event for _, event in list(desk.book.events())[told_before:]]
    assert [type(event).__name__ for event in told] == [
        "OrderAck",
        "OrderFill",
        "LedgerEntry",
        "PositionUpdated",
        "StateChanged",
        "OrderDone",
    ]
    done = told[-1]
    assert isinstance(done, events.OrderDone)
    assert (done.state, done.filled_qty, done.avg_price) == (State.FILLED, dec("0.01"), dec(50_000))
    assert (done.fees, done.released) == ({"USDT": dec("0.5")}, dec(0))
    assert (done.latency_ns["total"], done.latency_ns["placement"]) == (2 * SECOND, 2 * SECOND)


def test_a_better_price_gives_the_difference_back(desk: Desk) -> None:
    """What was held for the worst case and not used is free again at the end."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01", "49000")]))
    assert desk.free("USDT") == dec(10_000 - 490)
    (done,) = desk.events(events.OrderDone)
    assert done.released == dec("10.5")


def test_a_resting_order_fills_in_steps(desk: Desk) -> None:
    """GTC: SENT → PARTIAL → PARTIAL → FILLED, each trade booked once although each answer repeats the earlier ones."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    trades = [desk.trade("0.003"), desk.trade("0.003"), desk.trade("0.004")]
    states = [desk.apply(snapshot(attempt)).state]
    states += [desk.apply(snapshot(attempt, trades=trades[:count])).state for count in (1, 2)]
    states += [desk.apply(snapshot(attempt, OrderStatus.FILLED, trades)).state]
    assert states == ["SENT", "PARTIAL", "PARTIAL", "FILLED"]
    assert len(list(desk.book.fills())) == 3


def test_trades_may_lag_behind_the_order(desk: Desk) -> None:
    """F5: an order that is over but whose trades are not all known keeps its intent open until they are."""
    attempt = desk.accept()
    part = [desk.trade("0.004")]
    lagging = desk.apply(snapshot(attempt, OrderStatus.FILLED, part, filled="0.01"))
    assert (lagging.state, desk.attempt(attempt.intent_id).status) == (State.PARTIAL, AttemptStatus.CLOSED)
    complete = desk.apply(snapshot(attempt, OrderStatus.FILLED, [*part, desk.trade("0.006")], source="lookup"))
    assert complete.state is State.FILLED


def test_lagging_trades_of_an_expired_order_are_waited_for(desk: Desk) -> None:
    """F3: the rest is tried again only after all trades of the order before are booked."""
    attempt = desk.accept()
    assert desk.apply(snapshot(attempt, OrderStatus.EXPIRED, filled="0.004")).state is State.SENT
    complete = desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    assert (complete.state, complete.remaining_qty) == (State.RETRY, dec("0.006"))


def test_an_older_snapshot_does_not_open_a_closed_order(desk: Desk) -> None:
    """Reads come out of order: after the end, `open` is old news."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, filled="0.004"))
    record = desk.apply(snapshot(attempt, OrderStatus.OPEN))
    after = desk.attempt(attempt.intent_id)
    assert (record.state, after.status, after.venue_filled_qty) == (State.SENT, AttemptStatus.CLOSED, dec("0.004"))
    assert desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")])).state is State.PARTIAL_SUCCESS


def test_a_filled_quantity_that_was_told_wrongly_is_corrected(desk: Desk) -> None:
    """By look-ups of an order that is over, which show trades for all that they say; for longer than reads lag."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(snapshot(attempt, filled="0.006"))
    final = snapshot(attempt, OrderStatus.CANCELED, [desk.trade("0.004")], source="lookup")
    for _ in range(3):
        assert desk.apply(final).state is State.PARTIAL
        desk.later(BELIEVED_AFTER_NS / NS_PER_S / 3)
    record = desk.apply(final)
    assert (record.state, record.filled_qty) == (State.PARTIAL_SUCCESS, dec("0.004"))
    assert desk.attempt(attempt.intent_id).venue_filled_qty == dec("0.004")
    assert list(desk.book.reservations()) == []


def test_a_read_that_lags_corrects_nothing(desk: Desk) -> None:
    """Once the larger figure is told again, the wait begins anew; a look-up without all its trades never counts."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    told = desk.trade("0.004")
    less = snapshot(attempt, OrderStatus.CANCELED, [told], source="lookup")
    more = snapshot(attempt, OrderStatus.CANCELED, [told], filled="0.006", source="lookup")
    for report in (more, less, more, less):
        desk.later(BELIEVED_AFTER_NS / NS_PER_S - 1)
        assert desk.apply(report).state is State.PARTIAL
    desk.later(2)
    assert desk.apply(snapshot(attempt, OrderStatus.CANCELED, filled="0.005", source="lookup")).state is State.PARTIAL
    assert desk.attempt(attempt.intent_id).venue_filled_qty == dec("0.006")


def test_quantity_beats_the_status_word(desk: Desk) -> None:
    """F5: an order that the venue calls expired or canceled and that filled completely is FILLED."""
    for status in (OrderStatus.EXPIRED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.OPEN):
        attempt = desk.accept(request(key=status))
        record = desk.apply(snapshot(attempt, status, [desk.trade("0.01")]))
        assert record.state is State.FILLED


@pytest.mark.parametrize(
    ("tif", "status", "state"),
    [
        (TimeInForce.IOC, OrderStatus.EXPIRED, State.RETRY),
        (TimeInForce.IOC, OrderStatus.CANCELED, State.CANCELED),
        (TimeInForce.IOC, OrderStatus.REJECTED, State.REJECTED),
        (TimeInForce.FOK, OrderStatus.EXPIRED, State.EXPIRED),
        (TimeInForce.GTC, OrderStatus.EXPIRED, State.EXPIRED),
        (TimeInForce.GTC, OrderStatus.CANCELED, State.CANCELED),
        (TimeInForce.PO, OrderStatus.REJECTED, State.REJECTED),
        (TimeInForce.PO, OrderStatus.EXPIRED, State.EXPIRED),
    ],
)
def test_an_order_that_ended_unfilled(desk: Desk, tif: TimeInForce, status: OrderStatus, state: State) -> None:
    """Only an IOC order is tried again; everything else ends as the venue says."""
    attempt = desk.accept(request(tif=tif))
    record = desk.apply(snapshot(attempt, status))
    assert record.state is state
    assert (state is State.RETRY) == (desk.book.reservation(attempt.intent_id) is not None)


# ── retries ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rest_of_a_partial_fill_is_tried_again(desk: Desk) -> None:
    """R5: an IOC order that filled in part leaves the rest for attempt 2, at the backoff's time."""
    attempt = desk.accept()
    record = desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    assert record.state is State.RETRY
    assert 400 * NS_PER_MS <= record.retry_at_ns - desk.now_ns <= 500 * NS_PER_MS
    assert desk.begin(attempt.intent_id).qty == dec("0.006")


def test_after_the_last_attempt_the_intent_ends(desk: Desk) -> None:
    """R4, R5: three retries, then PARTIAL_SUCCESS with what was filled, and the money for the rest is free."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    for _ in range(3):
        attempt = desk.begin(attempt.intent_id)
        record = desk.apply(snapshot(attempt, OrderStatus.EXPIRED))
    assert (record.state, record.attempts) == (State.PARTIAL_SUCCESS, 4)
    assert desk.free("USDT") == dec(10_000 - 200)


def test_definite_failures_use_up_the_attempts(desk: Desk) -> None:
    """R4: with nothing filled the end is FAILED_FINAL, and the reason is the venue's."""
    attempt = desk.accept()
    for _ in range(3):
        assert desk.apply(not_placed(attempt, retryable=True)).state is State.RETRY
        attempt = desk.begin(attempt.intent_id)
    record = desk.apply(not_placed(attempt, retryable=True))
    assert (record.state, record.attempts) == (State.FAILED_FINAL, 4)
    assert "InsufficientFunds" in record.end_reason
    assert desk.free("USDT") == dec(10_000)


def test_unfilled_attempts_end_as_expired(desk: Desk) -> None:
    """Four IOC orders that found nobody: EXPIRED."""
    desk = Desk(settings=RouterSettings(max_retries=0))
    attempt = desk.accept()
    assert desk.apply(snapshot(attempt, OrderStatus.EXPIRED)).state is State.EXPIRED


def test_a_refused_retry_after_a_partial_fill_is_a_partial_success(desk: Desk) -> None:
    """What was filled counts: a later refusal does not make the intent REJECTED."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    second = desk.begin(attempt.intent_id)
    assert desk.apply(not_placed(second)).state is State.PARTIAL_SUCCESS


def test_a_remainder_below_the_minimum_is_dust(desk: Desk) -> None:
    """R5: it ends at once, and the dust is named."""
    desk = Desk(market=rules(min_qty="0.001"))
    attempt = desk.accept()
    record = desk.apply(snapshot(attempt, OrderStatus.EXPIRED, [desk.trade("0.0095")]))
    assert (record.state, record.dust_qty) == (State.PARTIAL_SUCCESS, dec("0.0005"))
    (done,) = desk.events(events.OrderDone)
    assert done.dust_qty == dec("0.0005")


def test_the_venues_retry_after_is_honoured(desk: Desk) -> None:
    """R4: never earlier than the venue asked for."""
    attempt = desk.accept()
    record = desk.apply(not_placed(attempt, retryable=True, retry_after_ns=60 * SECOND))
    assert record.retry_at_ns == desk.now_ns + 60 * SECOND


def test_the_backoff_doubles_and_can_be_replayed() -> None:
    """R4: 400 ms, 800, 1600, …, each with up to a quarter more, the same at every call, bounded after six doublings."""
    owner = IntentId("1-BTCUSDT-00000000")
    waits = [backoff_ns(owner, attempt, 400) for attempt in range(1, 12)]
    assert waits == [backoff_ns(owner, attempt, 400) for attempt in range(1, 12)]
    for number, wait in enumerate(waits):
        base = 400 * NS_PER_MS * 2 ** min(number, 6)
        assert base <= wait <= base * 1.25


def test_intents_do_not_retry_in_step() -> None:
    """The jitter differs from intent to intent."""
    assert len({backoff_ns(IntentId(f"i{number}"), 1, 400) for number in range(50)}) > 40


# ── outcomes that nobody knows ────────────────────────────────────────────────────────────────────────────────────────


def test_not_knowing_keeps_the_money(desk: Desk) -> None:
    """F1: UNKNOWN holds its reservation until there is proof, and the proof moves it on."""
    attempt = in_state(desk, State.UNKNOWN)
    desk.later(86_400)
    assert desk.book.reservation(attempt.intent_id) is not None
    record = desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01")], source="lookup"))
    assert (record.state, desk.book.reservation(attempt.intent_id)) == (State.FILLED, None)


def test_not_knowing_adds_nothing_to_what_is_known(desk: Desk) -> None:
    """A lost answer about an order that was seen already changes nothing."""
    attempt = in_state(desk, State.SENT)
    before = desk.record(attempt.intent_id)
    assert before == desk.apply(unknown(attempt))


def test_a_refusal_of_an_order_that_was_seen_is_not_believed(desk: Desk) -> None:
    """Once the venue showed the order, `not placed` about it changes nothing."""
    attempt = in_state(desk, State.PARTIAL)
    before = desk.record(attempt.intent_id)
    assert before == desk.apply(not_placed(attempt))


# ── late and crossing fills ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [State.CANCELED, State.REJECTED, State.EXPIRED, State.PARTIAL_SUCCESS])
def test_a_late_fill_is_booked_alerts_and_quarantines(desk: Desk, state: State) -> None:
    """F4: after the end a fill still changes money, position and state; an operator is called, the symbol stands."""
    attempt = in_state(desk, state)
    filled_before, usdt = desk.record(attempt.intent_id).filled_qty, desk.free("USDT")
    late = desk.trade("0.002")
    record = desk.apply(snapshot(attempt, OrderStatus.CANCELED, [late]))
    assert (record.state, record.filled_qty) == (State.PARTIAL_SUCCESS, filled_before + dec("0.002"))
    assert desk.free("USDT") == usdt - 100
    assert [event.code for event in desk.events(events.AlertFired)] == ["LATE_FILL"]
    assert desk.events(events.OrderFill)[-1].late
    assert desk.book.quarantine(SYMBOL) is not None
    assert violations(desk.book) == []


def test_a_late_fill_of_everything_makes_it_filled(desk: Desk) -> None:
    """F4, F5: CANCELED becomes FILLED when all of it filled after all."""
    attempt = in_state(desk, State.CANCELED)
    record = desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01")]))
    assert record.state is State.FILLED
    assert len(desk.events(events.OrderDone)) == 1


def test_a_late_fill_of_everything_stops_the_retry(desk: Desk) -> None:
    """In RETRY a fill of all that was wanted ends the intent: no second order goes out."""
    attempt = in_state(desk, State.RETRY)
    record = desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01")]))
    assert (record.state, desk.book.reservation(attempt.intent_id)) == (State.FILLED, None)


def test_a_late_fill_of_an_earlier_attempt_counts(desk: Desk) -> None:
    """A fill of attempt 1 while attempt 2 works is booked to attempt 1 and counts for the intent."""
    first = desk.accept()
    desk.apply(snapshot(first, OrderStatus.EXPIRED))
    second = desk.begin(first.intent_id)
    desk.apply(snapshot(second))
    record = desk.apply(snapshot(first, OrderStatus.EXPIRED, [desk.trade("0.004")]))
    assert (record.filled_qty, desk.attempt(first.intent_id, 1).filled_qty) == (dec("0.004"), dec("0.004"))
    assert desk.book.quarantine(SYMBOL) is not None


def test_an_intent_does_not_end_while_its_order_can_still_fill(desk: Desk) -> None:
    """A late fill of attempt 1 that makes the intent full must not end it while the order of attempt 2 is open."""
    first = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(not_placed(first, retryable=True))
    second = desk.begin(first.intent_id)
    desk.apply(snapshot(second))
    desk.apply(snapshot(first, OrderStatus.FILLED, [desk.trade("0.01")]))  # the proof was wrong
    record = desk.apply(snapshot(second, OrderStatus.OPEN))
    order = desk.attempt(first.intent_id, 2)
    assert not (record.state in TERMINAL and order.status is AttemptStatus.WORKING)


@pytest.mark.parametrize("retryable", [True, False])
def test_an_order_that_was_proven_absent_and_appears_calls_an_operator(desk: Desk, retryable: bool) -> None:
    """A proof that turns out wrong is told at once: the order is alive and nobody follows it."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(not_placed(attempt, retryable=retryable))
    desk.apply(snapshot(attempt, OrderStatus.OPEN))
    assert desk.events(events.AlertFired) != []


def test_a_second_order_under_the_same_client_id_is_not_passed_over(desk: Desk) -> None:
    """Binance keeps client ids unique among open orders only: two orders with ours are a double, and are told."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(snapshot(attempt, OrderStatus.CANCELED, order_id="X1", filled="0.004"))
    desk.apply(snapshot(attempt, OrderStatus.OPEN, order_id="X2"))
    assert desk.events(events.AlertFired) != []


def test_a_second_order_is_told_once(desk: Desk) -> None:
    """Applying a report twice changes nothing, the report of a double included: polling must not flood the outbox."""
    attempt = desk.accept(request(tif=TimeInForce.GTC))
    desk.apply(snapshot(attempt, OrderStatus.CANCELED, order_id="X1", filled="0.004"))
    double = snapshot(attempt, OrderStatus.OPEN, order_id="X2")
    desk.apply(double)
    told = list(desk.book.events())
    desk.apply(double)
    assert told == list(desk.book.events())


def test_more_than_was_ordered_calls_an_operator(desk: Desk) -> None:
    """Filled beyond the quantity (design §5.7) is never silent."""
    attempt = desk.accept()
    desk.apply(snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01"), desk.trade("0.005")]))
    assert desk.events(events.AlertFired) != []


@pytest.mark.parametrize(
    ("filled", "state"), [("0.01", State.FILLED), ("0.004", State.PARTIAL_SUCCESS), (None, State.CANCELED)]
)
def test_a_cancel_that_crosses_a_fill_ends_by_quantity(desk: Desk, filled: str | None, state: State) -> None:
    """R7: all filled is FILLED, some is PARTIAL_SUCCESS, nothing is CANCELED."""
    attempt = in_state(desk, State.CANCELING, TimeInForce.GTC)
    trades = [] if filled is None else [desk.trade(filled)]
    record = desk.apply(snapshot(attempt, OrderStatus.CANCELED, trades))
    assert (record.state, desk.book.quarantine(SYMBOL)) == (state, None)


def test_a_fill_during_canceling_stays_canceling(desk: Desk) -> None:
    """The cancel is not proven yet."""
    attempt = in_state(desk, State.CANCELING, TimeInForce.GTC)
    record = desk.apply(snapshot(attempt, OrderStatus.OPEN, [desk.trade("0.004")]))
    assert (record.state, record.filled_qty) == (State.CANCELING, dec("0.004"))


def test_a_sell_uses_up_the_base_it_holds(desk: Desk) -> None:
    """A sell's reservation shrinks with its fills and is gone at the end."""
    attempt = desk.accept(sell(tif=TimeInForce.GTC))
    desk.apply(snapshot(attempt, OrderStatus.OPEN, [desk.trade("0.004", "49990")]))
    held = desk.book.reservation(attempt.intent_id)
    assert held is not None
    assert held.amount == dec("0.006")
    desk.apply(snapshot(attempt, OrderStatus.CANCELED, filled="0.004"))
    assert (desk.free("BTC"), list(desk.book.reservations())) == (dec("0.996"), [])


def test_the_books_order_index_leads_to_the_attempt(desk: Desk) -> None:
    """An exchange order id, once seen, finds its intent."""
    attempt = desk.accept()
    report = snapshot(attempt)
    desk.apply(report)
    order = desk.book.order(SYMBOL, report.exchange_order_id)
    assert order is not None
    assert (order.intent_id, order.attempt) == (attempt.intent_id, 1)
