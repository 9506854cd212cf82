"""Reconciler: finds out what became of an order, and whether the venue agrees with the book.

* An attempt whose outcome is unknown is looked up until the venue shows it, or until its absence is proven
  (`core/evidence.py`). Failed questions prove nothing; the money stays held meanwhile.
* Ended intents, told by the book's outbox, are compared with the venue's trades, all of a symbol's in one question,
  soon after their end and once more later, since venues do report fills late.
* Balances are compared on an interval; an answer counts only if nothing was booked meanwhile.
"""

from __future__ import annotations

from typing import Any

from actors.base import Guarded
from core import events, fencing, reconcile
from core.events import AnyEvent
from core.evidence import AbsenceCase, Witness
from core.ids import ClientOrderId, IntentId
from core.records import AttemptRecord, IntentRecord
from core.reports import NotPlaced, OrderAbsent, OrderSnapshot, QueryFailed, Trade
from messages.book import ApplyReport, RecordEvents, ReportApplied
from messages.lifecycle import ChildReady, ConfigureChild, Rewire, Tick
from messages.reconciling import ResolveUnknown, UnknownResolved
from messages.venue import (
    BalancesFetched,
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
from storage.tables import Reader

LOOKUP_DOUBLINGS_MAX = 4
LOOKS_BEFORE_MISMATCH = 5
CLOCK_SLACK_NS = 10_000_000_000
"""Trades and orders are asked for from this much before the oldest intent: the venue's clock is not ours."""
CAUGHT_UP_MAX = 20_000
"""So many events are looked through at a start for intents that ended and were not compared before the stop."""
CHECK, EVIDENCE = "check", "evidence"
SEARCH_TICK, ORDERS_TICK, BALANCES_TICK = "search", "orders", "balances"


class Search:
    """An attempt that is looked for, and who wants to know."""

    def __init__(self, attempt: AttemptRecord, router: Any, case: AbsenceCase) -> None:
        self.attempt = attempt
        self.router = router
        self.case = case
        self.accounted: set[str] = set()
        """The venue's ids of recent orders that are not this one."""
        self.looks = 0
        self.due_ns = 0
        self.asked_ns = 0


class Check:
    """An ended intent that waits for a comparison."""

    def __init__(self, intent_id: IntentId, created_ns: int) -> None:
        self.intent_id = intent_id
        self.created_ns = created_ns
        self.due_ns = 0
        self.looks = 0
        self.was_reported = False


class Question:
    """Trades of a symbol that are being asked for, page by page."""

    def __init__(self, checks: list[Check], asked_ns: int) -> None:
        self.checks = checks
        self.asked_ns = asked_ns
        self.trades: dict[str, dict[str, Trade]] = {}
        """By order and trade id."""

    def add(self, trades: tuple[Trade, ...]) -> None:
        for trade in trades:
            self.trades.setdefault(trade.exchange_order_id, {})[trade.trade_id] = trade

    def of(self, attempts: list[AttemptRecord]) -> list[Trade]:
        """The trades of these orders."""
        known = (self.trades.get(attempt.exchange_order_id or "", {}) for attempt in attempts)
        return [trade for trades in known for trade in trades.values()]


class Reconciler(Guarded):
    name = "reconciler"
    store: BookStore

    def __init__(self) -> None:
        super().__init__()
        self.portfolio: Any = None
        self.gateway: Any = None
        self.searches: dict[ClientOrderId, Search] = {}
        self.evidence_asked_ns: dict[str, int] = {}
        self.cursor = 0
        """Up to here the outbox has been read."""
        self.checks: dict[str, list[Check]] = {}
        self.questions: dict[str, Question] = {}
        self.balance_sequence = -1
        self.drift_seen: dict[str, Any] = {}
        self.drift_told: dict[str, Any] = {}

    def on_start(self, message: ConfigureChild) -> ChildReady:
        self.portfolio, self.gateway = message.portfolio, message.gateway
        self.store = self.open_book()
        with self.store.snapshot() as view:
            self.cursor = max(0, view.last_sequence("audit") - CAUGHT_UP_MAX)
        settings = self.settings.reconciler
        self.wake_after_ns(settings.lookup_interval, Tick(name=SEARCH_TICK))
        self.wake_after_ns(settings.order_interval, Tick(name=ORDERS_TICK))
        self.wake_after_ns(settings.balance_interval, Tick(name=BALANCES_TICK))
        return ChildReady(name=self.label, pid=self.process_id())

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        """Where everybody is now; what was asked of a gateway that is gone is asked again."""
        self.portfolio, self.gateway = message.portfolio, message.gateway
        for search in self.searches.values():
            search.router = message.routers.get(search.attempt.symbol, search.router)
            search.due_ns = 0

    def on_stop(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def on_timer(self, payload: Any) -> None:
        settings = self.settings.reconciler
        every_ns, work = {
            SEARCH_TICK: (settings.lookup_interval, self.search),
            ORDERS_TICK: (settings.order_interval, self.ask_for_trades),
            BALANCES_TICK: (settings.balance_interval, self.ask_for_balances),
        }[payload.name]
        work()
        self.wake_after_ns(every_ns, payload)

    # ── unknown outcomes ──────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ResolveUnknown(self, message: ResolveUnknown, sender: Any) -> None:
        attempt = message.attempt
        known = self.searches.get(attempt.client_order_id)
        if known is not None:
            known.router = sender  # asked again, maybe by a new router
            return
        with self.store.snapshot() as view:
            epoch = fencing.current(view).number
        venue = self.settings.exchange
        case = AbsenceCase(attempt, self.now_ns(), epoch, venue.recv_window_ms, venue.read_lag)
        self.searches[attempt.client_order_id] = Search(attempt, sender, case)
        self.search()

    def search(self) -> None:
        """Look every attempt up whose time has come. An answer that was lost is asked for again."""
        now = self.now_ns()
        for search in self.searches.values():
            if search.due_ns <= now:
                search.asked_ns = now
                search.due_ns = now + self.settings.engine.request_timeout
                self.send(self.gateway, FetchOrder(attempt=search.attempt))

    def receiveMsg_OrderReported(self, message: OrderReported, _sender: Any) -> None:
        search = self.searches.get(message.client_order_id)
        if search is None:
            return
        if isinstance(message.report, OrderSnapshot):
            self.resolve(search, message.report)
            return
        now = self.now_ns()
        wait_ns = self.settings.reconciler.lookup_interval << min(search.looks, LOOKUP_DOUBLINGS_MAX)
        search.looks += 1
        search.due_ns = now + wait_ns
        if isinstance(message.report, OrderAbsent) and search.asked_ns >= search.case.not_before_ns:
            search.case.not_seen(Witness.ORDER, search.asked_ns)
            self.ask_witnesses(search.attempt, now)

    def ask_witnesses(self, attempt: AttemptRecord, now: int) -> None:
        """The other three who could have seen the order, asked together."""
        since_ns = attempt.created_ns - CLOCK_SLACK_NS
        self.evidence_asked_ns[attempt.symbol] = now
        self.send(self.gateway, FetchOpenOrders(symbol=attempt.symbol))
        self.send(self.gateway, FetchRecentOrders(symbol=attempt.symbol, since_ns=since_ns))
        self.send(
            self.gateway,
            FetchTrades(purpose=EVIDENCE, symbol=attempt.symbol, from_trade_id=None, since_ns=since_ns),
        )

    def receiveMsg_OpenOrdersFetched(self, message: OpenOrdersFetched, _sender: Any) -> None:
        if not isinstance(message.orders, QueryFailed):
            for search in self.searches_of(message.symbol):
                search.case.listed(Witness.OPEN_ORDERS, message.orders, self.evidence_asked_ns[message.symbol])
                self.conclude(search)

    def receiveMsg_RecentOrdersFetched(self, message: RecentOrdersFetched, _sender: Any) -> None:
        if not isinstance(message.orders, QueryFailed):
            for search in self.searches_of(message.symbol):
                search.case.listed(Witness.RECENT_ORDERS, message.orders, self.evidence_asked_ns[message.symbol])
                search.accounted = {order.exchange_order_id for order in message.orders}
                self.conclude(search)

    def weigh_trades(self, message: TradesFetched) -> None:
        if isinstance(message.trades, QueryFailed) or not message.complete:
            return
        with self.store.snapshot() as view:
            ours = {
                trade.exchange_order_id
                for trade in message.trades
                if view.order(message.symbol, trade.exchange_order_id) is not None
            }
        for search in self.searches_of(message.symbol):
            search.case.traded(message.trades, ours | search.accounted, self.evidence_asked_ns[message.symbol])
            self.conclude(search)

    def searches_of(self, symbol: str) -> list[Search]:
        return [search for search in self.searches.values() if search.attempt.symbol == symbol]

    def conclude(self, search: Search) -> None:
        if search.case.proven:
            self.log.warning("absence_proven", client_order_id=search.attempt.client_order_id)
            self.resolve(search, search.case.verdict())

    def resolve(self, search: Search, report: OrderSnapshot | NotPlaced) -> None:
        order_id = search.attempt.client_order_id
        self.searches.pop(order_id, None)
        self.send(search.router, UnknownResolved(client_order_id=order_id, report=report))

    # ── ended intents ─────────────────────────────────────────────────────────────────────────────────────────────

    def find_ended(self) -> None:
        """Every intent that ended since the last time, unless the outbox has its comparison already."""
        with self.store.snapshot() as view:
            ended: dict[IntentId, IntentRecord] = {}
            for event in view.events_of((events.OrderDone, events.ReconciliationResult), after=self.cursor):
                if event.intent_id is None:
                    continue
                record = view.intent(event.intent_id) if isinstance(event, events.OrderDone) else None
                if record is not None:
                    ended[event.intent_id] = record
                else:
                    ended.pop(event.intent_id, None)
            self.cursor = view.last_sequence("audit")
        for intent_id, record in ended.items():
            self.checks.setdefault(record.intent.symbol, []).append(Check(intent_id, record.intent.created_ns))

    def ask_for_trades(self) -> None:
        self.find_ended()
        now = self.now_ns()
        for symbol, question in list(self.questions.items()):
            if now - question.asked_ns > self.settings.engine.request_timeout:
                del self.questions[symbol]  # its answer was lost
                self.checks.setdefault(symbol, []).extend(question.checks)
        for symbol, checks in list(self.checks.items()):
            due = [check for check in checks if check.due_ns <= now]
            if due and symbol not in self.questions:
                self.checks[symbol] = [check for check in checks if check.due_ns > now]
                self.questions[symbol] = Question(due, now)
                since_ns = min(check.created_ns for check in due) - CLOCK_SLACK_NS
                self.send(
                    self.gateway, FetchTrades(purpose=CHECK, symbol=symbol, from_trade_id=None, since_ns=since_ns)
                )

    def receiveMsg_TradesFetched(self, message: TradesFetched, _sender: Any) -> None:
        if message.purpose == EVIDENCE:
            self.weigh_trades(message)
            return
        question = self.questions.get(message.symbol)
        if question is None:
            return
        if isinstance(message.trades, QueryFailed):
            self.log.warning("trades_not_fetched", symbol=message.symbol, reason=message.trades.reason)
            del self.questions[message.symbol]
            self.checks.setdefault(message.symbol, []).extend(question.checks)
            return
        question.add(message.trades)
        if not message.complete:
            last = message.trades[-1].trade_id
            self.send(self.gateway, FetchTrades(purpose=CHECK, symbol=message.symbol, from_trade_id=last, since_ns=0))
            return
        del self.questions[message.symbol]
        with self.store.snapshot() as view:
            results = [self.compare(check, question, view) for check in question.checks]
        told = tuple(event for event in results if event is not None)
        if told:
            self.send(self.portfolio, RecordEvents(events=told))

    def compare(self, check: Check, question: Question, view: Reader) -> AnyEvent | None:
        """Compare one intent with the venue's trades; the result, if there is something to tell."""
        record, attempts, now = view.intent(check.intent_id), list(view.attempts(check.intent_id)), self.now_ns()
        assert record is not None
        symbol = record.intent.symbol
        found = reconcile.compare(record, attempts, question.of(attempts))
        for report in found.missing:
            self.log.warning("missing_trades_found", intent_id=check.intent_id)
            self.send(self.portfolio, ApplyReport(report=report))
        check.looks += 1
        if found.qty_delta < 0 and check.looks < LOOKS_BEFORE_MISMATCH:
            self.checks.setdefault(symbol, []).append(check)  # the venue's reads lag behind its answers
            return None
        told = reconcile.result_event(record, found, now) if not check.was_reported or found.missing else None
        if not check.was_reported:
            check.was_reported = True
            late_ns = max(self.settings.reconciler.late_fill_check, 1)
            # together with others: each question brings every trade since its oldest intent
            check.due_ns = (now // late_ns + 2) * late_ns
            self.checks.setdefault(symbol, []).append(check)
        return told

    def receiveMsg_ReportApplied(self, _message: ReportApplied, _sender: Any) -> None:
        """The symbol has no router since the start, so there is nobody else to tell."""

    # ── balances ──────────────────────────────────────────────────────────────────────────────────────────────────

    def ask_for_balances(self) -> None:
        with self.store.snapshot() as view:
            self.balance_sequence = view.last_sequence("ledger")
        self.send(self.gateway, FetchBalances())

    def receiveMsg_BalancesFetched(self, message: BalancesFetched, _sender: Any) -> None:
        if isinstance(message.totals, QueryFailed):
            self.log.warning("balances_not_fetched", reason=message.totals.reason)
            return
        with self.store.snapshot() as view:
            if view.last_sequence("ledger") != self.balance_sequence:
                return  # something was booked meanwhile, the two are not of one moment
            totals = {balance.currency: balance.total for balance in view.balances()}
        drift = reconcile.balance_drift(totals, message.totals)
        lasting = drift == self.drift_seen  # a fill that the venue has and the book has not yet is gone next time
        self.drift_seen = drift
        if drift and lasting and drift != self.drift_told:
            self.drift_told = drift
            text = ", ".join(f"{amount} {currency}" for currency, amount in drift.items())
            alert = events.AlertFired(at_ns=self.now_ns(), code="BALANCE_DRIFT", text=f"venue minus book: {text}")
            self.send(self.portfolio, RecordEvents(events=(alert,)))
        if lasting or not drift:
            self.send(self.portfolio, RecordEvents(events=(events.BalancesCompared(at_ns=self.now_ns(), drift=drift),)))
