"""The last look: may this order leave now? Asked in the moment before the send, of the book as it is then.

What does not pass has not left this machine, which is proof that it was not placed. A reason that passes by itself lets
its intent try again; one that an operator has to lift ends it. Cancels and questions are never asked about.
"""

from __future__ import annotations

from typing import NamedTuple

from core import arming, fencing, private_data, timestamps, trading
from core.evidence import SENT_WITHIN_NS
from core.planning import Refusal
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
    correction_ns: int = 0
    """That time minus ours."""
    is_clock_doubted: bool = False


def refusal(book: BookReader, attempt: AttemptRecord, moment: Moment) -> NotPlaced | None:
    """Why this order is not sent at all."""
    return _by_moment(attempt, moment) or _by_book(book, attempt, moment)


def _by_moment(attempt: AttemptRecord, moment: Moment) -> NotPlaced | None:
    if moment.mode is Mode.OBSERVE:
        return _not_placed(attempt, "OBSERVE_MODE", "mode observe sends nothing", retryable=False)
    if moment.is_stopping:
        return _not_placed(attempt, "STOPPING", "the engine stops", retryable=True)
    if moment.now_ns - attempt.created_ns > SENT_WITHIN_NS:
        return _not_placed(attempt, "STALE", "it waited too long inside the engine", retryable=True)
    return None


def _by_book(book: BookReader, attempt: AttemptRecord, moment: Moment) -> NotPlaced | None:
    epoch = fencing.current(book).number
    if epoch != attempt.epoch:
        newer = f"the order is of epoch {attempt.epoch}, and epoch {epoch} has begun"
        return _not_placed(attempt, "FENCED", newer, retryable=True)
    stopped = _unarmed(book, moment) or trading.refusal(book, attempt.side)
    if stopped is not None:
        return _not_placed(attempt, stopped.code, stopped.reason, retryable=False)
    if moment.mode is Mode.LIVE and not moment.account:
        unknown = "the account could not be read when the gateway started, so nobody knows yet whose it is"
        return _not_placed(attempt, "ACCOUNT_NOT_KNOWN", unknown, retryable=True)
    wrong = timestamps.refusal(book, moment.correction_ns, is_doubted=moment.is_clock_doubted)
    if wrong is not None:
        return _not_placed(attempt, wrong.code, wrong.reason, retryable=True)
    blind = private_data.refusal(book, attempt.side, moment.now_ns)
    if blind is not None:  # it was written before that came about
        again_ns = private_data.LOOK_AGAIN_NS
        return _not_placed(attempt, blind.code, blind.reason, retryable=True, retry_after_ns=again_ns)
    return None


def _unarmed(book: BookReader, moment: Moment) -> Refusal | None:
    if moment.mode is not Mode.LIVE:
        return None
    if not moment.account:
        return arming.refusal_for_any(book, moment.now_ns)
    return arming.refusal(book, moment.account, moment.now_ns)


def _not_placed(
    attempt: AttemptRecord, code: str, reason: str, *, retryable: bool, retry_after_ns: int = 0
) -> NotPlaced:
    return NotPlaced(
        client_order_id=attempt.client_order_id,
        code=code,
        reason=reason,
        retryable=retryable,
        never_left=True,
        retry_after_ns=retry_after_ns,
    )
