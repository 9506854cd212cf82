"""Does the book match the venue, to the last digit? The comparison that ends every demo.

The venue is asked directly, through a client of its own, after the engine has stopped: nothing of what the engine
believes is used for the venue's side.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from core import holdings
from core.errors import IntentdError
from core.ids import CLIENT_ORDER_ID_PREFIX, TradeId
from core.lifecycle import is_terminal
from core.money import ZERO
from core.reports import QueryFailed, Trade
from core.settings import Settings
from core.transitions import latency_ns
from storage.tables import Reader
from tools import views
from tools.command_book import ledger_summary

if TYPE_CHECKING:
    from exchange.client import VenueClient

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class VenueTruth(msgspec.Struct, frozen=True):
    """What the venue says about the account."""

    orders: list[dict[str, Any]]
    """The venue's own records."""
    trades: dict[str, tuple[Trade, ...]]
    """By symbol."""
    balances: dict[str, Decimal]
    """Totals by currency."""


def ask_venue(settings: Settings, symbols: list[str]) -> VenueTruth:
    """Every order and trade of the symbols, and the balances. Raises `IntentdError` when the venue does not answer."""
    return asyncio.run(_ask(settings, symbols))


async def _ask(settings: Settings, symbols: list[str]) -> VenueTruth:
    from exchange.client import VenueClient  # noqa: PLC0415  (the launcher forks actors that must not carry ccxt)

    client = VenueClient(settings, os.environ, lambda _line: None, time.time_ns)
    try:
        account = await client.start()
        orders: list[dict[str, Any]] = []
        trades: dict[str, tuple[Trade, ...]] = {}
        for symbol in symbols:
            orders += await _all_orders(client, symbol)
            trades[symbol] = await _all_trades(client, symbol)
        return VenueTruth(orders, trades, account.totals)
    finally:
        await client.close()


async def _all_orders(client: VenueClient, symbol: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        page = await client.all_orders(symbol, start)
        if isinstance(page, QueryFailed):
            raise IntentdError(f"the venue did not list the orders of {symbol}: {page.reason}")
        found += page.orders
        start = page.next_id
    return found


async def _all_trades(client: VenueClient, symbol: str) -> tuple[Trade, ...]:
    found: list[Trade] = []
    start = TradeId("0")
    while True:
        page = await client.trades(symbol, start, 0)
        if isinstance(page.trades, QueryFailed):
            raise IntentdError(f"the venue did not list the trades of {symbol}: {page.trades.reason}")
        found += page.trades
        if page.complete:
            return tuple(found)
        start = TradeId(str(int(page.trades[-1].trade_id) + 1))


def judge(view: Reader, venue: VenueTruth) -> dict[str, Any]:
    """The figures of the demo's JSON that come from the book and the venue."""
    records = list(view.intents())
    ours = [order["clientOrderId"] for order in venue.orders]
    known = {attempt.client_order_id for attempt in view.all_attempts()}
    stray = sum(1 for order in ours if order.startswith(CLIENT_ORDER_ID_PREFIX) and order not in known)
    venue_fills = {(symbol, trade.trade_id) for symbol, trades in venue.trades.items() for trade in trades}
    book_fills = {(fill.symbol, fill.trade_id) for fill in view.fills()}
    totals = {balance.currency: balance.total for balance in view.balances()}
    currencies = sorted(totals.keys() | venue.balances.keys())
    return {
        "intents": len(records),
        "terminal": sum(1 for record in records if is_terminal(record.state)),
        "replaced": sum(record.amendments for record in records),
        "by_state": dict(sorted(Counter(str(record.state) for record in records).items())),
        "orders_at_venue": len(ours),
        "duplicate_orders_at_venue": len(ours) - len(set(ours)) + stray,
        "reservations_left": view.count("reservations"),
        "ledger_balanced": bool(ledger_summary(view)["balanced"]),
        "fills_venue": len(venue_fills),
        "fills_booked": len(book_fills),
        "fills_differ": len(venue_fills ^ book_fills),
        "balance_drift": {
            currency: venue.balances.get(currency, ZERO) - totals.get(currency, ZERO) for currency in currencies
        },
        "book_violations": holdings.violations(view),
        "latency_ms": _latency(view),
    }


def _latency(view: Reader) -> dict[str, float | None]:
    """Submit → done, of the intents that were filled in their first attempt and did not rest."""
    taken = sorted(
        latency_ns(record)["total"]
        for record in view.intents()
        if record.attempts == 1 and record.filled_qty >= record.qty and "done" in record.marks
    )
    if not taken:
        return dict.fromkeys(PERCENTILES)
    return {name: views.milliseconds(taken[int(share * (len(taken) - 1))]) for name, share in PERCENTILES.items()}


def problems(figures: dict[str, Any]) -> list[str]:
    """What is wrong, one line each; an empty list is the promise kept."""
    wrong = []
    if figures["terminal"] != figures["intents"]:
        wrong.append(f"{figures['intents'] - figures['terminal']} intents are not terminal")
    if figures["duplicate_orders_at_venue"]:
        wrong.append(f"{figures['duplicate_orders_at_venue']} duplicate or unknown orders at the venue")
    if figures["reservations_left"]:
        wrong.append(f"{figures['reservations_left']} reservations are left")
    if not figures["ledger_balanced"]:
        wrong.append("the ledger does not balance, or does not explain the balances")
    if figures["fills_differ"] or figures["fills_venue"] != figures["fills_booked"]:
        wrong.append(f"{figures['fills_differ']} fills differ between venue and book")
    drift = {currency: amount for currency, amount in figures["balance_drift"].items() if amount != 0}
    if drift:
        wrong.append(f"balances differ (venue minus book): {drift}")
    wrong += figures["book_violations"]
    return wrong
