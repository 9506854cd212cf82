"""The last look: may this order leave now? Asked in the moment before the send, of the book as it is then.

What does not pass has not left this machine, which is proof that it was not placed. A reason that passes by itself lets
its intent try again; one that an operator has to lift ends it. Cancels and questions are never asked about.
"""

from __future__ import annotations

from typing import NamedTuple

from core import arming, fencing, trading
from core.evidence import SENT_WITHIN_NS
from core.records import AttemptRecord
from core.reports import NotPlaced
from core.settings import Mode
from core.unit_of_work import BookReader


class Moment(NamedTuple):
    """How it stands outside of the book."""

    mode: Mode
    account: str
    """Fingerprint of the connected one."""
    is_stopping: bool
    now_ns: int
    """After the time that the order's request claims for itself was taken."""


def refusal(book: BookReader, attempt: AttemptRecord, moment: Moment) -> NotPlaced | None:
    """Why this order is not sent at all."""
    if moment.mode is Mode.OBSERVE:
        return _not_placed(attempt, "OBSERVE_MODE", "mode observe sends nothing", retryable=False)
    if moment.is_stopping:
        return _not_placed(attempt, "STOPPING", "the engine stops", retryable=True)
    if moment.now_ns - attempt.created_ns > SENT_WITHIN_NS:
        return _not_placed(attempt, "STALE", "it waited too long inside the engine", retryable=True)
    epoch = fencing.current(book).number
    if epoch != attempt.epoch:
        newer = f"the order is of epoch {attempt.epoch}, and epoch {epoch} has begun"
        return _not_placed(attempt, "FENCED", newer, retryable=True)
    unarmed = arming.refusal(book, moment.account, moment.now_ns) if moment.mode is Mode.LIVE else None
    stopped = unarmed or trading.refusal(book, attempt.side)
    if stopped is not None:
        return _not_placed(attempt, stopped.code, stopped.reason, retryable=False)
    return None


def _not_placed(attempt: AttemptRecord, code: str, reason: str, *, retryable: bool) -> NotPlaced:
    return NotPlaced(
        client_order_id=attempt.client_order_id, code=code, reason=reason, retryable=retryable, never_left=True
    )
