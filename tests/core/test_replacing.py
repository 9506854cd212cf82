"""Another price or quantity for a working intent: one live order at most, enough held for both, nothing twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core import arming, holdings, replacing, trading
from core import book as rules_of_book
from core.errors import InvalidInput
from core.events import OrderReplaced, ReplaceLapsed, ReplaceRefused, RiskLimitsEval
from core.ids import IntentId
from core.intent import Side, TimeInForce
from core.lifecycle import State
from core.outcomes import LOOK_UP
from core.planning import plan_retry
from core.records import Amendment, AttemptRecord, IntentRecord, PrivateData, PrivateDataState, TradingState
from core.replacing import NewTerms, ReplaceResult
from core.reports import OrderStatus
from core.settings import UNLIMITED, EngineSettings, Mode, RouterSettings, Settings
from tests.builders import SECOND, Desk, dec, in_state, not_placed, quote, request, rules, sell, snapshot, unknown

WAIT_S = 2.0
"""`router.replace_wait` as shipped."""
LOW = {"tif": TimeInForce.GTC, "limit_price": "40000"}


def working(desk: Desk, **wish: Any) -> AttemptRecord:
    """An order for 0.01 BTC that rests at the venue."""
    attempt = desk.accept(request(**(LOW | wish)))
    desk.apply(snapshot(attempt))
    return attempt


def ask(desk: Desk, intent_id: IntentId, *, asked_ns: int | None = None, **terms: str) -> ReplaceResult:
    wanted = NewTerms(
        qty=dec(terms["qty"]) if "qty" in terms else None,
        price=dec(terms["price"]) if "price" in terms else None,
        reason="second thoughts",
        asked_ns=desk.now_ns if asked_ns is None else asked_ns,
    )
    settings = Settings(router=desk.settings, risk=desk.limits)
    with desk.book.transaction() as unit:
        return replacing.request(unit, intent_id, wanted, settings, desk.now_ns)


def taken(desk: Desk, intent_id: IntentId, **terms: str) -> IntentRecord:
    result = ask(desk, intent_id, **terms)
    assert result.refusal is None, result.refusal
    assert result.record is not None
    return result.record


def over(
    desk: Desk, attempt: AttemptRecord, *trades: Any, status: OrderStatus = OrderStatus.CANCELED, asked_s: float = 0
) -> IntentRecord:
    """Somebody has looked, so many seconds ago: the order is canceled."""
    seen = snapshot(attempt, status, trades, source=LOOK_UP)
    return desk.apply(replace(seen, asked_ns=desk.now_ns - int(asked_s * SECOND)))


def replaced(desk: Desk, attempt: AttemptRecord, *trades: Any) -> IntentRecord:
    """The order is seen to be over, and once more after the wait."""
    over(desk, attempt, *trades)
    desk.later(WAIT_S)
    return over(desk, attempt, *trades)


def held(desk: Desk, intent_id: IntentId) -> Decimal:
    reservation = desk.book.reservation(intent_id)
    return reservation.amount if reservation else Decimal(0)


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


# ── money and limits ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_more_is_held_from_the_request_on() -> None:
    """The old order may fill, and then the rest must be paid at the new price: both are held, what is too much goes."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, qty="0.02", price="39000")
    assert held(desk, attempt.intent_id) == dec("0.01") * (40000 + 39000) * dec("1.001")
    replaced(desk, attempt)
    assert held(desk, attempt.intent_id) == dec("0.02") * 39000 * dec("1.001")


def test_a_sale_holds_the_larger_quantity() -> None:
    """In base, until the old order is over."""
    desk = Desk()
    attempt = desk.accept(sell(tif=TimeInForce.GTC, limit_price="60000"))
    desk.apply(snapshot(attempt))
    taken(desk, attempt.intent_id, qty="0.005")
    assert held(desk, attempt.intent_id) == dec("0.01")
    replaced(desk, attempt)
    assert held(desk, attempt.intent_id) == dec("0.005")


@given(
    old_price=st.integers(1, 9), price=st.integers(1, 9), qty=st.integers(1, 9), wanted=st.integers(1, 20),
    filled_first=st.integers(0, 9),
)  # fmt: skip
def test_the_worst_case_is_never_exceeded(old_price: int, price: int, qty: int, wanted: int, filled_first: int) -> None:
    """However much of the old order fills before it is over, what is held pays for it and for what comes after."""
    market = rules(taker_fee="0.001")
    record = in_terms(qty=dec(qty), price=dec(old_price))
    terms = Amendment(qty=dec(wanted), price=dec(price))
    first = min(filled_first, qty)
    cost = (first * old_price + max(0, wanted - first) * price) * dec("1.001")
    assert replacing.worst_case(record, terms, market) >= cost


def in_terms(qty: Decimal, price: Decimal) -> IntentRecord:
    desk = Desk()
    return replace(desk.record(working(desk).intent_id), qty=qty, worst_price=price)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"qty": "0.004"}, "BELOW_FILLED"),
        ({"qty": "0.00401"}, "BELOW_MIN_NOTIONAL"),
        ({"qty": "100"}, "INSUFFICIENT_FUNDS"),
        ({"qty": "9000.01"}, "ABOVE_MAX_QTY"),
        ({"price": "2000000"}, "PRICE_OUT_OF_RANGE"),
        ({"qty": "0.02"}, "RISK_MAX_ORDER_NOTIONAL"),
        ({"price": "60000"}, "RISK_CASH_TARGET"),
    ],
)
def test_what_cannot_be_is_refused_and_the_intent_goes_on(terms: dict[str, str], code: str) -> None:
    """A refusal names the reason, is in the trail, and leaves order and reservation as they were."""
    desk = Desk()
    attempt = working(desk)
    before = desk.apply(snapshot(attempt, trades=[desk.trade("0.004", "40000")]))
    amount = held(desk, attempt.intent_id)
    desk.limits = replace(UNLIMITED, max_order_notional=dec("500"), cash_target=desk.free("USDT") - 100)
    result = ask(desk, attempt.intent_id, **terms)
    assert result.refusal is not None
    after = desk.record(attempt.intent_id)
    assert (result.refusal.code, result.record) == (code, after)
    noted = {"revision": after.revision, "refused_terms": after.refused_terms, "refused_terms_ns": desk.now_ns}
    assert (after, held(desk, attempt.intent_id)) == (replace(before, **noted), amount)
    assert [event.code for event in desk.events(ReplaceRefused)] == [code]


def test_less_is_never_beyond_a_limit() -> None:
    """Limits of growth do not stand in the way of an order that becomes smaller; each check is recorded."""
    desk = Desk(limits=replace(UNLIMITED, max_exposure_pct=dec("0.5")))
    attempt = working(desk)
    desk.limits = replace(UNLIMITED, max_exposure_pct=dec("0.01"))
    assert ask(desk, attempt.intent_id, qty="0.02").refusal is not None
    desk.later()
    taken(desk, attempt.intent_id, qty="0.005")
    assert desk.events(RiskLimitsEval)[-1].checks[0].hit is True  # of the one that was refused: the last needs no more


@pytest.mark.parametrize(
    ("state", "tif", "code"),
    [
        (State.FILLED, TimeInForce.GTC, "NOT_WORKING"),
        (State.CANCELED, TimeInForce.GTC, "NOT_WORKING"),
        (State.CANCELING, TimeInForce.GTC, "BEING_CANCELED"),
        (State.RETRY, TimeInForce.IOC, "NOT_RESTING"),
    ],
)
def test_what_does_not_work_is_not_replaced(state: State, tif: TimeInForce, code: str) -> None:
    """What has ended, is being canceled, or never rests takes no other terms."""
    desk = Desk()
    attempt = in_state(desk, state, tif)
    refusal = ask(desk, attempt.intent_id, price="41000").refusal
    assert refusal is not None
    assert refusal.code == code


def test_nothing_is_replaced_while_trading_is_stopped() -> None:
    """Replaced it would only be canceled; halted, reduced, or quarantined, the answer says so."""
    desk = Desk()
    attempt = working(desk)
    with desk.book.transaction() as unit:
        rules_of_book.quarantine(unit, attempt.symbol, "a test", desk.now_ns)
    quarantined = ask(desk, attempt.intent_id, price="41000").refusal
    with desk.book.transaction() as unit:
        desk.later()
        rules_of_book.lift_quarantine(unit, attempt.symbol, "a test", desk.now_ns)
        trading.put(unit, TradingState.HALTED, "a test", "operator", desk.now_ns)
    halted = ask(desk, attempt.intent_id, price="41000").refusal
    codes = [refusal.code for refusal in (quarantined, halted) if refusal is not None]
    assert codes == ["SYMBOL_QUARANTINED", "TRADING_HALTED"]


def test_no_buy_is_replaced_while_the_account_cannot_be_read() -> None:
    """It would be canceled, and what takes its place could not leave; a sale goes on."""
    desk = Desk()
    bought, sold = working(desk), desk.accept(sell(tif=TimeInForce.GTC, limit_price="60000", key="s"))
    desk.apply(snapshot(sold))
    with desk.book.transaction() as unit:
        unit.put_private_data(PrivateData(state=PrivateDataState.GONE, since_ns=desk.now_ns, reason="502", revision=1))
    refusal = ask(desk, bought.intent_id, price="41000").refusal
    assert refusal is not None
    assert refusal.code == "PRIVATE_DATA_GONE"
    assert taken(desk, sold.intent_id, price="61000").state is State.CANCELING


def test_a_sale_that_only_reduces_does_not_grow_beyond_the_position() -> None:
    """The position, less what others sell of it, is the most."""
    desk = Desk()
    desk.filled(request(qty="0.02"))
    attempt = desk.accept(sell(tif=TimeInForce.GTC, limit_price="60000", reduce_only=True, key="k"))
    desk.apply(snapshot(attempt))
    refusal = ask(desk, attempt.intent_id, qty="0.021").refusal
    assert refusal is not None
    assert refusal.code == "REDUCE_ONLY"
    desk.later()
    assert taken(desk, attempt.intent_id, qty="0.02").state is State.CANCELING


@pytest.mark.parametrize(
    "terms",
    [
        NewTerms(qty=None, price=None, reason="", asked_ns=1),
        NewTerms(qty=dec("-1"), price=None, reason="", asked_ns=1),
        NewTerms(qty=None, price=dec("NaN"), reason="", asked_ns=1),
        NewTerms(qty=None, price=dec(1), reason="x" * 501, asked_ns=1),
    ],
)
def test_what_cannot_be_meant_is_invalid(terms: NewTerms) -> None:
    """Nothing to change, amounts that are none, a text without end."""
    with pytest.raises(InvalidInput):
        replacing.validate(terms)


def test_there_is_no_such_intent() -> None:
    """An unknown id is a refusal, not an exception."""
    result = ask(Desk(), IntentId("nobody"), price="1")
    assert (result.record, result.refusal.code if result.refusal else "") == (None, "UNKNOWN_INTENT")


def test_two_sales_that_only_reduce_do_not_grow_together_beyond_the_position() -> None:
    """What waits counts, for other replacements and for new sales: reduced is reduced."""
    desk = Desk()
    desk.filled(request(qty="0.02"))
    patient = {"tif": TimeInForce.GTC, "limit_price": "60000", "reduce_only": True, "qty": "0.005"}
    sales = [desk.accept(sell(**patient, key=key)) for key in ("one", "other")]
    for attempt in sales:
        desk.apply(snapshot(attempt))
    taken(desk, sales[0].intent_id, qty="0.014")
    refusal = ask(desk, sales[1].intent_id, qty="0.007").refusal
    new = desk.submit(sell(**(patient | {"qty": "0.002"}), key="new"))
    codes = [each.code for each in (refusal, new.refusal) if each is not None]
    assert codes == ["REDUCE_ONLY", "REDUCE_ONLY"]


def test_a_live_order_is_kept_while_nothing_may_leave() -> None:
    """Replaced it would be canceled, and what takes its place would not be let out."""
    desk = Desk()
    attempt = working(desk)
    terms = NewTerms(qty=None, price=dec("41000"), reason="", asked_ns=desk.now_ns)
    settings = Settings(engine=EngineSettings(mode=Mode.LIVE), risk=UNLIMITED)
    with desk.book.transaction() as unit:
        refused = replacing.request(unit, attempt.intent_id, terms, settings, desk.now_ns).refusal
        arming.arm(unit, "account", SECOND, "go", "operator", desk.now_ns, desk.now_ns)
        later = replace(terms, asked_ns=desk.now_ns + 1)
        armed = replacing.request(unit, attempt.intent_id, later, settings, desk.now_ns)
    assert refused is not None
    assert (refused.code, armed.refusal) == (arming.BLOCKED, None)


def test_a_request_that_was_refused_stays_refused() -> None:
    """Its answer was slow, so it comes once more, and by now it would be possible: its client has heard "no"."""
    desk = Desk()
    attempt = working(desk)
    asked_ns = desk.now_ns
    first = ask(desk, attempt.intent_id, qty="100", asked_ns=asked_ns)
    with desk.book.transaction() as unit:
        holdings.change_total(unit, "USDT", dec("10000000"))
    again = ask(desk, attempt.intent_id, qty="100", asked_ns=asked_ns)
    assert first.refusal == again.refusal
    assert first.refusal is not None
    assert ask(desk, attempt.intent_id, qty="100", asked_ns=asked_ns + 1).refusal is None


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    """The last replacement was asked for at a time that is still to come; the next one counts all the same."""
    desk = Desk()
    attempt = working(desk)
    taken(desk, attempt.intent_id, price="41000")
    desk.later(-3_600)
    assert taken(desk, attempt.intent_id, price="42000").state is State.CANCELING


def test_in_retry_only_the_new_terms_need_money() -> None:
    """Nothing is at the venue that could fill before."""
    desk = Desk(USDT="700")
    attempt = in_state(desk, State.RETRY, TimeInForce.GTC)
    taken(desk, attempt.intent_id, price="30000", qty="0.02")
    assert held(desk, attempt.intent_id) == dec("0.02") * 30000 * dec("1.001")


def test_prices_are_never_worse_than_asked() -> None:
    """R1: on the tick, down for a buy and up for a sale."""
    desk = Desk()
    bought, sold = working(desk), desk.accept(sell(tif=TimeInForce.GTC, limit_price="60000", key="s"))
    desk.apply(snapshot(sold))
    prices = [taken(desk, each.intent_id, price="41000.005").amendment for each in (bought, sold)]
    assert [terms.price for terms in prices if terms] == [dec("41000.00"), dec("41000.01")]
    assert sold.side is Side.SELL
