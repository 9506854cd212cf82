"""Reconciler: a shell around `core.reconciling.Reconciliation`. Messages in, effects out, nothing decided here.

It is ready when the comparison at the start is over, so the engine trades no earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from actors.base import Guarded
from actors.children import GATEWAY
from core import inquiry, wants
from core.inquiry import Effects, Moment
from core.reconciling import SEARCH, Reconciliation
from messages.book import (
    ApplyReport,
    ExpireIntent,
    RecordEvents,
    RecordPrivateData,
    ReportApplied,
    SettleTrades,
    TightenTrading,
)
from messages.lifecycle import ChildReady, ConfigureChild, Rewire, StreamChanged, Tick
from messages.reconciling import (
    BookVerified,
    CompareAtStop,
    ComparedAtStop,
    ExpireStale,
    ResolveUnknown,
    UnknownResolved,
    VerifyBook,
)
from messages.venue import (
    BalancesFetched,
    CancelAttempted,
    CancelOrder,
    EndPlacing,
    FetchBalances,
    FetchOpenOrders,
    FetchOrder,
    FetchRecentOrders,
    FetchTrades,
    OpenOrdersFetched,
    OrderReported,
    RecentOrdersFetched,
    TradesFetched,
)
from storage.book_store import BookStore

ASKERS_MAX = 1_000
"""Of `verify`; whoever comes later waits in vain and asks again."""

WAITS_AT_STOP: Final = 3
"""A question may wait for room in the account's budget for so much of a stop's comparison: a third."""
CLOSE_TICK: Final = Tick(name="close")
"""The time of the comparison before a stop is over."""


class Reconciler(Guarded):
    name = "reconciler"
    store: BookStore
    brain: Reconciliation

    def __init__(self) -> None:
        super().__init__()
        self.portfolio: Any = None
        self.gateway: Any = None
        self.routers: dict[str, Any] = {}
        """By symbol: where everybody is, as the engine or a router itself has said."""
        self.askers: dict[str, Any] = {}
        """Who wants everything compared, by request."""
        self.is_over = False
        """All has been compared before a stop: what is told now nobody writes into the streams any more."""

    def on_start(self, message: ConfigureChild) -> None:
        self.portfolio, self.gateway = message.portfolio, message.gateway
        self.store = self.open_book()
        self.brain = Reconciliation(self.settings)
        self.do(self.brain.start)
        for name, every_ns in self.brain.intervals.items():
            if every_ns:
                self.wake_after_ns(every_ns, Tick(name=name))

    def on_stop(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def on_prepare_stop(self) -> bool:
        self.is_over = True
        return True

    def on_timer(self, payload: Any) -> None:
        if payload == CLOSE_TICK:
            self.do(lambda at: self.brain.tick(SEARCH, at))
            return
        self.do(lambda at: self.brain.tick(payload.name, at))
        if not self.is_over:
            self.wake_after_ns(self.brain.intervals[payload.name], payload)

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        """Where everybody is now; what was asked of a gateway that is gone is asked again."""
        self.portfolio, self.gateway = message.portfolio, message.gateway
        self.routers |= message.routers
        if message.replaced == GATEWAY:
            self.do(self.brain.again)

    def receiveMsg_StreamChanged(self, message: StreamChanged, _sender: Any) -> None:
        if message.is_live:
            self.do(self.brain.stream_live)

    # ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ResolveUnknown(self, message: ResolveUnknown, sender: Any) -> None:
        self.routers[message.attempt.symbol] = sender
        self.do(lambda at: self.brain.resolve(message.attempt, at))

    def receiveMsg_ExpireStale(self, _message: ExpireStale, _sender: Any) -> None:
        self.do(self.brain.expire_stale)

    def receiveMsg_VerifyBook(self, message: VerifyBook, sender: Any) -> None:
        if len(self.askers) < ASKERS_MAX:
            self.askers[message.request_id] = sender
            self.do(lambda at: self.brain.verify(message.request_id, at))

    def receiveMsg_CompareAtStop(self, message: CompareAtStop, _sender: Any) -> None:
        """A question without room fails in time to be told as that, and to be asked once more."""
        self.send(self.gateway, EndPlacing(wait_max_ns=message.within_ns // WAITS_AT_STOP))
        self.do(lambda at: self.brain.close(message.within_ns, at))
        self.wake_after_ns(message.within_ns, CLOSE_TICK)  # the next look at what is due may come too late

    # ── what the venue answers ────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_OrderReported(self, message: OrderReported, _sender: Any) -> None:
        told = message.purpose, message.client_order_id, message.report
        self.do(lambda at: self.brain.order_reported(*told, at))

    def receiveMsg_OpenOrdersFetched(self, message: OpenOrdersFetched, _sender: Any) -> None:
        self.do(lambda at: self.brain.orders_listed(message.purpose, message.orders, at))

    def receiveMsg_RecentOrdersFetched(self, message: RecentOrdersFetched, _sender: Any) -> None:
        told = message.purpose, message.orders
        self.do(lambda at: self.brain.orders_listed(*told, at, complete=message.complete))

    def receiveMsg_TradesFetched(self, message: TradesFetched, _sender: Any) -> None:
        told = message.purpose, message.trades
        self.do(lambda at: self.brain.trades_listed(*told, at, complete=message.complete))

    def receiveMsg_BalancesFetched(self, message: BalancesFetched, _sender: Any) -> None:
        self.do(lambda at: self.brain.balances_told(message.purpose, message.totals, at))

    def receiveMsg_CancelAttempted(self, message: CancelAttempted, _sender: Any) -> None:
        """It proves nothing: the order is looked up anyway, and canceled again while it is open."""
        self.log.info("leftover_cancel_answered", client_order_id=message.client_order_id, note=message.note)

    def receiveMsg_ReportApplied(self, _message: ReportApplied, _sender: Any) -> None:
        """The symbol has no router since the start, so there is nobody else to tell."""

    # ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────

    def do(self, decide: Callable[[Moment], Effects]) -> None:
        """Let the brain decide on the book as it is, and carry out what it wants."""
        if self.is_over:
            return
        with self.store.snapshot() as view:
            effects = decide(Moment(view, self.now_ns()))
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: Any) -> None:
        match effect:
            case wants.TellRouter(symbol, client_order_id, report):
                router = self.routers.get(symbol)
                told = UnknownResolved(client_order_id=client_order_id, report=report)
                self.send(*((router, told) if router is not None else (self.portfolio, ApplyReport(report=report))))
            case wants.Cancel(attempt):
                self.send(self.gateway, CancelOrder(attempt=attempt))
            case wants.Started(found):
                fields = msgspec.to_builtins(found)
                self.log.info(fields.pop("event"), **fields)
                self.send(self.engine, ChildReady(name=self.label, pid=self.process_id()))
            case wants.Verified(request_ids, verdict):
                for request_id in request_ids:
                    self.send(self.askers.pop(request_id), BookVerified(request_id=request_id, verdict=verdict))
            case wants.Closed(compared):
                self.send(self.engine, ComparedAtStop(compared=compared))
            case wants.Say(event, fields):
                self.log.warning(event, **fields)
            case (
                wants.Apply()
                | wants.Expire()
                | wants.Settle()
                | wants.Record()
                | wants.Tighten()
                | wants.NotePrivateData()
            ):
                self.send(self.portfolio, to_portfolio(effect, self.name))
            case _:
                self.send(self.gateway, to_gateway(effect))


def to_portfolio(effect: Any, by: str) -> Any:
    """The message that has it written."""
    match effect:
        case wants.Apply(report):
            return ApplyReport(report=report)
        case wants.Expire(intent_id):
            return ExpireIntent(intent_id=intent_id)
        case wants.Settle(settlement):
            return SettleTrades(settlement=settlement)
        case wants.Record(told_events, compared):
            return RecordEvents(events=told_events, compared=compared)
        case wants.Tighten(state, concern):
            return TightenTrading(state=state, concern=concern, by=by)
        case wants.NotePrivateData(record):
            return RecordPrivateData(private_data=record)


def to_gateway(question: inquiry.Question) -> Any:
    """The message that asks the venue."""
    match question:
        case inquiry.AskOrder(purpose, attempt):
            return FetchOrder(purpose=purpose, attempt=attempt)
        case inquiry.AskOpenOrders(purpose, symbol, wanted):
            return FetchOpenOrders(purpose=purpose, symbol=symbol, on_demand=wanted)
        case inquiry.AskOrders(purpose, of, first, since_ns, wanted):
            return FetchRecentOrders(
                purpose=purpose, symbol=of, from_order_id=first, since_ns=since_ns, on_demand=wanted
            )
        case inquiry.AskTrades(purpose, of, trade_id, since_ns, wanted):
            return FetchTrades(purpose=purpose, symbol=of, from_trade_id=trade_id, since_ns=since_ns, on_demand=wanted)
        case inquiry.AskBalances(purpose, wanted):
            return FetchBalances(purpose=purpose, on_demand=wanted)
