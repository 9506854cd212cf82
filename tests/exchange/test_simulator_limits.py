"""Rate limits, purely: counted by window, refused beyond the limit, banned for insisting."""

from __future__ import annotations

import pytest

from exchange.simulator.errors import VenueError
from exchange.simulator.limits import BAN_S, NS_PER_S, TOLERATED_REFUSALS, RateLimits

MINUTE_NS = 60 * NS_PER_S
T0 = 28_000_000 * MINUTE_NS


def test_weight_is_counted_by_minute() -> None:
    """The header's number rises with each request and starts anew with the next minute."""
    limits = RateLimits()
    limits.charge(T0, 20)
    limits.charge(T0 + 59 * NS_PER_S, 5)
    assert limits.weight_headers(T0 + 59 * NS_PER_S)["X-MBX-USED-WEIGHT-1M"] == "25"
    assert limits.weight_headers(T0 + MINUTE_NS)["X-MBX-USED-WEIGHT-1M"] == "0"


def test_beyond_the_limit_a_request_is_refused_until_the_minute_ends() -> None:
    """The refusal is a 429 that says how long to wait; then all is well again."""
    limits = RateLimits(weight_limit=10)
    limits.charge(T0, 10)
    with pytest.raises(VenueError) as caught:
        limits.charge(T0 + 40 * NS_PER_S, 1)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, -1003, 21)
    limits.charge(T0 + MINUTE_NS, 10)


def test_who_keeps_going_is_banned() -> None:
    """After too many refusals comes a 418, which outlasts the minute but not for ever."""
    limits = RateLimits(weight_limit=1)
    statuses = []
    for _ in range(TOLERATED_REFUSALS + 3):
        try:
            limits.charge(T0, 1)
        except VenueError as error:
            statuses.append(error.status)
    assert statuses == [429] * TOLERATED_REFUSALS + [418] * 2
    with pytest.raises(VenueError) as caught:
        limits.charge(T0 + MINUTE_NS, 1)
    assert (caught.value.status, caught.value.retry_after_s) == (418, BAN_S - 60 + 1)
    limits.charge(T0 + BAN_S * NS_PER_S, 1)


def test_orders_are_counted_by_ten_seconds() -> None:
    """The one beyond the limit is refused with -1015, and not in the next ten seconds."""
    limits = RateLimits(order_limit=2)
    for _ in range(2):
        limits.check_order(T0)
        limits.count_order(T0)
    with pytest.raises(VenueError) as caught:
        limits.check_order(T0 + 4 * NS_PER_S)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, -1015, 7)
    assert limits.order_headers(T0) == {"X-MBX-ORDER-COUNT-10S": "2", "X-MBX-ORDER-COUNT-1D": "2"}
    limits.check_order(T0 + 10 * NS_PER_S)


def test_a_limit_of_zero_is_none() -> None:
    """Benchmarks may ask as often as they like, and no limit is announced."""
    limits = RateLimits(weight_limit=0, order_limit=0)
    for _ in range(1_000):
        limits.charge(T0, 1_000)
        limits.check_order(T0)
        limits.count_order(T0)
    assert limits.rows() == []
