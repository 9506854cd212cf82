"""The book's tables: their names, and typed reading within one transaction.

How keys are written: `storage/keys.py`; how a row looks: `storage/rows.py`; who writes: `storage/writer.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import lmdb

from core.events import AnyEvent, Event, IntentRefused
from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, TradeId
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
from storage import rows
from storage.damage import damaged
from storage.keys import EVENT_MARK_END, KEY_BYTES_MAX, event_mark, key, number_key, sequence_key
from storage.schema import Codec, Record

TABLES: Final = (
    "intents",
    "idempotency",
    "open_intents",
    "attempts",
    "client_ids",
    "orders",
    "fills",
    "fills_by_intent",
    "reservations",
    "positions",
    "balances",
    "ledger",
    "audit",
    "trail",
    "markets",
    "quarantines",
    "standing",
    "cursors",
    "external_orders",
    "external_trades",
    "external_totals",
    "meta",
)
"""`fills_by_intent` and `trail` are indexes: (intent, …) → nothing; `client_ids` leads to an attempt's key. `standing`
holds what is in force now: the trading state, the arming, the epoch, the breaker, whether private data can be read,
how far off the venue's clock may be, risk figures, known drift, orders to be canceled. `cursors` holds how far each
symbol's trades are accounted for, and how far the outbox was compared with the venue."""


class Reader:
    """One consistent view of the book: the `BookReader` of the core and what reports need on top."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any], place: str = "") -> None:
        """`place` names the book in errors."""
        self._txn = txn
        self._tables = tables
        self._place = place

    # by key ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def intent(self, intent_id: IntentId) -> IntentRecord | None:
        return self._get("intents", (intent_id,), rows.intents)

    def idempotency(self, idempotency_key: IdempotencyKey) -> IdempotencyRecord | None:
        return self._get("idempotency", (idempotency_key,), rows.idempotency)

    def refusal(self, intent_id: IntentId) -> IntentRefused | None:
        """Of a wish that would have become this intent."""
        prefix = key(intent_id, "")
        with self._cursor_of(self._tables["trail"]) as cursor:
            if not cursor.set_range(prefix) or not bytes(cursor.key()).startswith(prefix):
                return None
            number = bytes(cursor.key())[len(prefix) :]
        data = self._row("audit", number)
        first = None if data is None else rows.audit.decode(bytes(data))
        return first if isinstance(first, IntentRefused) else None

    def attempt(self, intent_id: IntentId, attempt: int) -> AttemptRecord | None:
        return self._get("attempts", (intent_id, number_key(attempt)), rows.attempts)

    def attempt_by_client_id(self, client_order_id: ClientOrderId) -> AttemptRecord | None:
        found = self._get("client_ids", (client_order_id,), rows.plain)
        return None if found is None else self._get("attempts", tuple(found.decode().split("\0")), rows.attempts)

    def order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> OrderRecord | None:
        return self._get("orders", (symbol, exchange_order_id), rows.orders)

    def fill(self, symbol: str, trade_id: TradeId) -> FillRecord | None:
        return self._get("fills", (symbol, trade_id), rows.fills)

    def reservation(self, intent_id: IntentId) -> Reservation | None:
        return self._get("reservations", (intent_id,), rows.reservations)

    def position(self, symbol: str) -> Position | None:
        return self._get("positions", (symbol,), rows.positions)

    def balance(self, currency: str) -> Balance | None:
        return self._get("balances", (currency,), rows.balances)

    def market(self, symbol: str) -> MarketRules | None:
        return self._get("markets", (symbol,), rows.markets)

    def quarantine(self, symbol: str) -> Quarantine | None:
        return self._get("quarantines", (symbol,), rows.quarantines)

    def standing(self) -> Standing | None:
        return self._get("standing", ("trading",), rows.standing)

    def arming(self) -> Arming | None:
        return self._get("standing", ("arming",), rows.arming)

    def epoch(self) -> Epoch | None:
        return self._get("standing", ("epoch",), rows.epoch)

    def breaker(self) -> BreakerRecord | None:
        return self._get("standing", ("breaker",), rows.breaker)

    def private_data(self) -> PrivateData | None:
        return self._get("standing", ("private_data",), rows.private_data)

    def clock_span(self) -> ClockSpan | None:
        return self._get("standing", ("clock_span",), rows.clock_span)

    def risk_figures(self) -> RiskFigures | None:
        return self._get("standing", ("risk",), rows.risk_figures)

    def drift(self) -> Drift | None:
        return self._get("standing", ("drift",), rows.drift)

    def leftover(self, client_order_id: ClientOrderId) -> Leftover | None:
        return self._get("standing", ("leftover", client_order_id), rows.leftovers)

    def trade_cursor(self, symbol: str) -> TradeCursor | None:
        return self._get("cursors", ("trades", symbol), rows.trade_cursors)

    def compared(self) -> int | None:
        """Up to this event of the outbox, every ended intent was compared with the venue; None before the first."""
        found = self._get("cursors", ("compared",), rows.plain)
        return None if found is None else int.from_bytes(found, "big")

    def external_order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> ExternalOrder | None:
        return self._get("external_orders", (symbol, exchange_order_id), rows.external_orders)

    def external_trade(self, symbol: str, trade_id: TradeId) -> ExternalTrade | None:
        return self._get("external_trades", (symbol, trade_id), rows.external_trades)

    def external_total(self, currency: str) -> ExternalTotal | None:
        return self._get("external_totals", (currency,), rows.external_totals)

    def meta(self, name: str) -> str | None:
        found = self._get("meta", (name,), rows.plain)
        return None if found is None else found.decode()

    def open_count(self) -> int:
        """How many intents are not terminal."""
        return self.count("open_intents")

    # many ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_intents(self, symbol: str | None = None) -> Iterator[IntentRecord]:
        """Those that are not terminal, oldest first per symbol."""
        prefix = b"" if symbol is None else key(symbol, "")
        for row_key, _ in self._rows("open_intents", prefix):
            record = self.intent(IntentId(row_key.decode().split("\0")[1]))
            if record is not None:
                yield record

    def intents(self, *, newest_first: bool = True) -> Iterator[IntentRecord]:
        """All of them; ids begin with the time, so key order is time order."""
        with self._cursor("intents") as cursor:
            found = cursor.iterprev(keys=False) if newest_first and cursor.last() else cursor.iternext(keys=False)
            for data in found:
                yield rows.intents.decode(bytes(data))

    def attempts(self, intent_id: IntentId) -> Iterator[AttemptRecord]:
        for _, data in self._rows("attempts", key(intent_id, "")):
            yield rows.attempts.decode(data)

    def all_attempts(self, *, newest_first: bool = False) -> Iterator[AttemptRecord]:
        """All of them; ids begin with the time, so key order is time order."""
        with self._cursor("attempts") as cursor:
            found = cursor.iterprev(keys=False) if newest_first and cursor.last() else cursor.iternext(keys=False)
            for data in found:
                yield rows.attempts.decode(bytes(data))

    def fills(self, intent_id: IntentId | None = None) -> Iterator[FillRecord]:
        if intent_id is None:
            for _, data in self._rows("fills"):
                yield rows.fills.decode(data)
            return
        for row_key, _ in self._rows("fills_by_intent", key(intent_id, "")):
            _, symbol, trade_id = row_key.decode().split("\0")
            record = self.fill(symbol, TradeId(trade_id))
            if record is not None:
                yield record

    def fills_of(self, symbol: str) -> Iterator[FillRecord]:
        for _, data in self._rows("fills", key(symbol, "")):
            yield rows.fills.decode(data)

    def leftovers(self) -> Iterator[Leftover]:
        for _, data in self._rows("standing", key("leftover", "")):
            yield rows.leftovers.decode(data)

    def external_orders(self) -> Iterator[ExternalOrder]:
        for _, data in self._rows("external_orders"):
            yield rows.external_orders.decode(data)

    def external_totals(self) -> Iterator[ExternalTotal]:
        for _, data in self._rows("external_totals"):
            yield rows.external_totals.decode(data)

    def balances(self) -> Iterator[Balance]:
        for _, data in self._rows("balances"):
            yield rows.balances.decode(data)

    def positions(self) -> Iterator[Position]:
        for _, data in self._rows("positions"):
            yield rows.positions.decode(data)

    def reservations(self) -> Iterator[Reservation]:
        for _, data in self._rows("reservations"):
            yield rows.reservations.decode(data)

    def quarantines(self) -> Iterator[Quarantine]:
        for _, data in self._rows("quarantines"):
            yield rows.quarantines.decode(data)

    def markets(self) -> Iterator[MarketRules]:
        for _, data in self._rows("markets"):
            yield rows.markets.decode(data)

    def ledger(self, after: int = 0) -> Iterator[LedgerTransaction]:
        """Transactions with sequence > `after`, in order; sequences count from 1 without a gap."""
        with self._cursor("ledger") as cursor:
            if cursor.set_range(sequence_key(after + 1)):
                for data in cursor.iternext(keys=False):
                    yield rows.ledger.decode(bytes(data))

    def events(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, AnyEvent]]:
        """(sequence, event) of the outbox with sequence > `after`, in order, `limit` of them at most."""
        left = -1 if limit is None else limit
        with self._cursor("audit") as cursor:
            if not cursor.set_range(sequence_key(after + 1)):
                return
            for row_key, data in cursor.iternext():
                if left == 0:
                    return
                left -= 1
                yield int.from_bytes(row_key, "big"), rows.audit.decode(bytes(data))

    def events_of(self, kinds: tuple[type[Event], ...], after: int, until: int) -> Iterator[tuple[int, AnyEvent]]:
        """(sequence, event) of these kinds with `after` < sequence ≤ `until`, in order; the others are passed over
        without decoding them."""
        marks, last = [event_mark(kind) for kind in kinds], sequence_key(until)
        with self._cursor("audit") as cursor:
            if not cursor.set_range(sequence_key(after + 1)):
                return
            for row_key, data in cursor.iternext():
                if row_key > last:
                    return
                if any(mark in data[:EVENT_MARK_END] for mark in marks):
                    yield int.from_bytes(row_key, "big"), rows.audit.decode(data)

    def last_event(self, kind: type[Event], looks_max: int = 20_000) -> AnyEvent | None:
        """The newest event of a kind among the last `looks_max`."""
        return next(self.latest_events((kind,), looks_max), None)

    def latest_events(self, kinds: tuple[type[Event], ...], looks_max: int = 50_000) -> Iterator[AnyEvent]:
        """Those of these kinds among the last `looks_max`, newest first; the others are passed over without decoding
        them."""
        marks = [event_mark(kind) for kind in kinds]
        with self._cursor("audit") as cursor:
            if not cursor.last():
                return
            for data in itertools.islice(cursor.iterprev(keys=False), looks_max):
                begin = bytes(data[:EVENT_MARK_END])
                if any(mark in begin for mark in marks):
                    yield rows.audit.decode(bytes(data))

    def trail(self, intent_id: IntentId) -> Iterator[AnyEvent]:
        """Every event of one intent, in order."""
        prefix = key(intent_id, "")
        for row_key, _ in self._rows("trail", prefix):
            data = self._row("audit", row_key[len(prefix) :])
            if data is not None:
                yield rows.audit.decode(bytes(data))

    def last_sequence(self, table: str) -> int:
        """Of `audit` or `ledger`; 0 when it is empty."""
        with self._cursor(table) as cursor:
            return int.from_bytes(cursor.key(), "big") if cursor.last() else 0

    def count(self, table: str) -> int:
        try:
            return int(self._txn.stat(db=self._whole(table))["entries"])
        except lmdb.Error as error:
            raise damaged(self._place, error) from error

    # inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _whole(self, table: str) -> Any:
        """LMDB's handle of a table that has all rows in it."""
        return self._tables[table]

    def _cursor(self, table: str) -> AbstractContextManager[Any]:
        return self._cursor_of(self._whole(table))

    @contextmanager
    def _cursor_of(self, handle: Any) -> Iterator[Any]:
        """Whatever is read through it in the block; in a generator, also what is read later."""
        try:
            with self._txn.cursor(db=handle) as cursor:
                yield cursor
        except lmdb.Error as error:
            raise damaged(self._place, error) from error

    def _row(self, table: str, row_key: bytes) -> Any:
        try:
            return self._txn.get(row_key, db=self._tables[table])
        except lmdb.Error as error:
            raise damaged(self._place, error) from error

    def _get(self, table: str, parts: tuple[str, ...], codec: Codec[Record]) -> Record | None:
        row_key = key(*parts)
        if not 0 < len(row_key) <= KEY_BYTES_MAX:
            return None  # nothing can be kept under it
        data = self._row(table, row_key)
        return None if data is None else codec.decode(bytes(data))

    def _rows(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._cursor(table) as cursor:
            if not cursor.set_range(prefix):
                return
            for row_key, data in cursor.iternext():
                if not bytes(row_key).startswith(prefix):
                    return
                yield bytes(row_key), bytes(data)
