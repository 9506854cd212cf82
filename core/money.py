"""Exact money: Decimal arithmetic and rounding to the venue's grids.

Quantities and prices are never floats. A venue's tick or step of zero means "no grid" (Binance, filters: a zero
disables the rule), so rounding to it changes nothing.
"""

from __future__ import annotations

import decimal
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

# Two amounts of up to 18 digits on either side of the point, multiplied, stay exact in 76 digits. Python's default of
# 28 would round a ledger silently, so this is set for every thread that imports the rules.
PRECISION_DIGITS = 76
decimal.DefaultContext.prec = PRECISION_DIGITS
decimal.setcontext(decimal.Context(prec=PRECISION_DIGITS))

ZERO = Decimal(0)
ONE = Decimal(1)
BPS = Decimal(10_000)
COST_GRID = Decimal("1e-12")
"""Average cost is a quotient; what it takes out of a position is rounded to this and the rest stays in the position."""


def floor_to(value: Decimal, grid: Decimal) -> Decimal:
    """The largest multiple of `grid` that is not above `value`."""
    return _to_grid(value, grid, ROUND_FLOOR)


def ceil_to(value: Decimal, grid: Decimal) -> Decimal:
    """The smallest multiple of `grid` that is not below `value`."""
    return _to_grid(value, grid, ROUND_CEILING)


def _to_grid(value: Decimal, grid: Decimal, rounding: str) -> Decimal:
    if grid <= 0:
        return value
    steps = (value / grid).to_integral_value(rounding=rounding)
    return steps * grid


def share(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`total × part / whole`, rounded to COST_GRID; exactly `total` when `part` is the `whole`."""
    if part == whole:
        return total
    return (total * part / whole).quantize(COST_GRID, rounding=ROUND_HALF_EVEN)


def text(value: Decimal) -> str:
    """Plain digits without exponent or trailing zeros: `0.001`, `50000`, `0`."""
    if value == 0:
        return "0"
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
