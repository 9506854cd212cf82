"""The matching engine: one account against a synthetic market. Pure: no clock, no I/O, no global randomness.

Time comes in as an argument, in ns UTC; a time before the latest one counts as the latest one. The same seed and the
same sequence of (time, call) give identical results, whatever else the process does. State is a list of records
(`records`, `changes`, `restore`), so it can be saved and carried on elsewhere.

How it trades:
- An aggressive order takes the synthetic levels from the best on, each at the level's price.
- A resting order trades as maker at its own price whenever the walk crosses it, often in several parts. Of two resting
  orders the better price goes first, then the older one.
- The account never trades with itself: its own resting order expires instead (Binance's EXPIRE_MAKER).

Invariants: balances change by trades and fees only and are never negative; what is locked is what open orders hold; an
order's executed quantity is the sum of its trades.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from core.money import floor_to
from exchange.simulator import filters
from exchange.simulator.account import Account, Balance, FeePlan, cut, is_funded_by_hold
from exchange.simulator.book import TICK_NS, SyntheticBook, WalkRecord
from exchange.simulator.dice import key_of
from exchange.simulator.errors import (
    BAD_SYMBOL,
    CANCEL_UNKNOWN,
    DUPLICATE_ORDER,
    INSUFFICIENT_BALANCE,
    NO_SUCH_ORDER,
    WOULD_TAKE,
    VenueError,
)
from exchange.simulator.happenings import Execution, Happening, OrderChanged, Transferred
from exchange.simulator.orders import ZERO, NewOrder, Order, OrderType, Side, Status, TimeInForce, Trade
from exchange.simulator.register import Register
from exchange.simulator.sweep import Slice, crosses, opposite, sweep, take_levels
from exchange.simulator.symbols import BNB, QUOTE, Market

BNB_PRICE_DEFAULT = Decimal(600)

_ENDS = {
    Status.CANCELED: Execution.CANCELED,
    Status.EXPIRED: Execution.EXPIRED,
    Status.EXPIRED_IN_MATCH: Execution.TRADE_PREVENTION,
}
"""How an order ends without its last trade."""


class OriginRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="origin"):
    """What a run is made of."""

    seed: int
    opened_ns: int
    """When the market opened; ticks count from here."""


Record = OriginRecord | WalkRecord | Balance | Order | Trade


class OrderKey(NamedTuple):
    """Names an order; the id wins where both are given."""

    symbol: str
    id: int | None = None
    client_order_id: str | None = None


class MatchingEngine:
    """One account at one venue."""

    def __init__(
        self, markets: Mapping[str, Market], origin: OriginRecord, fees: FeePlan, opening: Mapping[str, Decimal]
    ) -> None:
        self._markets = markets
        self._origin = origin
        self._books = {name: SyntheticBook(market, key_of(origin.seed, name)) for name, market in markets.items()}
        bnb = markets.get(f"{BNB}{QUOTE}")
        self._account = Account(opening, fees, bnb.price if bnb is not None else BNB_PRICE_DEFAULT)
        self._register = Register()
        self._moved: dict[str, None] = {}
        self._happened: list[Happening] = []
        self._now_ns = origin.opened_ns

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────

    def place(self, now_ns: int, new: NewOrder, fill_share: Decimal | None = None) -> tuple[Order, list[Trade]]:
        """Take an order in and match it. `fill_share`, 0 to 1, makes it fill only that part of what it could.

        Returns the order and its trades. Raises `VenueError` when it is refused; then nothing has changed.
        """
        market, book = self._at(now_ns, new.symbol)
        self._check(market, book, new)
        slices = sweep(market, book, new, fill_share)
        order = self._new_order(new, slices)
        if order.type is OrderType.MARKET and not self._can_pay(market, order, slices):
            raise VenueError(INSUFFICIENT_BALANCE)
        self._note(Execution.NEW, order)
        self._expire_own(order, slices)
        if is_funded_by_hold(order):
            order.locked = self._account.hold_for(market, order)
            self._account.hold(_held_asset(market, order), order.locked)
        self._register.add_order(order)
        trades = []
        for piece in slices:
            book.take(opposite(order.side), piece.depth, piece.qty)
            trades.append(self._trade(self._now_ns, market, order, piece.price, piece.qty, maker=False))
        if order.is_open and not _may_rest(order):
            self._close(market, order, Status.EXPIRED)
        self._moved[market.symbol] = None
        return order, trades

    def check(self, now_ns: int, new: NewOrder) -> None:
        """Raise `VenueError` if `place` would refuse the order for a filter, its client id or the balance."""
        market, book = self._at(now_ns, new.symbol)
        self._check(market, book, new)

    def cancel(self, now_ns: int, key: OrderKey, cancel_id: str = "") -> Order:
        """Take an open order out. `cancel_id` is the client's name of the cancel itself, if it has one.

        Raises `VenueError` when there is no such open order.
        """
        market, _ = self._at(now_ns, key.symbol)
        order = self._find_open(key)
        self._close(market, order, Status.CANCELED, cancel_id)
        return order

    def transfer(self, asset: str, amount: Decimal) -> bool:
        """Deposit or, if negative, withdraw. False, and nothing has changed, when so much is not free."""
        if self._account.free(asset) + amount < 0:
            return False
        self._account.transfer(asset, amount)
        self._happened.append(Transferred(asset, amount))
        return True

    def fill(self, now_ns: int, key: OrderKey, share: Decimal) -> Trade:
        """Let somebody take a share, above 0 to 1, of what an open order has left, at the order's own price.

        At least one step of it. Raises `VenueError`, as a cancel does, when there is no such open order.
        """
        market, _ = self._at(now_ns, key.symbol)
        order = self._find_open(key)
        qty = max(market.step, floor_to(order.remaining * share, market.step))
        self._moved[market.symbol] = None
        return self._trade(self._now_ns, market, order, order.price, qty, maker=True)

    def order(self, now_ns: int, key: OrderKey) -> Order:
        """An order, open or not. Raises `VenueError` when there is none."""
        self._at(now_ns, key.symbol)
        order = self._find(key)
        if order is None:
            raise VenueError(NO_SUCH_ORDER)
        return order

    # ── reads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def markets(self) -> Mapping[str, Market]:
        return self._markets

    def market(self, symbol: str) -> Market:
        """Raises `VenueError` for an unknown symbol."""
        found = self._markets.get(symbol)
        if found is None:
            raise VenueError(BAD_SYMBOL)
        return found

    def book(self, now_ns: int, symbol: str) -> SyntheticBook:
        """The market as it stands; only to be looked at."""
        return self._at(now_ns, symbol)[1]

    def open_orders(self, now_ns: int, symbol: str | None = None) -> list[Order]:
        """Of one symbol, or of all; by symbol, the oldest first."""
        if symbol is None:
            self.advance(now_ns)
            return [order for name in self._register.open_symbols() for order in self._register.open_orders(name)]
        self._at(now_ns, symbol)
        return list(self._register.open_orders(symbol))

    def orders(self, now_ns: int, symbol: str) -> list[Order]:
        """Every order of the symbol, the oldest first. Not to be changed."""
        self._at(now_ns, symbol)
        return self._register.orders(symbol)

    def trades(self, now_ns: int, symbol: str) -> list[Trade]:
        """Every trade of the account in the symbol, the oldest first. Not to be changed."""
        self._at(now_ns, symbol)
        return self._register.trades(symbol)

    def balances(self, now_ns: int) -> list[Balance]:
        """By asset."""
        self.advance(now_ns)
        return sorted(self._account.balances, key=lambda balance: balance.asset)

    def hold_of(self, order: Order) -> tuple[str, Decimal]:
        """The asset and how much of it an open order with so much left has locked."""
        market = self.market(order.symbol)
        return _held_asset(market, order), self._account.hold_for(market, order)

    # ── time and market ───────────────────────────────────────────────────────────────────────────────────────────

    def advance(self, now_ns: int) -> None:
        """Let the market run until now where orders are resting. Other symbols catch up when they are asked about."""
        for symbol in self._register.open_symbols():
            self._at(now_ns, symbol)

    def set_mid(self, now_ns: int, symbol: str, price: Decimal) -> None:
        """Move a market to a price. Resting orders that it crosses trade at the next tick."""
        _, book = self._at(now_ns, symbol)
        book.set_mid(price)
        self._moved[symbol] = None

    # ── the record ────────────────────────────────────────────────────────────────────────────────────────────────

    def records(self) -> list[Record]:
        """The whole state."""
        walks = [book.record() for book in self._books.values() if book.tick]
        return [
            self._origin,
            *walks,
            *self._account.balances,
            *self._register.all_orders(),
            *self._register.all_trades(),
        ]

    def changes(self) -> list[Record]:
        """The records that changed since the last call."""
        walks = [self._books[symbol].record() for symbol in self._moved]
        self._moved.clear()
        return [*walks, *self._account.changes(), *self._register.changes()]

    def happenings(self) -> list[Happening]:
        """What happened since the last call, in its order."""
        happened, self._happened = self._happened, []
        return happened

    def restore(self, records: Iterable[Record]) -> None:
        """Take over a saved state; of several records of one thing the last one. Orders and trades in order of id."""
        for record in records:
            match record:
                case WalkRecord():
                    self._books[record.symbol].restore(record)
                case Balance():
                    self._account.restore(record)
                case Order():
                    self._register.add_order(record)
                case Trade():
                    self._register.add_trade(record)
                case OriginRecord():
                    assert record == self._origin, "a state can only be carried on by its own run"
        self._register.changes()

    # ── inside: placing ───────────────────────────────────────────────────────────────────────────────────────────

    def _check(self, market: Market, book: SyntheticBook, new: NewOrder) -> None:
        filters.check(market, new, book.mid, self._register.open_count(market.symbol))
        known = self._register.by_client_id(market.symbol, new.client_order_id)
        if new.client_order_id and known is not None and known.is_open:
            raise VenueError(DUPLICATE_ORDER)
        if new.type is OrderType.LIMIT_MAKER and self._would_take(book, new):
            raise VenueError(WOULD_TAKE)
        if new.type is OrderType.MARKET:
            return
        if new.side is Side.BUY:
            needed, asset = self._account.cost(market, new.price * new.qty), market.quote
        else:
            needed, asset = new.qty, market.base
        if needed > self._account.free(asset):
            raise VenueError(INSUFFICIENT_BALANCE)

    def _would_take(self, book: SyntheticBook, new: NewOrder) -> bool:
        best = book.best_ask if new.side is Side.BUY else book.best_bid
        own = [order.price for order in self._register.open_orders(new.symbol) if order.side is not new.side]
        return any(crosses(new.side, new.price, price) for price in (best, *own))

    def _can_pay(self, market: Market, order: Order, slices: list[Slice]) -> bool:
        if order.side is Side.SELL:
            return order.qty <= self._account.free(market.base)
        cost = self._account.cost(market, sum((piece.price * piece.qty for piece in slices), ZERO))
        return cost <= self._account.free(market.quote)

    def _new_order(self, new: NewOrder, slices: list[Slice]) -> Order:
        number = self._register.next_order_id(new.symbol)
        return Order(
            symbol=new.symbol,
            id=number,
            client_order_id=new.client_order_id or f"venue{number:017}",
            side=new.side,
            type=new.type,
            time_in_force=new.time_in_force,
            price=new.price,
            # an order for an amount of quote is for whatever that buys, as Binance shows it
            qty=new.qty or sum((piece.qty for piece in slices), ZERO),
            quote_qty=new.quote_qty,
            created_ns=self._now_ns,
            updated_ns=self._now_ns,
        )

    def _expire_own(self, order: Order, slices: list[Slice]) -> None:
        """Own resting orders that this one would meet on its way."""
        taken = sum((piece.qty for piece in slices), ZERO)
        limit = order.price if taken < order.qty and order.price > 0 else slices[-1].price if slices else None
        if limit is None:
            return
        market = self._markets[order.symbol]
        for resting in list(self._register.open_orders(order.symbol)):
            if resting.side is not order.side and crosses(order.side, limit, resting.price):
                self._close(market, resting, Status.EXPIRED_IN_MATCH)

    # ── inside: time ──────────────────────────────────────────────────────────────────────────────────────────────

    def _at(self, now_ns: int, symbol: str) -> tuple[Market, SyntheticBook]:
        """The market at this time, resting orders filled on the way."""
        market, book = self.market(symbol), self._books[symbol]
        self._now_ns = max(self._now_ns, now_ns)
        tick = (self._now_ns - self._origin.opened_ns) // TICK_NS
        book.skip_silence(tick)
        while book.tick < tick:
            book.step()
            if self._register.open_count(symbol):
                self._fill_resting(market, book)
        return market, book

    def _fill_resting(self, market: Market, book: SyntheticBook) -> None:
        bid, ask = book.best_bid, book.best_ask
        crossed = [
            order
            for order in self._register.open_orders(market.symbol)
            if (order.price >= ask if order.side is Side.BUY else order.price <= bid)
        ]
        # the better price first, then the older order; buys and sells meet different levels
        crossed.sort(key=lambda order: (-order.price if order.side is Side.BUY else order.price, order.id))
        tick_ns = self._origin.opened_ns + book.tick * TICK_NS
        for order in crossed:
            wanted = _maker_quantity(market, order, book.drawn_for(order.id))
            slices = take_levels(book, order.side, order.price, wanted)
            for piece in slices:
                book.take(opposite(order.side), piece.depth, piece.qty)
            filled = sum((piece.qty for piece in slices), ZERO)
            if filled > 0:
                self._trade(tick_ns, market, order, order.price, filled, maker=True)
                self._moved[market.symbol] = None

    # ── inside: trading ───────────────────────────────────────────────────────────────────────────────────────────

    def _trade(self, at_ns: int, market: Market, order: Order, price: Decimal, qty: Decimal, *, maker: bool) -> Trade:
        quote_qty = cut(price * qty)
        order.executed += qty
        order.executed_quote += quote_qty
        order.updated_ns = at_ns
        order.status = Status.FILLED if order.remaining == 0 else Status.PARTIALLY_FILLED
        self._release(market, order, self._account.hold_for(market, order) if is_funded_by_hold(order) else ZERO)
        fee = self._account.settle(market, order, qty, quote_qty)
        trade = Trade(
            symbol=market.symbol,
            id=self._register.next_trade_id(market.symbol),
            order_id=order.id,
            side=order.side,
            price=price,
            qty=qty,
            quote_qty=quote_qty,
            commission=fee.amount,
            commission_asset=fee.asset,
            maker=maker,
            time_ns=at_ns,
        )
        self._register.note(order)
        self._register.add_trade(trade)
        self._note(Execution.TRADE, order, trade)
        return trade

    def _close(self, market: Market, order: Order, status: Status, cancel_id: str = "") -> None:
        order.status = status
        order.updated_ns = self._now_ns
        self._release(market, order, ZERO)
        self._register.note(order)
        self._note(_ENDS[status], order, cancel_id=cancel_id)

    def _note(self, execution: Execution, order: Order, trade: Trade | None = None, cancel_id: str = "") -> None:
        self._happened.append(OrderChanged(execution, copy.copy(order), trade, cancel_id))

    def _release(self, market: Market, order: Order, still_needed: Decimal) -> None:
        self._account.hold(_held_asset(market, order), still_needed - order.locked)
        order.locked = still_needed

    def _find(self, key: OrderKey) -> Order | None:
        if key.id is not None:
            return self._register.by_id(key.symbol, key.id)
        return self._register.by_client_id(key.symbol, key.client_order_id or "")

    def _find_open(self, key: OrderKey) -> Order:
        order = self._find(key)
        if order is None or not order.is_open:
            raise VenueError(CANCEL_UNKNOWN)
        return order


def _maker_quantity(market: Market, order: Order, drawn: int) -> Decimal:
    """How much of a crossed resting order trades in one tick: all of it every other time, else 20 to 79 %."""
    if drawn % 2:
        return order.remaining
    part = floor_to(order.remaining * (20 + drawn // 2 % 60) / 100, market.step)
    return part if part > 0 else order.remaining


def _may_rest(order: Order) -> bool:
    return order.type is not OrderType.MARKET and order.time_in_force is TimeInForce.GTC


def _held_asset(market: Market, order: Order) -> str:
    return market.quote if order.side is Side.BUY else market.base
