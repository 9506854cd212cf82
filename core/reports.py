"""Facts from the venue, as everybody else may believe them.

What became of an attempt is one of three different types (G2), which differ in what the receiver must do:
`OrderSnapshot` (the venue has it), `NotPlaced` (proven: it has not) and `OutcomeUnknown` (nobody can tell). What became
of a *question* is a different matter (G3): `OrderAbsent` is an answer ("I know no such order"), `QueryFailed` is none,
and neither of them proves that an order was not placed.

A report holds facts only, never a decision, so applying one twice changes nothing.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId, TradeId
from core.intent import Side
from core.money import ZERO


class OrderStatus(StrEnum):
    """Whether the order can still fill. How much it did fill is judged by quantity alone (F5)."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as the venue reports it."""

    trade_id: TradeId
    exchange_order_id: ExchangeOrderId
    qty: Decimal
    """Base."""
    price: Decimal
    quote_qty: Decimal
    """Quote, as the venue states it."""
    fee: Decimal
    """In `fee_currency`."""
    fee_currency: str
    maker: bool
    venue_ns: int
    """The venue's time, ns UTC."""
    side: Side | None = None
    """Of our order; None where the answer does not tell."""


class OrderSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The venue has the order, and this is how it stands."""

    client_order_id: ClientOrderId
    exchange_order_id: ExchangeOrderId
    status: OrderStatus
    venue_status: str
    """The venue's own word."""
    filled_qty: Decimal
    """Cumulative, base, as the order says; `trades` may lag behind."""
    trades: tuple[Trade, ...]
    """Those known with this answer, maybe not all."""
    source: str
    """How we learned of it: `placement`, `lookup` (of this order), `orders` (a list of them), `trades`, or `stream`
    (the venue told us, and `trades` is the one that it told of, if any)."""
    asked_ns: int = 0
    """When the venue was asked about this very order, ns UTC, or a little earlier; 0: it told by itself, or of more."""


class AbsenceProof(msgspec.Struct, frozen=True, kw_only=True):
    """Why an order that nobody has seen counts as not placed (`core/evidence.py`). Times are ns UTC."""

    last_sent_ns: int
    """The request left no later than this, if it left at all."""
    because: str
    """How that is known."""
    recv_window_ms: int
    """The venue executes no request that is older."""
    read_lag_ns: int
    """The venue's reads have caught up with its writes by then."""
    asked: dict[str, int]
    """Every witness, and when it was asked in the round in which all of them answered and none had seen it."""
    clock_span_ns: int = 0
    """The clocks have differed by so much, so that the venue may have taken it for that much longer
    (`ClockSpan.width_ns`)."""

    @property
    def not_before_ns(self) -> int:
        """From then on, not to be seen proves something."""
        return self.last_sent_ns + self.clock_span_ns + self.recv_window_ms * NS_PER_MS + self.read_lag_ns


class NotPlaced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Proven: the attempt is not at the venue and never will be."""

    client_order_id: ClientOrderId
    code: str
    """The failure's name, e.g. `InsufficientFunds`."""
    reason: str
    """The venue's words, masked."""
    retryable: bool
    """The same order may succeed later without anybody changing anything."""
    retry_after_ns: int = 0
    """The venue, or our own budget of requests, asks to wait this long."""
    never_left: bool = False
    """It was not even sent, for a reason of our own (no room, breaker, restart): no attempt in the sense of R4."""
    wrong_time: bool = False
    """The venue has refused the time that the request claimed, which says nothing about the order."""
    proof: AbsenceProof | None = None
    """When it was concluded from absence; None when the venue, or our own gateway, said so."""


class OutcomeUnknown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The request may or may not have been executed."""

    client_order_id: ClientOrderId
    reason: str


Report = OrderSnapshot | NotPlaced | OutcomeUnknown


class OrderAbsent(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The venue answered that it knows no such order. Reads lag behind writes, so this proves nothing by itself."""

    client_order_id: ClientOrderId


class QueryFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The question was not answered."""

    reason: str
    is_no_market: bool = False
    """It could not be asked: the venue has no market of this name, not now at least."""
    never_left: bool = False
    """It was not asked: the account's budget had no room for it."""


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A line of one of the venue's lists of orders."""

    client_order_id: ClientOrderId
    exchange_order_id: ExchangeOrderId
    symbol: str
    filled_qty: Decimal = ZERO
    """Cumulative, base."""
    status: OrderStatus = OrderStatus.OPEN
    venue_status: str = ""
    """The venue's own word."""
