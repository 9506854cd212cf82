"""Writing the book within the one write transaction: the `UnitOfWork` of the core."""

from __future__ import annotations

from typing import Any

import lmdb

from core.events import AnyEvent, IntentRefused
from core.ids import ClientOrderId, IntentId
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
from storage import rows
from storage.damage import unwritten
from storage.keys import key, number_key, sequence_key
from storage.schema import Codec, Record
from storage.tables import Reader


class Writer(Reader):
    """A reader that also writes.

    A step reads and writes the same few records many times. So what was read or written is kept as it is until the
    transaction ends, and each row goes to LMDB once, in `flush`.
    """

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any], place: str = "") -> None:
        super().__init__(txn, tables, place)
        self._known: dict[str, dict[tuple[str, ...], Any]] = {table: {} for table in tables}
        """By table and key; None for a row that is not there."""
        self._changed: dict[tuple[str, tuple[str, ...]], Codec[Any]] = {}
        self._appended: dict[str, list[tuple[bytes, bytes]]] = {"ledger": [], "audit": [], "trail": []}
        self._ledger_last = self.last_sequence("ledger")
        self._audit_last = self.last_sequence("audit")
        self._refused: dict[IntentId, IntentRefused] = {}
        self._open_count = super().open_count()

    def open_count(self) -> int:
        return self._open_count

    def put_intent(self, record: IntentRecord) -> None:
        intent = record.intent
        before = self.intent(intent.intent_id)
        was_open, is_open = before is not None and not is_terminal(before.state), not is_terminal(record.state)
        self._put("intents", (intent.intent_id,), record, rows.intents)
        if was_open != is_open:
            self._open_count += 1 if is_open else -1
            self._put("open_intents", (intent.symbol, intent.intent_id), b"" if is_open else None, rows.plain)

    def put_idempotency(self, record: IdempotencyRecord) -> None:
        self._put("idempotency", (record.key,), record, rows.idempotency)

    def put_attempt(self, record: AttemptRecord) -> None:
        parts = (record.intent_id, number_key(record.attempt))
        self._put("attempts", parts, record, rows.attempts)
        if self._get("client_ids", (record.client_order_id,), rows.plain) is None:
            self._put("client_ids", (record.client_order_id,), key(*parts), rows.plain)

    def put_order(self, record: OrderRecord) -> None:
        self._put("orders", (record.symbol, record.exchange_order_id), record, rows.orders)

    def put_fill(self, record: FillRecord) -> None:
        self._put("fills", (record.symbol, record.trade_id), record, rows.fills)
        self._put("fills_by_intent", (record.intent_id, record.symbol, record.trade_id), b"", rows.plain)

    def put_reservation(self, record: Reservation) -> None:
        self._put("reservations", (record.intent_id,), record, rows.reservations)

    def delete_reservation(self, intent_id: IntentId) -> None:
        self._put("reservations", (intent_id,), None, rows.reservations)

    def put_position(self, record: Position) -> None:
        self._put("positions", (record.symbol,), record, rows.positions)

    def put_balance(self, record: Balance) -> None:
        self._put("balances", (record.currency,), record, rows.balances)

    def put_market(self, rules: MarketRules) -> None:
        self._put("markets", (rules.symbol,), rules, rows.markets)

    def put_quarantine(self, record: Quarantine) -> None:
        self._put("quarantines", (record.symbol,), record, rows.quarantines)

    def delete_quarantine(self, symbol: str) -> None:
        self._put("quarantines", (symbol,), None, rows.quarantines)

    def put_standing(self, record: Standing) -> None:
        self._put("standing", ("trading",), record, rows.standing)

    def put_arming(self, record: Arming) -> None:
        self._put("standing", ("arming",), record, rows.arming)

    def put_epoch(self, record: Epoch) -> None:
        self._put("standing", ("epoch",), record, rows.epoch)

    def put_breaker(self, record: BreakerRecord) -> None:
        self._put("standing", ("breaker",), record, rows.breaker)

    def put_private_data(self, record: PrivateData) -> None:
        self._put("standing", ("private_data",), record, rows.private_data)

    def put_clock_span(self, record: ClockSpan) -> None:
        self._put("standing", ("clock_span",), record, rows.clock_span)

    def put_risk_figures(self, record: RiskFigures) -> None:
        self._put("standing", ("risk",), record, rows.risk_figures)

    def put_drift(self, record: Drift) -> None:
        self._put("standing", ("drift",), record, rows.drift)

    def put_leftover(self, record: Leftover) -> None:
        self._put("standing", ("leftover", record.client_order_id), record, rows.leftovers)

    def delete_leftover(self, client_order_id: ClientOrderId) -> None:
        self._put("standing", ("leftover", client_order_id), None, rows.leftovers)

    def put_trade_cursor(self, record: TradeCursor) -> None:
        self._put("cursors", ("trades", record.symbol), record, rows.trade_cursors)

    def put_compared(self, sequence: int) -> None:
        self._put("cursors", ("compared",), sequence_key(sequence), rows.plain)

    def put_external_order(self, record: ExternalOrder) -> None:
        self._put("external_orders", (record.symbol, record.exchange_order_id), record, rows.external_orders)

    def put_external_trade(self, record: ExternalTrade) -> None:
        self._put("external_trades", (record.symbol, record.trade_id), record, rows.external_trades)

    def put_external_total(self, record: ExternalTotal) -> None:
        self._put("external_totals", (record.currency,), record, rows.external_totals)

    def put_meta(self, name: str, value: str) -> None:
        self._put("meta", (name,), value.encode(), rows.plain)

    def append_ledger(self, transaction: LedgerTransaction) -> None:
        self._ledger_last += 1
        self._appended["ledger"].append((sequence_key(self._ledger_last), rows.ledger.encode(transaction)))

    def refusal(self, intent_id: IntentId) -> IntentRefused | None:
        return self._refused.get(intent_id) or super().refusal(intent_id)

    def append_event(self, event: AnyEvent) -> None:
        if isinstance(event, IntentRefused) and event.intent_id is not None:
            self._refused[event.intent_id] = event
        self._audit_last += 1
        number = sequence_key(self._audit_last)
        self._appended["audit"].append((number, rows.audit.encode(event)))
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
            for table, appended in self._appended.items():
                if appended:
                    with self._txn.cursor(db=self._tables[table]) as cursor:
                        cursor.putmulti(appended, append=table != "trail")
        except lmdb.Error as error:
            raise unwritten(self._place, error) from error
        self._changed.clear()
        for appended in self._appended.values():
            appended.clear()

    def _whole(self, table: str) -> Any:
        self.flush()
        return super()._whole(table)

    def _get(self, table: str, parts: tuple[str, ...], codec: Codec[Record]) -> Record | None:
        known: dict[tuple[str, ...], Record | None] = self._known[table]
        if parts not in known:
            known[parts] = super()._get(table, parts, codec)
        return known[parts]

    def _put(self, table: str, parts: tuple[str, ...], record: Record | None, codec: Codec[Record]) -> None:
        """None deletes the row."""
        self._known[table][parts] = record
        self._changed[table, parts] = codec
