"""Somebody who trades on the same account past the daemon: by hand, now and then, in its markets and in others.

What he does must be listed and never touched, and his trades must explain the balances (C4). In some runs money comes
to the account or leaves it without a trade, which nothing explains (C5). He begins when the book has its opening
balances, since what is read for these while somebody trades is of no moment that anybody could name.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import Final

from core.money import floor_to
from exchange.simulator.orders import NewOrder, Order, OrderType, Side
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S, Scheduler
from tests.simulation.trace import Trace
from tests.simulation.venue import MARKETS_OF_THE_HAND, Venue

NOTIONAL: Final = (10, 300)
"""Quote."""
AWAY_BPS: Final = (0, 3, 10, 40)
"""From the touch: an order that soon fills, or rests."""
FAR_BPS: Final = 3_000
"""An order that never fills."""
CHANGES_MIND: Final = 0.5
CHANGES_MIND_NS: Final = (200 * NS_PER_MS, 6 * NS_PER_S)
NAMES: Final = ("web_{:x}", "ios_{:x}", "in-another-bot-{:x}", "")
"""How other clients call their orders; without a name the venue makes one up."""
MOVED: Final = ("USDT", "USDT", "BTC", "SOL", "XRP", "ETH")
MOVED_PERCENT: Final = (5, 40)
"""Of what is free."""


class Hand:
    def __init__(
        self, scheduler: Scheduler, venue: Venue, trace: Trace, random: Random, may_begin: Callable[[], bool]
    ) -> None:
        self._scheduler = scheduler
        self._venue = venue
        self._trace = trace
        self._random = random
        self._may_begin = may_begin
        self._rests: list[tuple[str, Order]] = []
        """Orders that may fill before they are canceled."""
        self._is_over = False

    def plan(self, trades: int, transfers: int, within_ns: int) -> None:
        """So many orders at any time, and transfers early enough to be noticed within it."""
        for act, latest_ns in [(self._trade, within_ns)] * trades + [(self._transfer, within_ns // 2)] * transfers:
            self._scheduler.after(self._random.randrange(latest_ns), partial(self._begin, act))

    def stop(self) -> None:
        """The run comes to its end: what may still fill is canceled; what cannot stays open."""
        self._is_over = True
        for symbol, order in self._rests:
            self._venue.cancel_by_hand(symbol, order)

    def _begin(self, act: Callable[[], None]) -> None:
        """Now, or a little later if it is too early."""
        if self._may_begin():
            act()
        else:
            self._scheduler.after(NS_PER_S, partial(self._begin, act))

    def _trade(self) -> None:
        if self._is_over:
            return
        symbol = self._random.choice(list(MARKETS_OF_THE_HAND))
        order = self._venue.place_by_hand(symbol, self._drawn(symbol))
        if order is None:
            return
        self._note(f"{order.side} {order.qty} {symbol} at {order.price}: {order.status} as {order.client_order_id}")
        is_far = order.is_open and self._is_far(symbol, order)
        if not is_far:
            self._rests.append((symbol, order))
        if order.is_open and self._random.random() < CHANGES_MIND:
            after_ns = self._random.randint(*CHANGES_MIND_NS)
            self._scheduler.after(after_ns, lambda: self._venue.cancel_by_hand(symbol, order))

    def _drawn(self, symbol: str) -> NewOrder:
        random, market = self._random, self._venue.engine.market(MARKETS_OF_THE_HAND[symbol])
        side = random.choice((Side.BUY, Side.SELL))
        bid, ask = self._venue.best(symbol)
        touch = ask if side is Side.BUY else bid
        usual = {
            "symbol": market.symbol,
            "side": side,
            "qty": floor_to(Decimal(random.randint(*NOTIONAL)) / touch, market.step),
            "client_order_id": random.choice(NAMES).format(random.getrandbits(40)),
        }
        if random.random() < 0.4:
            return NewOrder(type=OrderType.MARKET, **usual)
        away_bps = FAR_BPS if random.random() < 0.3 else random.choice(AWAY_BPS)
        sign = -1 if side is Side.BUY else 1
        price = floor_to(touch * (10_000 + sign * away_bps) / 10_000, market.tick)
        return NewOrder(type=OrderType.LIMIT, price=price, **usual)

    def _is_far(self, symbol: str, order: Order) -> bool:
        bid, ask = self._venue.best(symbol)
        touch = ask if order.side is Side.BUY else bid
        return abs(order.price / touch - 1) > Decimal("0.1")

    def _transfer(self) -> None:
        """In the calm, too, if nothing was free before."""
        currency = self._random.choice(MOVED)
        share = Decimal(self._random.randint(*MOVED_PERCENT)) / 100
        amount = floor_to(self._venue.free(currency) * share, Decimal("1e-8"))
        sign = self._random.choice((1, -1, -1))
        if amount and self._venue.transfer(currency, sign * amount):
            self._note(f"transfers {sign * amount} {currency}")
        else:
            self._scheduler.after(NS_PER_S, self._transfer)

    def _note(self, what: str) -> None:
        if self._trace.on:
            self._trace.note("hand", what)
