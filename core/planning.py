"""From a wish to an order the venue will take: price collar, quantization, minimums. Pure, and before any reservation.

Rules
-----
* Never worse than asked: a buy's price is rounded down, a sell's up, quantities down (R1).
* The price is capped at the reference ± slippage (R2); the reference is the touch: the best ask for a buy, the best
  bid for a sell. A market intent is a limit at that collar (R3), so its worst price is bounded too.
* The worst price is fixed at acceptance. A retry may be priced better, never worse: the reservation stays sufficient
  and the slippage bound is the one the user got, however the market runs away.
* A buy by quote budget never spends more than the budget, fee included.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.intent import IntentRequest, Side, TimeInForce
from core.market import MarketRules, Quote
from core.money import BPS, ONE, ceil_to, floor_to, text
from core.records import IntentRecord
from core.settings import RouterSettings

FINEST_STEP = Decimal("1e-18")
"""Base; where the venue has no grid, quotients are still cut somewhere."""


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """Why nothing was done: a code to count by, and a sentence that names the value, the rule and the remedy."""

    code: str
    reason: str


class OrderPlan(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An order that fits the venue's grids."""

    qty: Decimal
    """Base, on the step."""
    price: Decimal
    """Quote per base, on the tick."""
    tif: TimeInForce
    reference: Decimal
    """The touch that the collar was measured from."""
    asked_price: Decimal | None
    """None for a market intent."""
    slippage_bps: Decimal
    capped: bool
    """The collar, not the asked price, decided."""
    amendments: int = 0
    """How often the intent's terms had been replaced when this was planned."""


def plan_first(
    request: IntentRequest, rules: MarketRules, quote: Quote, settings: RouterSettings
) -> OrderPlan | Refusal:
    """The first order for a request, or why there is none."""
    bps = _tighter(settings.slippage_bps, request.max_slippage_bps)
    reference = quote.touch(request.side)
    if reference <= 0:
        return Refusal("MARKET_DATA_UNAVAILABLE", f"nobody quotes the other side of {request.symbol}; try again later")
    price, capped = _capped_price(request.side, request.limit_price, reference, bps, rules)
    if price <= 0:
        return Refusal("PRICE_OUT_OF_RANGE", f"price {text(price)} after rounding to tick {text(rules.tick)}; raise it")
    if request.qty is not None:
        qty = floor_to(request.qty, rules.step)
    else:
        assert request.quote_budget is not None  # validate() has seen to it
        unit_cost = price * (ONE + rules.taker_fee) if request.side is Side.BUY else reference
        qty = _affordable(request.quote_budget, unit_cost, rules.step or FINEST_STEP)
    refusal = refuse_size(qty, price, rules, settings.min_notional)
    if refusal is not None:
        return refusal
    return OrderPlan(
        qty=qty,
        price=price,
        tif=request.tif,
        reference=reference,
        asked_price=request.limit_price,
        slippage_bps=bps,
        capped=capped,
    )


def _tighter(setting_bps: Decimal, asked_bps: Decimal | None) -> Decimal:
    return setting_bps if asked_bps is None else min(setting_bps, asked_bps)


def _affordable(budget: Decimal, unit_cost: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that costs at most `budget`; a quotient is rounded, a product is exact."""
    qty = floor_to(budget / unit_cost, step)
    return qty - step if qty * unit_cost > budget else qty


def plan_retry(record: IntentRecord, rules: MarketRules, quote: Quote, settings: RouterSettings) -> OrderPlan | Refusal:
    """The next order for what is left of an intent, or why it cannot be sent (dust)."""
    intent = record.intent
    bps = _tighter(settings.slippage_bps, intent.max_slippage_bps)
    reference = quote.touch(intent.side) or record.worst_price  # with nobody there, the accepted bound is the bound
    price, capped = _capped_price(intent.side, record.worst_price, reference, bps, rules)
    qty = floor_to(record.remaining_qty, rules.step)
    if is_dust(qty, price, rules, settings.min_notional):
        return Refusal("DUST", f"remainder {text(record.remaining_qty)} {rules.base} is below the venue's minimum")
    return OrderPlan(
        qty=qty,
        price=price,
        tif=intent.tif,
        reference=reference,
        asked_price=intent.limit_price if record.amendments == 0 else record.worst_price,
        slippage_bps=bps,
        capped=capped,
        amendments=record.amendments,
    )


def is_dust(qty: Decimal, price: Decimal, rules: MarketRules, min_notional: Decimal) -> bool:
    """Whether this quantity (base) at this price is too small for the venue or for `router.min_notional`."""
    return qty <= 0 or qty < rules.min_qty or qty * price < max(min_notional, rules.min_notional)


def reservation_for(side: Side, qty: Decimal, worst_price: Decimal, rules: MarketRules) -> tuple[str, Decimal]:
    """Currency and amount of the worst case (B3): quote with fee for a buy, base for a sell."""
    if side is Side.BUY:
        return rules.quote, qty * worst_price * (ONE + rules.taker_fee)
    return rules.base, qty


def _capped_price(
    side: Side, bound: Decimal | None, reference: Decimal, bps: Decimal, rules: MarketRules
) -> tuple[Decimal, bool]:
    if side is Side.BUY:
        collar = reference * (ONE + bps / BPS)
        price = collar if bound is None else min(bound, collar)
        return floor_to(price, rules.tick), bound is None or collar < bound
    collar = reference * (ONE - bps / BPS)
    price = collar if bound is None else max(bound, collar)
    return ceil_to(price, rules.tick), bound is None or collar > bound


def on_tick(side: Side, price: Decimal, rules: MarketRules) -> Decimal:
    """The nearest price (quote per base) that the venue takes and that is not worse than this one (R1)."""
    return floor_to(price, rules.tick) if side is Side.BUY else ceil_to(price, rules.tick)


def refuse_size(qty: Decimal, price: Decimal, rules: MarketRules, min_notional: Decimal) -> Refusal | None:
    """Why the venue, or `router.min_notional`, would not have an order of this quantity (base) at this price."""
    notional = qty * price
    least = max(min_notional, rules.min_notional)
    base, quote = rules.base, rules.quote
    if qty < rules.min_qty or qty <= 0:
        return Refusal(
            "BELOW_MIN_QTY",
            f"qty {text(qty)} {base}, on the step {text(rules.step)}, is below the minimum {text(rules.min_qty)}; "
            "ask for more",
        )
    if rules.max_qty and qty > rules.max_qty:
        return Refusal("ABOVE_MAX_QTY", f"qty {text(qty)} {base} is above the maximum {text(rules.max_qty)}; split it")
    if notional < least:
        return Refusal(
            "BELOW_MIN_NOTIONAL",
            f"{text(qty)} {base} at {text(price)} is {text(notional)} {quote}, below the minimum {text(least)}; "
            "ask for more",
        )
    if rules.max_notional and notional > rules.max_notional:
        return Refusal(
            "ABOVE_MAX_NOTIONAL",
            f"{text(notional)} {quote} is above the venue's maximum {text(rules.max_notional)}; split it",
        )
    if price < rules.min_price or (rules.max_price and price > rules.max_price):
        return Refusal(
            "PRICE_OUT_OF_RANGE",
            f"price {text(price)} is outside {text(rules.min_price)} to {text(rules.max_price)} for {rules.symbol}",
        )
    return None
