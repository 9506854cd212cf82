"""From a wish to an order: never worse than asked, on the venue's grids, within the collar, within the budget."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.intent import IntentRequest, Kind, Side
from core.lifecycle import State
from core.market import MarketRules, Quote
from core.money import BPS, ONE
from core.planning import OrderPlan, Refusal, is_dust, plan_first, plan_retry, reservation_for
from core.records import IntentRecord
from core.settings import RouterSettings
from tests.builders import dec, intent, opening, quote, request, rules, sell

SETTINGS = RouterSettings()


def planned(wish: IntentRequest, market: MarketRules | None = None, top: Quote | None = None) -> OrderPlan:
    plan = plan_first(wish, market or rules(), top or quote(), SETTINGS)
    assert isinstance(plan, OrderPlan), plan
    return plan


def refused(wish: IntentRequest, market: MarketRules | None = None, top: Quote | None = None) -> Refusal:
    refusal = plan_first(wish, market or rules(), top or quote(), SETTINGS)
    assert isinstance(refusal, Refusal), refusal
    return refusal


# ── examples ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_inside_the_collar_is_taken_as_asked() -> None:
    """A limit price that is on the grid and not capped goes out unchanged."""
    plan = planned(request(qty="0.01", limit_price="50000"))
    assert (plan.qty, plan.price, plan.capped) == (dec("0.01"), dec("50000"), False)


def test_a_buy_is_rounded_down() -> None:
    """R1: quantity and price of a buy go down to the grid."""
    plan = planned(request(qty="0.0123456", limit_price="49999.999"))
    assert (plan.qty, plan.price) == (dec("0.01234"), dec("49999.99"))


def test_the_price_of_a_sell_is_rounded_up() -> None:
    """R1: the quantity of a sell goes down, its price up."""
    plan = planned(sell(qty="0.0123456", limit_price="49990.001"))
    assert (plan.qty, plan.price) == (dec("0.01234"), dec("49990.01"))


def test_a_buy_is_capped_above_the_ask() -> None:
    """R2: 20 bps above an ask of 50 000 is 50 100, whatever was asked."""
    plan = planned(request(limit_price="60000"))
    assert (plan.price, plan.capped, plan.asked_price, plan.reference) == (
        dec("50100"),
        True,
        dec("60000"),
        dec("50000"),
    )


def test_a_sell_is_capped_below_the_bid() -> None:
    """R2: 20 bps below a bid of 50 000 is 49 900, whatever was asked."""
    plan = planned(sell(limit_price="40000"), top=quote("50000", "50010"))
    assert (plan.price, plan.capped, plan.reference) == (dec("49900"), True, dec("50000"))


def test_the_tighter_slippage_holds() -> None:
    """A caller may ask for less slippage than the setting, never for more."""
    tight = planned(request(limit_price="60000", max_slippage_bps="5"))
    loose = planned(request(limit_price="60000", max_slippage_bps="500"))
    assert (tight.price, loose.price) == (dec("50025"), dec("50100"))


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "50100"), (Side.SELL, "49890.02")])
def test_a_market_order_is_a_limit_at_the_collar(side: Side, price: str) -> None:
    """R3: the worst price of a market intent is bounded."""
    plan = planned(request(side=side, kind=Kind.MARKET, limit_price=None))
    assert (plan.price, plan.capped, plan.asked_price) == (dec(price), True, None)


def test_a_far_limit_is_not_moved_towards_the_market() -> None:
    """The collar only bounds the bad side: a buy far below the market stays there."""
    assert planned(request(limit_price="30000")).price == dec("30000")
    assert planned(sell(limit_price="90000")).price == dec("90000")


@pytest.mark.parametrize(
    ("wish", "market", "code"),
    [
        (request(qty="0.000009"), {}, "BELOW_MIN_QTY"),
        (request(qty="0.0009"), {"min_qty": "0.001", "min_notional": "0"}, "BELOW_MIN_QTY"),
        (request(qty="0.00009"), {}, "BELOW_MIN_NOTIONAL"),
        (request(qty="0.0001"), {"min_notional": "10"}, "BELOW_MIN_NOTIONAL"),
        (request(qty="0.0001", limit_price="49999.99"), {"min_notional": "0"}, "BELOW_MIN_NOTIONAL"),
        (request(qty="9000.1"), {}, "ABOVE_MAX_QTY"),
        (request(qty="1000"), {"max_notional": "1000"}, "ABOVE_MAX_NOTIONAL"),
        (request(limit_price="0.001"), {}, "PRICE_OUT_OF_RANGE"),
        (request(qty="100", limit_price="0.5"), {"min_price": "1"}, "PRICE_OUT_OF_RANGE"),
        (sell(qty="1", limit_price="1000001"), {}, "PRICE_OUT_OF_RANGE"),
        (request(qty=None, quote_budget="4.99"), {}, "BELOW_MIN_NOTIONAL"),
        (request(qty=None, quote_budget="0.1"), {}, "BELOW_MIN_QTY"),
    ],
)
def test_what_the_venue_would_refuse_is_refused_here(wish: IntentRequest, market: dict[str, Any], code: str) -> None:
    """R1: below or above the venue's limits there is a code to count and a sentence with a number in it."""
    refusal = refused(wish, rules(**market))
    assert code == refusal.code
    assert any(digit in refusal.reason for digit in "0123456789")


def test_the_smallest_order_passes() -> None:
    """Exactly the minimum is enough: of quantity, and of notional."""
    assert planned(request(qty="0.0001", limit_price="50000")).qty == dec("0.0001")
    assert planned(request(qty="0.001"), rules(min_qty="0.001")).qty == dec("0.001")


def test_zero_switches_a_limit_off() -> None:
    """The venue's zeros mean no grid and no limit."""
    free = rules(tick="0", step="0", min_qty="0", max_qty="0", min_price="0", max_price="0", max_notional="0")
    plan = planned(request(qty="123456.7890123", limit_price="49999.123456789"), free)
    assert (plan.qty, plan.price) == (dec("123456.7890123"), dec("49999.123456789"))


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

prices = st.decimals(min_value="0.01", max_value=200_000, places=6, allow_nan=False)
quantities = st.decimals(min_value="0.000001", max_value=5_000, places=8, allow_nan=False)
sides = st.sampled_from(Side)
slippages = st.none() | st.decimals(min_value="0.1", max_value=5_000, places=1, allow_nan=False)


@st.composite
def markets(draw: st.DrawFn) -> MarketRules:
    return rules(
        tick=draw(st.sampled_from(["0", "0.000001", "0.01", "0.5", "1", "0.03"])),
        step=draw(st.sampled_from(["0", "0.00000001", "0.00001", "0.1", "1", "0.007"])),
        taker_fee=draw(st.sampled_from(["0", "0.00075", "0.001", "0.01"])),
    )


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    bid = draw(st.decimals(min_value="0.01", max_value=200_000, places=4, allow_nan=False))
    spread = draw(st.decimals(min_value=0, max_value=100, places=4, allow_nan=False))
    return Quote(bid, bid + spread, 0)


@st.composite
def wishes(draw: st.DrawFn) -> IntentRequest:
    limit = draw(st.none() | prices)
    budget = draw(st.booleans())
    return request(
        side=draw(sides),
        kind=Kind.MARKET if limit is None else Kind.LIMIT,
        limit_price=limit,
        qty=None if budget else draw(quantities),
        quote_budget=draw(st.decimals(min_value=1, max_value=10**6, places=2)) if budget else None,
        max_slippage_bps=draw(slippages),
    )


def collar(side: Side, top: Quote, bps: Decimal) -> Decimal:
    return top.touch(side) * (ONE + bps / BPS if side is Side.BUY else ONE - bps / BPS)


@given(wishes(), markets(), quotes())
def test_a_plan_is_never_worse_than_asked(wish: IntentRequest, market: MarketRules, top: Quote) -> None:
    """R1, R2: the price is within limit and collar and on the tick, the quantity within the wish and on the step."""
    plan = plan_first(wish, market, top, SETTINGS)
    if isinstance(plan, Refusal):
        assert plan.reason
        return
    bps = min(SETTINGS.slippage_bps, wish.max_slippage_bps or SETTINGS.slippage_bps)
    if wish.side is Side.BUY:
        assert plan.price <= collar(wish.side, top, bps)
        assert wish.limit_price is None or plan.price <= wish.limit_price
    else:
        assert plan.price >= collar(wish.side, top, bps)
        assert wish.limit_price is None or plan.price >= wish.limit_price
    assert wish.qty is None or plan.qty <= wish.qty
    assert not market.tick or plan.price % market.tick == 0
    assert not market.step or plan.qty % market.step == 0
    assert plan.qty > 0
    assert plan.price > 0
    assert not is_dust(plan.qty, plan.price, market, SETTINGS.min_notional)


@given(wishes().filter(lambda wish: wish.quote_budget is not None and wish.side is Side.BUY), markets(), quotes())
def test_a_buy_never_spends_more_than_its_budget(wish: IntentRequest, market: MarketRules, top: Quote) -> None:
    """The worst case of a buy by budget, fee included, is within the budget, to the last digit."""
    plan = plan_first(wish, market, top, SETTINGS)
    if isinstance(plan, Refusal):
        return
    assert wish.quote_budget is not None
    currency, reserved = reservation_for(wish.side, plan.qty, plan.price, market)
    assert currency == "USDT"
    assert reserved <= wish.quote_budget


def test_a_budget_includes_the_fee() -> None:
    """500.50 at 50 000 with a fee of 0.1 % buys exactly 0.01; a cent less buys one step less."""
    exact = planned(request(qty=None, quote_budget="500.50"))
    less = planned(request(qty=None, quote_budget="500.49"))
    assert (exact.qty, less.qty) == (dec("0.01"), dec("0.00999"))


def test_an_empty_side_of_the_market_is_refused() -> None:
    """Nobody bids: a sell sized in quote cannot be sized, and says so instead of dividing by zero."""
    wish = sell(qty=None, quote_budget="500")
    assert refused(wish, top=quote("0", "50000")).reason


def test_a_budget_holds_on_a_market_without_a_grid() -> None:
    """With a step of zero the quotient is rounded too, and down: the budget is not exceeded in any digit."""
    market = rules(tick="0", step="0", taker_fee="0.00075")
    for cents in range(600, 700):
        wish = request(qty=None, quote_budget=Decimal(cents) / 100, limit_price="0.0102")
        plan = planned(wish, market, quote("0.0100", "0.0102"))
        assert wish.quote_budget is not None
        assert reservation_for(wish.side, plan.qty, plan.price, market)[1] <= wish.quote_budget


@given(wishes().filter(lambda wish: wish.quote_budget is not None and wish.side is Side.SELL), markets(), quotes())
def test_a_sell_by_budget_is_sized_at_the_bid(wish: IntentRequest, market: MarketRules, top: Quote) -> None:
    """A sell by quote amount sells at most what brings the amount at the present bid."""
    plan = plan_first(wish, market, top, SETTINGS)
    if isinstance(plan, OrderPlan) and market.step:
        assert wish.quote_budget is not None
        assert plan.qty * top.bid <= wish.quote_budget


@given(wishes(), markets(), quotes(), quotes(), st.decimals(min_value=0, max_value=1, places=4))
def test_a_retry_is_never_worse_than_what_was_accepted(
    wish: IntentRequest, market: MarketRules, first: Quote, later: Quote, done: Decimal
) -> None:
    """However the market runs, a retry stays within the worst price and the remainder; else it is refused as dust."""
    plan = plan_first(wish, market, first, SETTINGS)
    if isinstance(plan, Refusal):
        return
    record = replace(record_of(wish, plan), filled_qty=plan.qty * done)
    again = plan_retry(record, market, later, SETTINGS)
    if isinstance(again, Refusal):
        assert again.code == "DUST"
        return
    assert again.price <= plan.price if wish.side is Side.BUY else again.price >= plan.price
    assert 0 < again.qty <= record.remaining_qty
    assert (
        reservation_for(wish.side, again.qty, again.price, market)[1]
        <= (reservation_for(wish.side, plan.qty, plan.price, market)[1])
    )
    assert not market.tick or again.price % market.tick == 0
    assert not is_dust(again.qty, again.price, market, SETTINGS.min_notional)


def record_of(wish: IntentRequest, plan: OrderPlan) -> IntentRecord:
    return IntentRecord(
        intent=intent(wish),
        payload_hash=opening().payload_hash,
        state=State.RETRY,
        qty=plan.qty,
        worst_price=plan.price,
        retries_max=3,
        backoff_ms=400,
        attempts=1,
    )


def test_a_retry_follows_the_market_only_for_the_better() -> None:
    """A buy is retried at the new collar when that is cheaper, at the worst price when it is dearer."""
    wish = request(limit_price="60000")
    record = record_of(wish, planned(wish))
    dearer = plan_retry(record, rules(), quote("51000", "51010"), SETTINGS)
    cheaper = plan_retry(record, rules(), quote("48990", "49000"), SETTINGS)
    assert isinstance(dearer, OrderPlan)
    assert isinstance(cheaper, OrderPlan)
    assert (dearer.price, cheaper.price) == (dec("50100"), dec("49098"))


@pytest.mark.parametrize(
    ("qty", "price", "expected"),
    [
        ("0", "50000", True),
        ("0.000009", "50000", True),
        ("0.0000999", "50000", True),
        ("0.0001", "50000", False),
        ("1", "4.99", True),
    ],
)
def test_dust_is_what_the_venue_would_not_take(qty: str, price: str, expected: bool) -> None:
    """Below the smallest quantity or the smallest notional, whichever binds."""
    assert expected == is_dust(dec(qty), dec(price), rules(), dec("5"))


def test_a_reservation_is_the_worst_case() -> None:
    """B3: a buy holds quote at the worst price with the fee, a sell holds base."""
    assert reservation_for(Side.BUY, dec("0.01"), dec("50000"), rules()) == ("USDT", dec("500.5"))
    assert reservation_for(Side.SELL, dec("0.01"), dec("50000"), rules()) == ("BTC", dec("0.01"))
