"""Own trades of the account: whose is each, and up to where are all of them accounted for?

A trade names an order, not an intent. So it is one of four things: booked; ours and missing in the book; of an order
that is known to be external (C4); or *nameless*, as long as nobody has told the name of its order. An order of ours
whose placement is unknown is nameless, too: it is found out by its name, and never taken for external. That is sure
because an attempt is in the book before it leaves, so whatever the venue has of ours, the book has the name.

The *cursor* of a symbol says how far everything is accounted for. It stays behind by the time for which venues report
trades late, so each look reads the last ones again, and it is moved by the portfolio alone, in a transaction that finds
every trade it passes over in the book. What is read again is booked once: a trade is known by its id.

External orders and trades are noted in tables of their own. They touch neither orders nor balances of the book; their
sum explains a difference to the venue's balances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from core import events
from core.ids import ExchangeOrderId, TradeId
from core.intent import Side
from core.market import MarketRules
from core.money import ZERO
from core.records import AttemptRecord, ExternalOrder, ExternalTotal, ExternalTrade, TradeCursor
from core.reports import OpenOrder, OrderSnapshot, OrderStatus, Trade
from core.unit_of_work import BookReader, UnitOfWork


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a symbol's trades has brought, for the book."""

    symbol: str
    external_orders: tuple[ExternalOrder, ...] = ()
    """Seen for the first time."""
    external_trades: tuple[ExternalTrade, ...] = ()
    """The same."""
    passed: tuple[TradeId, ...] = ()
    """Trades between the cursor and its new place."""
    cursor: TradeCursor | None = None
    """Its new place; None: it stays."""

    @property
    def is_empty(self) -> bool:
        return not (self.external_orders or self.external_trades or self.cursor)


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's trades, each put where it belongs."""

    missing: tuple[OrderSnapshot, ...]
    """One report for each order of ours that has trades the book lacks; applying it books them."""
    nameless: tuple[ExchangeOrderId, ...]
    """Orders whose name must be asked for, oldest first."""
    settlement: Settlement


def sort_out(
    book: BookReader,
    symbol: str,
    trades: Iterable[Trade],
    orders: Mapping[ExchangeOrderId, OpenOrder],
    *,
    settled_before_ns: int,
    now_ns: int,
) -> Sorted:
    """Put each trade where it belongs. `trades` are the venue's since the cursor, oldest first; `orders` tells names.

    The cursor moves over no trade that is younger than `settled_before_ns`, the venue's time.
    """
    sorter = _Sorter(book, symbol, orders, now_ns)
    for trade in trades:
        sorter.take(trade, is_old=trade.venue_ns <= settled_before_ns)
    return sorter.result()


class _Sorter:
    def __init__(self, book: BookReader, symbol: str, orders: Mapping[ExchangeOrderId, OpenOrder], now_ns: int) -> None:
        self.book, self.symbol, self.orders, self.now_ns = book, symbol, orders, now_ns
        self.rules = book.market(symbol)
        self.opening_ns = opening_ns(book)
        self.missing: dict[ExchangeOrderId, list[Trade]] = {}
        self.owners: dict[ExchangeOrderId, AttemptRecord] = {}
        self.nameless: dict[ExchangeOrderId, None] = {}
        self.external_orders: dict[ExchangeOrderId, ExternalOrder] = {}
        self.external_trades: list[ExternalTrade] = []
        self.passed: list[TradeId] = []
        self.last: Trade | None = None
        """Up to and with this one, everything is accounted for and old enough."""
        self.is_blocked = False

    def take(self, trade: Trade, *, is_old: bool) -> None:
        accounted = self._is_accounted(trade)
        self.is_blocked = self.is_blocked or not (accounted and is_old)
        if not self.is_blocked:
            self.passed.append(trade.trade_id)
            self.last = trade

    def _is_accounted(self, trade: Trade) -> bool:
        """Whether the book has it, or will when the settlement is applied."""
        order_id = trade.exchange_order_id
        if self.book.fill(self.symbol, trade.trade_id) is not None:
            return True
        owner = self._owner(order_id)
        if owner is not None:
            self.owners[order_id] = owner
            self.missing.setdefault(order_id, []).append(trade)
            return False
        external = self.book.external_order(self.symbol, order_id) or self._named_external(order_id)
        if external is None:
            self.nameless[order_id] = None
            return False
        if not is_noted(self.book, self.symbol, trade.trade_id):
            counts = trade.venue_ns >= self.opening_ns  # what was before is in the opening balances
            self.external_trades.append(external_trade(self.symbol, trade, self.rules, counts=counts))
        return True

    def _owner(self, order_id: ExchangeOrderId) -> AttemptRecord | None:
        known = self.book.order(self.symbol, order_id)
        if known is not None:
            return self.book.attempt(known.intent_id, known.attempt)
        named = self.orders.get(order_id)
        return self.book.attempt_by_client_id(named.client_order_id) if named and named.client_order_id else None

    def _named_external(self, order_id: ExchangeOrderId) -> ExternalOrder | None:
        named = self.orders.get(order_id)
        if named is None or not named.client_order_id:
            return None
        return self.external_orders.setdefault(order_id, external_order(named, self.symbol, self.now_ns))

    def result(self) -> Sorted:
        before = self.book.trade_cursor(self.symbol)
        moved = self.last is not None and (before is None or before.trade_id != self.last.trade_id)
        cursor = None
        if self.last is not None and moved:
            cursor = TradeCursor(symbol=self.symbol, trade_id=self.last.trade_id, venue_ns=self.last.venue_ns)
        return Sorted(
            missing=tuple(
                report_of(self.owners[order_id], order_id, trades, self.orders.get(order_id))
                for order_id, trades in self.missing.items()
            ),
            nameless=tuple(self.nameless),
            settlement=Settlement(
                symbol=self.symbol,
                external_orders=tuple(self.external_orders.values()),
                external_trades=tuple(self.external_trades),
                passed=tuple(self.passed) if moved else (),
                cursor=cursor,
            ),
        )


def opening_ns(book: BookReader) -> int:
    """When the book began: what the account did before is in its opening balances. ns UTC; 0 for an empty book."""
    first = next(iter(book.ledger()), None)
    return 0 if first is None else first.at_ns


def report_of(
    attempt: AttemptRecord, order_id: ExchangeOrderId, trades: Iterable[Trade], listed: OpenOrder | None
) -> OrderSnapshot:
    """Trades of an order of ours, as an ordinary report; how the order stands is told by a list of orders, if any."""
    told = tuple(trades)
    shown = sum((trade.qty for trade in told), ZERO)
    if listed is not None:
        status, word, filled_qty = listed.status, listed.venue_status, listed.filled_qty
    else:
        status, word = attempt.order_status or OrderStatus.OPEN, attempt.venue_status
        filled_qty = max(attempt.venue_filled_qty, attempt.filled_qty + shown)
    return OrderSnapshot(
        client_order_id=attempt.client_order_id,
        exchange_order_id=order_id,
        status=status,
        venue_status=word,
        filled_qty=filled_qty,
        trades=told,
        source="trades" if listed is None else "orders",
    )


def external_order(order: OpenOrder, symbol: str, now_ns: int) -> ExternalOrder:
    """An order that the book has no name of."""
    return ExternalOrder(
        symbol=symbol,
        exchange_order_id=order.exchange_order_id,
        client_order_id=order.client_order_id,
        seen_ns=now_ns,
    )


def is_noted(book: BookReader, symbol: str, trade_id: TradeId) -> bool:
    """Whether a trade that is not ours is in the book."""
    return book.external_trade(symbol, trade_id) is not None


def external_trade(symbol: str, trade: Trade, rules: MarketRules | None, *, counts: bool) -> ExternalTrade:
    """A trade of such an order, with what it did to the balances; nothing if it does not count.

    A symbol that the book has never traded is called by its base and quote.
    """
    base, quote = (rules.base, rules.quote) if rules is not None else symbol.split("/", 1)
    changes: dict[str, Decimal] = {}
    if trade.side is not None and counts:
        sign = 1 if trade.side is Side.BUY else -1
        changes = {base: sign * trade.qty, quote: -sign * trade.quote_qty}
        changes[trade.fee_currency] = changes.get(trade.fee_currency, ZERO) - trade.fee
    return ExternalTrade(
        symbol=symbol, trade_id=trade.trade_id, exchange_order_id=trade.exchange_order_id, changes=changes
    )


# ── inside the portfolio's transaction ────────────────────────────────────────────────────────────────────────────────


def settle(book: UnitOfWork, settlement: Settlement, now_ns: int) -> None:
    """Note what is external, and move the cursor if nothing before its new place is missing."""
    for order in settlement.external_orders:
        _note_order(book, order, now_ns)
    for trade in settlement.external_trades:
        _note_trade(book, trade)
    cursor = settlement.cursor
    if cursor is None:
        return
    before = book.trade_cursor(cursor.symbol)
    is_behind = before is not None and before.venue_ns > cursor.venue_ns  # it was overtaken by a later settlement
    if not is_behind and all(_is_kept(book, cursor.symbol, trade_id) for trade_id in settlement.passed):
        book.put_trade_cursor(cursor)


def _is_kept(book: BookReader, symbol: str, trade_id: TradeId) -> bool:
    return book.fill(symbol, trade_id) is not None or is_noted(book, symbol, trade_id)


def _note_order(book: UnitOfWork, order: ExternalOrder, now_ns: int) -> None:
    if not _is_external(book, order) or book.external_order(order.symbol, order.exchange_order_id) is not None:
        return
    book.put_external_order(order)
    book.append_event(
        events.ExternalOrderSeen(
            at_ns=now_ns,
            symbol=order.symbol,
            exchange_order_id=order.exchange_order_id,
            client_order_id=order.client_order_id,
        )
    )
    if order.is_stray:
        text = f"order {order.client_order_id} of {order.symbol} is named as ours, and the book does not have it"
        book.append_event(events.AlertFired(at_ns=now_ns, code="STRAY_ORDER", text=text))


def _is_external(book: BookReader, order: ExternalOrder) -> bool:
    """The book looks itself: what is ours by id or by name is never external."""
    named = book.attempt_by_client_id(order.client_order_id) if order.client_order_id else None
    return named is None and book.order(order.symbol, order.exchange_order_id) is None


def _note_trade(book: UnitOfWork, trade: ExternalTrade) -> None:
    order = book.external_order(trade.symbol, trade.exchange_order_id)
    if order is None or _is_kept(book, trade.symbol, trade.trade_id):
        return
    book.put_external_trade(trade)
    if order.is_stray:
        return  # nobody has said that it is somebody else's, so it explains nothing
    for currency, amount in trade.changes.items():
        before = book.external_total(currency)
        total = amount + (before.amount if before is not None else ZERO)
        book.put_external_total(ExternalTotal(currency=currency, amount=total))
