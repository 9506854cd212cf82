"""The book's tables: their names, keys and record types, and typed reading and writing within one transaction.

How keys are written: `storage/keys.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import lmdb

from core.errors import StorageError
from core.events import AnyEvent, Event
from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, TradeId
from core.lifecycle import is_terminal
from core.market import MarketRules
from core.records import (
    AttemptRecord,
    Balance,
    BreakerRecord,
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
    Quarantine,
    Reservation,
    Standing,
    TradeCursor,
)
from storage.keys import EVENT_MARK_END, KEY_BYTES_MAX, event_mark, key, number_key, sequence_key
from storage.schema import Codec, Plain, Record

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
holds what is in force now: the trading state, the epoch, the breaker, known drift, orders to be canceled. `cursors`
holds how far each symbol's trades are accounted for, and how far the outbox was compared with the venue."""

_intents: Codec[IntentRecord] = Codec(IntentRecord)
_idempotency: Codec[IdempotencyRecord] = Codec(IdempotencyRecord)
_attempts: Codec[AttemptRecord] = Codec(AttemptRecord)
_orders: Codec[OrderRecord] = Codec(OrderRecord)
_fills: Codec[FillRecord] = Codec(FillRecord)
_reservations: Codec[Reservation] = Codec(Reservation)
_positions: Codec[Position] = Codec(Position)
_balances: Codec[Balance] = Codec(Balance)
_ledger: Codec[LedgerTransaction] = Codec(LedgerTransaction)
_audit: Codec[AnyEvent] = Codec(AnyEvent)
_markets: Codec[MarketRules] = Codec(MarketRules)
_quarantines: Codec[Quarantine] = Codec(Quarantine)
_standing: Codec[Standing] = Codec(Standing)
_epoch: Codec[Epoch] = Codec(Epoch)
_breaker: Codec[BreakerRecord] = Codec(BreakerRecord)
_drift: Codec[Drift] = Codec(Drift)
_leftovers: Codec[Leftover] = Codec(Leftover)
_trade_cursors: Codec[TradeCursor] = Codec(TradeCursor)
_external_orders: Codec[ExternalOrder] = Codec(ExternalOrder)
_external_trades: Codec[ExternalTrade] = Codec(ExternalTrade)
_external_totals: Codec[ExternalTotal] = Codec(ExternalTotal)
_plain: Codec[bytes] = Plain()


class Reader:
    """One consistent view of the book: the `BookReader` of the core and what reports need on top."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any]) -> None:
        self._txn = txn
        self._tables = tables

    # by key ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def intent(self, intent_id: IntentId) -> IntentRecord | None:
        return self._get("intents", (intent_id,), _intents)

    def idempotency(self, idempotency_key: IdempotencyKey) -> IdempotencyRecord | None:
        return self._get("idempotency", (idempotency_key,), _idempotency)

    def attempt(self, intent_id: IntentId, attempt: int) -> AttemptRecord | None:
        return self._get("attempts", (intent_id, number_key(attempt)), _attempts)

    def attempt_by_client_id(self, client_order_id: ClientOrderId) -> AttemptRecord | None:
        found = self._get("client_ids", (client_order_id,), _plain)
        return None if found is None else self._get("attempts", tuple(found.decode().split("\0")), _attempts)

    def order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> OrderRecord | None:
        return self._get("orders", (symbol, exchange_order_id), _orders)

    def fill(self, symbol: str, trade_id: TradeId) -> FillRecord | None:
        return self._get("fills", (symbol, trade_id), _fills)

    def reservation(self, intent_id: IntentId) -> Reservation | None:
        return self._get("reservations", (intent_id,), _reservations)

    def position(self, symbol: str) -> Position | None:
        return self._get("positions", (symbol,), _positions)

    def balance(self, currency: str) -> Balance | None:
        return self._get("balances", (currency,), _balances)

    def market(self, symbol: str) -> MarketRules | None:
        return self._get("markets", (symbol,), _markets)

    def quarantine(self, symbol: str) -> Quarantine | None:
        return self._get("quarantines", (symbol,), _quarantines)

    def standing(self) -> Standing | None:
        return self._get("standing", ("trading",), _standing)

    def breaker(self) -> BreakerRecord | None:
        return self._get("standing", ("breaker",), _breaker)

    def epoch(self) -> Epoch | None:
        return self._get("standing", ("epoch",), _epoch)

    def drift(self) -> Drift | None:
        return self._get("standing", ("drift",), _drift)

    def leftover(self, client_order_id: ClientOrderId) -> Leftover | None:
        return self._get("standing", ("leftover", client_order_id), _leftovers)

    def trade_cursor(self, symbol: str) -> TradeCursor | None:
        return self._get("cursors", ("trades", symbol), _trade_cursors)

    def compared(self) -> int | None:
        """Up to this event of the outbox, every ended intent was compared with the venue; None before the first."""
        found = self._get("cursors", ("compared",), _plain)
        return None if found is None else int.from_bytes(found, "big")

    def external_order(self, symbol: str, exchange_order_id: ExchangeOrderId) -> ExternalOrder | None:
        return self._get("external_orders", (symbol, exchange_order_id), _external_orders)

    def external_trade(self, symbol: str, trade_id: TradeId) -> ExternalTrade | None:
        return self._get("external_trades", (symbol, trade_id), _external_trades)

    def external_total(self, currency: str) -> ExternalTotal | None:
        return self._get("external_totals", (currency,), _external_totals)

    def meta(self, name: str) -> str | None:
        found = self._get("meta", (name,), _plain)
        return None if found is None else found.decode()

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
            rows = cursor.iterprev(keys=False) if newest_first and cursor.last() else cursor.iternext(keys=False)
            for data in rows:
                yield _intents.decode(bytes(data))

    def attempts(self, intent_id: IntentId) -> Iterator[AttemptRecord]:
        for _, data in self._rows("attempts", key(intent_id, "")):
            yield _attempts.decode(data)

    def all_attempts(self, *, newest_first: bool = False) -> Iterator[AttemptRecord]:
        """All of them; ids begin with the time, so key order is time order."""
        with self._cursor("attempts") as cursor:
            rows = cursor.iterprev(keys=False) if newest_first and cursor.last() else cursor.iternext(keys=False)
            for data in rows:
                yield _attempts.decode(bytes(data))

    def fills(self, intent_id: IntentId | None = None) -> Iterator[FillRecord]:
        if intent_id is None:
            for _, data in self._rows("fills"):
                yield _fills.decode(data)
            return
        for row_key, _ in self._rows("fills_by_intent", key(intent_id, "")):
            _, symbol, trade_id = row_key.decode().split("\0")
            record = self.fill(symbol, TradeId(trade_id))
            if record is not None:
                yield record

    def fills_of(self, symbol: str) -> Iterator[FillRecord]:
        for _, data in self._rows("fills", key(symbol, "")):
            yield _fills.decode(data)

    def leftovers(self) -> Iterator[Leftover]:
        for _, data in self._rows("standing", key("leftover", "")):
            yield _leftovers.decode(data)

    def external_orders(self) -> Iterator[ExternalOrder]:
        for _, data in self._rows("external_orders"):
            yield _external_orders.decode(data)

    def external_totals(self) -> Iterator[ExternalTotal]:
        for _, data in self._rows("external_totals"):
            yield _external_totals.decode(data)

    def balances(self) -> Iterator[Balance]:
        for _, data in self._rows("balances"):
            yield _balances.decode(data)

    def positions(self) -> Iterator[Position]:
        for _, data in self._rows("positions"):
            yield _positions.decode(data)

    def reservations(self) -> Iterator[Reservation]:
        for _, data in self._rows("reservations"):
            yield _reservations.decode(data)

    def quarantines(self) -> Iterator[Quarantine]:
        for _, data in self._rows("quarantines"):
            yield _quarantines.decode(data)

    def markets(self) -> Iterator[MarketRules]:
        for _, data in self._rows("markets"):
            yield _markets.decode(data)

    def ledger(self, after: int = 0) -> Iterator[LedgerTransaction]:
        """Transactions with sequence > `after`, in order; sequences count from 1 without a gap."""
        with self._cursor("ledger") as cursor:
            if cursor.set_range(sequence_key(after + 1)):
                for data in cursor.iternext(keys=False):
                    yield _ledger.decode(bytes(data))

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
                yield int.from_bytes(row_key, "big"), _audit.decode(bytes(data))

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
                    yield int.from_bytes(row_key, "big"), _audit.decode(data)

    def last_event(self, kind: type[Event], looks_max: int = 20_000) -> AnyEvent | None:
        """The newest event of a kind among the last `looks_max`; the others are passed over without decoding them."""
        mark = event_mark(kind)
        with self._cursor("audit") as cursor:
            if not cursor.last():
                return None
            for data in itertools.islice(cursor.iterprev(keys=False), looks_max):
                if mark in bytes(data[:EVENT_MARK_END]):
                    return _audit.decode(bytes(data))
        return None

    def trail(self, intent_id: IntentId) -> Iterator[AnyEvent]:
        """Every event of one intent, in order."""
        prefix = key(intent_id, "")
        for row_key, _ in self._rows("trail", prefix):
            data = self._txn.get(row_key[len(prefix) :], db=self._tables["audit"])
            if data is not None:
                yield _audit.decode(bytes(data))

    def last_sequence(self, table: str) -> int:
        """Of `audit` or `ledger`; 0 when it is empty."""
        with self._cursor(table) as cursor:
            return int.from_bytes(cursor.key(), "big") if cursor.last() else 0

    def count(self, table: str) -> int:
        return int(self._txn.stat(db=self._whole(table))["entries"])

    # inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _whole(self, table: str) -> Any:
        """LMDB's handle of a table that has all rows in it."""
        return self._tables[table]

    def _cursor(self, table: str) -> Any:
        return self._txn.cursor(db=self._whole(table))

    def _get(self, table: str, parts: tuple[str, ...], codec: Codec[Record]) -> Record | None:
        row_key = key(*parts)
        if not 0 < len(row_key) <= KEY_BYTES_MAX:
            return None  # nothing can be kept under it
        data = self._txn.get(row_key, db=self._tables[table])
        return None if data is None else codec.decode(bytes(data))

    def _rows(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._cursor(table) as cursor:
            if not cursor.set_range(prefix):
                return
            for row_key, data in cursor.iternext():
                if not bytes(row_key).startswith(prefix):
                    return
                yield bytes(row_key), bytes(data)


class Writer(Reader):
    """A reader that also writes, within the one write transaction. The `UnitOfWork` of the core.

    A step reads and writes the same few records many times. So what was read or written is kept as it is until the
    transaction ends, and each row goes to LMDB once, in `flush`.
    """

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any]) -> None:
        super().__init__(txn, tables)
        self._known: dict[str, dict[tuple[str, ...], Any]] = {table: {} for table in tables}
        """By table and key; None for a row that is not there."""
        self._changed: dict[tuple[str, tuple[str, ...]], Codec[Any]] = {}
        self._appended: dict[str, list[tuple[bytes, bytes]]] = {"ledger": [], "audit": [], "trail": []}
        self._ledger_last = self.last_sequence("ledger")
        self._audit_last = self.last_sequence("audit")

    def put_intent(self, record: IntentRecord) -> None:
        intent = record.intent
        before = self.intent(intent.intent_id)
        was_open, is_open = before is not None and not is_terminal(before.state), not is_terminal(record.state)
        self._put("intents", (intent.intent_id,), record, _intents)
        if was_open != is_open:
            self._put("open_intents", (intent.symbol, intent.intent_id), b"" if is_open else None, _plain)

    def put_idempotency(self, record: IdempotencyRecord) -> None:
        self._put("idempotency", (record.key,), record, _idempotency)

    def put_attempt(self, record: AttemptRecord) -> None:
        parts = (record.intent_id, number_key(record.attempt))
        self._put("attempts", parts, record, _attempts)
        if self._get("client_ids", (record.client_order_id,), _plain) is None:
            self._put("client_ids", (record.client_order_id,), key(*parts), _plain)

    def put_order(self, record: OrderRecord) -> None:
        self._put("orders", (record.symbol, record.exchange_order_id), record, _orders)

    def put_fill(self, record: FillRecord) -> None:
        self._put("fills", (record.symbol, record.trade_id), record, _fills)
        self._put("fills_by_intent", (record.intent_id, record.symbol, record.trade_id), b"", _plain)

    def put_reservation(self, record: Reservation) -> None:
        self._put("reservations", (record.intent_id,), record, _reservations)

    def delete_reservation(self, intent_id: IntentId) -> None:
        self._put("reservations", (intent_id,), None, _reservations)

    def put_position(self, record: Position) -> None:
        self._put("positions", (record.symbol,), record, _positions)

    def put_balance(self, record: Balance) -> None:
        self._put("balances", (record.currency,), record, _balances)

    def put_market(self, rules: MarketRules) -> None:
        self._put("markets", (rules.symbol,), rules, _markets)

    def put_quarantine(self, record: Quarantine) -> None:
        self._put("quarantines", (record.symbol,), record, _quarantines)

    def delete_quarantine(self, symbol: str) -> None:
        self._put("quarantines", (symbol,), None, _quarantines)

    def put_standing(self, record: Standing) -> None:
        self._put("standing", ("trading",), record, _standing)

    def put_epoch(self, record: Epoch) -> None:
        self._put("standing", ("epoch",), record, _epoch)

    def put_breaker(self, record: BreakerRecord) -> None:
        self._put("standing", ("breaker",), record, _breaker)

    def put_drift(self, record: Drift) -> None:
        self._put("standing", ("drift",), record, _drift)

    def put_leftover(self, record: Leftover) -> None:
        self._put("standing", ("leftover", record.client_order_id), record, _leftovers)

    def delete_leftover(self, client_order_id: ClientOrderId) -> None:
        self._put("standing", ("leftover", client_order_id), None, _leftovers)

    def put_trade_cursor(self, record: TradeCursor) -> None:
        self._put("cursors", ("trades", record.symbol), record, _trade_cursors)

    def put_compared(self, sequence: int) -> None:
        self._put("cursors", ("compared",), sequence_key(sequence), _plain)

    def put_external_order(self, record: ExternalOrder) -> None:
        self._put("external_orders", (record.symbol, record.exchange_order_id), record, _external_orders)

    def put_external_trade(self, record: ExternalTrade) -> None:
        self._put("external_trades", (record.symbol, record.trade_id), record, _external_trades)

    def put_external_total(self, record: ExternalTotal) -> None:
        self._put("external_totals", (record.currency,), record, _external_totals)

    def put_meta(self, name: str, value: str) -> None:
        self._put("meta", (name,), value.encode(), _plain)

    def append_ledger(self, transaction: LedgerTransaction) -> None:
        self._ledger_last += 1
        self._appended["ledger"].append((sequence_key(self._ledger_last), _ledger.encode(transaction)))

    def append_event(self, event: AnyEvent) -> None:
        self._audit_last += 1
        number = sequence_key(self._audit_last)
        self._appended["audit"].append((number, _audit.encode(event)))
        if event.intent_id is not None:
            self._appended["trail"].append((key(event.intent_id, "") + number, b""))

    def flush(self) -> None:
        """Hand every row that changed to LMDB. Raises `StorageError`."""
        try:
            for (table, parts), codec in self._changed.items():
                record, db = self._known[table][parts], self._tables[table]
                if record is None:
                    self._txn.delete(key(*parts), db=db)
                else:
                    self._txn.put(key(*parts), codec.encode(record), db=db)
            for table, rows in self._appended.items():
                if rows:
                    with self._txn.cursor(db=self._tables[table]) as cursor:
                        cursor.putmulti(rows, append=table != "trail")
        except lmdb.MapFullError as error:
            raise StorageError(
                "the book is full; set a larger storage.map_size_gib and start again, nothing acknowledged is lost"
            ) from error
        except lmdb.Error as error:
            raise StorageError(f"the book cannot be written: {error}; mend the disk, then start again") from error
        self._changed.clear()
        for rows in self._appended.values():
            rows.clear()

    def _whole(self, table: str) -> Any:
        self.flush()
        return super()._whole(table)

    def _get(self, table: str, parts: tuple[str, ...], codec: Codec[Record]) -> Record | None:
        rows: dict[tuple[str, ...], Record | None] = self._known[table]
        if parts not in rows:
            rows[parts] = super()._get(table, parts, codec)
        return rows[parts]

    def _put(self, table: str, parts: tuple[str, ...], record: Record | None, codec: Codec[Record]) -> None:
        """None deletes the row."""
        self._known[table][parts] = record
        self._changed[table, parts] = codec
