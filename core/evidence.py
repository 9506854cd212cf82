"""When is "not there" proof?

An order whose outcome is unknown counts as *not placed* only when everything that could show it was asked and does not:
the order itself by our id, the open orders, the recent orders and the own trades of the symbol. Each of these must have
been asked late enough: after the request can no longer be executed (the venue refuses it once it is older than its
recvWindow) and after the venue's reads have caught up with its writes. A question that failed proves nothing, and one
sighting anywhere ends the proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from core.ids import NS_PER_MS, NS_PER_S, ClientOrderId
from core.records import AttemptRecord
from core.reports import NotPlaced, OpenOrder, Trade

SENT_WITHIN_NS = 10 * NS_PER_S
"""An attempt that has not left by then never will: the gateway refuses older ones (`STALE`)."""


class Witness(StrEnum):
    """Who could have seen the order."""

    ORDER = "order"
    OPEN_ORDERS = "open orders"
    RECENT_ORDERS = "recent orders"
    TRADES = "trades"


class AbsenceCase:
    """The case that one attempt is not at the venue."""

    def __init__(
        self, attempt: AttemptRecord, began_ns: int, epoch: int, recv_window_ms: int, read_lag_ns: int
    ) -> None:
        """`began_ns`: when its outcome was first known to be unknown; `epoch`: the book's at that time.

        An order of an older epoch is refused from then on (`core/fencing.py`); one of the same may still be on its way
        to the gateway.
        """
        self.attempt = attempt
        still_leaves = attempt.epoch >= epoch
        last_sent_ns = max(began_ns, attempt.created_ns + SENT_WITHIN_NS if still_leaves else 0)
        self.not_before_ns = last_sent_ns + recv_window_ms * NS_PER_MS + read_lag_ns
        self._not_seen_ns: dict[Witness, int] = {}

    def not_seen(self, witness: Witness, asked_ns: int) -> None:
        """This witness was asked at `asked_ns` and does not know the order. Too early does not count."""
        if asked_ns >= self.not_before_ns:
            self._not_seen_ns[witness] = asked_ns

    def seen(self) -> None:
        """Somebody has seen it, or something that may be it: the case begins anew."""
        self._not_seen_ns.clear()

    def listed(self, witness: Witness, orders: Iterable[OpenOrder], asked_ns: int) -> None:
        """A list of orders was answered."""
        if any(order.client_order_id == self.attempt.client_order_id for order in orders):
            self.seen()
        else:
            self.not_seen(witness, asked_ns)

    def traded(self, trades: Iterable[Trade], accounted: set[str], asked_ns: int) -> None:
        """Own trades were answered; `accounted` are the venue's ids of orders that are known not to be this one."""
        if any(trade.exchange_order_id not in accounted for trade in trades):
            self.seen()
        else:
            self.not_seen(Witness.TRADES, asked_ns)

    @property
    def proven(self) -> bool:
        return self._not_seen_ns.keys() == set(Witness)

    def verdict(self) -> NotPlaced:
        """The proof as a report. Only for a proven case."""
        assert self.proven
        waited_s = (min(self._not_seen_ns.values()) - self.attempt.created_ns) // NS_PER_S
        return NotPlaced(
            client_order_id=ClientOrderId(self.attempt.client_order_id),
            code="PROVEN_ABSENT",
            reason=f"not among {', '.join(Witness)}, all asked at least {waited_s} s after it could have left",
            retryable=True,
        )
