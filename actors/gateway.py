"""Gateway: the account's one door to the venue.

It exists because credentials, the connection pool and rate limits belong to the account, not to a symbol. Its asyncio
loop is pumped by the actor itself whenever the venue answers (`pumped_loop`), so the actor never blocks and the venue's
latency holds nobody up. Only this process holds credentials.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from actors import logs
from actors.base import CREDENTIAL_VARIABLES, Guarded, WatchMessage
from actors.crashpoints import reach
from actors.pumped_loop import PumpedLoop
from core import fencing, trading
from core.errors import IntentdError, VenueSilent
from core.evidence import SENT_WITHIN_NS
from core.ids import ClientOrderId
from core.records import AttemptRecord
from core.reports import NotPlaced
from core.settings import Mode
from messages.book import ApplyReport, OpeningBalancesRecorded, RecordOpeningBalances, ReportApplied
from messages.lifecycle import ChildReady, ConfigureChild, Rewire, StartDelayed, Tick
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
from storage.book_store import BookStore

if TYPE_CHECKING:
    from exchange.client import Account, VenueClient

STOP_TIMEOUT_S = 5.0
PATIENCE_SHARE = 0.9
"""Of `engine.start_timeout`: whoever waits for the start shall hear why it failed."""
PAUSE_S_MAX = 4.0
"""Between two questions; they begin with half a second."""
NS_PER_S = 1_000_000_000
NEVER = 1 << 62
HANDED_MAX = 100_000
INTRODUCE_AGAIN_NS = 500_000_000
INTRODUCE_TICK: Final = Tick(name="introduce")
PORTFOLIO: Final = object()
"""Receiver of a result: whoever is the portfolio when it is there."""
NOT_SENDING = {
    Mode.OBSERVE: ("OBSERVE_MODE", "mode observe sends nothing"),
    Mode.LIVE: ("ORDER_BLOCKED_LIVE_TRADING", "live trading cannot be armed in this version; use sim or testnet"),
}
"""Modes in which a placement ends here, with what it is answered."""


class Gateway(Guarded):
    name = "gateway"
    keeps_credentials = True
    client: VenueClient
    loop: PumpedLoop

    def __init__(self) -> None:
        super().__init__()
        self.results: deque[tuple[Any, Any]] = deque()
        self.alarm_ns = NEVER
        """When the earliest alarm that is set will ring; monotonic."""
        self.portfolio: Any = None
        self.ready: GatewayReady | None = None
        self.introduced = False
        self.let_in_by: Any = None
        """The portfolio that has answered an introduction."""
        self.stopping = False
        self.handed: dict[ClientOrderId, None] = {}
        """Every order that was handed over, oldest first."""

    store: BookStore

    def on_start(self, message: ConfigureChild) -> None:
        self.portfolio = message.portfolio
        self.store = self.open_book()
        self.loop = PumpedLoop(self.monotonic_ns)
        self.watched = [self.loop.fileno()]
        self.client = self.open_venue()
        for variable in CREDENTIAL_VARIABLES:
            os.environ.pop(variable, None)

        async def start() -> GatewayReady:
            account = await self.first_answer()
            return GatewayReady(markets=account.markets, totals=account.totals)

        self.run(None, start)

    async def first_answer(self) -> Account:
        """The venue is asked until it answers, or it is time to say that it does not. Raises `StartupFailed`."""
        patience_s = self.settings.engine.start_timeout * PATIENCE_SHARE / NS_PER_S
        give_up_ns = self.monotonic_ns() + int(patience_s * NS_PER_S)
        for attempt in itertools.count(1):
            left_s = (give_up_ns - self.monotonic_ns()) / NS_PER_S
            try:
                return await asyncio.wait_for(self.client.start(), left_s)
            except VenueSilent as error:
                reason = str(error)
            except TimeoutError:
                reason = f"the venue does not answer (within {left_s:.0f} s)"
            pause_s = min(2 ** (attempt - 2), PAUSE_S_MAX)
            left_s = (give_up_ns - self.monotonic_ns()) / NS_PER_S
            if pause_s >= left_s:
                break
            self.log.warning("venue_does_not_answer", reason=reason, attempt=attempt, again_in_s=pause_s)
            if attempt == 1:
                self.send(self.engine, StartDelayed(reason=reason))
            await asyncio.sleep(pause_s)
        raise VenueSilent(f"{reason}, after {attempt} attempts in {patience_s:g} s; start again when it does")

    def open_venue(self) -> VenueClient:
        from exchange.client import VenueClient  # noqa: PLC0415  (ccxt is imported in this process alone)

        tracer = logs.LineFile(str(self.folder.tracer_log))
        return VenueClient(self.settings, os.environ, tracer.msg, self.now_ns)

    def on_prepare_stop(self) -> bool:
        self.stopping = True
        return True

    def on_stop(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.loop.complete(self.client.close(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.log.warning("venue_connection_not_closed")
        self.loop.close()
        self.store.close()

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_PlaceOrder(self, message: PlaceOrder, _sender: Any) -> None:
        attempt = message.attempt
        if attempt.client_order_id in self.handed:
            self.log.error("placement_came_twice", client_order_id=attempt.client_order_id)
            return  # the transport may deliver twice; the venue would execute twice
        self.handed[attempt.client_order_id] = None
        if len(self.handed) > HANDED_MAX:
            self.handed.pop(next(iter(self.handed)))

        async def place() -> ApplyReport:
            report = await self.client.place(attempt, lambda: self.blocked(attempt))
            reach("gateway request: after")
            return ApplyReport(report=report)

        self.run(PORTFOLIO, place)

    def blocked(self, attempt: AttemptRecord) -> NotPlaced | None:
        """Why this order is not sent at all; nothing has left then, which is proof that it was not placed.

        Asked in the last moment before the send, when the time that the request claims has been taken.
        """
        if self.settings.engine.mode in NOT_SENDING:
            code, reason = NOT_SENDING[self.settings.engine.mode]
            return _not_placed(attempt, code, reason, retryable=False)
        if self.stopping:
            return _not_placed(attempt, "STOPPING", "the engine stops", retryable=True)
        if self.now_ns() - attempt.created_ns > SENT_WITHIN_NS:
            return _not_placed(attempt, "STALE", "it waited too long inside the engine", retryable=True)
        with self.store.snapshot() as view:
            epoch, halted = fencing.current(view).number, trading.refusal(view, attempt.side)
        if epoch != attempt.epoch:
            newer = f"the order is of epoch {attempt.epoch}, and epoch {epoch} has begun"
            return _not_placed(attempt, "FENCED", newer, retryable=True)
        if halted is not None:
            return _not_placed(attempt, halted.code, halted.reason, retryable=False)
        reach("gateway request: before")
        return None

    def receiveMsg_FetchOrder(self, message: FetchOrder, sender: Any) -> None:
        async def fetch() -> OrderReported:
            report = await self.client.look_up(message.attempt)
            return OrderReported(
                purpose=message.purpose, client_order_id=message.attempt.client_order_id, report=report
            )

        self.run(sender, fetch)

    def receiveMsg_CancelOrder(self, message: CancelOrder, sender: Any) -> None:
        async def cancel() -> CancelAttempted:
            reach("gateway cancel: before")
            note = await self.client.cancel(message.attempt)
            reach("gateway cancel: after")
            return CancelAttempted(client_order_id=message.attempt.client_order_id, note=note)

        self.run(sender, cancel)

    def receiveMsg_FetchQuote(self, message: FetchQuote, sender: Any) -> None:
        async def fetch() -> QuoteFetched:
            return QuoteFetched(symbol=message.symbol, quote=await self.client.quote(message.symbol))

        self.run(sender, fetch)

    def receiveMsg_FetchOpenOrders(self, message: FetchOpenOrders, sender: Any) -> None:
        async def fetch() -> OpenOrdersFetched:
            orders = await self.client.open_orders(message.symbol)
            return OpenOrdersFetched(purpose=message.purpose, symbol=message.symbol, orders=orders)

        self.run(sender, fetch)

    def receiveMsg_FetchRecentOrders(self, message: FetchRecentOrders, sender: Any) -> None:
        async def fetch() -> RecentOrdersFetched:
            page = await self.client.orders(message.symbol, message.from_order_id, message.since_ns)
            return RecentOrdersFetched(
                purpose=message.purpose, symbol=message.symbol, orders=page.orders, complete=page.complete
            )

        self.run(sender, fetch)

    def receiveMsg_FetchTrades(self, message: FetchTrades, sender: Any) -> None:
        async def fetch() -> TradesFetched:
            page = await self.client.trades(message.symbol, message.from_trade_id, message.since_ns)
            return TradesFetched(
                purpose=message.purpose, symbol=message.symbol, trades=page.trades, complete=page.complete
            )

        self.run(sender, fetch)

    def receiveMsg_FetchBalances(self, message: FetchBalances, sender: Any) -> None:
        async def fetch() -> BalancesFetched:
            return BalancesFetched(purpose=message.purpose, totals=await self.client.balances())

        self.run(sender, fetch)

    def receiveMsg_OpeningBalancesRecorded(self, message: OpeningBalancesRecorded, sender: Any) -> None:
        """The last step of the start: the book has its opening balances, now or from before."""
        self.let_in_by = sender
        if self.introduced:
            return
        self.introduced = True
        self.log.info("gateway_ready", opening_recorded=message.first)
        self.send(self.engine, self.ready)
        self.send(self.engine, ChildReady(name=self.label, pid=self.process_id()))

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        moved = self.portfolio != message.portfolio
        self.portfolio = message.portfolio
        if moved and self.ready is not None:
            self.introduce()

    def introduce(self) -> None:
        """To the portfolio, until it answers: from then on it sends here what it has made durable."""
        assert self.ready is not None
        if self.let_in_by != self.portfolio or self.portfolio is None:
            self.send(self.portfolio, RecordOpeningBalances(totals=self.ready.totals))
            self.wake_after_ns(INTRODUCE_AGAIN_NS, INTRODUCE_TICK)

    def receiveMsg_ReportApplied(self, message: ReportApplied, _sender: Any) -> None:
        """The book has not heard from the symbol's router yet; the router finds the intent there when it starts."""
        self.log.info("report_applied_without_router", intent_id=message.record.intent.intent_id)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def venue(self) -> VenueClient:
        return self.client

    def run(self, receiver: Any, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin the work; what it returns goes to the receiver, what it raises is this actor's crash."""

        def done(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                self.results.append((receiver, task.exception() or task.result()))

        self.loop.start(work(), done)
        self.pump()

    def receiveMsg_WatchMessage(self, _message: WatchMessage, _sender: Any) -> None:
        self.pump()

    def on_timer(self, payload: Any) -> None:
        if payload == INTRODUCE_TICK:
            self.introduce()
            return
        if payload == self.alarm_ns:
            self.alarm_ns = NEVER
        self.pump()

    def pump(self) -> None:
        """Do what can be done without waiting, deliver what is finished, and be woken when a timer is due."""
        wait_s = self.loop.pump()
        while self.results:
            self.deliver(*self.results.popleft())
        if wait_s is None:
            return
        due_ns = self.monotonic_ns() + int(wait_s * NS_PER_S)
        if due_ns < self.alarm_ns:  # else an alarm that comes first will look again
            self.alarm_ns = due_ns
            self.wake_after_ns(int(wait_s * NS_PER_S), due_ns)

    def deliver(self, receiver: Any, result: Any) -> None:
        if isinstance(result, IntentdError) and self.ready is None:
            self.fail(str(result), result)
        elif isinstance(result, Exception):
            raise result
        elif isinstance(result, GatewayReady):
            self.ready = result
            self.introduce()
        else:
            self.send(self.portfolio if receiver is PORTFOLIO else receiver, result)


def _not_placed(attempt: AttemptRecord, code: str, reason: str, *, retryable: bool) -> NotPlaced:
    return NotPlaced(client_order_id=attempt.client_order_id, code=code, reason=reason, retryable=retryable)
