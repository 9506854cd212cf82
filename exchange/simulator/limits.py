"""Rate limits: request weight by minute, orders by ten seconds and by day, and the ban for whoever ignores them.

Windows are fixed, as on Binance: a counter starts anew with each full minute. A limit of 0 is none.
"""

from __future__ import annotations

from typing import Final

from exchange.simulator.errors import BANNED, ORDERS_EXCEEDED, WEIGHT_EXCEEDED, VenueError

WEIGHT_LIMIT_DEFAULT: Final = 6_000
ORDER_LIMIT_DEFAULT: Final = 100
DAY_ORDER_LIMIT: Final = 200_000
TOLERATED_REFUSALS: Final = 10
"""Requests over the limit within one window before the ban."""
BAN_S: Final = 120

NS_PER_S: Final = 1_000_000_000
_WEIGHT_WINDOW_S: Final = 60
_ORDER_WINDOW_S: Final = 10
_DAY_S: Final = 86_400
_WEIGHT_TYPE: Final = "REQUEST_WEIGHT"


class Window:
    """A counter that starts anew with each window."""

    def __init__(self, length_s: int) -> None:
        self._length_ns = length_s * NS_PER_S
        self._window = -1
        self._count = 0

    def add(self, now_ns: int, amount: int) -> int:
        """Count and return the sum of this window."""
        window = now_ns // self._length_ns
        if window != self._window:
            self._window, self._count = window, 0
        self._count += amount
        return self._count

    def count(self, now_ns: int) -> int:
        return self.add(now_ns, 0)

    def left_s(self, now_ns: int) -> int:
        """Whole seconds until the window ends; at least 1."""
        return (self._length_ns - now_ns % self._length_ns) // NS_PER_S + 1


class RateLimits:
    """Of one account. Methods raise `VenueError` when a limit is passed."""

    def __init__(self, weight_limit: int = WEIGHT_LIMIT_DEFAULT, order_limit: int = ORDER_LIMIT_DEFAULT) -> None:
        """`weight_limit` by minute, `order_limit` by ten seconds."""
        self.weight_limit = weight_limit
        self.order_limit = order_limit
        self._weight = Window(_WEIGHT_WINDOW_S)
        self._refusals = Window(_WEIGHT_WINDOW_S)
        self._orders = Window(_ORDER_WINDOW_S)
        self._day_orders = Window(_DAY_S)
        self._banned_until_ns = 0

    def charge(self, now_ns: int, weight: int) -> None:
        """Count a request, refused ones too."""
        if now_ns < self._banned_until_ns:
            self._raise_banned(now_ns)
        used = self._weight.add(now_ns, weight)
        if not self.weight_limit or used <= self.weight_limit:
            return
        if self._refusals.add(now_ns, 1) > TOLERATED_REFUSALS:
            self._banned_until_ns = now_ns + BAN_S * NS_PER_S
            self._raise_banned(now_ns)
        raise VenueError(WEIGHT_EXCEEDED, self.weight_limit, retry_after_s=self._weight.left_s(now_ns))

    def check_order(self, now_ns: int) -> None:
        """Whether one more order is allowed; `count_order` counts it once it is placed."""
        if self.order_limit and self._orders.count(now_ns) >= self.order_limit:
            left_s = self._orders.left_s(now_ns)
            raise VenueError(ORDERS_EXCEEDED, self.order_limit, "10 SECOND", retry_after_s=left_s)
        if self.order_limit and self._day_orders.count(now_ns) >= DAY_ORDER_LIMIT:
            raise VenueError(ORDERS_EXCEEDED, DAY_ORDER_LIMIT, "1 DAY", retry_after_s=self._day_orders.left_s(now_ns))

    def count_order(self, now_ns: int) -> None:
        self._orders.add(now_ns, 1)
        self._day_orders.add(now_ns, 1)

    def weight_headers(self, now_ns: int) -> dict[str, str]:
        used = str(self._weight.count(now_ns))
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def order_headers(self, now_ns: int) -> dict[str, str]:
        return {
            "X-MBX-ORDER-COUNT-10S": str(self._orders.count(now_ns)),
            "X-MBX-ORDER-COUNT-1D": str(self._day_orders.count(now_ns)),
        }

    def weight_rows(self, now_ns: int) -> list[dict[str, object]]:
        """As the WebSocket API states them with each answer; none when there is no limit."""
        return [
            {**row, "count": self._weight.count(now_ns)} for row in self.rows() if row["rateLimitType"] == _WEIGHT_TYPE
        ]

    def rows(self) -> list[dict[str, object]]:
        """As `exchangeInfo` states them."""
        limits = [
            (_WEIGHT_TYPE, "MINUTE", 1, self.weight_limit),
            ("ORDERS", "SECOND", 10, self.order_limit),
            ("ORDERS", "DAY", 1, DAY_ORDER_LIMIT if self.order_limit else 0),
        ]
        return [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
            for kind, interval, number, limit in limits
            if limit
        ]

    def _raise_banned(self, now_ns: int) -> None:
        left_s = (self._banned_until_ns - now_ns) // NS_PER_S + 1
        raise VenueError(BANNED, self._banned_until_ns // 1_000_000, retry_after_s=left_s)
