"""The venue's JSON: how orders, trades, balances, books and markets look on the wire. Amounts are texts of 8 decimals.

Source: developers.binance.com, "Spot REST API".
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from exchange.simulator import filters
from exchange.simulator.account import FEE_RATE, Balance
from exchange.simulator.book import Level, SyntheticBook
from exchange.simulator.orders import Order, OrderType, Side, Trade
from exchange.simulator.owner import UID_DEFAULT, Owner
from exchange.simulator.symbols import Market

Json = dict[str, Any]

NS_PER_MS: Final = 1_000_000
PREVENTION: Final = "EXPIRE_MAKER"


class ResponseType(StrEnum):
    """How much of an order its placement's answer tells."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def amount(value: Decimal) -> str:
    return f"{value:.8f}"


def ms(time_ns: int) -> int:
    return time_ns // NS_PER_MS


# ── orders and trades ─────────────────────────────────────────────────────────────────────────────────────────────────


def placed(order: Order, trades: Iterable[Trade], response_type: ResponseType) -> Json:
    """The answer to a placement."""
    answer: Json = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": ms(order.created_ns),
    }
    if response_type is ResponseType.ACK:
        return answer
    answer |= _state(order)
    answer["workingTime"] = ms(order.created_ns)
    if response_type is ResponseType.FULL:
        answer["fills"] = [
            {
                "price": amount(trade.price),
                "qty": amount(trade.qty),
                "commission": amount(trade.commission),
                "commissionAsset": trade.commission_asset,
                "tradeId": trade.id,
            }
            for trade in trades
        ]
    return answer


def cancel_name(order: Order, cancel_id: str) -> str:
    """What a cancel is called: as the client calls it, else as the venue does."""
    return cancel_id or f"cancel{order.id:016}"


def canceled(order: Order, cancel_id: str) -> Json:
    """The answer to a cancel; `clientOrderId` names the cancel, `origClientOrderId` the order."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": cancel_name(order, cancel_id),
        "transactTime": ms(order.updated_ns),
        **_state(order),
    }


def queried(order: Order) -> Json:
    """An order as the order queries show it."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        **_state(order),
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": ms(order.created_ns),
        "updateTime": ms(order.updated_ns),
        "isWorking": True,
        "workingTime": ms(order.created_ns),
    }


def _state(order: Order) -> Json:
    return {
        "price": amount(order.price),
        "origQty": amount(order.qty),
        "executedQty": amount(order.executed),
        "origQuoteOrderQty": amount(order.quote_qty),
        "cummulativeQuoteQty": amount(order.executed_quote),  # Binance's own spelling
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "selfTradePreventionMode": PREVENTION,
    }


def traded(trade: Trade) -> Json:
    """A trade as `myTrades` shows it."""
    return {
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": amount(trade.price),
        "qty": amount(trade.qty),
        "quoteQty": amount(trade.quote_qty),
        "commission": amount(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": ms(trade.time_ns),
        "isBuyer": trade.side is Side.BUY,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


# ── account ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def account(balances: Iterable[Balance], now_ns: int, *, omit_zero: bool, uid: int = UID_DEFAULT) -> Json:
    rate = amount(FEE_RATE)
    return {
        "makerCommission": 10,
        "takerCommission": 10,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": rate, "taker": rate, "buyer": "0.00000000", "seller": "0.00000000"},
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": ms(now_ns),
        "accountType": "SPOT",
        "balances": [
            {"asset": balance.asset, "free": amount(balance.free), "locked": amount(balance.locked)}
            for balance in balances
            if not omit_zero or balance.free + balance.locked > 0
        ],
        "permissions": ["SPOT"],
        "uid": uid,
    }


def key_rights(owner: Owner) -> Json:
    """`apiRestrictions`: what the key may do. It trades, and nothing else unless an option says so."""
    return {
        "ipRestrict": owner.key_is_ip_restricted,
        "createTime": 0,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": owner.key_may_withdraw,
        "enableInternalTransfer": False,
        "permitsUniversalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "enableVanillaOptions": False,
        "enablePortfolioMarginTrading": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
    }


# ── market data ───────────────────────────────────────────────────────────────────────────────────────────────────────


def exchange_info(markets: Iterable[Market], rate_limits: list[Json], now_ns: int) -> Json:
    return {
        "timezone": "UTC",
        "serverTime": ms(now_ns),
        "rateLimits": rate_limits,
        "exchangeFilters": [],
        "symbols": [_market(market) for market in markets],
    }


def _market(market: Market) -> Json:
    return {
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(OrderType),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters.rows(market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": PREVENTION,
        "allowedSelfTradePreventionModes": [PREVENTION],
    }


def depth(book: SyntheticBook, limit: int) -> Json:
    """Levels as pairs of price and quantity, the best first."""

    def rows(levels: Iterable[Level]) -> list[list[str]]:
        return [[amount(level.price), amount(level.qty)] for level in levels][:limit]

    return {"lastUpdateId": book.tick + 1, "bids": rows(book.levels(Side.BUY)), "asks": rows(book.levels(Side.SELL))}


def price(symbol: str, book: SyntheticBook) -> Json:
    return {"symbol": symbol, "price": amount(book.best_bid)}


def book_ticker(symbol: str, book: SyntheticBook) -> Json:
    bid, ask = next(book.levels(Side.BUY), None), next(book.levels(Side.SELL), None)
    return {
        "symbol": symbol,
        "bidPrice": amount(bid.price if bid else Decimal(0)),
        "bidQty": amount(bid.qty if bid else Decimal(0)),
        "askPrice": amount(ask.price if ask else Decimal(0)),
        "askQty": amount(ask.qty if ask else Decimal(0)),
    }


def day_ticker(market: Market, book: SyntheticBook, now_ns: int) -> Json:
    """The last day's statistics; of the past, the simulator only knows the opening price."""
    last, opening = book.best_bid, market.price
    return {
        **book_ticker(market.symbol, book),
        "priceChange": amount(last - opening),
        "priceChangePercent": f"{(last / opening - 1) * 100:.3f}",
        "weightedAvgPrice": amount(book.mid),
        "prevClosePrice": amount(opening),
        "lastPrice": amount(last),
        "lastQty": amount(market.step),
        "openPrice": amount(opening),
        "highPrice": amount(max(last, opening)),
        "lowPrice": amount(min(last, opening)),
        "volume": "0.00000000",
        "quoteVolume": "0.00000000",
        "openTime": ms(now_ns) - 86_400_000,
        "closeTime": ms(now_ns),
        "firstId": -1,
        "lastId": -1,
        "count": 0,
    }
