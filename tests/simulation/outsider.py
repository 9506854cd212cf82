"""Somebody else on the same account: trades by hand, lets orders rest, takes some back, and may withdraw money.

The daemon is not told. It must list those orders, leave them alone, and not be alarmed by what they do; a withdrawal,
which no trade explains, must stop it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Final

from core.money import floor_to
from exchange.simulator.errors import VenueError
from exchange.simulator.matching import OrderKey
from exchange.simulator.orders import NewOrder, Order, OrderType, Side, Trade
from tests.simulation.machine import Machine
from tests.simulation.scheduler import NS_PER_S
from tests.simulation.shared_book import SharedBook
from tests.simulation.venue import MARKETS, Venue

NAME: Final = "by-hand"
"""What its orders are called, with a number."""
NOTIONAL: Final = (20, 300)
"""Quote."""
REST_BPS: Final = (5, 60)
"""So far from the touch it lets an order rest."""
LATER_NS: Final = NS_PER_S


class Outsider:
    def __init__(self, machine: Machine, venue: Venue, book: SharedBook, random: Random) -> None:
        self.withdrawn: dict[str, Decimal] = {}
        """By currency."""
        self.canceled: set[str] = set()
        """Orders that it has taken back itself, by name."""
        self._machine = machine
        self._venue = venue
        self._book = book
        self._random = random
        self._count = 0

    def plan(self, trades: int, within_ns: int, *, withdraws: bool) -> None:
        """At any time of the storm."""
        for _ in range(trades):
            self._at_any_time(within_ns, self._trade)
        if withdraws:
            self._at_any_time(within_ns, self._withdraw)

    def _at_any_time(self, within_ns: int, act: Callable[[], None]) -> None:
        self._machine.scheduler.after(self._random.randrange(within_ns), lambda: self._act(act))

    def _act(self, act: Callable[[], None]) -> None:
        """Only when the book has its opening: what was before belongs to that."""
        with self._book.view() as view:
            is_open = next(view.balances(), None) is not None
        if not is_open:
            self._machine.scheduler.after(LATER_NS, lambda: self._act(act))
            return
        act()
        self._venue.on_change()

    def _trade(self) -> None:
        symbol = self._random.choice(list(MARKETS))
        side = self._random.choice((Side.BUY, Side.SELL))
        bid, ask = self._venue.best(symbol)
        rests = self._random.random() < 0.5
        sign, touch = (1, bid) if side is Side.BUY else (-1, ask)
        market = self._venue.engine.market(MARKETS[symbol])
        price = floor_to(touch * (10_000 - sign * self._random.randint(*REST_BPS)) / 10_000, market.tick)
        self._count += 1
        new = NewOrder(
            symbol=MARKETS[symbol],
            side=side,
            type=OrderType.LIMIT if rests else OrderType.MARKET,
            price=price if rests else Decimal(0),
            qty=floor_to(Decimal(self._random.randint(*NOTIONAL)) / touch, market.step),
            client_order_id=f"{NAME}-{self._count}",
        )
        self._tell(f"{new.side} {new.qty} {symbol} {new.type} {new.price} as {new.client_order_id}")
        try:
            self._venue.engine.place(self._venue.clock_ns(), new)
        except VenueError:
            return  # there is not enough money
        if rests and self._random.random() < 0.5:
            self._machine.scheduler.after(self._random.randrange(20 * NS_PER_S), lambda: self._take_back(new))

    def _take_back(self, new: NewOrder) -> None:
        key = OrderKey(new.symbol, client_order_id=new.client_order_id)
        try:
            self._venue.engine.cancel(self._venue.clock_ns(), key)
        except VenueError:
            return  # it is filled
        self._tell(f"takes {new.client_order_id} back")
        self.canceled.add(new.client_order_id)
        self._venue.on_change()

    def _withdraw(self) -> None:
        currency = self._random.choice(("USDT", "BTC", "ETH"))
        free = next(row.free for row in self._venue.engine.balances(self._venue.clock_ns()) if row.asset == currency)
        amount = floor_to(free / self._random.randint(5, 50), Decimal("1e-8"))
        if amount and self._venue.engine.transfer(currency, -amount):
            self._tell(f"withdraws {amount} {currency}")
            self.withdrawn[currency] = amount

    def _tell(self, what: str) -> None:
        if self._machine.trace.on:
            self._machine.trace.note("outsider", what)

    # ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────

    def orders(self) -> Iterator[Order]:
        """Its own, by hand."""
        return (order for symbol in MARKETS for order in self._venue.orders(symbol) if is_by_hand(order))

    def changes(self) -> dict[str, Decimal]:
        """What it has done to the account, by currency."""
        changes: dict[str, Decimal] = defaultdict(Decimal)
        for currency, amount in self.withdrawn.items():
            changes[currency] -= amount
        for symbol in MARKETS:
            orders = self._venue.orders(symbol)
            for trade in self._venue.trades(symbol):
                if is_by_hand(orders[trade.order_id - 1]):
                    for currency, amount in effect_of(self._venue, trade).items():
                        changes[currency] += amount
        return {currency: amount for currency, amount in changes.items() if amount}


def is_by_hand(order: Order) -> bool:
    return order.client_order_id.startswith(NAME)


def effect_of(venue: Venue, trade: Trade) -> dict[str, Decimal]:
    """What a trade does to balances, by currency."""
    market, sign = venue.engine.market(trade.symbol), 1 if trade.side == "BUY" else -1
    effect: dict[str, Decimal] = defaultdict(Decimal)
    effect[market.base] += sign * trade.qty
    effect[market.quote] -= sign * trade.quote_qty
    effect[trade.commission_asset] -= trade.commission
    return effect
