"""A resting order and the steps of its replacement, one call each: the floor of the tests of `core/replacing.py`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from core import replacing
from core.ids import IntentId
from core.intent import TimeInForce
from core.outcomes import LOOK_UP
from core.records import AttemptRecord, IntentRecord
from core.replacing import NewTerms, ReplaceResult
from core.reports import OrderStatus
from core.settings import Settings
from tests.builders import SECOND, Desk, dec, request, snapshot

WAIT_S = 2.0
"""`router.replace_wait` as shipped."""
LOW = {"tif": TimeInForce.GTC, "limit_price": "40000"}


def working(desk: Desk, **wish: Any) -> AttemptRecord:
    """An order for 0.01 BTC that rests at the venue."""
    attempt = desk.accept(request(**(LOW | wish)))
    desk.apply(snapshot(attempt))
    return attempt


def ask(desk: Desk, intent_id: IntentId, *, asked_ns: int | None = None, **terms: str) -> ReplaceResult:
    wanted = NewTerms(
        qty=dec(terms["qty"]) if "qty" in terms else None,
        price=dec(terms["price"]) if "price" in terms else None,
        reason="second thoughts",
        asked_ns=desk.now_ns if asked_ns is None else asked_ns,
    )
    settings = Settings(router=desk.settings, risk=desk.limits)
    with desk.book.transaction() as unit:
        return replacing.request(unit, intent_id, wanted, settings, desk.now_ns)


def taken(desk: Desk, intent_id: IntentId, **terms: str) -> IntentRecord:
    result = ask(desk, intent_id, **terms)
    assert result.refusal is None, result.refusal
    assert result.record is not None
    return result.record


def over(
    desk: Desk, attempt: AttemptRecord, *trades: Any, status: OrderStatus = OrderStatus.CANCELED, asked_s: float = 0
) -> IntentRecord:
    """Somebody has looked, so many seconds ago: the order is canceled."""
    seen = snapshot(attempt, status, trades, source=LOOK_UP)
    return desk.apply(replace(seen, asked_ns=desk.now_ns - int(asked_s * SECOND)))


def replaced(desk: Desk, attempt: AttemptRecord, *trades: Any) -> IntentRecord:
    """The order is seen to be over, and once more after the wait."""
    over(desk, attempt, *trades)
    desk.later(WAIT_S)
    return over(desk, attempt, *trades)


def held(desk: Desk, intent_id: IntentId) -> Decimal:
    reservation = desk.book.reservation(intent_id)
    return reservation.amount if reservation else Decimal(0)
