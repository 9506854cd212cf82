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


def reach_ns(recv_window_ns: int, longer_ns: int = 0) -> int:
    """The longest time after which an order that was sent may still be executed; `longer_ns`: the time that it claims
    may be later than the venue's by so much (`core/timestamps.py`)."""
    return recv_window_ns + longer_ns + CLOCKS_DIFFER_NS


class InFlight:
    """Of one gateway. `now_ns` is of its monotonic clock: one that is set forward would end a wait too early."""

    def __init__(self, recv_window_ns: int, now_ns: int, ahead_ns: int = 0, behind_ns: int = 0) -> None:
        """How far ahead of ours, and how far behind, the gateways before have taken the venue's clock to be."""
        self._recv_window_ns = recv_window_ns
        self._behind_ns = behind_ns
        """The venue's clock was behind ours by no more; what was sent before it fell back is taken until then."""
        self._until_ns: dict[ClientOrderId, int] = {}
        """Where the venue's clock does not fall back: `behind_ns` comes on top, also for the gateway before."""
        self._predecessor_until_ns = now_ns + reach_ns(recv_window_ns, ahead_ns)
        """The gateway before may have sent something just now."""

    def leaves(self, client_order_id: ClientOrderId, now_ns: int, correction_ns: int = 0) -> None:
        """It claims our time plus this."""
        self.clock_read(correction_ns)
        if len(self._until_ns) >= KEPT_MAX:
            self._until_ns = {name: self._until_ns[name] for name in self.orders(now_ns)}
        self._until_ns[client_order_id] = now_ns + reach_ns(self._recv_window_ns, correction_ns)

    def clock_read(self, correction_ns: int) -> None:
        """The venue's clock is ours plus this, from now on or since lately."""
        self._behind_ns = max(self._behind_ns, -correction_ns)

    def answered(self, client_order_id: ClientOrderId) -> None:
        """The venue has said what became of it."""
        self._until_ns.pop(client_order_id, None)

    def orders(self, now_ns: int) -> frozenset[ClientOrderId]:
        """Those that may still reach the venue."""
        return frozenset(name for name in self._until_ns if self._is_on_its_way(name, now_ns))

    def is_quiet(self, asked: Collection[ClientOrderId], now_ns: int) -> bool:
        """Whether none of these, and nothing that another gateway has sent before, can reach the venue any more."""
        is_alone = now_ns >= self._predecessor_until_ns + self._behind_ns
        return is_alone and not any(self._is_on_its_way(name, now_ns) for name in asked)

    def _is_on_its_way(self, client_order_id: ClientOrderId, now_ns: int) -> bool:
        until_ns = self._until_ns.get(client_order_id)
        return until_ns is not None and until_ns + self._behind_ns > now_ns
