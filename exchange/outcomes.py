"""From what ccxt returned or raised to what the caller must do (G2, G3).

For a placement there are three classes. *Placed* needs an order id and our own client id echoed, since ccxt also
returns normally for truncated JSON or an HTML page. *Definitely not placed* is the short list below: errors that the
venue raises before an order exists. **Everything else is unknown**, surprises and non-ccxt exceptions included.

`InvalidOrder` with "Duplicate order sent." means that an order with our id is alive, so it is unknown, to be looked up.
"""

from __future__ import annotations

import errno
from typing import Final

import ccxt
from msgspec.structs import replace

from core.ids import NS_PER_S, ClientOrderId
from core.records import AttemptRecord
from core.reports import NotPlaced, OrderAbsent, OutcomeUnknown, QueryFailed

DEFINITE: Final = (
    ccxt.InsufficientFunds,
    ccxt.BadSymbol,
    ccxt.BadRequest,
    ccxt.ArgumentsRequired,
    ccxt.AuthenticationError,
    ccxt.MarketClosed,
    ccxt.OrderImmediatelyFillable,
    ccxt.InvalidOrder,
    ccxt.InvalidNonce,
    ccxt.DDoSProtection,
    ccxt.RateLimitExceeded,
)
"""Proven not placed."""

RETRYABLE: Final = (ccxt.InvalidNonce, ccxt.DDoSProtection, ccxt.RateLimitExceeded)
"""Of these, the ones that may succeed later without anybody changing the order."""

REVOKED_CODE: Final = '"code":-2015'
"""A key that is no longer valid; ccxt calls it DDoSProtection after an earlier success."""

WRONG_TIME_CODE: Final = '"code":-1021'

DUPLICATE_TEXT: Final = "Duplicate order sent"
NOT_DEFINITE_SUBCLASSES: Final = (ccxt.OrderNotFound, ccxt.DuplicateOrderId)
"""Subclasses of `InvalidOrder` that say something about an order that exists, or did."""

BROKEN_OFF: Final = (errno.ECONNRESET, errno.EPIPE)
"""Somebody was there."""

TEXT_LENGTH_MAX: Final = 300


def placement_failure(
    error: BaseException, client_order_id: ClientOrderId, text: str, retry_after_s: int
) -> NotPlaced | OutcomeUnknown:
    """What a failed placement means. `text` is the masked message, `retry_after_s` the venue's header or 0."""
    short = shorten(text)
    if not _is_definite(error):
        return OutcomeUnknown(client_order_id=client_order_id, reason=short)
    code = type(error).__name__
    return NotPlaced(
        client_order_id=client_order_id,
        code=code,
        reason=short.removeprefix(f"{code}: "),  # whoever tells it names the code before it
        retryable=isinstance(error, RETRYABLE) and REVOKED_CODE not in str(error),
        retry_after_ns=retry_after_s * NS_PER_S,
    )


def wrong_time(report: NotPlaced, because: str) -> NotPlaced:
    """The venue has refused no more than the time that this request claimed; `because`: what is known of the clock."""
    return replace(report, wrong_time=True, reason=f"{report.reason}; {because}" if because else report.reason)


def not_sent(attempt: AttemptRecord, code: str, reason: str, retry_after_ns: int) -> NotPlaced:
    """It never left, for a reason of our own that passes."""
    return NotPlaced(
        client_order_id=attempt.client_order_id,
        code=code,
        reason=reason,
        retryable=True,
        retry_after_ns=retry_after_ns,
        never_left=True,
    )


def _is_definite(error: BaseException) -> bool:
    if isinstance(error, NOT_DEFINITE_SUBCLASSES) or DUPLICATE_TEXT in str(error):
        return False
    return isinstance(error, DEFINITE)


def lookup_failure(error: BaseException, client_order_id: ClientOrderId, text: str) -> OrderAbsent | QueryFailed:
    """What a failed look-up of an order means: "I know no such order", or no answer at all."""
    if isinstance(error, ccxt.OrderNotFound):
        return OrderAbsent(client_order_id=client_order_id)
    return QueryFailed(reason=shorten(text))


def may_pass(error: BaseException, *, address_is_doubtful: bool) -> bool:
    """Whether a failed question of the start may be answered a little later, with nothing mended here.

    Where nobody listens the address is wrong if somebody has written it, and nobody has ever answered there; else the
    network, or the venue, is not there just now.
    """
    if not isinstance(error, ccxt.NetworkError) or REVOKED_CODE in str(error):
        return False
    nobody_there = isinstance(error.__cause__, OSError) and error.__cause__.errno not in BROKEN_OFF
    return not (nobody_there and address_is_doubtful)


def why_silent(error: BaseException, text: str, clock_problem: str) -> str:
    """What a start says of a question that may be answered a little later. `text` is the masked message;
    `clock_problem`: why the venue's clock is not made up for, if it is not."""
    if WRONG_TIME_CODE not in str(error):
        return f"the venue does not answer ({text})"
    because = f"; {clock_problem}" if clock_problem else ""
    return f"the venue refuses the time of our requests ({text}{because})"


def shorten(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LENGTH_MAX else line[: TEXT_LENGTH_MAX - 1] + "…"
