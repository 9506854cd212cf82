"""What the user stream tells, on its way into the book: which of it is news, and when it goes there.

A placement is told twice: by its answer, and by the stream, which is often the first. Each report costs the book a
step, so while an answer is awaited what the stream says of that order is held back. The answer then tells most of it
and only the rest goes on; if the answer was lost, or takes long, all of it goes on at once, and the order is not even
unknown for long. Nothing here decides what is true: a report that goes on holds facts, told once more or not.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from core.ids import NS_PER_MS, ClientOrderId
from core.records import AttemptRecord, AttemptStatus
from core.reports import OrderSnapshot, OrderStatus, Report

HELD_NS: Final = 500 * NS_PER_MS
"""An answer that takes longer is not waited for."""
STREAM: Final = "stream"
"""Source of a report that the user stream has told."""


def says_nothing_new(attempt: AttemptRecord, report: OrderSnapshot) -> bool:
    """Whether the book knows all of it already."""
    return (
        attempt.exchange_order_id == report.exchange_order_id
        and attempt.filled_qty >= report.filled_qty
        and (attempt.status is AttemptStatus.CLOSED or attempt.order_status is report.status)
    )


class News:
    """Of one stream. `now_ns` is UTC."""

    def __init__(self) -> None:
        self._awaited: dict[ClientOrderId, OrderSnapshot | None] = {}
        """Orders that were sent and not answered, with what the stream has told of them."""
        self._since_ns: dict[ClientOrderId, int] = {}
        """When the first of it was told."""

    def leaves(self, client_order_id: ClientOrderId) -> None:
        """An order is sent; its answer will come, or be given up."""
        self._awaited[client_order_id] = None

    def told(self, report: OrderSnapshot, now_ns: int) -> list[OrderSnapshot]:
        """The stream tells something; returns what goes on now."""
        name = report.client_order_id
        if name not in self._awaited:
            return [report]
        before = self._awaited[name]
        self._awaited[name] = report if before is None else merged(before, report)
        self._since_ns.setdefault(name, now_ns)
        return []

    def answered(self, report: Report) -> list[OrderSnapshot]:
        """The placement was answered, or given up; returns what goes on after the answer."""
        held = self._awaited.pop(report.client_order_id, None)
        self._since_ns.pop(report.client_order_id, None)
        if held is None or (isinstance(report, OrderSnapshot) and _tells_all(report, held)):
            return []
        return [held]

    def overdue(self, now_ns: int) -> list[OrderSnapshot]:
        """What is not held back any longer, since its answer takes long."""
        late = [name for name, since_ns in self._since_ns.items() if now_ns - since_ns >= HELD_NS]
        found = []
        for name in late:
            held = self._awaited.pop(name)  # from here on each report of it goes on at once
            del self._since_ns[name]
            assert held is not None
            found.append(held)
        return found


def merged(one: OrderSnapshot, other: OrderSnapshot) -> OrderSnapshot:
    """Both in one. An order that was over once stays over, whichever of the two was told later."""
    further = other if _progress(other) >= _progress(one) else one
    trades = {trade.trade_id: trade for trade in (*one.trades, *other.trades)}
    return replace(further, filled_qty=max(one.filled_qty, other.filled_qty), trades=tuple(trades.values()))


def _progress(report: OrderSnapshot) -> tuple[bool, object]:
    return report.status is not OrderStatus.OPEN, report.filled_qty


def _tells_all(answer: OrderSnapshot, held: OrderSnapshot) -> bool:
    known = {trade.trade_id for trade in answer.trades}
    is_as_far = held.status is OrderStatus.OPEN or answer.status is not OrderStatus.OPEN
    return is_as_far and answer.filled_qty >= held.filled_qty and all(trade.trade_id in known for trade in held.trades)
