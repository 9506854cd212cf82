"""Gateway: the account's one door to the venue.

It exists because credentials, the connection pool and rate limits belong to the account, not to a symbol. Its asyncio
loop runs in a thread; what comes back wakes the actor through a pipe, so the actor never blocks and the venue's
latency holds nobody up. Only this process holds credentials.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from actors import logs
from actors.base import CREDENTIAL_VARIABLES, Guarded, WatchMessage, now_ns
from core.errors import IntentdError
from core.ids import ClientOrderId
from core.records import AttemptRecord
from core.reports import NotPlaced
from core.settings import Mode
from messages.book import OpeningBalancesRecorded, RecordOpeningBalances
from messages.lifecycle import ChildReady, ConfigureChild
from messages.venue import (
    BalancesFetched,
    CancelAttempted,
    CancelOrder,
    FetchBalances,
    FetchOpenOrders,
    FetchOrder,
    FetchQuote,
    FetchRecentOrders,
    FetchTrades,
    GatewayReady,
    OpenOrdersFetched,
    OrderReported,
    PlaceOrder,
    QuoteFetched,
    RecentOrdersFetched,
    TradesFetched,
)

if TYPE_CHECKING:
    from exchange.client import VenueClient

STOP_TIMEOUT_S = 5.0
PIPE_READ_BYTES = 4096
HANDED_MAX = 100_000
STALE_NS = 15_000_000_000
"""An order that is older than this when it reaches the gateway is not sent: its price was made for another moment."""
NOT_SENDING = {
    Mode.OBSERVE: ("OBSERVE_MODE", "mode observe sends nothing"),
    Mode.LIVE: ("ORDER_BLOCKED_LIVE_TRADING", "live trading cannot be armed in this version; use sim or testnet"),
}
"""Modes in which a placement ends here, with what it is answered."""


class Gateway(Guarded):
    name = "gateway"
    keeps_credentials = True
    client: VenueClient
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    def __init__(self) -> None:
        super().__init__()
        self.results: deque[tuple[Any, Any]] = deque()
        self.wake_read = self.wake_write = -1
        self.portfolio: Any = None
        self.ready: GatewayReady | None = None
        self.stopping = False
        self.handed: dict[ClientOrderId, None] = {}
        """Every order that was handed over, oldest first."""

    def on_start(self, message: ConfigureChild) -> None:
        from exchange.client import VenueClient  # noqa: PLC0415  (ccxt is imported in this process alone)

        self.portfolio = message.portfolio
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        self.watched = [self.wake_read]
        tracer = logs.LineFile(str(self.folder.tracer_log))
        self.client = VenueClient(self.settings, os.environ, tracer.msg, now_ns)
        for variable in CREDENTIAL_VARIABLES:
            os.environ.pop(variable, None)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="venue", daemon=True)
        self.thread.start()

        async def start() -> GatewayReady:
            account = await self.client.start()
            return GatewayReady(markets=account.markets, totals=account.totals)

        self.run(None, start)

    def on_prepare_stop(self) -> bool:
        self.stopping = True
        return True

    def on_stop(self) -> None:
        if not hasattr(self, "thread"):
            return
        closing = asyncio.run_coroutine_threadsafe(self.client.close(), self.loop)
        try:
            closing.result(STOP_TIMEOUT_S)
        except TimeoutError:
            self.log.warning("venue_connection_not_closed")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(STOP_TIMEOUT_S)

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_PlaceOrder(self, message: PlaceOrder, sender: Any) -> None:
        attempt = message.attempt
        if attempt.client_order_id in self.handed:
            self.log.error("placement_came_twice", client_order_id=attempt.client_order_id)
            return  # the transport may deliver twice; the venue would execute twice
        self.handed[attempt.client_order_id] = None
        if len(self.handed) > HANDED_MAX:
            self.handed.pop(next(iter(self.handed)))
        blocked = self.blocked(attempt)
        if blocked is not None:
            self.send(sender, OrderReported(client_order_id=attempt.client_order_id, report=blocked))
            return

        async def place() -> OrderReported:
            report = await self.client.place(attempt)
            return OrderReported(client_order_id=attempt.client_order_id, report=report)

        self.run(sender, place)

    def blocked(self, attempt: AttemptRecord) -> NotPlaced | None:
        """Why this order is not sent at all; nothing has left then, which is proof that it was not placed."""
        if self.settings.engine.mode in NOT_SENDING:
            code, reason = NOT_SENDING[self.settings.engine.mode]
            return _not_placed(attempt, code, reason, retryable=False)
        if self.stopping:
            return _not_placed(attempt, "STOPPING", "the engine stops", retryable=True)
        if now_ns() - attempt.created_ns > STALE_NS:
            return _not_placed(attempt, "STALE", "it waited too long inside the engine", retryable=True)
        return None

    def receiveMsg_FetchOrder(self, message: FetchOrder, sender: Any) -> None:
        async def fetch() -> OrderReported:
            report = await self.client.look_up(message.attempt)
            return OrderReported(client_order_id=message.attempt.client_order_id, report=report)

        self.run(sender, fetch)

    def receiveMsg_CancelOrder(self, message: CancelOrder, sender: Any) -> None:
        async def cancel() -> CancelAttempted:
            note = await self.client.cancel(message.attempt)
            return CancelAttempted(client_order_id=message.attempt.client_order_id, note=note)

        self.run(sender, cancel)

    def receiveMsg_FetchQuote(self, message: FetchQuote, sender: Any) -> None:
        async def fetch() -> QuoteFetched:
            return QuoteFetched(symbol=message.symbol, quote=await self.client.quote(message.symbol))

        self.run(sender, fetch)

    def receiveMsg_FetchOpenOrders(self, message: FetchOpenOrders, sender: Any) -> None:
        async def fetch() -> OpenOrdersFetched:
            return OpenOrdersFetched(symbol=message.symbol, orders=await self.client.open_orders(message.symbol))

        self.run(sender, fetch)

    def receiveMsg_FetchRecentOrders(self, message: FetchRecentOrders, sender: Any) -> None:
        async def fetch() -> RecentOrdersFetched:
            orders = await self.client.recent_orders(message.symbol, message.since_ns)
            return RecentOrdersFetched(symbol=message.symbol, orders=orders)

        self.run(sender, fetch)

    def receiveMsg_FetchTrades(self, message: FetchTrades, sender: Any) -> None:
        async def fetch() -> TradesFetched:
            page = await self.client.trades(message.symbol, message.from_trade_id, message.since_ns)
            return TradesFetched(
                purpose=message.purpose, symbol=message.symbol, trades=page.trades, complete=page.complete
            )

        self.run(sender, fetch)

    def receiveMsg_FetchBalances(self, _message: FetchBalances, sender: Any) -> None:
        async def fetch() -> BalancesFetched:
            return BalancesFetched(totals=await self.client.balances())

        self.run(sender, fetch)

    def receiveMsg_OpeningBalancesRecorded(self, message: OpeningBalancesRecorded, _sender: Any) -> None:
        """The last step of the start: the book has its opening balances, now or from before."""
        self.log.info("gateway_ready", opening_recorded=message.first)
        self.send(self.engine, self.ready)
        self.send(self.engine, ChildReady(name=self.label, pid=os.getpid()))

    # ── between the loop's thread and the actor ───────────────────────────────────────────────────────────────────

    @property
    def venue(self) -> VenueClient:
        return self.client

    def run(self, receiver: Any, work: Callable[[], Awaitable[Any]]) -> None:
        """Do the work on the loop; what it returns or raises comes back to this actor's own thread."""

        async def bring_back() -> None:
            try:
                result: Any = await work()
            except Exception as error:  # (raised again in the actor's thread, where it is a crash)
                result = error
            self.results.append((receiver, result))
            os.write(self.wake_write, b"!")

        asyncio.run_coroutine_threadsafe(bring_back(), self.loop)

    def receiveMsg_WatchMessage(self, _message: WatchMessage, _sender: Any) -> None:
        with suppress(BlockingIOError):
            os.read(self.wake_read, PIPE_READ_BYTES)
        while self.results:
            receiver, result = self.results.popleft()
            self.deliver(receiver, result)

    def deliver(self, receiver: Any, result: Any) -> None:
        if isinstance(result, IntentdError) and self.ready is None:
            self.fail(str(result))
        elif isinstance(result, Exception):
            raise result
        elif isinstance(result, GatewayReady):
            self.ready = result
            self.send(self.portfolio, RecordOpeningBalances(totals=result.totals))
        else:
            self.send(receiver, result)


def _not_placed(attempt: AttemptRecord, code: str, reason: str, *, retryable: bool) -> NotPlaced:
    return NotPlaced(client_order_id=attempt.client_order_id, code=code, reason=reason, retryable=retryable)
