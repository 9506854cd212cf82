"""The venue's memory of orders and trades: found by id, by client id, by symbol, and what changed since last asked.

Client ids are unique among open orders only, as on Binance; a look-up by client id finds the open one, else the latest.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchange.simulator.orders import Order, Trade


class Register:
    def __init__(self) -> None:
        self._orders: dict[str, list[Order]] = {}
        self._open: dict[str, dict[int, Order]] = {}
        self._by_client_id: dict[tuple[str, str], Order] = {}
        self._trades: dict[str, list[Trade]] = {}
        self._changed: dict[tuple[str, int], Order] = {}
        self._new_trades: list[Trade] = []

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def orders(self, symbol: str) -> list[Order]:
        """Every order of the symbol, the oldest first; ids are 1, 2, 3 …"""
        return self._orders.get(symbol, [])

    def trades(self, symbol: str) -> list[Trade]:
        """Every trade of the symbol, the oldest first; ids are 1, 2, 3 …"""
        return self._trades.get(symbol, [])

    def open_orders(self, symbol: str) -> Iterable[Order]:
        """Those that can still trade, the oldest first. Not to be changed while looping."""
        return self._open.get(symbol, {}).values()

    def open_count(self, symbol: str) -> int:
        return len(self._open.get(symbol, ()))

    def open_symbols(self) -> list[str]:
        """Symbols that have open orders, sorted."""
        return sorted(symbol for symbol, orders in self._open.items() if orders)

    def by_id(self, symbol: str, order_id: int) -> Order | None:
        orders = self.orders(symbol)
        return orders[order_id - 1] if 1 <= order_id <= len(orders) else None

    def by_client_id(self, symbol: str, client_order_id: str) -> Order | None:
        return self._by_client_id.get((symbol, client_order_id))

    def next_order_id(self, symbol: str) -> int:
        return len(self.orders(symbol)) + 1

    def next_trade_id(self, symbol: str) -> int:
        return len(self.trades(symbol)) + 1

    def all_orders(self) -> Iterable[Order]:
        for symbol in sorted(self._orders):
            yield from self._orders[symbol]

    def all_trades(self) -> Iterable[Trade]:
        for symbol in sorted(self._trades):
            yield from self._trades[symbol]

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def add_order(self, order: Order) -> None:
        orders = self._orders.setdefault(order.symbol, [])
        assert order.id == len(orders) + 1, f"{order.symbol}: order {order.id} after {len(orders)}"
        orders.append(order)
        self._by_client_id[order.symbol, order.client_order_id] = order
        self.note(order)

    def note(self, order: Order) -> None:
        """The order has changed."""
        open_orders = self._open.setdefault(order.symbol, {})
        if order.is_open:
            open_orders[order.id] = order
        else:
            open_orders.pop(order.id, None)
        self._changed[order.symbol, order.id] = order

    def add_trade(self, trade: Trade) -> None:
        trades = self._trades.setdefault(trade.symbol, [])
        assert trade.id == len(trades) + 1, f"{trade.symbol}: trade {trade.id} after {len(trades)}"
        trades.append(trade)
        self._new_trades.append(trade)

    def changes(self) -> list[Order | Trade]:
        """Orders and trades that changed since the last call."""
        changed: list[Order | Trade] = [*self._changed.values(), *self._new_trades]
        self._changed.clear()
        self._new_trades.clear()
        return changed
