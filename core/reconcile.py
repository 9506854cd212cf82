"""Book versus venue, after the fact: does an ended intent agree with the venue's own trades?

Invariants: the venue's trades are the truth about fills (F5); a trade the book lacks is booked through the ordinary
path, never by a shortcut; a trade the venue does not show *yet* proves nothing, so a shortfall is looked at again
before it is called a mismatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

from core.events import ReconciliationResult
from core.ids import ExchangeOrderId
from core.money import ZERO
from core.records import AttemptRecord, IntentRecord, OrderRecord
from core.reports import OrderSnapshot, OrderStatus, Trade

RECONCILED = "RECONCILED"
MISMATCH = "MISMATCH"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One ended intent against the venue's trades of its orders."""

    venue_qty: Decimal
    """Base, all trades of the intent's orders that the venue shows."""
    venue_notional: Decimal
    """Quote."""
    venue_fees: dict[str, Decimal]
    qty_delta: Decimal
    """Venue minus book, base."""
    missing: tuple[OrderSnapshot, ...]
    """One report per attempt that has trades the book lacks; applying it books them."""


def compare(
    record: IntentRecord,
    attempts: Iterable[AttemptRecord],
    trades: Iterable[Trade],
    known: Mapping[ExchangeOrderId, OrderRecord] = MappingProxyType({}),
) -> Comparison:
    """Compare by quantity. `trades` are the venue's, of the symbol; those of other orders are left out.

    `known`: the book's orders. An attempt has a second one when the venue has executed it twice; both count.
    """
    by_order: dict[ExchangeOrderId, list[Trade]] = {}
    for trade in trades:
        by_order.setdefault(trade.exchange_order_id, []).append(trade)
    missing: list[OrderSnapshot] = []
    own: list[Trade] = []
    for attempt in attempts:
        if attempt.exchange_order_id is None:
            continue
        owner = attempt.intent_id, attempt.attempt
        twins = [order.exchange_order_id for order in known.values() if (order.intent_id, order.attempt) == owner]
        shown = {order_id: by_order.get(order_id, []) for order_id in [attempt.exchange_order_id, *twins]}
        of_attempt = [trade for some in shown.values() for trade in some]
        own += of_attempt
        if sum((trade.qty for trade in of_attempt), ZERO) > attempt.filled_qty:
            missing += [_as_report(attempt, order_id, tuple(some)) for order_id, some in shown.items() if some]
    venue_qty = sum((trade.qty for trade in own), ZERO)
    fees: dict[str, Decimal] = {}
    for trade in own:
        fees[trade.fee_currency] = fees.get(trade.fee_currency, ZERO) + trade.fee
    return Comparison(
        venue_qty=venue_qty,
        venue_notional=sum((trade.quote_qty for trade in own), ZERO),
        venue_fees=fees,
        qty_delta=venue_qty - record.filled_qty,
        missing=tuple(missing),
    )


def _as_report(attempt: AttemptRecord, order_id: ExchangeOrderId, trades: tuple[Trade, ...]) -> OrderSnapshot:
    return OrderSnapshot(
        client_order_id=attempt.client_order_id,
        exchange_order_id=order_id,
        status=attempt.order_status or OrderStatus.OPEN,
        venue_status=attempt.venue_status,
        filled_qty=sum((trade.qty for trade in trades), ZERO),
        trades=trades,
        source="trades",
    )


def result_event(record: IntentRecord, comparison: Comparison, now_ns: int) -> ReconciliationResult:
    """C6: whether they agree. What the book lacks is told when it is booked (`late_result`)."""
    same = comparison.venue_notional == record.filled_notional and comparison.venue_fees == record.fees
    agrees = comparison.qty_delta == 0 and same
    return ReconciliationResult(
        at_ns=now_ns,
        intent_id=record.intent.intent_id,
        symbol=record.intent.symbol,
        code=RECONCILED if agrees else MISMATCH,
        qty_delta=comparison.qty_delta,
        notional=comparison.venue_notional,
        fees=comparison.venue_fees,
        state=record.state,
    )


def late_result(record: IntentRecord, qty: Decimal, now_ns: int) -> ReconciliationResult:
    """C6 for fills that were booked after the intent's end: `qty`, base, of the record as it is now."""
    return ReconciliationResult(
        at_ns=now_ns,
        intent_id=record.intent.intent_id,
        symbol=record.intent.symbol,
        code=RECONCILED,
        qty_delta=qty,
        notional=record.filled_notional,
        fees=record.fees,
        state=record.state,
    )


def balance_drift(book: Mapping[str, Decimal], venue: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Venue minus book by currency; only what differs."""
    currencies = sorted(book.keys() | venue.keys())
    drift = {currency: venue.get(currency, ZERO) - book.get(currency, ZERO) for currency in currencies}
    return {currency: amount for currency, amount in drift.items() if amount != 0}
