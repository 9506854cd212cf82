"""A venue that fails: the breaker opens, probes, closes, and no order is doubled.

Of every request four in five end in a server error, before or after it was executed, in an answer that was lost, or in
"execution status unknown". A strategy wants something all the while. Then the venue behaves again, and everything that
nobody knew is found out. What the breaker did is told by the book's events, what reached the venue by the venue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from core import events
from core.ids import NS_PER_MS, NS_PER_S
from core.records import BreakerState
from tests.system.brakes.ground import Ground
from tools.demo import reference_prices
from tools.demo_stream import Purpose, stream
from tools.trial import judgement
from tools.trial import settings as trial_settings
from tools.trial.strategy import Strategy

SYMBOLS = ("BTC/USDT", "ETH/USDT")
KINDS = ("market", "place", "cancel", "order", "open_orders", "all_orders", "trades", "account")
WAYS = 4
"""Independent faults that together fail as many requests as wanted."""
ORDERS = "POST /api/v3/order "
GOOD = frozenset({"200", "400", "401", "429", "418"})
"""Statuses of an order that the venue has taken or refused; everything else says nothing."""
STEP_S = 0.05
ON_ITS_WAY_MS = trial_settings.TIMEOUT_MS
"""An order that left before the breaker opened may arrive so much later."""
END_TIMEOUT_S = 240.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run shall be."""

    failing_s: float = 60.0
    failing: float = 0.8
    """Share of the requests."""
    cool_off_s: int = 15
    per_second: float = 4.0
    """Intents that the strategy wants, while the venue fails and until the breaker has closed."""
    seed: int = 1

    def settings(self, venue_url: str) -> str:
        return trial_settings.toml(venue_url, cool_off_s=self.cool_off_s)

    def faults(self) -> dict[str, Any]:
        each = 1 - (1 - self.failing) ** (1 / WAYS)
        return {
            "seed": self.seed,
            "server_error": [
                {"probability": each, "point": "before", "on": KINDS},
                {"probability": each, "point": "after", "on": KINDS},
            ],
            "close_connection": {"probability": each, "point": "after", "on": KINDS},
            "backend_timeout": {"probability": each, "point": "after", "on": KINDS},
        }


class Shown:
    """What `intentctl status --json` shows of the breaker, once in each of its states."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.by_state: dict[str, Any] = {}

    def look(self) -> None:
        """Ask when the book says that the breaker has come into a state that was not shown yet."""
        if state_of(self._ground) not in self.by_state:
            shown = self._ground.daemon.ask("status")["breaker"]
            self.by_state.setdefault(shown["state"], shown)


def run(ground: Ground, plan: Plan) -> dict[str, Any]:
    """The figures of the JSON; `problems` are part of them."""
    began_s = time.monotonic()
    ground.start(plan.settings(ground.venue.base_url))
    strategy, shown = Strategy(ground.folder), Shown(ground)
    try:
        under_fire(ground, plan, strategy, shown)
        settle(ground, strategy)
        after = ground.daemon.ask("status")["breaker"]
    finally:
        strategy.close()
    ground.agrees_soon(strategy.wishes)
    ground.stop()
    changes = breaker_changes(ground)
    answers = ground.answers()
    book = ground.judged(strategy.wishes)
    figures = {
        "intents": book["intents"],
        "terminal": book["terminal"],
        "by_state": book["by_state"],
        "opens": sum(1 for change in changes if change.to_state is BreakerState.OPEN),
        "probes": sum(1 for change in changes if change.to_state is BreakerState.HALF_OPEN),
        "closes": sum(1 for change in changes if change.to_state is BreakerState.CLOSED),
        "changes": [
            {"to": str(change.to_state), "at_s": round((change.at_ns - changes[0].at_ns) / NS_PER_S, 1)}
            for change in changes
        ],
        "orders_asked": sum(count for name, count in answers.items() if name.startswith(ORDERS)),
        "failures_at_venue": failures(answers),
        "orders_at_venue": book["orders_at_venue"],
        "orders_while_open": orders_while_open(ground, changes),
        "duplicate_orders_at_venue": book["duplicate_orders_at_venue"],
        "drift": {name: amount for name, amount in book["balance_drift"].items() if amount},
        "status_while_open": shown.by_state.get("open"),
        "status_after": after,
        "contradictions": strategy.contradictions,
        "book": book,
        "seed": plan.seed,
        "elapsed_s": round(time.monotonic() - began_s, 3),
    }
    return figures | {"problems": problems(figures)}


def under_fire(ground: Ground, plan: Plan, strategy: Strategy, shown: Shown) -> None:
    """The venue fails for as long as planned; the strategy goes on until the breaker is closed again."""
    ground.progress.tell("waiting for the first start")
    wait_for(strategy.is_answered, "every part is ready", strategy)
    wishes = wanted(plan)
    ground.venue.misbehave(plan.faults())
    began_s = time.monotonic()
    is_failing, asked = True, 0
    while time.monotonic() - began_s < plan.failing_s + END_TIMEOUT_S:
        elapsed_s = time.monotonic() - began_s
        while asked < elapsed_s * plan.per_second:
            strategy.add(next(wishes))
            asked += 1
        strategy.step(STEP_S)
        shown.look()
        if is_failing and elapsed_s >= plan.failing_s:
            is_failing = False
            ground.venue.behave()
        state = state_of(ground)
        if not is_failing and state == BreakerState.CLOSED:
            return
        left_s = plan.failing_s - elapsed_s if is_failing else None
        venue = "fails" if is_failing else "behaves"
        ground.progress.tell(f"the venue {venue}, the breaker is {state}", asked - len(strategy.open), asked, left_s)


def wanted(plan: Plan) -> Iterator[Any]:
    """Requests without end."""
    prices = {symbol: reference_prices()[symbol] for symbol in SYMBOLS}
    count = int((plan.failing_s + END_TIMEOUT_S) * plan.per_second) + 1
    return (wish.request for wish in stream(count, SYMBOLS, prices, plan.seed) if wish.purpose is Purpose.INTENT)


def settle(ground: Ground, strategy: Strategy) -> None:
    """Until every intent has ended, or patience has."""
    strategy.cancel_resting()
    deadline = time.monotonic() + END_TIMEOUT_S
    while strategy.open and time.monotonic() < deadline:
        strategy.step(STEP_S)
        done = len(strategy.wishes) - len(strategy.open)
        ground.progress.tell("settling", done, len(strategy.wishes))


def wait_for(condition: Callable[[], bool], what: str, strategy: Strategy) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {END_TIMEOUT_S:g} s: {what}"
        strategy.step(STEP_S)


def state_of(ground: Ground) -> str:
    """By the book."""
    with ground.book() as view:
        record = view.breaker()
    return str(BreakerState.CLOSED if record is None else record.state)


def breaker_changes(ground: Ground) -> list[events.BreakerChanged]:
    with ground.book() as view:
        return [event for _, event in view.events() if isinstance(event, events.BreakerChanged)]


def failures(answers: Mapping[str, int]) -> int:
    """Orders that the venue itself left without a usable answer."""
    return sum(
        count for name, count in answers.items() if name.startswith(ORDERS) and name.rpartition(" ")[2] not in GOOD
    )


def orders_while_open(ground: Ground, changes: list[events.BreakerChanged]) -> int:
    """Orders that came to the venue while the breaker was open, though it was no probe."""
    count = 0
    arrived_ms = [at_ms for _, at_ms in ground.truth().arrived]
    for change, later in zip(changes, [*changes[1:], None], strict=True):
        if change.to_state is BreakerState.OPEN:
            since_ms = change.at_ns // NS_PER_MS + ON_ITS_WAY_MS
            until_ms = later.at_ns // NS_PER_MS - ON_ITS_WAY_MS if later is not None else since_ms
            count += sum(1 for at_ms in arrived_ms if since_ms < at_ms < until_ms)
    return count


def problems(figures: Mapping[str, Any]) -> list[str]:
    """What does not hold, one line each."""
    wrong = judgement.problems(figures["book"]) + figures["contradictions"]
    wrong += [f"the breaker never {what}" for what in ("opens", "probes", "closes") if not figures[what]]
    if figures["status_while_open"] is None:
        wrong.append("`intentctl status` never showed the breaker open")
    if figures["status_after"]["state"] != BreakerState.CLOSED:
        wrong.append(f"the breaker is {figures['status_after']['state']} though the venue behaves")
    if figures["status_after"]["opens_total"] != figures["opens"]:
        wrong.append(
            f"`intentctl status` counts {figures['status_after']['opens_total']} opens, the book {figures['opens']}"
        )
    if figures["orders_while_open"]:
        wrong.append(f"{figures['orders_while_open']} orders came to the venue while the breaker was open")
    return wrong
