"""What a replacement may ask for: money, limits, positions and states that stand in its way, and who is told no."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core import arming, holdings, replacing, trading
from core import book as rules_of_book
from core.errors import InvalidInput
from core.events import ReplaceRefused, RiskLimitsEval
from core.ids import IntentId
from core.intent import Side, TimeInForce
from core.lifecycle import State
from core.records import Amendment, IntentRecord, PrivateData, PrivateDataState, TradingState
from core.replacing import NewTerms
from core.settings import UNLIMITED, EngineSettings, Mode, Settings
from tests.builders import SECOND, Desk, dec, in_state, request, rules, sell, snapshot
from tests.core.amending import ask, held, replaced, taken, working


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
