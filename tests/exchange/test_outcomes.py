"""What ccxt raises becomes one of three classes; only proven failures are definite."""

from __future__ import annotations

import errno

import ccxt
import pytest

from core.ids import NS_PER_S, ClientOrderId
from core.reports import NotPlaced, OrderAbsent, OutcomeUnknown, QueryFailed
from exchange.outcomes import lookup_failure, may_pass, placement_failure

ORDER = ClientOrderId("inaaaaaaaaaaaaaaaa")

DEFINITE = {
    ccxt.InsufficientFunds: False,
    ccxt.BadSymbol: False,
    ccxt.BadRequest: False,
    ccxt.ArgumentsRequired: False,
    ccxt.AuthenticationError: False,
    ccxt.PermissionDenied: False,
    ccxt.MarketClosed: False,
    ccxt.OrderImmediatelyFillable: False,
    ccxt.InvalidOrder: False,
    ccxt.InvalidNonce: True,
    ccxt.DDoSProtection: True,
    ccxt.RateLimitExceeded: True,
}
"""Class → whether the same order may be tried again."""

KNOWN = [error for error in vars(ccxt).values() if isinstance(error, type) and issubclass(error, ccxt.BaseError)]
SURPRISES = [ValueError, KeyError, TimeoutError, ConnectionResetError, TypeError, OSError]


@pytest.mark.parametrize(("kind", "retryable"), DEFINITE.items())
def test_a_proven_failure_is_not_placed(kind: type[Exception], retryable: bool) -> None:
    """Errors that the venue raises before an order exists are definite, and say whether to try again."""
    outcome = placement_failure(kind("binance no"), ORDER, "binance no", 0)
    expected = NotPlaced(client_order_id=ORDER, code=kind.__name__, reason="binance no", retryable=retryable)
    assert outcome == expected


@pytest.mark.parametrize("kind", [*KNOWN, *SURPRISES])
def test_everything_else_is_unknown(kind: type[Exception]) -> None:
    """Every error class of ccxt and Python that is no subclass of a definite one is an unknown outcome."""
    exempt = (ccxt.OrderNotFound, ccxt.DuplicateOrderId)
    definite = issubclass(kind, tuple(DEFINITE)) and not issubclass(kind, exempt)
    outcome = placement_failure(kind("x"), ORDER, "x", 0)
    assert isinstance(outcome, NotPlaced if definite else OutcomeUnknown)


def test_a_duplicate_order_is_alive_and_so_unknown() -> None:
    """ "Duplicate order sent." arrives as InvalidOrder, but an order with our id exists: look it up."""
    error = ccxt.InvalidOrder('binance {"code":-2010,"msg":"Duplicate order sent."}')
    assert isinstance(placement_failure(error, ORDER, str(error), 0), OutcomeUnknown)


def test_a_revoked_key_is_not_tried_again() -> None:
    """-2015 arrives as DDoSProtection after a success; it is definite and final all the same."""
    error = ccxt.DDoSProtection('binance {"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}')
    outcome = placement_failure(error, ORDER, str(error), 0)
    assert isinstance(outcome, NotPlaced)
    assert outcome.retryable is False


def test_retry_after_is_kept() -> None:
    """What the venue asks to wait comes along in nanoseconds."""
    outcome = placement_failure(ccxt.RateLimitExceeded("x"), ORDER, "x", 7)
    assert isinstance(outcome, NotPlaced)
    assert outcome.retry_after_ns == 7 * NS_PER_S


def test_absent_and_failed_are_different_types() -> None:
    """Only "I know no such order" is an absence; any other failure of a question is no answer at all."""
    assert lookup_failure(ccxt.OrderNotFound("x"), ORDER, "x") == OrderAbsent(client_order_id=ORDER)
    for kind in [*KNOWN, *SURPRISES]:
        if not issubclass(kind, ccxt.OrderNotFound):
            assert isinstance(lookup_failure(kind("x"), ORDER, "x"), QueryFailed)


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


REFUSED, CUT = OSError(errno.ECONNREFUSED, "refused"), OSError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize(
    ("error", "address_is_doubtful", "passes"),
    [
        (caused(ccxt.ExchangeNotAvailable("503"), None), True, True),
        (caused(ccxt.ExchangeNotAvailable("connect"), REFUSED), True, False),
        (caused(ccxt.ExchangeNotAvailable("connect"), REFUSED), False, True),
        (caused(ccxt.ExchangeNotAvailable("connect"), CUT), True, True),
        (ccxt.RequestTimeout("slow"), True, True),
        (ccxt.RateLimitExceeded("429"), False, True),
        (ccxt.DDoSProtection('{"code":-2015}'), False, False),
        (ccxt.AuthenticationError("-2014"), False, False),
        (ccxt.BadResponse("<html>"), False, False),
        (ValueError("surprise"), False, False),
    ],
)
def test_what_may_pass_at_a_start_is_told_from_what_will_not(
    error: Exception, address_is_doubtful: bool, passes: bool
) -> None:
    """Where nobody listens an address that somebody wrote is wrong; without one the network is not there yet."""
    assert may_pass(error, address_is_doubtful=address_is_doubtful) is passes
