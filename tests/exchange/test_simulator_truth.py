"""`/_sim/` under all faults at once: whatever a client was told, balances, orders and trades agree."""

from __future__ import annotations

import http.client
import random
from collections import defaultdict
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import pytest

from exchange.simulator.faults import FAULTS
from tests.exchange.conftest import Venue

STEPS: Final = 150
SHORT: Final = {"probability": 0.05, "min": 0, "max": 3}
FEW: Final = {"probability": 0.05}
EVERY: Final[dict[str, Any]] = {
    **dict.fromkeys(FAULTS, FEW),
    "latency_ms": SHORT,
    "late_answer": SHORT,
    "outage": SHORT,
    "lagging_reads": {"probability": 0.3, "min": 0, "max": 300},
    "fill_after_cancel": {"probability": 0.3, "ms": 100},
    "cancel_crosses_fill": {"probability": 0.3, "share": 0.7},
}

Amounts = dict[str, Decimal]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_agrees_with_itself(venue: Venue, seed: int) -> None:
    """Balances moved by the trades and their fees, what is locked is what open orders hold, fills are trades."""
    opening, known = totals(venue), len(venue.trades())
    venue.set_faults({**EVERY, "seed": seed})
    dice = random.Random(seed)
    for number in range(STEPS):
        with suppress(http.client.HTTPException, ConnectionError):
            something(venue, dice, f"s{seed}-{number}")
    venue.ask("DELETE", "/_sim/faults")
    for order in venue.read("openOrders"):
        venue.cancel(order["clientOrderId"])
    trades = venue.trades()
    assert len(trades) > known
    assert totals(venue) == after(opening, trades[known:])
    assert {asset: row["locked"] for asset, row in venue.balances().items() if Decimal(row["locked"])} == {}
    check_orders(venue.orders(), trades)
    assert venue.read("myTrades", limit=1_000) == trades


def something(venue: Venue, dice: random.Random, name: str) -> None:
    match dice.randrange(4):
        case 0:
            venue.place(name, price="90000", timeInForce="IOC")
        case 1:
            venue.place(name)
        case 2:
            rows = venue.read("openOrders")
            if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                venue.cancel(rows[0].get("clientOrderId", "unnamed"))
        case 3:
            venue.read(dice.choice(["allOrders", "myTrades", "account"]))


def totals(venue: Venue) -> Amounts:
    return {asset: Decimal(row["free"]) + Decimal(row["locked"]) for asset, row in venue.balances().items()}


def after(opening: Amounts, trades: list[dict[str, Any]]) -> Amounts:
    expected = dict(opening)
    for trade in trades:
        sign = 1 if trade["isBuyer"] else -1
        expected["BTC"] += sign * Decimal(trade["qty"])
        expected["USDT"] -= sign * Decimal(trade["quoteQty"])
        expected[trade["commissionAsset"]] -= Decimal(trade["commission"])
    return expected


def check_orders(orders: list[dict[str, Any]], trades: list[dict[str, Any]]) -> None:
    filled: dict[int, Decimal] = defaultdict(Decimal)
    for trade in trades:
        filled[trade["orderId"]] += Decimal(trade["qty"])
    assert {order["orderId"]: Decimal(order["executedQty"]) for order in orders} == {
        order["orderId"]: filled[order["orderId"]] for order in orders
    }
