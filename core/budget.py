"""Budget health (B7): what is there, what is held, and whether the venue agrees, per currency.

| field | means |
|---|---|
| `my_budget` | the book's total of the currency |
| `reserved_budget` | of it, held by open intents |
| `verified_budget` | the venue's total when balances were last compared; None before the first comparison |
| `reserved_quote_total`, `reserved_base_total` | held by buys, held by sells |
| `expected_available` | `my_budget - reserved_budget` |
| `actual_available` | the same, from the venue's total |
| `budget_drift`, `drift_pct` | venue minus book, and in percent of the book |
| `old_reservations` | held for more than 5 minutes |
| `health` | HEALTHY: drift below 1 % and no old reservation; else WARNING |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from core.ids import NS_PER_S
from core.intent import Side
from core.money import ZERO
from core.records import Balance, IntentRecord, Reservation

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
    budget_drift: Decimal
    drift_pct: Decimal
    active_reservations_count: int
    old_reservations: int
    health: str


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
    old = sum(1 for reservation, _ in held if now_ns - reservation.created_ns > OLD_RESERVATION_NS)
    off = (drift or {}).get(balance.currency, ZERO)
    verified = None if drift is None else balance.total + off
    drift_pct = abs(off) * PERCENT / abs(balance.total) if balance.total else (PERCENT if off else ZERO)
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
        health="HEALTHY" if drift_pct < DRIFT_PCT_MAX and old == 0 else "WARNING",
    )
