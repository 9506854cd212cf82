"""Was the promise kept? What the strategy was told, what the book holds and what the venue did, side by side.

The venue is asked for the whole truth (`/_sim`) that no fault distorts, after the engine has stopped.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from core import holdings, trading
from core.events import AlertFired, StateChanged
from core.ids import CLIENT_ORDER_ID_PREFIX
from core.lifecycle import State, is_terminal
from core.money import ZERO
from core.records import IntentRecord, TradingState
from storage.layout import StateFolder
from storage.tables import Reader
from tools.command_book import ledger_summary
from tools.trial.strategy import Wish
from tools.trial.venue import Truth

FAILURES: Final = (
    "lost_intents",
    "duplicate_orders_at_venue",
    "overfilled_intents",
    "live_orders_left",
    "unbooked_fills",
    "double_booked_fills",
    "reservations_left",
    "trail_gaps",
)
"""Figures that must be 0."""
EXPLAINED: Final = frozenset({"LATE_FILL", "BALANCE_DRIFT", "PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK", "CLOCK_OFF"})
"""Alerts that are right: a fill that the venue shows late, money that a trial takes away, an account that cannot be
read for a while, a venue that tells a time which is not ours."""


def judge(view: Reader, folder: StateFolder, wishes: Mapping[str, Wish], truth: Truth) -> dict[str, Any]:
    """The figures of the JSON that come from the comparison."""
    records: dict[str, IntentRecord] = {record.intent.idempotency_key: record for record in view.intents()}
    attempts = {attempt.client_order_id for attempt in view.all_attempts()}
    ours = [order for order in truth.client_ids if order.startswith(CLIENT_ORDER_ID_PREFIX)]
    venue_fills = {(symbol, trade_id) for symbol, trade_id in truth.fills}
    book_fills = {(fill.symbol.replace("/", ""), str(fill.trade_id)) for fill in view.fills()}
    return {
        "intents": sum(1 for wish in wishes.values() if wish.refusal is None),
        "refused": sum(1 for wish in wishes.values() if wish.refusal is not None),
        "terminal": sum(1 for record in records.values() if is_terminal(record.state)),
        "replaced": sum(record.amendments for record in records.values()),
        "by_state": dict(sorted(Counter(str(record.state) for record in records.values()).items())),
        "lost_intents": sum(1 for key, wish in wishes.items() if _is_lost(wish, records.get(key))),
        "orders_at_venue": len(ours),
        "duplicate_orders_at_venue": len(ours) - len(set(ours)) + len(set(ours) - attempts),
        "overfilled_intents": sum(1 for record in records.values() if _bought_twice(view, record, truth)),
        "live_orders_left": sum(1 for name in truth.live if name.startswith(CLIENT_ORDER_ID_PREFIX)),
        "fills_at_venue": len(venue_fills),
        "unbooked_fills": len(venue_fills - book_fills),
        "double_booked_fills": len(book_fills - venue_fills) + _booked_twice(view),
        "reservations_left": view.count("reservations"),
        "balance_drift": _drift(view, truth),
        "ledger_balanced": bool(ledger_summary(view)["balanced"]),
        "trail_gaps": len(trail_gaps(view, folder)),
        "bad_alerts": dict(Counter(alert.code for alert in _alerts(view) if alert.code not in EXPLAINED)),
        "book_violations": holdings.violations(view),
        "trading_state": str(trading.standing(view).state),
    }


def _alerts(view: Reader) -> list[AlertFired]:
    return [event for _, event in view.events() if isinstance(event, AlertFired)]


def _is_lost(wish: Wish, record: IntentRecord | None) -> bool:
    """The strategy was told of an intent that the book does not have, or has otherwise; or was told nothing at all."""
    if record is None:
        return wish.refusal is None
    told = wish.record
    return told is None or told.intent.intent_id != record.intent.intent_id or told.filled_qty > record.filled_qty


def _bought_twice(view: Reader, record: IntentRecord, truth: Truth) -> bool:
    """At the venue, all attempts of the intent together have executed more than it wants."""
    attempts = view.attempts(record.intent.intent_id)
    return sum((truth.executed.get(attempt.client_order_id, ZERO) for attempt in attempts), ZERO) > record.qty


def _booked_twice(view: Reader) -> int:
    booked = [(entry.intent_id, entry.trade_id, entry.text) for entry in view.ledger() if entry.kind == "fill"]
    return len(booked) - len(set(booked))


def _drift(view: Reader, truth: Truth) -> dict[str, Decimal]:
    """Venue minus book, of the currencies that either has."""
    totals = {balance.currency: balance.total for balance in view.balances()}
    currencies = sorted(totals.keys() | {name for name, amount in truth.balances.items() if amount})
    return {name: truth.balances.get(name, ZERO) - totals.get(name, ZERO) for name in currencies}


def trail_gaps(view: Reader, folder: StateFolder) -> list[str]:
    """Where the story has a hole or says something twice; empty when it explains itself."""
    gaps = [f"outbox: {gap}" for gap in _holes(number for number, _ in view.events())]
    for record in view.intents():
        states = [event for event in view.trail(record.intent.intent_id) if isinstance(event, StateChanged)]
        froms, tos = [event.from_state for event in states], [event.to_state for event in states]
        if not states or froms[0] is not State.NEW or tos[-1] is not record.state or froms[1:] != tos[:-1]:
            gaps.append(f"{record.intent.intent_id}: {[str(state) for state in tos]}, and is {record.state}")
    written = sorted(itertools.chain(_sequences(folder.order_log), _sequences(folder.audit_log)))
    last = view.last_sequence("audit")
    if written != list(range(1, last + 1)):
        missing, twice = set(range(1, last + 1)) - set(written), len(written) - len(set(written))
        gaps.append(f"streams: {len(missing)} of {last} events are missing, {twice} are there twice")
    return gaps


def _holes(numbers: Iterable[int]) -> list[str]:
    expected, found = 1, []
    for number in numbers:
        if number != expected:
            found.append(f"{number} after {expected - 1}")
        expected = number + 1
    return found


def _sequences(path: Path) -> list[int]:
    return [msgspec.json.decode(line)["seq"] for line in path.read_bytes().splitlines()] if path.exists() else []


def problems(figures: Mapping[str, Any]) -> list[str]:
    """What is wrong, one line each."""
    wrong = [f"{name} is {figures[name]}" for name in FAILURES if figures[name]]
    if figures["terminal"] != figures["intents"]:
        wrong.append(f"{figures['terminal']} of {figures['intents']} intents are terminal")
    drift = {name: str(amount) for name, amount in figures["balance_drift"].items() if amount}
    if drift:
        wrong.append(f"balances differ (venue minus book): {drift}")
    if not figures["ledger_balanced"]:
        wrong.append("the ledger does not balance, or does not explain the balances")
    wrong += figures["book_violations"]
    if figures["bad_alerts"]:
        wrong.append(f"alerts that no fault of the venue explains: {figures['bad_alerts']}")
    if figures["trading_state"] != TradingState.ACTIVE:
        wrong.append(f"trading is {figures['trading_state']}, and nobody but the engine can have done that")
    if figures.get("orders_after_halt"):
        wrong.append(f"{figures['orders_after_halt']} orders reached the venue while trading was halted")
    if not figures.get("halt", {}).get("is_over", True):
        wrong.append("trading was halted and not let go on again")
    wrong += [f"verify: {line}" for line in figures.get("verify", [])]
    wrong += figures.get("contradictions", [])
    return wrong
