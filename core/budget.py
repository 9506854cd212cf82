"""Budget health (B7): what is there, what is held, and whether the venue agrees, per currency.

| field | means |
|---|---|
| `my_budget` | the book's total of the currency |
| `reserved_budget` | of it, held by open intents |
| `verified_budget` | the venue's total by the last comparison of balances, and what was booked since |
| `reserved_quote_total`, `reserved_base_total` | held by buys, held by sells |
| `expected_available` | `my_budget - reserved_budget` |
| `actual_available` | the same, from the venue's total |
| `budget_drift`, `drift_pct` | venue minus book, and in percent of the book |
| `old_reservations` | held for more than 5 minutes |
| `health` | HEALTHY: drift below 1 % in either direction, and no old reservation; else WARNING |

Before the first comparison nobody knows the venue's figures: they are None, and that is no HEALTHY budget. A resting
order may hold money for more than five minutes and be in order; WARNING says that somebody may want to look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from core.events import BalancesCompared
from core.ids import NS_PER_S
from core.intent import Side
from core.money import ZERO
from core.records import Balance, IntentRecord, Reservation
from core.unit_of_work import BookReader

OLD_RESERVATION_NS = 300 * NS_PER_S
DRIFT_PCT_MAX = Decimal(1)
PERCENT = Decimal(100)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Of one currency; fields as in the module's table."""

    currency: str
    my_budget: Decimal
    reserved_budget: Decimal
    verified_budget: Decimal | None
    reserved_quote_total: Decimal
    reserved_base_total: Decimal
    expected_available: Decimal
    actual_available: Decimal | None
    budget_drift: Decimal | None
    drift_pct: Decimal | None
    active_reservations_count: int
    old_reservations: int
    health: str


def budgets_of(book: BookReader, now_ns: int) -> list[Budget]:
    """One per currency in the book, and per currency that the venue has and the book has not."""
    held: dict[str, list[tuple[Reservation, IntentRecord]]] = defaultdict(list)
    for reservation in book.reservations():
        record = book.intent(reservation.intent_id)
        if record is not None:
            held[reservation.currency].append((reservation, record))
    compared = book.last_event(BalancesCompared)
    drift = compared.drift if isinstance(compared, BalancesCompared) else None
    balances = {balance.currency: balance for balance in book.balances()}
    missing = sorted(drift.keys() - balances.keys()) if drift is not None else []
    balances |= {currency: Balance(currency=currency, total=ZERO) for currency in missing}
    return [budget_of(balance, held[currency], drift, now_ns) for currency, balance in balances.items()]


def is_old(reservation: Reservation, now_ns: int) -> bool:
    return now_ns - reservation.created_ns > OLD_RESERVATION_NS


def budget_of(
    balance: Balance,
    reservations: Iterable[tuple[Reservation, IntentRecord]],
    drift: Mapping[str, Decimal] | None,
    now_ns: int,
) -> Budget:
    """`reservations` are those in the balance's currency with their intents; `drift` the last comparison's, if any."""
    held = list(reservations)
    by_side = dict.fromkeys(Side, ZERO)
    for reservation, record in held:
        by_side[record.intent.side] += reservation.amount
    old = sum(is_old(reservation, now_ns) for reservation, _ in held)
    off = None if drift is None else drift.get(balance.currency, ZERO)
    verified = None if off is None else balance.total + off
    drift_pct = None if off is None else _percent(off, balance.total)
    return Budget(
        currency=balance.currency,
        my_budget=balance.total,
        reserved_budget=balance.reserved,
        verified_budget=verified,
        reserved_quote_total=by_side[Side.BUY],
        reserved_base_total=by_side[Side.SELL],
        expected_available=balance.free,
        actual_available=None if verified is None else verified - balance.reserved,
        budget_drift=off,
        drift_pct=drift_pct,
        active_reservations_count=len(held),
        old_reservations=old,
        health="HEALTHY" if drift_pct is not None and drift_pct < DRIFT_PCT_MAX and old == 0 else "WARNING",
    )


def _percent(off: Decimal, total: Decimal) -> Decimal:
    """Without a sign; of nothing, anything is all of it."""
    if not off:
        return ZERO
    return abs(off) * PERCENT / abs(total) if total else PERCENT
