"""Routers → reconciler: what became of an order?"""

from __future__ import annotations

from core.ids import ClientOrderId
from core.records import AttemptRecord
from core.reports import Report
from messages import Message


class ResolveUnknown(Message, frozen=True, kw_only=True):
    """Find out what became of this attempt, however long it takes. Answer: `UnknownResolved`."""

    attempt: AttemptRecord


class UnknownResolved(Message, frozen=True, kw_only=True):
    client_order_id: ClientOrderId
    report: Report
