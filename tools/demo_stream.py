"""The demo's stream of wishes: seeded, so that the same seed gives the same wishes.

`intents` of them are meant to be accepted; strewn between them are the ones that must *not* become orders: repeats of
an earlier wish, a conflicting repeat, too small, too large, an unknown symbol.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum

import msgspec

from core.intent import Intent, IntentRequest, Kind, Side, TimeInForce
from core.replacing import NewTerms

UNKNOWN_SYMBOL = "NOPE/USDT"
ORDER_BUDGET_USDT = (Decimal(20), Decimal(90))
TOTAL_BUDGET_USDT = Decimal(60_000)
LEAST_BUDGET_USDT = Decimal(12)
BUY_SHARE = 0.6
BY_QUOTE_SHARE = 0.5
QTY_GRID = Decimal("0.00000001")
PRICE_DIGITS = 5
USUAL_BUDGET = Decimal(50)
GENEROUS = {Side.BUY: Decimal("1.004"), Side.SELL: Decimal("0.996")}
PATIENT = {Side.BUY: Decimal("0.996"), Side.SELL: Decimal("1.004")}
"""Shares of the market's price."""
NEARER_SHARE = Decimal("0.9")
EXTRA_EVERY = {"repeat": 6, "conflict": 15, "small": 20, "large": 25, "unknown": 30}
"""One of each kind after so many intents."""


class Purpose(StrEnum):
    INTENT = "intent"
    REPEAT = "repeat"
    CONFLICT = "conflict"
    REFUSAL = "refusal"


class Wish(msgspec.Struct, frozen=True):
    request: IntentRequest
    purpose: Purpose


def stream(count: int, symbols: Sequence[str], prices: dict[str, Decimal], seed: int) -> Iterator[Wish]:
    """`count` wishes to be accepted and the others between them. `prices` are rough ones, to size the wishes by."""
    draw = random.Random(f"intentd demo {seed}")
    accepted: list[IntentRequest] = []
    for number in range(1, count + 1):
        request = _intent(draw, number, symbols, prices, count, seed)
        accepted.append(request)
        yield Wish(request, Purpose.INTENT)
        yield from _extras(draw, number, accepted, symbols, prices, seed)


def _intent(
    draw: random.Random, number: int, symbols: Sequence[str], prices: dict[str, Decimal], count: int, seed: int
) -> IntentRequest:
    symbol = symbols[(number - 1) % len(symbols)]
    price = prices[symbol]
    side = Side.BUY if draw.random() < BUY_SHARE else Side.SELL
    most = max(LEAST_BUDGET_USDT + 1, min(ORDER_BUDGET_USDT[1], TOTAL_BUDGET_USDT / count))
    least = min(ORDER_BUDGET_USDT[0], most - 1)
    budget = Decimal(draw.randint(int(least * 100), int(most * 100))) / 100
    by_quote = draw.random() < BY_QUOTE_SHARE
    common = {
        "symbol": symbol,
        "side": side,
        "quote_budget": budget if by_quote else None,
        "qty": None if by_quote else (budget / price).quantize(QTY_GRID, ROUND_DOWN),
        "key": f"demo-{seed}-{number}",
        "source": "demo",
    }
    form = draw.choices(("market", "IOC", "FOK", "GTC", "resting"), (30, 30, 10, 20, 10))[0]
    if form == "market":
        return IntentRequest(kind=Kind.MARKET, **common)  # type: ignore[arg-type]
    limit = _round(price * (PATIENT if form == "resting" else GENEROUS)[side])
    tif = TimeInForce.GTC if form == "resting" else TimeInForce(form)
    return IntentRequest(kind=Kind.LIMIT, limit_price=limit, tif=tif, **common)  # type: ignore[arg-type]


def nearer(intent: Intent, asked_ns: int) -> NewTerms:
    """Other terms for one that rests: at a price that the market takes, and for a tenth less."""
    assert intent.limit_price is not None
    bound = intent.limit_price * (GENEROUS[intent.side] / PATIENT[intent.side])
    qty = None if intent.qty is None else intent.qty * NEARER_SHARE
    return NewTerms(qty=qty, price=_round(bound), reason="nearer to the market", asked_ns=asked_ns)


def _extras(
    draw: random.Random,
    number: int,
    accepted: list[IntentRequest],
    symbols: Sequence[str],
    prices: dict[str, Decimal],
    seed: int,
) -> Iterator[Wish]:
    def due(kind: str) -> bool:
        return number % EXTRA_EVERY[kind] == EXTRA_EVERY[kind] // 2

    symbol = symbols[number % len(symbols)]
    if due("repeat"):
        yield Wish(draw.choice(accepted), Purpose.REPEAT)
    if due("conflict"):
        known = draw.choice(accepted)
        other = Side.SELL if known.side is Side.BUY else Side.BUY
        yield Wish(msgspec.structs.replace(known, side=other), Purpose.CONFLICT)
    if due("small"):
        yield Wish(market_buy(symbol, f"demo-{seed}-small-{number}", Decimal("0.5")), Purpose.REFUSAL)
    if due("large"):
        qty = (Decimal(10) ** 7 / prices[symbol]).quantize(Decimal(1))
        request = IntentRequest(
            symbol=symbol, side=Side.BUY, kind=Kind.MARKET, qty=qty, key=f"demo-{seed}-large-{number}", source="demo"
        )
        yield Wish(request, Purpose.REFUSAL)
    if due("unknown"):
        yield Wish(market_buy(UNKNOWN_SYMBOL, f"demo-{seed}-unknown-{number}"), Purpose.REFUSAL)


def market_buy(symbol: str, key: str, budget: Decimal = USUAL_BUDGET) -> IntentRequest:
    """For so much of the quote currency."""
    return IntentRequest(symbol=symbol, side=Side.BUY, kind=Kind.MARKET, quote_budget=budget, key=key, source="demo")


def _round(price: Decimal) -> Decimal:
    """To a few significant digits, as a person would type it."""
    return price.quantize(Decimal(1).scaleb(price.adjusted() - PRICE_DIGITS + 1), ROUND_DOWN)
