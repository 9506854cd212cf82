"""Which orders may still reach the venue: those that were sent, until their outcome is known or the venue refuses them.

Every request names the time at which it was sent, and the venue takes none that is older than the receive window
(Binance: `recvWindow`, checked again before matching). So even an order whose answer was lost is over after that long,
with room for a clock that differs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from core.ids import NS_PER_S, ClientOrderId

CLOCKS_DIFFER_NS: Final = 1 * NS_PER_S
KEPT_MAX: Final = 1_000
"""Orders of unknown outcome that are over are forgotten when there are so many."""


def reach_ns(recv_window_ns: int, ahead_ns: int = 0) -> int:
    """The longest time after which an order that was sent may still be executed; `ahead_ns`: it may have claimed a time
    that was later than ours by so much (`core/timestamps.py`)."""
    return recv_window_ns + ahead_ns + CLOCKS_DIFFER_NS


class InFlight:
    """Of one gateway. `now_ns` is of its monotonic clock: one that is set forward would end a wait too early."""

    def __init__(self, recv_window_ns: int, now_ns: int, ahead_ns: int = 0) -> None:
        """`ahead_ns`: the gateway before may have claimed a time that was later than ours by so much."""
        self._recv_window_ns = recv_window_ns
        self._until_ns: dict[ClientOrderId, int] = {}
        self._predecessor_until_ns = now_ns + reach_ns(recv_window_ns, ahead_ns)
        """The gateway before may have sent something just now."""

    def leaves(self, client_order_id: ClientOrderId, now_ns: int, ahead_ns: int = 0) -> None:
        """`ahead_ns`: it claims a time that is later than ours by no more."""
        if len(self._until_ns) >= KEPT_MAX:
            self._until_ns = {name: until for name, until in self._until_ns.items() if until > now_ns}
        self._until_ns[client_order_id] = now_ns + reach_ns(self._recv_window_ns, ahead_ns)

    def answered(self, client_order_id: ClientOrderId) -> None:
        """The venue has said what became of it."""
        self._until_ns.pop(client_order_id, None)

    def orders(self, now_ns: int) -> frozenset[ClientOrderId]:
        """Those that may still reach the venue."""
        return frozenset(name for name, until in self._until_ns.items() if until > now_ns)

    def is_quiet(self, asked: Collection[ClientOrderId], now_ns: int) -> bool:
        """Whether none of these, and nothing that another gateway has sent before, can reach the venue any more."""
        return now_ns >= self._predecessor_until_ns and not any(self._until_ns.get(name, 0) > now_ns for name in asked)
