"""What the venue's client answers with, where it is more than one thing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.account import Account
from core.market import MarketRules
from core.reports import OpenOrder, QueryFailed, Trade


class TradesPage(NamedTuple):
    trades: tuple[Trade, ...] | QueryFailed
    complete: bool


class OrdersPage(NamedTuple):
    orders: tuple[OpenOrder, ...] | QueryFailed
    complete: bool


class RawOrdersPage(NamedTuple):
    orders: list[dict[str, Any]]
    next_id: int | None
    """Where the next page begins; None after the last."""


class AtStart(NamedTuple):
    """What a start needs to know."""

    markets: dict[str, MarketRules]
    """By symbol; the spot markets that can be traded."""
    totals: dict[str, Decimal]
    """By currency, free and locked together."""
    account: Account


class TimeTold(NamedTuple):
    """The venue's time, and when it was asked and had answered by our clock; ns UTC."""

    venue_ns: int
    sent_ns: int
    answered_ns: int
