"""Fills by three ways: the stream is cut at random, and each trade is booked once, whichever way told of it first.

Every seed is a run of its own with a fresh venue and a fresh daemon: orders that fill at once, and more that rest while
the market is moved over them; answers are lost, the stream is cut, refused and silent, and its events are lost, late
and repeated. Then the venue behaves, and what it has is compared with the book.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from core.intent import IntentRequest, Kind, Side, TimeInForce
from tests.system.brakes.ground import Ground
from tools.demo import reference_prices
from tools.trial import judgement
from tools.trial import settings as trial_settings
from tools.trial.strategy import Strategy

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "placement": ("placement",),
    "stream": ("stream",),
    "asked": ("lookup", "orders", "trades"),
}
"""How a fill is told, and what the book calls it."""
NOTIONAL = (30, 120)
RESTING_SHARE = 0.6
AWAY = (0.0005, 0.003)
"""Of the market's price: where an order rests."""
MOVED = 0.004
"""The market moves so far up and down, as a share of its opening price."""
MOVE_S = 0.3
WINDOW = 30
"""Intents that are open at one time, until the market has to move."""
STEP_S = 0.05
END_TIMEOUT_S = 180.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs shall be."""

    seeds: int = 50
    seed: int = 1
    """The first of them."""
    intents: int = 40
    """Of one run."""
    fire_s: float = 8.0
    """The shortest time for which the venue misbehaves."""


def faults(seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "latency_ms": {"min": 1, "max": 8},
        "partial_fill": {"probability": 0.3, "on": ["place"]},
        "answer_lost": {"probability": 0.1},
        "close_connection": {"probability": 0.05, "point": "after", "on": ["place", "cancel"]},
        "stream_cut": [{"probability": 0.03, "point": "before"}, {"probability": 0.03, "point": "after"}],
        "stream_refused": 0.2,
        "stream_silent": {"probability": 0.003, "ms": 3_000},
        "event_lost": 0.05,
        "event_twice": 0.1,
        "event_late": [{"probability": 0.05, "ms": 300}, {"probability": 0.05, "ms": 300, "overtaken": True}],
        "duplicate_trades": 0.2,
        "reordered_trades": 0.2,
        "fill_after_cancel": {"probability": 0.2, "ms": trial_settings.READ_LAG_MS // 2},
    }


def run(open_ground: Callable[[int], Any], tell: Callable[..., None], plan: Plan) -> dict[str, Any]:
    """The figures of the JSON; `problems` are part of them. `open_ground` makes the ground of a seed, a context."""
    began_s = time.monotonic()
    total: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    violations: list[dict[str, Any]] = []
    for number, seed in enumerate(range(plan.seed, plan.seed + plan.seeds)):
        elapsed_s = time.monotonic() - began_s
        left_s = elapsed_s / number * (plan.seeds - number) if number else None
        tell(f"{len(violations)} violations, seeds", number, plan.seeds, left_s)
        with open_ground(seed) as ground:
            found = run_seed(ground, plan, seed)
        by_source.update(found.pop("by_source"))
        violations += [{"seed": seed, "reason": reason} for reason in found.pop("problems")]
        total.update(found)
    by_way = {way: sum(by_source[source] for source in sources) for way, sources in WAYS.items()}
    figures = {
        "seeds": plan.seeds,
        "first_seed": plan.seed,
        **total,
        "by_source": dict(sorted(by_source.items())),
        "by_way": by_way,
        "violations": violations,
        "elapsed_s": round(time.monotonic() - began_s, 3),
    }
    return figures | {"problems": problems(figures)}


def run_seed(ground: Ground, plan: Plan, seed: int) -> dict[str, Any]:
    """Counts of one run, how its fills were told, and what does not hold."""
    ground.start(trial_settings.toml(ground.venue.base_url))
    strategy = Strategy(ground.folder)
    try:
        ground.venue.misbehave(faults(seed))
        under_fire(ground, plan, strategy, seed)
        cuts = sum(count for name, count in ground.answers().items() if name.startswith("WS "))
        ground.venue.behave()
        settle(strategy)
    finally:
        strategy.close()
    ground.agrees_soon(strategy.wishes)
    ground.stop()
    book = ground.judged(strategy.wishes)
    with ground.book() as view:
        sources = Counter(fill.source for fill in view.fills())
    return {
        "intents": book["intents"],
        "terminal": book["terminal"],
        "subscriptions": cuts,
        "fills_venue": book["fills_at_venue"],
        "fills_booked": sources.total(),
        "doubles": book["double_booked_fills"],
        "by_source": sources,
        "problems": judgement.problems(book) + strategy.contradictions,
    }


def under_fire(ground: Ground, plan: Plan, strategy: Strategy, seed: int) -> None:
    """Everything is submitted, and the market moves over what rests."""
    draw = random.Random(f"brakes stream {seed}")
    left = list(wanted(draw, plan.intents, seed))
    began_s = moved_s = time.monotonic()
    while (left or time.monotonic() - began_s < plan.fire_s) and time.monotonic() - began_s < END_TIMEOUT_S:
        while left and len(strategy.open) < WINDOW:
            strategy.add(left.pop())
        strategy.step(STEP_S)
        if time.monotonic() - moved_s > MOVE_S:
            moved_s = time.monotonic()
            symbol = draw.choice(SYMBOLS)
            ground.venue.move(symbol, price_near(symbol, draw.uniform(-MOVED, MOVED)))


def wanted(draw: random.Random, count: int, seed: int) -> Iterator[IntentRequest]:
    """Orders at the market, and more that rest near it."""
    for number in range(count):
        symbol, side = draw.choice(SYMBOLS), draw.choice((Side.BUY, Side.SELL))
        budget = Decimal(draw.randint(*NOTIONAL))
        common: Any = {"symbol": symbol, "side": side, "quote_budget": budget, "key": f"ways-{seed}-{number}"}
        if draw.random() >= RESTING_SHARE:
            yield IntentRequest(kind=Kind.MARKET, **common)
            continue
        away = draw.uniform(*AWAY)
        limit = price_near(symbol, -away if side is Side.BUY else away)
        yield IntentRequest(kind=Kind.LIMIT, limit_price=limit, tif=TimeInForce.GTC, **common)


def price_near(symbol: str, share: float) -> Decimal:
    """The price at which the market opened and a little more, in five digits."""
    opening = reference_prices()[symbol]
    price = opening * (1 + Decimal(str(round(share, 6))))
    return price.quantize(Decimal(1).scaleb(opening.adjusted() - 4))


def settle(strategy: Strategy) -> None:
    """Until every intent has ended, or patience has."""
    strategy.cancel_resting()
    deadline = time.monotonic() + END_TIMEOUT_S
    while strategy.open and time.monotonic() < deadline:
        strategy.step(STEP_S)


def problems(figures: Mapping[str, Any]) -> list[str]:
    """What does not hold, one line each."""
    wrong = [f"seed {found['seed']}: {found['reason']}" for found in figures["violations"]]
    if figures["fills_booked"] != figures["fills_venue"]:
        wrong.append(f"{figures['fills_booked']} fills are booked, and the venue has {figures['fills_venue']}")
    if figures["doubles"]:
        wrong.append(f"{figures['doubles']} fills are booked twice, or are none of the venue's")
    wrong += [f"no fill was booked by way of {way}" for way, count in figures["by_way"].items() if not count]
    return wrong
