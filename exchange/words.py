"""The venue's words, as we believe them: statuses of orders, and amounts. In its answers and in its stream."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from core.reports import OrderStatus

STATUSES: Final[dict[str, OrderStatus]] = {
    "NEW": OrderStatus.OPEN,
    "PENDING_NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "PENDING_CANCEL": OrderStatus.OPEN,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
"""Binance's words."""


def amount(value: Any) -> Decimal:
    """A number of the venue. Raises for anything else: what is missing is not nothing, and NaN is a Decimal, too."""
    parsed = Decimal(str(value))
    if not parsed.is_finite():
        raise ValueError(f"{value!r} is no amount")
    return parsed
