"""What our stream tells adds up to what the venue answers when it is asked, over the wire."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

import pytest

from core.reports import OrderSnapshot, Trade
from tests.exchange.conftest import Venue
from tests.exchange.streaming import Owner, streaming, wired, within
from tests.exchange.test_stream_events import TRADE

STEPS: Final = 60
WEATHER: Final[dict[str, Any]] = {
    "partial_fill": 0.3,
    "cancel_crosses_fill": {"probability": 0.3, "share": 0.6},
    "fill_after_cancel": {"probability": 0.3, "ms": 50},
    "latency_ms": {"min": 0, "max": 3},
    "event_twice": 0.1,
    "event_late": [{"probability": 0.1, "ms": 5}, {"probability": 0.1, "ms": 20, "overtaken": True}],
}
"""Everything that changes when and how often something is told, and nothing that keeps it from being told."""
KIND: Final = {"LIMIT": ("GTC", "GTC", "IOC", "FOK"), "LIMIT_MAKER": (None,), "MARKET": (None,)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_told_is_what_is_answered(venue: Venue, seed: int) -> None:
    """Random orders, cancels and price moves: every order's last state, and every trade with all its fields."""
    venue.set_faults(WEATHER | {"seed": seed})
    print(f"seed {seed}")

    async def watch() -> Owner:
        async with streaming(venue.base_url) as owner:
            await owner.connections(1)
            await asyncio.to_thread(trade, venue, random.Random(seed), f"truth{seed}-")
            await asyncio.to_thread(venue.ask, "DELETE", "/_sim/faults")
            wanted = await asyncio.to_thread(answered, venue, f"truth{seed}-")
            await owner.until(lambda: told(owner, f"truth{seed}-") == wanted)
            assert len(owner.states) == 1
            return owner

    owner = within(watch(), 60)
    assert any(report.trades for _, report in owner.reports)


def trade(venue: Venue, dice: random.Random, prefix: str) -> None:
    bid, ask = venue.best("BTCUSDT")
    names = []
    for number in range(STEPS):
        match dice.randrange(6):
            case 0 if names:
                venue.cancel(dice.choice(names))
            case 1:
                venue.move("BTCUSDT", f"{bid + dice.randint(-60, 60):f}")
            case _:
                names.append(f"{prefix}{number}")
                place(venue, dice, names[-1], bid if dice.random() < 0.5 else ask)
    for row in venue.read("openOrders"):
        venue.cancel(row["clientOrderId"])
    venue.move("BTCUSDT", f"{bid:f}")


def place(venue: Venue, dice: random.Random, name: str, near: Decimal) -> None:
    """Refusals are fine."""
    kind = dice.choice(list(KIND))
    price = f"{near + dice.randint(-30, 30):f}" if kind != "MARKET" else None
    fields = {
        "side": dice.choice(["BUY", "SELL"]), "type": kind, "timeInForce": dice.choice(KIND[kind]), "price": price,
        "quantity": f"0.{dice.randint(1, 60):03}",
    }  # fmt: skip
    usual = {"symbol": "BTCUSDT", "newClientOrderId": name}
    venue.ask_signed(
        "POST", "/api/v3/order", usual | {key: value for key, value in fields.items() if value is not None}
    )


Facts = dict[str, tuple[str, Decimal, frozenset[tuple[Any, ...]]]]
"""Of each order by its name: status, what is filled, and its trades."""


def answered(venue: Venue, prefix: str) -> Facts:
    trades = defaultdict(set)
    for row in venue.read("myTrades", limit=1_000):
        numbers = (Decimal(row[key]) for key in ("qty", "price", "quoteQty", "commission"))
        trades[row["orderId"]].add((str(row["id"]), *numbers, row["commissionAsset"], row["isMaker"], row["time"]))
    return {
        row["clientOrderId"]: (row["status"], Decimal(row["executedQty"]), frozenset(trades[row["orderId"]]))
        for row in venue.read("allOrders", limit=1_000)
        if row["clientOrderId"].startswith(prefix)
    }


def told(owner: Owner, prefix: str) -> Facts:
    """As a receiver adds it up for whom order and repetition mean nothing: the most that was filled, the latest end."""
    found: dict[str, list[OrderSnapshot]] = defaultdict(list)
    for _, report in owner.reports:
        if report.client_order_id.startswith(prefix):
            found[report.client_order_id].append(report)
    return {name: summed(reports) for name, reports in found.items()}


def summed(reports: list[OrderSnapshot]) -> tuple[str, Decimal, frozenset[tuple[Any, ...]]]:
    last = max(reports, key=lambda report: (report.filled_qty, rank(report.venue_status)))
    return last.venue_status, last.filled_qty, frozenset(row(trade) for report in reports for trade in report.trades)


def rank(status: str) -> int:
    """How late in an order's life."""
    return ("NEW", "PARTIALLY_FILLED").index(status) if status in {"NEW", "PARTIALLY_FILLED"} else 2


def row(trade: Trade) -> tuple[Any, ...]:
    amounts = (trade.qty, trade.price, trade.quote_qty, trade.fee)
    return (str(trade.trade_id), *amounts, trade.fee_currency, trade.maker, trade.venue_ns // 1_000_000)


def test_the_simulators_events_have_the_fields_of_the_venues(venue: Venue) -> None:
    """By name and kind of value, those of the example in Binance's documentation."""

    async def heard() -> dict[str, Any]:
        async with wired(venue.base_url) as wire:
            await wire.subscribe()
            await asyncio.to_thread(venue.place, "fields", price="70000", timeInForce="IOC")
            return (await wire.until("TRADE", "fields"))[-1]

    event = within(heard())
    assert {name: type(value) for name, value in event.items()} == {name: type(value) for name, value in TRADE.items()}
