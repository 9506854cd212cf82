"""From the venue's own words to our types, exactly.

Numbers are the venue's texts, never ccxt's: where a record lacks how much is filled, ccxt says that nothing is. What is
not understood raises, or is None where it does not prove to be about our order; the caller decides what that means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from core.account import KeyRights
from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId, TradeId
from core.intent import Side
from core.money import floor_to
from core.reports import OpenOrder, OrderSnapshot, Trade
from exchange.words import STATUSES, amount

TAKER_FEE_USUAL = Decimal("0.001")
QUOTE_GRID = Decimal("1e-8")
"""Binance states quote amounts with 8 decimals, truncated."""


def placed(answer: Any, client_order_id: ClientOrderId, currency: Callable[[str], str]) -> OrderSnapshot | None:
    """From the venue's answer to a placement. None when it does not prove to be about our order."""
    if not isinstance(answer, Mapping) or answer.get("clientOrderId") != client_order_id or not answer.get("orderId"):
        return None
    status = STATUSES.get(str(answer.get("status")))
    if status is None:
        return None
    order_id = ExchangeOrderId(str(answer["orderId"]))
    venue_ns = int(answer["transactTime"]) * NS_PER_MS
    return OrderSnapshot(
        client_order_id=client_order_id,
        exchange_order_id=order_id,
        status=status,
        venue_status=str(answer["status"]),
        filled_qty=amount(answer["executedQty"]),
        trades=tuple(fill_of(fill, order_id, venue_ns, currency) for fill in answer.get("fills") or ()),
        source="placement",
    )


def looked_up(order: Any, client_order_id: ClientOrderId) -> OrderSnapshot | None:
    """From the venue's own record, which carries no trades. None when it does not prove to be about our order.

    Not from ccxt's form of it: where the record lacks how much is filled, ccxt says nothing is.
    """
    if not isinstance(order, Mapping) or order.get("clientOrderId") != client_order_id or not order.get("orderId"):
        return None
    status = STATUSES.get(str(order.get("status")))
    if status is None:
        return None
    return OrderSnapshot(
        client_order_id=client_order_id,
        exchange_order_id=ExchangeOrderId(str(order["orderId"])),
        status=status,
        venue_status=str(order["status"]),
        filled_qty=amount(order["executedQty"]),
        trades=(),
        source="lookup",
    )


def rows(answer: Any) -> list[dict[str, Any]]:
    """A list of the venue. Raises for anything else: an empty body is no empty list."""
    if not isinstance(answer, list):
        raise TypeError("the answer is no list")
    return answer


def open_order(row: Mapping[str, Any], symbol: Callable[[str], str]) -> OpenOrder:
    """A line of the venue's own list of orders. Raises for a status that we do not know."""
    return OpenOrder(
        client_order_id=ClientOrderId(str(row["clientOrderId"])),
        exchange_order_id=ExchangeOrderId(str(row["orderId"])),
        symbol=symbol(str(row["symbol"])),
        filled_qty=amount(row["executedQty"]),
        status=STATUSES[str(row["status"])],
        venue_status=str(row["status"]),
    )


def fill_of(fill: Mapping[str, Any], order_id: ExchangeOrderId, venue_ns: int, currency: Callable[[str], str]) -> Trade:
    """A trade within the answer to a placement, which states neither its quote amount nor its own time.

    It is a taker's: a maker's comes later, when the order rests.
    """
    qty, price = amount(fill["qty"]), amount(fill["price"])
    return Trade(
        trade_id=TradeId(str(fill["tradeId"])),
        exchange_order_id=order_id,
        qty=qty,
        price=price,
        quote_qty=floor_to(qty * price, QUOTE_GRID),
        fee=amount(fill["commission"]),
        fee_currency=currency(fill["commissionAsset"]),
        maker=False,
        venue_ns=venue_ns,
    )


def listed(trade: Mapping[str, Any], currency: Callable[[str], str]) -> Trade:
    """A line of the venue's own list of trades."""
    return Trade(
        trade_id=TradeId(str(trade["id"])),
        exchange_order_id=ExchangeOrderId(str(trade["orderId"])),
        qty=amount(trade["qty"]),
        price=amount(trade["price"]),
        quote_qty=amount(trade["quoteQty"]),
        fee=amount(trade["commission"]),
        fee_currency=currency(trade["commissionAsset"]),
        maker=bool(trade["isMaker"]),
        venue_ns=int(trade["time"]) * NS_PER_MS,
        side=Side.BUY if trade["isBuyer"] else Side.SELL,
    )


def totals(account: Mapping[str, Any], currency: Callable[[str], str]) -> dict[str, Decimal]:
    """From the venue's own list: ccxt makes an empty account of an answer that has none."""
    rows = account["info"]["balances"]
    totals = {currency(row["asset"]): amount(row["free"]) + amount(row["locked"]) for row in rows}
    return {name: total for name, total in totals.items() if total != 0}


def uid(account: Mapping[str, Any]) -> str:
    """The venue's own number of the account; empty where it tells none."""
    told = (account.get("info") or {}).get("uid")
    return str(told) if told else ""


def may_withdraw(restrictions: Mapping[str, Any]) -> bool:
    """Whether the API key can take money out. Anything but a plain no is yes."""
    return str(restrictions.get("enableWithdrawals")).lower() != "false"


def key_rights(restrictions: Mapping[str, Any]) -> KeyRights:
    """What else the API key may do; what the venue does not tell is taken for the worse."""

    def is_told(name: str, answer: str) -> bool:
        return str(restrictions.get(name)).lower() == answer

    return KeyRights(
        may_trade=is_told("enableSpotAndMarginTrading", "true"),
        may_transfer=not (is_told("enableInternalTransfer", "false") and is_told("permitsUniversalTransfer", "false")),
        is_ip_restricted=is_told("ipRestrict", "true"),
    )


def commission(account: Mapping[str, Any]) -> Decimal:
    """The account's own taker fee, a fraction; the usual one where the venue does not tell."""
    rates = (account.get("info") or {}).get("commissionRates") or {}
    return amount(rates.get("taker", TAKER_FEE_USUAL))
