"""The venue's filters: which orders a market takes. The first filter that is broken names itself in the refusal.

Source: developers.binance.com, "Filters". A step or tick of zero disables its rule.
"""

from __future__ import annotations

from decimal import Decimal

from exchange.simulator.errors import FILTER_FAILURE, TOO_PRECISE, VenueError
from exchange.simulator.orders import NewOrder, OrderType
from exchange.simulator.symbols import Market

DECIMALS_MAX = 8


def check(market: Market, order: NewOrder, reference: Decimal, open_orders: int) -> None:
    """Raise `VenueError` if the market does not take the order. `reference` is the market's own price."""
    _check_precision(order)
    if order.type is OrderType.MARKET:
        _check_market_quantity(market, order)
    else:
        _check_price(market, order, reference)
        _check_quantity(market, order)
    _check_notional(market, order, reference)
    if open_orders >= market.max_orders:
        raise VenueError(FILTER_FAILURE, "MAX_NUM_ORDERS")


def _check_precision(order: NewOrder) -> None:
    for name, value in (("price", order.price), ("quantity", order.qty), ("quoteOrderQty", order.quote_qty)):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -DECIMALS_MAX:
            raise VenueError(TOO_PRECISE, name)


def _check_price(market: Market, order: NewOrder, reference: Decimal) -> None:
    if not market.min_price <= order.price <= market.max_price or _off_grid(order.price, market.tick):
        raise VenueError(FILTER_FAILURE, "PRICE_FILTER")
    if not reference * market.multiplier_down <= order.price <= reference * market.multiplier_up:
        raise VenueError(FILTER_FAILURE, "PERCENT_PRICE_BY_SIDE")


def _check_quantity(market: Market, order: NewOrder) -> None:
    if not market.min_qty <= order.qty <= market.max_qty or _off_grid(order.qty, market.step):
        raise VenueError(FILTER_FAILURE, "LOT_SIZE")


def _check_market_quantity(market: Market, order: NewOrder) -> None:
    if order.quote_qty > 0:
        return
    _check_quantity(market, order)
    if order.qty > market.market_max_qty:
        raise VenueError(FILTER_FAILURE, "MARKET_LOT_SIZE")


def _check_notional(market: Market, order: NewOrder, reference: Decimal) -> None:
    is_market = order.type is OrderType.MARKET
    notional = order.quote_qty or order.qty * (reference if is_market else order.price)
    if notional < market.min_notional or (not is_market and notional > market.max_notional):
        raise VenueError(FILTER_FAILURE, "NOTIONAL")


def _off_grid(value: Decimal, grid: Decimal) -> bool:
    return grid > 0 and value % grid != 0


def rows(market: Market) -> list[dict[str, object]]:
    """The filters as `exchangeInfo` states them."""
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": f"{market.min_price:.8f}",
            "maxPrice": f"{market.max_price:.8f}",
            "tickSize": f"{market.tick:.8f}",
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": f"{market.min_qty:.8f}",
            "maxQty": f"{market.max_qty:.8f}",
            "stepSize": f"{market.step:.8f}",
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": f"{market.market_max_qty:.8f}",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": f"{market.min_notional:.8f}",
            "applyMinToMarket": True,
            "maxNotional": f"{market.max_notional:.8f}",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            **{f"{side}MultiplierUp": str(market.multiplier_up) for side in ("bid", "ask")},
            **{f"{side}MultiplierDown": str(market.multiplier_down) for side in ("bid", "ask")},
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": market.max_orders},
    ]
