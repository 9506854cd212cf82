"""Routers → reconciler: what became of an order, and does the venue agree with the book?"""

from __future__ import annotations

from core.ids import ClientOrderId
from core.records import AttemptRecord, IntentRecord
from core.reports import Report
from messages import Message


class ResolveUnknown(Message, frozen=True, kw_only=True):
    """Find out what became of this attempt, however long it takes. Answer: `UnknownResolved`."""

    attempt: AttemptRecord


class UnknownResolved(Message, frozen=True, kw_only=True):
    client_order_id: ClientOrderId
    report: Report


class ReconcileIntent(Message, frozen=True, kw_only=True):
    """Compare this ended intent with the venue's trades. No answer; the result is an event in the book."""

    record: IntentRecord
