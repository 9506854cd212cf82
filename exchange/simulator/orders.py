"""What the venue keeps of an order and of a trade, and what a client asks for.

Amounts are exact: quantities in base, prices and quote amounts in quote. Times are ns UTC.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

ZERO = Decimal(0)


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class Status(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    """It would have traded with an order of the same account (Binance's EXPIRE_MAKER)."""


OPEN = frozenset({Status.NEW, Status.PARTIALLY_FILLED})


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is well-formed; whether the venue takes it is another matter."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    price: Decimal = ZERO
    """0 for market orders."""
    qty: Decimal = ZERO
    """0 when a market order states `quote_qty`."""
    quote_qty: Decimal = ZERO
    """Market orders only: what to spend, or to receive."""
    client_order_id: str = ""
    """Empty: the venue makes one up."""


class Order(msgspec.Struct, kw_only=True, tag_field="record", tag="order"):
    """One order, as it stands."""

    symbol: str
    id: int
    """Rises by symbol; two symbols may have the same, as on Binance."""
    client_order_id: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: Decimal
    qty: Decimal
    quote_qty: Decimal
    created_ns: int
    updated_ns: int
    executed: Decimal = ZERO
    executed_quote: Decimal = ZERO
    status: Status = Status.NEW
    locked: Decimal = ZERO
    """Of the balance that it holds: quote for a buy, base for a sell."""

    @property
    def remaining(self) -> Decimal:
        return self.qty - self.executed

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


class Trade(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="trade"):
    """One execution of an order."""

    symbol: str
    id: int
    """Rises by symbol."""
    order_id: int
    side: Side
    price: Decimal
    qty: Decimal
    quote_qty: Decimal
    """price × qty, cut to 8 decimals."""
    commission: Decimal
    commission_asset: str
    maker: bool
    time_ns: int
