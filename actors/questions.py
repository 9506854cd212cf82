"""Questions that the gateway passes on to the venue and whose answers it passes back, with nothing of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from actors.base import Guarded
from core.rates import Lane
from core.reports import OrderAbsent, QueryFailed
from messages.venue import (
    FetchBalances,
    FetchOpenOrders,
    FetchOrder,
    FetchQuote,
    FetchRecentOrders,
    FetchTrades,
    OpenOrdersFetched,
    OrderReported,
    QuoteFetched,
    RecentOrdersFetched,
    TradesFetched,
)

if TYPE_CHECKING:
    from exchange.client import VenueClient

CLOCK_NOT_NOTED: Final = "the venue's clock is not ours, and the book does not say so yet"


class Questions(Guarded):
    client: VenueClient

    def run(self, receiver: Any, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin the work; what it returns goes to the receiver."""
        raise NotImplementedError

    def is_clock_noted(self) -> bool:
        """Whether the book covers the time that requests claim. Until then "no such order" is no answer: how late is
        late enough for a proof is derived from what the book says (`core/evidence.py`)."""
        raise NotImplementedError

    def receiveMsg_FetchOrder(self, message: FetchOrder, sender: Any) -> None:
        async def fetch() -> OrderReported:
            report = await self.client.look_up(message.attempt)
            if isinstance(report, OrderAbsent) and not self.is_clock_noted():
                report = QueryFailed(reason=CLOCK_NOT_NOTED)
            return OrderReported(
                purpose=message.purpose, client_order_id=message.attempt.client_order_id, report=report
            )

        self.run(sender, fetch)

    def receiveMsg_FetchQuote(self, message: FetchQuote, sender: Any) -> None:
        async def fetch() -> QuoteFetched:
            return QuoteFetched(symbol=message.symbol, quote=await self.client.quote(message.symbol))

        self.run(sender, fetch)

    def receiveMsg_FetchOpenOrders(self, message: FetchOpenOrders, sender: Any) -> None:
        async def fetch() -> OpenOrdersFetched:
            orders = await self.client.open_orders(message.symbol, lane_of(message))
            return OpenOrdersFetched(purpose=message.purpose, symbol=message.symbol, orders=orders)

        self.run(sender, fetch)

    def receiveMsg_FetchRecentOrders(self, message: FetchRecentOrders, sender: Any) -> None:
        async def fetch() -> RecentOrdersFetched:
            page = await self.client.orders(message.symbol, message.from_order_id, message.since_ns, lane_of(message))
            return RecentOrdersFetched(
                purpose=message.purpose, symbol=message.symbol, orders=page.orders, complete=page.complete
            )

        self.run(sender, fetch)

    def receiveMsg_FetchTrades(self, message: FetchTrades, sender: Any) -> None:
        async def fetch() -> TradesFetched:
            page = await self.client.trades(message.symbol, message.from_trade_id, message.since_ns, lane_of(message))
            return TradesFetched(
                purpose=message.purpose, symbol=message.symbol, trades=page.trades, complete=page.complete
            )

        self.run(sender, fetch)


def lane_of(message: FetchOpenOrders | FetchRecentOrders | FetchTrades | FetchBalances) -> Lane:
    """Where a list waits for its turn."""
    return Lane.ON_DEMAND if message.on_demand else Lane.SWEEP
