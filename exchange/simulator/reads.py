"""What the venue shows of orders, trades and balances: the truth, or what the truth was a while ago.

Binance reads from copies that lag behind its matching engine. The past is worked out from the present, since each order
knows when it came and when it last changed, each trade has its time, and all else follows from these. So any time can
be asked for, also after a restart, and nothing has to be kept.

A *late fill* is hidden on its own: its order was canceled after it, the answer to the cancel knew nothing of it, and
until a certain time no read does.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

import msgspec

from exchange.simulator.account import Balance
from exchange.simulator.errors import NO_SUCH_ORDER, VenueError
from exchange.simulator.matching import MatchingEngine, OrderKey
from exchange.simulator.orders import ZERO, Order, Side, Status, Trade
from exchange.simulator.plan import LateFill

_NS_PER_MS = 1_000_000


class HiddenFill(NamedTuple):
    """A fill that is not shown yet."""

    shown: Order
    """Its order as it would be without it."""
    trade_id: int
    until_ns: int
    cancel_id: str
    """The client's name of the cancel; empty when it has none."""


HiddenFills = dict[tuple[str, int], HiddenFill]
"""By symbol and order id."""


def cancel_with_late_fill(
    engine: MatchingEngine, hidden: HiddenFills, now_ns: int, key: OrderKey, late: LateFill, cancel_id: str = ""
) -> Order:
    """Fill a part of an order, cancel what is left, and hide the fill. Returns the order without the fill.

    Raises `VenueError` when there is no such open order.
    """
    trade = engine.fill(now_ns, key, late.share)
    order = engine.order(now_ns, key)
    if order.is_open:
        engine.cancel(now_ns, key, cancel_id)
    shown = msgspec.structs.replace(
        order,
        executed=order.executed - trade.qty,
        executed_quote=order.executed_quote - trade.quote_qty,
        status=Status.CANCELED,
    )
    until_ns = order.updated_ns + late.hidden_ms * _NS_PER_MS
    hidden[order.symbol, order.id] = HiddenFill(shown, trade.id, until_ns, cancel_id)
    return shown


class Reads:
    """The engine's reads, as of a time that may lie in the past."""

    def __init__(self, engine: MatchingEngine, hidden: HiddenFills, now_ns: int, lag_ms: int = 0) -> None:
        self._engine = engine
        self._now_ns = now_ns
        self._as_of_ns = now_ns - lag_ms * _NS_PER_MS
        self._hidden = {key: fill for key, fill in hidden.items() if self._as_of_ns < fill.until_ns}
        self._is_truth = not lag_ms and not self._hidden

    def order(self, key: OrderKey) -> Order:
        """Raises `VenueError` when it does not show."""
        if self._is_truth:
            return self._engine.order(self._now_ns, key)
        for order in reversed(self.orders(key.symbol)):
            if order.id == key.id or (key.id is None and order.client_order_id == key.client_order_id):
                return order
        raise VenueError(NO_SUCH_ORDER)

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Of one symbol, or of all; by symbol, the oldest first."""
        if self._is_truth:
            return self._engine.open_orders(self._now_ns, symbol)
        symbols = sorted(self._engine.markets) if symbol is None else [symbol]
        return [order for name in symbols for order in self.orders(name) if order.is_open]

    def orders(self, symbol: str) -> list[Order]:
        """The oldest first."""
        orders = self._engine.orders(self._now_ns, symbol)
        if self._is_truth:
            return orders
        trades: dict[int, list[Trade]] = defaultdict(list)
        for trade in self.trades(symbol):
            trades[trade.order_id].append(trade)
        return [self._shown(order, trades[order.id]) for order in orders if order.created_ns <= self._as_of_ns]

    def trades(self, symbol: str) -> list[Trade]:
        """The oldest first."""
        trades = self._engine.trades(self._now_ns, symbol)
        return trades if self._is_truth else [trade for trade in trades if self._shows(trade)]

    def balances(self) -> list[Balance]:
        """By asset."""
        balances = self._engine.balances(self._now_ns)
        if self._is_truth:
            return balances
        total = {balance.asset: balance.free + balance.locked for balance in balances}
        for symbol in self._engine.markets:
            for trade in self._engine.trades(self._now_ns, symbol):
                if not self._shows(trade):
                    self._undo(trade, total)
        locked: dict[str, Decimal] = defaultdict(Decimal)
        for order in self.open_orders():
            asset, amount = self._engine.hold_of(order)
            locked[asset] += amount
        # what a hidden fill has brought may have been spent since
        return [Balance(asset, max(ZERO, total[asset] - locked[asset]), locked[asset]) for asset in total]

    def _shows(self, trade: Trade) -> bool:
        hidden = self._hidden.get((trade.symbol, trade.order_id))
        return trade.time_ns <= self._as_of_ns and (hidden is None or trade.id != hidden.trade_id)

    def _shown(self, order: Order, trades: list[Trade]) -> Order:
        """The order when it had no more than these trades."""
        hidden = self._hidden.get((order.symbol, order.id))
        latest = order if hidden is None else hidden.shown
        if latest.updated_ns <= self._as_of_ns:
            return latest
        # something has happened to it since, so it was open
        return msgspec.structs.replace(
            order,
            executed=sum((trade.qty for trade in trades), ZERO),
            executed_quote=sum((trade.quote_qty for trade in trades), ZERO),
            status=Status.PARTIALLY_FILLED if trades else Status.NEW,
            updated_ns=trades[-1].time_ns if trades else order.created_ns,
        )

    def _undo(self, trade: Trade, total: dict[str, Decimal]) -> None:
        market, sign = self._engine.market(trade.symbol), 1 if trade.side is Side.BUY else -1
        total[market.base] -= sign * trade.qty
        total[market.quote] += sign * trade.quote_qty
        total[trade.commission_asset] += trade.commission
