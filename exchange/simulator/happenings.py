"""What happened to the account, as the matching engine notes it while it happens. Pure data.

The journal keeps how things stand; a client that listens is told of each step on the way: that an order was taken in,
each of its trades, how it ended. `announcer.py` makes the venue's events of it.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange.simulator.orders import Order, Trade


class Execution(StrEnum):
    """Binance's words for what happened to an order."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TRADE_PREVENTION = "TRADE_PREVENTION"
    """It would have traded with an order of the same account."""


class OrderChanged(msgspec.Struct, frozen=True):
    execution: Execution
    order: Order
    """A copy, as the order stood right after."""
    trade: Trade | None = None
    """With TRADE."""
    cancel_id: str = ""
    """With CANCELED: what the client calls its cancel; empty when it has no name for it."""


class Transferred(msgspec.Struct, frozen=True):
    """A deposit or, if negative, a withdrawal."""

    asset: str
    amount: Decimal


Happening = OrderChanged | Transferred
