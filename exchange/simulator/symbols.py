"""The markets that the simulator trades: opening price, grids and filters, as data.

All are quoted in USDT. The first 24 are real names with values close to Binance's; `markets(200)` adds made-up ones.
Grids are such that tick × step is never below 1e-8, as on Binance.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

QUOTE: Final = "USDT"
BNB: Final = "BNB"
COUNT_DEFAULT: Final = 24
COUNT_MAX: Final = 1000

_TABLE: Final = """
BTC   60000     0.01     0.00001
ETH   3000      0.01     0.0001
SOL   150       0.01     0.001
XRP   0.55      0.0001   0.1
BNB   600       0.01     0.001
ADA   0.45      0.0001   0.1
DOGE  0.15      0.00001  1
LINK  15        0.01     0.01
LTC   80        0.01     0.001
AVAX  30        0.01     0.01
DOT   6         0.001    0.01
TRX   0.12      0.0001   0.1
POL   0.5       0.0001   0.1
UNI   8         0.001    0.01
ATOM  7         0.001    0.01
NEAR  5         0.001    0.1
APT   9         0.001    0.01
ARB   0.8       0.0001   0.1
OP    1.8       0.001    0.01
FIL   4.5       0.001    0.01
INJ   22        0.01     0.01
SUI   1.1       0.0001   0.1
ETC   25        0.01     0.01
XLM   0.1       0.0001   1
"""
"""Base, opening price, tick, step."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol and its filters. Prices in quote, quantities in base."""

    symbol: str
    """Binance's name, e.g. `BTCUSDT`."""
    base: str
    quote: str
    price: Decimal
    """Where the walk begins, and what it is drawn back to."""
    tick: Decimal
    step: Decimal
    min_price: Decimal
    max_price: Decimal
    min_qty: Decimal
    max_qty: Decimal
    market_max_qty: Decimal
    """MARKET_LOT_SIZE; its minimum and step are zero, which disables them."""
    min_notional: Decimal = Decimal(5)
    max_notional: Decimal = Decimal(9_000_000)
    """Not applied to market orders, as on Binance."""
    multiplier_up: Decimal = Decimal(5)
    """PERCENT_PRICE_BY_SIDE: the highest price, as a multiple of the market's."""
    multiplier_down: Decimal = Decimal("0.2")
    max_orders: int = 200


def markets(count: int = COUNT_DEFAULT) -> dict[str, Market]:
    """The first `count` markets by symbol."""
    rows = [line.split() for line in _TABLE.strip().splitlines()]
    for number in range(len(rows), count):
        _, price, tick, step = rows[number % COUNT_DEFAULT]
        rows.append([f"SIM{number:03}", price, tick, step])
    return {f"{base}{QUOTE}": _market(base, Decimal(price), tick, step) for base, price, tick, step in rows[:count]}


def _market(base: str, price: Decimal, tick: str, step: str) -> Market:
    max_qty, max_price = _largest(price)
    return Market(
        symbol=f"{base}{QUOTE}",
        base=base,
        quote=QUOTE,
        price=price,
        tick=Decimal(tick),
        step=Decimal(step),
        min_price=Decimal(tick),
        max_price=max_price,
        min_qty=Decimal(step),
        max_qty=max_qty,
        market_max_qty=max_qty / 100,
    )


def _largest(price: Decimal) -> tuple[Decimal, Decimal]:
    """Largest quantity and price, of Binance's magnitudes."""
    if price >= 1000:  # noqa: PLR2004
        return Decimal(9_000), Decimal(1_000_000)
    if price >= 1:
        return Decimal(900_000), Decimal(100_000)
    return Decimal(9_000_000), Decimal(1_000)
