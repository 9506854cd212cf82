"""Routers, engine ↔ reconciler: what became of an order, and does the book agree with the venue?"""

from __future__ import annotations

from core.ids import ClientOrderId
from core.records import AttemptRecord
from core.reports import Report
from core.stopping import Compared
from core.verdict import Verdict
from messages import ClientRequest, Message


class ResolveUnknown(Message, frozen=True, kw_only=True):
    """Find out what became of this attempt, however long it takes. Answer: `UnknownResolved`."""

    attempt: AttemptRecord


class UnknownResolved(Message, frozen=True, kw_only=True):
    client_order_id: ClientOrderId
    report: Report


class ExpireStale(Message, frozen=True, kw_only=True):
    """Engine → reconciler, with each heartbeat: what is too old, and provably never left, shall end. No answer."""


class VerifyBook(ClientRequest, frozen=True, kw_only=True):
    """Compare the whole book with the venue, now, and change nothing. Answer: `BookVerified`."""


class CompareAtStop(Message, frozen=True, kw_only=True):
    """Engine: it stops; how do book and venue compare? Answer: `ComparedAtStop`."""

    within_ns: int
    """The answer is wanted so soon, whatever could be compared by then."""


class ComparedAtStop(Message, frozen=True, kw_only=True):
    compared: Compared
    """What was compared, and what was not."""


class BookVerified(Message, frozen=True, kw_only=True):
    request_id: str
    verdict: Verdict
    """Every difference, by name."""
