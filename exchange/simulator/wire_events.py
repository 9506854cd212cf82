"""The venue's JSON: how events of the user data stream look on the wire.

Source: developers.binance.com, "User Data Streams". Of an order that expired instead of trading with an own one, the
fields that tell of the match that was prevented are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from exchange.simulator.account import Balance
from exchange.simulator.happenings import Execution, OrderChanged
from exchange.simulator.orders import ZERO
from exchange.simulator.wire import PREVENTION, Json, amount, cancel_name, ms

_NO_TRADE: Final = -1


def execution_report(change: OrderChanged, now_ns: int, number: int) -> Json:
    """What happened to an order. `number` rises with each."""
    order, trade = change.order, change.trade
    is_cancel = change.execution is Execution.CANCELED
    return {
        "e": "executionReport",
        "E": ms(now_ns),
        "s": order.symbol,
        # of a cancel, `c` names the cancel itself and `C` the order
        "c": cancel_name(order, change.cancel_id) if is_cancel else order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": amount(order.qty),
        "p": amount(order.price),
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": order.client_order_id if is_cancel else "",
        "x": change.execution,
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": amount(trade.qty if trade else ZERO),
        "z": amount(order.executed),
        "L": amount(trade.price if trade else ZERO),
        "n": amount(trade.commission) if trade else "0",
        "N": trade.commission_asset if trade else None,
        "T": ms(trade.time_ns if trade else order.updated_ns),
        "t": trade.id if trade else _NO_TRADE,
        "I": number,
        "w": order.is_open,
        "m": trade.maker if trade else False,
        "M": trade is not None,
        "O": ms(order.created_ns),
        "Z": amount(order.executed_quote),
        "Y": amount(trade.quote_qty if trade else ZERO),
        "Q": amount(order.quote_qty),
        "W": ms(order.created_ns),
        "V": PREVENTION,
    }


def account_position(balances: Iterable[Balance], now_ns: int) -> Json:
    """Balances that may have changed, as they stand."""
    return {
        "e": "outboundAccountPosition",
        "E": ms(now_ns),
        "u": ms(now_ns),
        "B": [{"a": row.asset, "f": amount(row.free), "l": amount(row.locked)} for row in balances],
    }


def balance_update(asset: str, delta: Decimal, now_ns: int) -> Json:
    """A deposit or, if negative, a withdrawal."""
    return {"e": "balanceUpdate", "E": ms(now_ns), "a": asset, "d": amount(delta), "T": ms(now_ns)}
