"""The venue of a simulated world: the simulator's own passage and matching engine, at virtual time.

Other traders move its prices, so that resting orders fill; somebody else may trade on the same account (`hand.py`).
What it really holds (`truth`) is for the invariants alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Final

from core.money import floor_to
from exchange.simulator import auth
from exchange.simulator.answers import Answer
from exchange.simulator.errors import VenueError
from exchange.simulator.limits import RateLimits
from exchange.simulator.matching import OrderKey
from exchange.simulator.opening import open_market
from exchange.simulator.orders import NewOrder, Order, Status, Trade
from exchange.simulator.passage import Admitted, Outcome, Passage, Request
from exchange.simulator.plan import Plan
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S, Scheduler

MARKETS: Final = {"BTC/USDT": "BTCUSDT", "SOL/USDT": "SOLUSDT", "XRP/USDT": "XRPUSDT"}
"""That are traded; their fees are charged in base, in BNB and in quote."""
MARKETS_OF_THE_HAND: Final = MARKETS | {"ETH/USDT": "ETHUSDT"}
"""That somebody else trades in: ours, and one that the daemon is never asked for."""
MARKETS_LISTED: Final = 5
OPENING: Final = {
    "USDT": Decimal(4_000), "BTC": Decimal("0.05"), "ETH": Decimal(1), "SOL": Decimal(15), "XRP": Decimal(4_000),
    "BNB": Decimal("0.01"),
}  # fmt: skip
"""Little enough for money to run short, and for the BNB that pays fees to run out."""
MOVE_NS: Final = (500 * NS_PER_MS, 4 * NS_PER_S)
MOVE_BPS_MAX: Final = 40


class Venue(Passage):
    def __init__(self, scheduler: Scheduler, seed: int, random: Random, limits: RateLimits) -> None:
        engine = open_market(seed=seed, now_ns=scheduler.now_ns, symbols=MARKETS_LISTED, balances=OPENING)
        super().__init__(
            engine=engine,
            save=lambda _records: None,
            credentials=auth.credentials_from({}),
            limits=limits,
            clock_ns=lambda: scheduler.now_ns,
        )
        self.on_change: Callable[[], None] = lambda: None
        """Something was carried out, or the market moved."""
        self.faults_seen = 0
        """Requests that did not go as usual."""
        self.foreign: dict[tuple[str, int], Order] = {}
        """Orders that did not come from the daemon, by our name of the market and order id."""
        self.foreign_canceled: set[tuple[str, int]] = set()
        """Those that whoever placed them has canceled."""
        self.transferred: dict[str, Decimal] = {}
        """What came to the account or left it without a trade, by currency."""
        self._scheduler = scheduler
        self._random = random

    @property
    def has_banned(self) -> bool:
        """The daemon has gone on asking beyond the limits until it was locked out."""
        return self._limits._banned_until_ns > 0

    def admit(self, request: Request) -> Admitted | Answer | None:
        admitted = super().admit(request)
        faulty = not isinstance(admitted, Admitted) or admitted.plan != Plan(received_ns=admitted.plan.received_ns)
        self.faults_seen += faulty
        return admitted

    def carry_out(self, admitted: Admitted) -> Outcome:
        outcome = super().carry_out(admitted)
        self.on_change()
        return outcome

    def move_prices(self, is_over: Callable[[], bool]) -> None:
        """Other traders, until it is over."""

        def move() -> None:
            if is_over():
                return
            symbol = self._random.choice(list(MARKETS.values()))
            market = self.engine.market(symbol)
            bps = self._random.randint(-MOVE_BPS_MAX, MOVE_BPS_MAX)
            self.engine.set_mid(self.clock_ns(), symbol, floor_to(market.price * (10_000 + bps) / 10_000, market.tick))
            self.on_change()
            self._plan(move)

        self._plan(move)

    def _plan(self, move: Callable[[], None]) -> None:
        self._scheduler.after(self._random.randint(*MOVE_NS), move)

    def best(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Bid and ask of a market, by our name of it."""
        book = self.engine.book(self.clock_ns(), MARKETS_OF_THE_HAND[symbol])
        return book.best_bid, book.best_ask

    # ── past the daemon ───────────────────────────────────────────────────────────────────────────────────────────

    def place_by_hand(self, symbol: str, new: NewOrder) -> Order | None:
        """Somebody else's order on the account; None if the venue refuses it."""
        try:
            order, _ = self.engine.place(self.clock_ns(), new)
        except VenueError:
            return None
        self.foreign[symbol, order.id] = order
        self.on_change()
        return order

    def cancel_by_hand(self, symbol: str, order: Order) -> None:
        with contextlib.suppress(VenueError):  # it was filled meanwhile
            self.engine.cancel(self.clock_ns(), OrderKey(order.symbol, order.id))
            self.foreign_canceled.add((symbol, order.id))
            self.on_change()

    def transfer(self, currency: str, amount: Decimal) -> bool:
        """Money comes, or goes if negative; False: so much is not free."""
        if not self.engine.transfer(currency, amount):
            return False
        self.transferred[currency] = self.transferred.get(currency, Decimal(0)) + amount
        return True

    def free(self, currency: str) -> Decimal:
        balances = {row.asset: row.free for row in self.engine.balances(self.clock_ns())}
        return balances.get(currency, Decimal(0))

    # ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────

    def orders(self, symbol: str) -> list[Order]:
        return self.engine.orders(self.clock_ns(), MARKETS_OF_THE_HAND[symbol])

    def trades(self, symbol: str) -> list[Trade]:
        return self.engine.trades(self.clock_ns(), MARKETS_OF_THE_HAND[symbol])

    def foreign_trades(self) -> list[tuple[str, Trade]]:
        """Of orders that did not come from the daemon, with our name of the market."""
        return [
            (symbol, trade)
            for symbol in MARKETS_OF_THE_HAND
            for trade in self.trades(symbol)
            if (symbol, trade.order_id) in self.foreign
        ]

    def foreign_meddled_with(self) -> Order | None:
        """An order that somebody else has placed and not canceled, and that is canceled."""
        return next(
            (
                order
                for key, order in self.foreign.items()
                if order.status is Status.CANCELED and key not in self.foreign_canceled
            ),
            None,
        )

    def changes_of(self, trade: Trade) -> dict[str, Decimal]:
        """What a trade has done to the account, by currency."""
        market, sign = self.engine.market(trade.symbol), 1 if trade.side == "BUY" else -1
        changes = {market.base: sign * trade.qty, market.quote: -sign * trade.quote_qty}
        changes[trade.commission_asset] = changes.get(trade.commission_asset, Decimal(0)) - trade.commission
        return changes

    def totals(self) -> dict[str, Decimal]:
        """By currency, without zeros."""
        totals = {row.asset: row.free + row.locked for row in self.engine.balances(self.clock_ns())}
        return {asset: total for asset, total in totals.items() if total}
