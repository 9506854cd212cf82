"""Market rules from the venue's own filters, as exact decimals; ccxt's `precision` and `limits` drop some of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.market import MarketRules
from core.money import ZERO


def market_rules(market: Mapping[str, Any], taker_fee: Decimal) -> MarketRules | None:
    """From ccxt's market, whose `info` is the venue's own record. None for a market that cannot be traded on spot.

    A filter that the venue does not name is off. Raises when the record is not whole: what is missing is not nothing.
    """
    info = market["info"]
    if info.get("status") != "TRADING" or not market.get("spot"):
        return None
    filters = {entry["filterType"]: entry for entry in info["filters"]}
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    return MarketRules(
        symbol=str(market["symbol"]),
        base=str(market["base"]),
        quote=str(market["quote"]),
        tick=_decimal(price, "tickSize"),
        step=_decimal(lot, "stepSize"),
        min_qty=_decimal(lot, "minQty"),
        max_qty=_decimal(lot, "maxQty"),
        min_price=_decimal(price, "minPrice"),
        max_price=_decimal(price, "maxPrice"),
        min_notional=_decimal(notional, "minNotional"),
        max_notional=_decimal(notional, "maxNotional") if "maxNotional" in notional else ZERO,
        taker_fee=taker_fee,
    )


def _decimal(entry: Mapping[str, Any], name: str) -> Decimal:
    if not entry:
        return ZERO
    value = Decimal(str(entry[name]))
    if not value.is_finite():
        raise ValueError(f"{name} {value} is no amount")
    return value.normalize() + ZERO
