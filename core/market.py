"""What a venue says about a symbol: its grids and limits (`MarketRules`) and its top of book (`Quote`)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.intent import Side
from core.money import ZERO


class MarketRules(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's filters for one symbol. Zero switches a grid or limit off, as at the venue."""

    symbol: str
    base: str
    quote: str
    tick: Decimal
    """Price grid, quote per base."""
    step: Decimal
    """Quantity grid, base."""
    min_qty: Decimal
    """Smallest order, base."""
    max_qty: Decimal
    """Largest order, base."""
    min_price: Decimal = ZERO
    max_price: Decimal = ZERO
    min_notional: Decimal = ZERO
    """Smallest order, quote."""
    max_notional: Decimal = ZERO
    taker_fee: Decimal = Decimal("0.001")
    """Fraction of the notional; the worst case that a reservation assumes."""


class Quote(msgspec.Struct, frozen=True, tag=True):
    """Best bid and ask, as received at `observed_ns` (UTC)."""

    bid: Decimal
    ask: Decimal
    observed_ns: int

    def touch(self, side: Side) -> Decimal:
        """The price at which an order of this side would trade at once: the slippage guard's reference."""
        return self.ask if side is Side.BUY else self.bid
