"""When is "not there" proof?

An order whose outcome is unknown counts as *not placed* only when everything that could show it was asked and does not:
the order itself by our id, the open orders, the recent orders and the own trades of the symbol. Four conditions make
that a proof:

* **Late enough.** Every question was put after the request can no longer be executed (the venue refuses it once it is
  older than its recvWindow, by the time that it claims for itself: `core/timestamps.py`) and after the venue's reads
  have caught up with its writes.
* **Together.** All four were asked in one round and all four answered in it. A question that failed is no answer, and
  the whole round counts for nothing: the next one asks all four again. So is no part of a proof older than a failure.
* **Healthy.** What must be seen is seen: the list of trades begins with the trade up to which everything is accounted
  for, and the lists of orders show our orders that are working. A venue that answers an outage with empty lists does
  not get past this, as soon as there is anything that they must show.
* **Not seen.** One sighting anywhere ends the case. A trade of an order that nobody knows may be of ours.

The proof is kept with the intent: who was asked when, and how the time was derived.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

import msgspec

from core.ids import NS_PER_S, ClientOrderId, ExchangeOrderId
from core.records import AttemptRecord
from core.reports import AbsenceProof, NotPlaced, OpenOrder, OrderAbsent, OrderSnapshot, Trade
from core.settling import report_of

SENT_WITHIN_NS: Final = 10 * NS_PER_S
"""An attempt that has not left by then never will: the gateway refuses older ones (`STALE`)."""


class Witness(StrEnum):
    """Who could have seen the order."""

    ORDER = "order"
    OPEN_ORDERS = "open orders"
    RECENT_ORDERS = "recent orders"
    TRADES = "trades"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """The case that one attempt is not at the venue, and from when on it can be proven."""

    attempt: AttemptRecord
    last_sent_ns: int
    """The request left no later than this, if at all; ns UTC."""
    because: str
    recv_window_ms: int
    read_lag_ns: int
    clock_span_ns: int = 0
    """The venue may take the request for so much longer, as the book knows by now (`ClockSpan.width_ns`)."""

    @property
    def not_before_ns(self) -> int:
        return self._proof({}).not_before_ns

    def proven(self, asked_ns: int) -> NotPlaced:
        """The verdict of a round that was asked then and in which nobody has seen it."""
        assert asked_ns >= self.not_before_ns
        waited_s = (asked_ns - self.last_sent_ns) // NS_PER_S
        return NotPlaced(
            client_order_id=self.attempt.client_order_id,
            code="PROVEN_ABSENT",
            reason=f"not among {', '.join(Witness)}, all asked {waited_s} s after it could have left at the latest",
            retryable=True,
            proof=self._proof({str(witness): asked_ns for witness in Witness}),
        )

    def _proof(self, asked: dict[str, int]) -> AbsenceProof:
        return AbsenceProof(
            last_sent_ns=self.last_sent_ns,
            because=self.because,
            recv_window_ms=self.recv_window_ms,
            read_lag_ns=self.read_lag_ns,
            clock_span_ns=self.clock_span_ns,
            asked=asked,
        )


def open_case(attempt: AttemptRecord, began_ns: int, epoch: int, recv_window_ms: int, read_lag_ns: int) -> Case:
    """`began_ns`: when its outcome was first known to be unknown, UTC; `epoch`: the book's at that time.

    An order of an older epoch is refused from then on (`core/fencing.py`); one of the same may still be on its way to
    the gateway, which lets none through that is older than `SENT_WITHIN_NS`.
    """
    leaves_until_ns = attempt.created_ns + SENT_WITHIN_NS
    if attempt.epoch < epoch:
        last_sent_ns, because = began_ns, f"epoch {epoch} had begun, and the order is of epoch {attempt.epoch}"
    elif leaves_until_ns > began_ns:
        last_sent_ns, because = leaves_until_ns, f"nothing leaves {SENT_WITHIN_NS // NS_PER_S} s after it was written"
    else:
        last_sent_ns, because = began_ns, "nobody knew its outcome by then"
    return Case(
        attempt=attempt,
        last_sent_ns=last_sent_ns,
        because=because,
        recv_window_ms=recv_window_ms,
        read_lag_ns=read_lag_ns,
    )


class Testimony(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about one attempt in one round; None: that witness was not asked, or did not answer."""

    asked_ns: int
    """No question was put earlier; ns UTC."""
    order: OrderSnapshot | OrderAbsent | None = None
    open_orders: Collection[OpenOrder] | None = None
    recent_orders: Collection[OpenOrder] | None = None
    trades: Collection[Trade] | None = None
    working: frozenset[ClientOrderId] = frozenset()
    """Orders of ours that the list of open orders must show."""
    recent: frozenset[ClientOrderId] = frozenset()
    """Those of them that the list of recent orders must show, too."""
    others: frozenset[ExchangeOrderId] = frozenset()
    """Orders that the book knows not to be this one: another attempt's, or external."""


class Undecided(msgspec.Struct, frozen=True):
    """Neither seen nor proven absent."""

    why: str


def weigh(case: Case, said: Testimony) -> tuple[OrderSnapshot, ...] | NotPlaced | Undecided:
    """What one round proves: the order as it was seen (twice, if the venue has two of its name), or its absence."""
    seen = sightings(case.attempt, said)
    if seen:
        return seen
    doubt = _doubt(case, said)
    return Undecided(doubt) if doubt else case.proven(said.asked_ns)


def sightings(attempt: AttemptRecord, said: Testimony) -> tuple[OrderSnapshot, ...]:
    """The order, as whoever has seen it showed it; looked up goes before listed."""
    seen: dict[ExchangeOrderId, OrderSnapshot] = {}
    if isinstance(said.order, OrderSnapshot):
        seen[said.order.exchange_order_id] = said.order
    listed = [*(said.recent_orders or ()), *(said.open_orders or ())]
    for order in listed:
        if order.client_order_id == attempt.client_order_id and order.exchange_order_id not in seen:
            trades = [trade for trade in said.trades or () if trade.exchange_order_id == order.exchange_order_id]
            seen[order.exchange_order_id] = report_of(attempt, order.exchange_order_id, trades, order)
    return tuple(seen.values())


def _doubt(case: Case, said: Testimony) -> str:
    """Why not being seen proves nothing in this round; empty if it does."""
    if said.asked_ns < case.not_before_ns:
        return "it was asked too early"
    if said.order is None or said.open_orders is None or said.recent_orders is None or said.trades is None:
        return "not every witness has answered"
    hidden = (said.working - _names(said.open_orders)) | (said.recent - _names(said.recent_orders))
    if hidden:
        return f"a list of orders does not show {min(hidden)}, which is working"
    accounted = said.others | {order.exchange_order_id for order in said.recent_orders if order.client_order_id}
    stranger = next((trade for trade in said.trades if trade.exchange_order_id not in accounted), None)
    return f"trade {stranger.trade_id} is of an order that nobody knows" if stranger is not None else ""


def _names(orders: Collection[OpenOrder]) -> set[ClientOrderId]:
    return {order.client_order_id for order in orders}
