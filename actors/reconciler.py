"""Reconciler: finds out what became of an order, and whether the venue agrees with the book.

* An attempt whose outcome is unknown is looked up again and again until the venue shows it. Failed questions and "I
  know no such order" prove nothing and are asked again, with growing waits; the money stays held.
* Ended intents are compared with the venue's trades, all of a symbol's in one question.
* Balances are compared on an interval, and only when nothing is in flight: then every drift must be zero.
"""

from __future__ import annotations

import os
from typing import Any

from actors.base import Guarded, now_ns
from core import events, reconcile
from core.ids import ClientOrderId
from core.records import AttemptRecord, IntentRecord
from core.reports import OrderAbsent, QueryFailed
from messages.book import ApplyReport, RecordEvent, ReportApplied
from messages.lifecycle import ChildReady, ConfigureChild, Tick
from messages.reconciling import ReconcileIntent, ResolveUnknown, UnknownResolved
from messages.venue import BalancesFetched, FetchBalances, FetchOrder, FetchTrades, OrderReported, TradesFetched
from storage.book_store import BookStore

LOOKUP_DOUBLINGS_MAX = 4
LOOKS_BEFORE_MISMATCH = 5
CLOCK_SLACK_NS = 10_000_000_000
"""Trades are asked for from this much before the oldest intent: the venue's clock is not ours."""
ORDERS_TICK = "orders"
BALANCES_TICK = "balances"


class _Search:
    """An attempt that is looked for, and who wants to know."""

    def __init__(self, attempt: AttemptRecord, router: Any) -> None:
        self.attempt = attempt
        self.router = router
        self.looks = 0


class _Check:
    """An ended intent that waits for its comparison."""

    def __init__(self, record: IntentRecord) -> None:
        self.record = record
        self.looks = 0


class Reconciler(Guarded):
    name = "reconciler"
    store: BookStore

    def __init__(self) -> None:
        super().__init__()
        self.portfolio: Any = None
        self.gateway: Any = None
        self.searches: dict[ClientOrderId, _Search] = {}
        self.checks: dict[str, list[_Check]] = {}
        self.asked: dict[str, list[_Check]] = {}
        self.balance_sequence = -1
        self.drift_seen: dict[str, Any] = {}

    def on_start(self, message: ConfigureChild) -> ChildReady:
        self.portfolio, self.gateway = message.portfolio, message.gateway
        self.store = BookStore.open_reader(self.folder)
        self.wake_after_ns(self.settings.reconciler.order_interval, Tick(name=ORDERS_TICK))
        self.wake_after_ns(self.settings.reconciler.balance_interval, Tick(name=BALANCES_TICK))
        return ChildReady(name=self.label, pid=os.getpid())

    def on_stop(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    # ── unknown outcomes ──────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ResolveUnknown(self, message: ResolveUnknown, sender: Any) -> None:
        self.searches[message.attempt.client_order_id] = _Search(message.attempt, sender)
        self.send(self.gateway, FetchOrder(attempt=message.attempt))

    def receiveMsg_OrderReported(self, message: OrderReported, _sender: Any) -> None:
        search = self.searches.get(message.client_order_id)
        if search is None:
            return
        if isinstance(message.report, OrderAbsent | QueryFailed):
            search.looks += 1
            wait_ns = self.settings.reconciler.lookup_interval << min(search.looks - 1, LOOKUP_DOUBLINGS_MAX)
            self.wake_after_ns(wait_ns, message.client_order_id)
            return
        del self.searches[message.client_order_id]
        self.send(search.router, UnknownResolved(client_order_id=message.client_order_id, report=message.report))

    # ── ended intents ─────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ReconcileIntent(self, message: ReconcileIntent, _sender: Any) -> None:
        self.checks.setdefault(message.record.intent.symbol, []).append(_Check(message.record))

    def ask_for_trades(self) -> None:
        for symbol, checks in list(self.checks.items()):
            if symbol in self.asked:
                continue
            self.asked[symbol] = self.checks.pop(symbol)
            since_ns = min(check.record.intent.created_ns for check in checks) - CLOCK_SLACK_NS
            self.send(self.gateway, FetchTrades(symbol=symbol, from_trade_id=None, since_ns=since_ns))

    def receiveMsg_TradesFetched(self, message: TradesFetched, _sender: Any) -> None:
        checks = self.asked.pop(message.symbol, [])
        if isinstance(message.trades, QueryFailed):
            self.log.warning("trades_not_fetched", symbol=message.symbol, reason=message.trades.reason)
            self.checks.setdefault(message.symbol, []).extend(checks)
            return
        for check in checks:
            self.compare(check, message)

    def compare(self, check: _Check, answer: TradesFetched) -> None:
        assert not isinstance(answer.trades, QueryFailed)
        with self.store.snapshot() as view:
            record = view.intent(check.record.intent.intent_id)
            attempts = list(view.attempts(check.record.intent.intent_id))
        assert record is not None
        found = reconcile.compare(record, attempts, answer.trades)
        for report in found.missing:
            self.send(self.portfolio, ApplyReport(report=report))
        check.looks += 1
        if found.qty_delta < 0 and check.looks < LOOKS_BEFORE_MISMATCH:
            self.checks.setdefault(answer.symbol, []).append(check)  # the venue's reads lag behind its answers
            return
        self.send(self.portfolio, RecordEvent(event=reconcile.result_event(record, found, now_ns())))

    def receiveMsg_ReportApplied(self, message: ReportApplied, _sender: Any) -> None:
        self.log.warning("missing_trades_booked", intent_id=message.record.intent.intent_id)

    # ── balances ──────────────────────────────────────────────────────────────────────────────────────────────────

    def ask_for_balances(self) -> None:
        """Only when nothing is in flight, and the answer counts only if nothing was booked meanwhile."""
        with self.store.snapshot() as view:
            busy = next(view.open_intents(), None) is not None
            self.balance_sequence = view.last_sequence("ledger")
        if not busy:
            self.send(self.gateway, FetchBalances())

    def receiveMsg_BalancesFetched(self, message: BalancesFetched, _sender: Any) -> None:
        if isinstance(message.totals, QueryFailed):
            self.log.warning("balances_not_fetched", reason=message.totals.reason)
            return
        with self.store.snapshot() as view:
            moved = view.last_sequence("ledger") != self.balance_sequence
            moved = moved or next(view.open_intents(), None) is not None
            totals = {balance.currency: balance.total for balance in view.balances()}
        if moved:
            return
        drift = reconcile.balance_drift(totals, message.totals)
        if drift and drift != self.drift_seen:
            text = ", ".join(f"{amount} {currency}" for currency, amount in drift.items())
            alert = events.AlertFired(at_ns=now_ns(), code="BALANCE_DRIFT", text=f"venue minus book: {text}")
            self.send(self.portfolio, RecordEvent(event=alert))
        self.drift_seen = drift
        self.send(self.portfolio, RecordEvent(event=events.BalancesCompared(at_ns=now_ns(), drift=drift)))

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_timer(self, payload: Any) -> None:
        if isinstance(payload, str):
            search = self.searches.get(ClientOrderId(payload))
            if search is not None:
                self.send(self.gateway, FetchOrder(attempt=search.attempt))
        elif isinstance(payload, Tick) and payload.name == ORDERS_TICK:
            self.ask_for_trades()
            self.wake_after_ns(self.settings.reconciler.order_interval, payload)
        elif isinstance(payload, Tick):
            self.ask_for_balances()
            self.wake_after_ns(self.settings.reconciler.balance_interval, payload)
