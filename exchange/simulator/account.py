"""The account: balances, what open orders hold of them, and fees.

Balances never go negative, and change by trades, their fees and transfers only: an order merely moves its part from
free to locked and back. Fees are 0.1 % for maker and taker alike and come in three kinds, so that clients meet all of
them:

- `base`: in what was received, i.e. base for a buy and quote for a sell. Binance's rule.
- `quote`: in quote on both sides, on top of what a buy costs.
- `bnb`: in BNB with a quarter off while there is enough of it, else as `base`. Binance's rule with "use BNB for fees".
- `mixed`: one of these by symbol, always the same for the same symbol.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Final

import msgspec

from exchange.simulator.orders import ZERO, Order, OrderType, Side
from exchange.simulator.symbols import BNB, Market

FEE_RATE: Final = Decimal("0.001")
BNB_DISCOUNT: Final = Decimal("0.75")
GRID: Final = Decimal("1e-8")
"""Amounts of money have 8 decimals at Binance."""


class FeePlan(StrEnum):
    BASE = "base"
    QUOTE = "quote"
    BNB = "bnb"
    MIXED = "mixed"

    def of(self, symbol: str) -> FeePlan:
        """The kind for a symbol; never `mixed`."""
        if self is not FeePlan.MIXED:
            return self
        return (FeePlan.BASE, FeePlan.QUOTE, FeePlan.BNB)[zlib.crc32(symbol.encode()) % 3]


class Balance(msgspec.Struct, tag_field="record", tag="balance"):
    asset: str
    free: Decimal = ZERO
    locked: Decimal = ZERO


class Fee(msgspec.Struct, frozen=True):
    amount: Decimal
    asset: str


def cut(amount: Decimal) -> Decimal:
    """To 8 decimals, downwards."""
    return amount.quantize(GRID, rounding=ROUND_DOWN)


class Account:
    """Balances by asset. A method that would make one negative fails an assertion: look at `free` first."""

    def __init__(self, opening: Mapping[str, Decimal], plan: FeePlan, bnb_price: Decimal) -> None:
        """`bnb_price` is what one BNB costs in quote when fees are paid in it."""
        self._balances = {asset: Balance(asset, amount) for asset, amount in opening.items()}
        self._plan = plan
        self._bnb_price = bnb_price
        self._changed: dict[str, None] = {}

    @property
    def balances(self) -> Iterable[Balance]:
        return self._balances.values()

    def free(self, asset: str) -> Decimal:
        return self._of(asset).free

    def hold_for(self, market: Market, order: Order) -> Decimal:
        """What an order must have locked for its remaining quantity: quote for a buy, base for a sell."""
        if order.side is Side.SELL:
            return order.remaining
        worst = self.cost(market, order.price * order.remaining)
        return worst.quantize(GRID, rounding=ROUND_CEILING)

    def cost(self, market: Market, quote_qty: Decimal) -> Decimal:
        """What buying for `quote_qty` costs with the fee, where the fee is charged on top."""
        return quote_qty * (1 + FEE_RATE) if self._plan.of(market.symbol) is FeePlan.QUOTE else quote_qty

    def hold(self, asset: str, amount: Decimal) -> None:
        """Move from free to locked; back, if negative."""
        self._add(asset, free=-amount, locked=amount)

    def transfer(self, asset: str, amount: Decimal) -> None:
        """A deposit or, if negative, a withdrawal."""
        self._add(asset, free=amount)

    def settle(self, market: Market, order: Order, qty: Decimal, quote_qty: Decimal) -> Fee:
        """Exchange `qty` of base for `quote_qty` between free balances, less the fee."""
        sign = 1 if order.side is Side.BUY else -1
        self._add(market.base, free=sign * qty)
        fee = self._fee(market, order, qty, quote_qty)
        # in one step, since the fee may come out of what a sell has just brought
        self._add(market.quote, free=-sign * quote_qty - (fee.amount if fee.asset == market.quote else ZERO))
        if fee.asset != market.quote:
            self._add(fee.asset, free=-fee.amount)
        return fee

    def changes(self) -> list[Balance]:
        """The balances that changed since the last call."""
        changed = [self._balances[asset] for asset in self._changed]
        self._changed.clear()
        return changed

    def restore(self, balance: Balance) -> None:
        self._balances[balance.asset] = balance

    def _fee(self, market: Market, order: Order, qty: Decimal, quote_qty: Decimal) -> Fee:
        plan = self._plan.of(market.symbol)
        if plan is FeePlan.BNB:
            amount = cut(quote_qty * FEE_RATE * BNB_DISCOUNT / self._bnb_price)
            if amount <= self.free(BNB):
                return Fee(amount, BNB)
        if plan is FeePlan.QUOTE or order.side is Side.SELL:
            return Fee(cut(quote_qty * FEE_RATE), market.quote)
        return Fee(cut(qty * FEE_RATE), market.base)

    def _of(self, asset: str) -> Balance:
        return self._balances.setdefault(asset, Balance(asset))

    def _add(self, asset: str, *, free: Decimal, locked: Decimal = ZERO) -> None:
        balance = self._of(asset)
        assert balance.free + free >= 0, f"{asset}: {balance.free} free is not enough for {-free}"
        assert balance.locked + locked >= 0, f"{asset}: {balance.locked} locked is not enough for {-locked}"
        balance.free += free
        balance.locked += locked
        self._changed[asset] = None


def is_funded_by_hold(order: Order) -> bool:
    """Whether an order locks its worst case first. A market order has none: it is paid from what is free."""
    return order.type is not OrderType.MARKET
