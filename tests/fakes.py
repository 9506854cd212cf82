"""Hand-written stand-ins. Each passes the same contract tests as the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.events import AnyEvent, Event, IntentRefused
from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, TradeId
from core.lifecycle import is_terminal
from core.market import MarketRules
from core.records import (
    Arming,
    AttemptRecord,
    Balance,
    BreakerRecord,
    ClockSpan,
    Drift,
    Epoch,
    ExternalOrder,
    ExternalTotal,
    ExternalTrade,
    FillRecord,
    IdempotencyRecord,
    IntentRecord,
    LedgerTransaction,
    Leftover,
    OrderRecord,
    Position,
    PrivateData,
    Quarantine,
    Reservation,
    RiskFigures,
    Standing,
    TradeCursor,
)

KEYED_TABLES = (
    "intents",
    "idempotency",
    "attempts",
    "client_ids",
    "orders",
    "fills",
    "reservations",
    "positions",
    "balances",
    "markets",
    "quarantines",
    "standing",
    "leftovers",
    "cursors",
    "external_orders",
    "external_trades",
    "external_totals",
)


class MemoryBook:
    """The book in dictionaries: a `UnitOfWork` whose `transaction()` throws everything away on an exception.

    Contract: tests/storage/test_contract.py. Like LMDB it refuses to write outside of a transaction.
    """

    def __init__(self) -> None:
        self._tables: dict[str, dict[Any, Any]] = {name: {} for name in KEYED_TABLES}
        self._ledger: list[LedgerTransaction] = []
        self._events: list[AnyEvent] = []
        self._writing = False

    @contextmanager
    def transaction(self) -> Iterator[MemoryBook]:
        assert not self._writing, "one write transaction at a time"
        tables = {name: dict(rows) for name, rows in self._tables.items()}
        ledger_length, events_length = len(self._ledger), len(self._events)
        self._writing = True
        try:
            yield self
        except BaseException:
            self._tables = tables
            del self._ledger[ledger_length:]
            del self._events[events_length:]
            raise
        finally:
            self._writing = False

    @contextmanager
    def snapshot(self) -> Iterator[MemoryBook]:
        """As of now; records are immutable, so copies of the tables are enough."""
        view = MemoryBook()
        view._tables = {name: dict(rows) for name, rows in self._tables.items()}
        view._ledger, view._events = list(self._ledger), list(self._events)
        yield view

    # by key ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def intent(self, intent_id: IntentId) -> IntentRecord | None:
        return self._tables["intents"].get(intent_id)

    def idempotency(self, key: IdempotencyKey) -> IdempotencyRecord | None:
        return self._tables["idempotency"].get(key)

    def attempt(self, intent_id: IntentId, attempt: int) -> AttemptRecord | None:
        return self._tables["attempts"].get((intent_id, attempt))

    def attempt_by_client_id(self, client_order_id: ClientOrderId) -> AttemptRecord | None:
        return self._tables["attempts"].get(self._tables["client_ids"].get(client_order_id))

    def order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> OrderRecord | None:
        return self._tables["orders"].get((symbol, exchange_order_id))

    def fill(self, symbol: str, trade_id: TradeId) -> FillRecord | None:
        return self._tables["fills"].get((symbol, trade_id))

    def reservation(self, intent_id: IntentId) -> Reservation | None:
        return self._tables["reservations"].get(intent_id)

    def position(self, symbol: str) -> Position | None:
        return self._tables["positions"].get(symbol)

    def balance(self, currency: str) -> Balance | None:
        return self._tables["balances"].get(currency)

    def market(self, symbol: str) -> MarketRules | None:
        return self._tables["markets"].get(symbol)

    def quarantine(self, symbol: str) -> Quarantine | None:
        return self._tables["quarantines"].get(symbol)

    # many ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_intents(self, symbol: str | None = None) -> Iterator[IntentRecord]:
        records = sorted(
            self._tables["intents"].values(), key=lambda found: (found.intent.symbol, found.intent.intent_id)
        )
        for record in records:
            if not is_terminal(record.state) and symbol in {None, record.intent.symbol}:
                yield record

    def intents(self, *, newest_first: bool = True) -> Iterator[IntentRecord]:
        yield from self._sorted("intents", reverse=newest_first)

    def attempts(self, intent_id: IntentId) -> Iterator[AttemptRecord]:
        yield from (row for row in self._sorted("attempts") if row.intent_id == intent_id)

    def fills(self, intent_id: IntentId | None = None) -> Iterator[FillRecord]:
        yield from (row for row in self._sorted("fills") if intent_id in {None, row.intent_id})

    def balances(self) -> Iterator[Balance]:
        yield from self._sorted("balances")

    def positions(self) -> Iterator[Position]:
        yield from self._sorted("positions")

    def reservations(self) -> Iterator[Reservation]:
        yield from self._sorted("reservations")

    def ledger(self, after: int = 0) -> Iterator[LedgerTransaction]:
        yield from self._ledger[after:]

    def events_of(self, kinds: tuple[type[Event], ...], after: int, until: int) -> Iterator[tuple[int, AnyEvent]]:
        yield from (entry for entry in self.events(after, until - after) if isinstance(entry[1], kinds))

    def last_event(self, kind: type[Event]) -> AnyEvent | None:
        return next(self.latest_events((kind,)), None)

    def latest_events(self, kinds: tuple[type[Event], ...]) -> Iterator[AnyEvent]:
        yield from (event for event in reversed(self._events) if isinstance(event, kinds))

    def last_sequence(self, table: str) -> int:
        return len({"audit": self._events, "ledger": self._ledger}[table])

    def markets(self) -> Iterator[MarketRules]:
        yield from self._sorted("markets")

    def fills_of(self, symbol: str) -> Iterator[FillRecord]:
        yield from (row for row in self._sorted("fills") if row.symbol == symbol)

    def external_orders(self) -> Iterator[ExternalOrder]:
        yield from self._sorted("external_orders")

    def external_totals(self) -> Iterator[ExternalTotal]:
        yield from self._sorted("external_totals")

    def events(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, AnyEvent]]:
        numbered = list(enumerate(self._events, start=1))[after:]
        yield from numbered if limit is None else numbered[:limit]

    def refusal(self, intent_id: IntentId) -> IntentRefused | None:
        first = next(self.trail(intent_id), None)
        return first if isinstance(first, IntentRefused) else None

    def trail(self, intent_id: IntentId) -> Iterator[AnyEvent]:
        yield from (event for event in list(self._events) if event.intent_id == intent_id)

    # writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def put_intent(self, record: IntentRecord) -> None:
        self._put("intents", record.intent.intent_id, record)

    def put_idempotency(self, record: IdempotencyRecord) -> None:
        self._put("idempotency", record.key, record)

    def put_attempt(self, record: AttemptRecord) -> None:
        self._put("attempts", (record.intent_id, record.attempt), record)
        self._put("client_ids", record.client_order_id, (record.intent_id, record.attempt))

    def put_order(self, record: OrderRecord) -> None:
        self._put("orders", (record.symbol, record.exchange_order_id), record)

    def put_fill(self, record: FillRecord) -> None:
        self._put("fills", (record.symbol, record.trade_id), record)

    def put_reservation(self, record: Reservation) -> None:
        self._put("reservations", record.intent_id, record)

    def delete_reservation(self, intent_id: IntentId) -> None:
        self._delete("reservations", intent_id)

    def put_position(self, record: Position) -> None:
        self._put("positions", record.symbol, record)

    def put_balance(self, record: Balance) -> None:
        self._put("balances", record.currency, record)

    def put_market(self, rules: MarketRules) -> None:
        self._put("markets", rules.symbol, rules)

    def standing(self) -> Standing | None:
        return self._tables["standing"].get("trading")

    def arming(self) -> Arming | None:
        return self._tables["standing"].get("arming")

    def epoch(self) -> Epoch | None:
        return self._tables["standing"].get("epoch")

    def risk_figures(self) -> RiskFigures | None:
        return self._tables["standing"].get("risk")

    def open_count(self) -> int:
        return sum(1 for _ in self.open_intents())

    def clock_span(self) -> ClockSpan | None:
        return self._tables["standing"].get("clock_span")

    def breaker(self) -> BreakerRecord | None:
        return self._tables["standing"].get("breaker")

    def private_data(self) -> PrivateData | None:
        return self._tables["standing"].get("private_data")

    def drift(self) -> Drift | None:
        return self._tables["standing"].get("drift")

    def leftover(self, client_order_id: ClientOrderId) -> Leftover | None:
        return self._tables["leftovers"].get(client_order_id)

    def leftovers(self) -> Iterator[Leftover]:
        yield from self._sorted("leftovers")

    def put_leftover(self, record: Leftover) -> None:
        self._put("leftovers", record.client_order_id, record)

    def delete_leftover(self, client_order_id: ClientOrderId) -> None:
        self._delete("leftovers", client_order_id)

    def trade_cursor(self, symbol: str) -> TradeCursor | None:
        return self._tables["cursors"].get(symbol)

    def compared(self) -> int | None:
        return self._tables["cursors"].get("")

    def external_order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> ExternalOrder | None:
        return self._tables["external_orders"].get((symbol, exchange_order_id))

    def external_trade(self, symbol: str, trade_id: TradeId) -> ExternalTrade | None:
        return self._tables["external_trades"].get((symbol, trade_id))

    def external_total(self, currency: str) -> ExternalTotal | None:
        return self._tables["external_totals"].get(currency)

    def put_clock_span(self, record: ClockSpan) -> None:
        self._put("standing", "clock_span", record)

    def put_breaker(self, record: BreakerRecord) -> None:
        self._put("standing", "breaker", record)

    def put_private_data(self, record: PrivateData) -> None:
        self._put("standing", "private_data", record)

    def put_drift(self, record: Drift) -> None:
        self._put("standing", "drift", record)

    def put_trade_cursor(self, record: TradeCursor) -> None:
        self._put("cursors", record.symbol, record)

    def put_compared(self, sequence: int) -> None:
        self._put("cursors", "", sequence)

    def put_external_order(self, record: ExternalOrder) -> None:
        self._put("external_orders", (record.symbol, record.exchange_order_id), record)

    def put_external_trade(self, record: ExternalTrade) -> None:
        self._put("external_trades", (record.symbol, record.trade_id), record)

    def put_external_total(self, record: ExternalTotal) -> None:
        self._put("external_totals", record.currency, record)

    def put_standing(self, record: Standing) -> None:
        self._put("standing", "trading", record)

    def put_arming(self, record: Arming) -> None:
        self._put("standing", "arming", record)

    def put_epoch(self, record: Epoch) -> None:
        self._put("standing", "epoch", record)

    def put_risk_figures(self, record: RiskFigures) -> None:
        self._put("standing", "risk", record)

    def put_quarantine(self, record: Quarantine) -> None:
        self._put("quarantines", record.symbol, record)

    def delete_quarantine(self, symbol: str) -> None:
        self._delete("quarantines", symbol)

    def append_ledger(self, transaction: LedgerTransaction) -> None:
        self._check_writing()
        self._ledger.append(transaction)

    def append_event(self, event: AnyEvent) -> None:
        self._check_writing()
        self._events.append(event)

    # inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, table: str, key: Any, record: Any) -> None:
        self._check_writing()
        self._tables[table][key] = record

    def _delete(self, table: str, key: Any) -> None:
        self._check_writing()
        self._tables[table].pop(key, None)

    def _check_writing(self) -> None:
        assert self._writing, "written outside of a transaction"

    def _sorted(self, table: str, *, reverse: bool = False) -> list[Any]:
        rows = self._tables[table]
        return [rows[key] for key in sorted(rows, reverse=reverse)]
