"""What a seed does to the daemon: its faults and how likely each is, its timings, how much is wished for.

Some seeds are calm, some have one kind of trouble, some have all of it. In some, somebody else trades on the account;
in a few, money leaves it or comes to it without a trade. No read lags longer than `exchange.read_lag`, on which proofs
of absence stand, and no fill is reported later than `router.replace_wait` after a cancel, or an order that is replaced
could be bought twice; everything else has no limit that intentd could rely on.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Any, Final, NamedTuple

from core.settings import Settings, from_mapping
from exchange.simulator.limits import RateLimits
from tests.simulation.crashes import CrashWeather
from tests.simulation.road import RoadWeather
from tests.simulation.scheduler import NS_PER_S

BASE_URL: Final = "http://venue.invalid"
QUICK: Final[dict[str, dict[str, Any]]] = {
    "engine": {"restarts_max": 1_000, "hang_timeout": "5s", "request_timeout": "4s", "start_timeout": "20s"},
    "exchange": {"timeout_ms": 1_500, "recv_window_ms": 1_500, "read_lag": "3s", "base_url": BASE_URL},
    "router": {"backoff_ms": 200, "poll_interval": "700ms", "intent_stale_threshold": "15s", "order_max_age": "40s",
        "stream_poll_interval": "4s", "replace_wait": "7s"},
    "reconciler": {
        "start_timeout": "4s", "order_interval": "2s", "trades_interval": "3s", "late_fill_check": "5s",
        "open_orders_interval": "5s", "in_flight_interval": "1s", "in_flight_max": "6s", "balance_interval": "7s",
        "lookup_interval": "400ms", "drift_looks_max": 4,
    },
}  # fmt: skip
"""Everything that waits, waits shorter: a run takes a minute of virtual time instead of five."""
USUAL: Final[dict[str, dict[str, Any]]] = {
    "engine": {"restarts_max": 1_000},
    "exchange": {"base_url": BASE_URL},
    "router": {"order_max_age": "2m", "replace_wait": "7s"},
}
"""As shipped."""
VENUE_FAULTS: Final[dict[str, Any]] = {
    "partial_fill": {"probability": 0.3},
    "reject": {"probability": 0.05, "codes": [-2010, -1003, -1015, -1021]},
    "answer_lost": {"probability": 0.15},
    "latency_ms": {"probability": 0.1, "min": 10, "max": 2_500},
    "late_answer": {"probability": 0.05, "min": 500, "max": 15_000},
    "close_connection": [{"probability": 0.03, "point": "before"}, {"probability": 0.03, "point": "after"}],
    "server_error": [{"probability": 0.04, "point": "before"}, {"probability": 0.04, "point": "after"}],
    "backend_timeout": [{"probability": 0.04, "point": "before"}, {"probability": 0.04, "point": "after"}],
    "truncated_body": 0.03,
    "empty_body": 0.02,
    "html_body": 0.02,
    "garbled_body": 0.03,
    "clock_skew": {"probability": 0.03},
    "rate_limited": [{"probability": 0.03}, {"probability": 0.01, "status": 418}],
    "lagging_reads": {"probability": 0.3, "min": 100, "max": 2_500},
    "fill_after_cancel": {"probability": 0.7, "ms": 4_000},
    "cancel_crosses_fill": {"probability": 0.5, "share": 0.6},
    "duplicate_trades": {"probability": 0.2, "on": ["place", "trades"]},
    "reordered_trades": {"probability": 0.2, "on": ["place", "trades"]},
    "hidden_order": {"probability": 0.15},
    "outage": {"probability": 0.01, "min": 500, "max": 8_000},
}


RARE: Final = ("fill_after_cancel", "cancel_crosses_fill", "hidden_order")
"""These need an order that rests at the right moment, so one of them is always there."""
TROUBLES: Final = (
    (), ("venue",), ("road",), ("crash",), ("venue", "crash"), ("road", "crash"), ("venue", "road", "crash"),
    ("venue", "road", "crash"),
)  # fmt: skip


NO_LIMITS: Final[dict[str, Any]] = {
    "max_exposure_pct": 0, "max_positions": 0, "max_daily_drawdown_pct": 0, "max_trades_per_day": 0,
    "max_open_orders": 0,
}  # fmt: skip
BRAKES: Final = 0.25
"""Share of the seeds in which risk limits are tight, and an operator narrows or stops trading and lets it go on."""
STREAM_FAULTS: Final[dict[str, Any]] = {
    "stream_cut": [{"probability": 0.05, "point": "before"}, {"probability": 0.05, "point": "after"}],
    "stream_silent": {"probability": 0.03},
    "event_lost": 0.1,
    "event_twice": 0.2,
    "event_late": [
        {"probability": 0.15, "min": 10, "max": 3_000},
        {"probability": 0.1, "min": 10, "max": 3_000, "overtaken": True},
    ],
}
LISTENS: Final = 0.4
"""Share of the seeds in which there is a user stream."""
WATCHFUL: Final = 0.3
"""Share of the seeds in which balances are looked at again before the venue's reads have caught up."""
SKITTISH: Final[dict[str, Any]] = {"window": "5s", "min_samples": 2, "cool_off": "1s", "probes": 2}
"""A breaker that opens at the second failure."""
TIGHT: Final = 0.3
"""Share of the seeds with a venue, or a breaker, that allows little."""
RESTLESS: Final = 0.25
"""Share of the seeds in which clients want what rests at the venue, and other terms for it again and again."""
LATE_FILLS: Final = "fill_after_cancel"
BY_HAND: Final = 0.4
"""Share of the seeds in which somebody else trades on the account."""
BLIND: Final = 0.2
"""Share of the seeds in which the account cannot be read for a while."""
DRIFTS: Final = 0.1
"""Share of the seeds in which the balances change without a trade. Their storm is longer: wishes meet a halt."""


class Mood(StrEnum):
    """What every run is full of, so that what is rare in the usual weather is met in hundreds of runs."""

    USUAL = "usual"
    RESTLESS = "restless"
    """Clients want what rests at the venue, and other terms for it again and again."""
    STOPPING = "stopping"
    """Restless, and the daemon is stopped gracefully several times."""
    BLIND = "blind"
    """The account cannot be read for a while."""
    OUTLIVED = "outlived"
    """Restless, and parts that were thought dead go on, with what they had been sent."""


SLOW_ROAD: Final = RoadWeather(late=0.2, overtaking=0.3)
"""Buys are on their way to the gateway when the account cannot be read any more."""
OUTLIVED: Final = CrashWeather(deaths_max=12, chance=0.03, survives=0.6)
RESTS: Final = {Mood.RESTLESS, Mood.STOPPING, Mood.OUTLIVED}
GRACEFUL: Final = 0.3
"""Share of the seeds in which the daemon is stopped gracefully and started again."""
STOPS: Final = ((1, 3), (3, 6))
"""How many there are in a run then, usually and where it is all about them."""
STOP_TIMEOUTS: Final = ("1s", "3s", "10s")
"""Those of such a seed. One is too short to settle what is in doubt, which is the point of it."""


class Weather(NamedTuple):
    """Of one seed."""

    settings: Settings
    wishes: int
    storm_ns: int
    """Wishes and faults come within this time; then it is calm."""
    venue: dict[str, Any]
    """Rules of the simulator's faults."""
    requests_lost: float
    road: RoadWeather
    crash: CrashWeather
    by_hand: int
    """So many orders that somebody else places on the account."""
    transfers: int
    """So often money comes or goes without a trade: drift that nothing explains."""
    stops: int
    """So often an operator narrows or stops trading for a while."""
    graceful_stops: int
    """So often the daemon is stopped gracefully and started again."""
    weight_limit: int
    """Of the venue, by minute; 0: none."""
    order_limit: int
    """By ten seconds; 0: none."""
    is_restless: bool
    """Clients want what rests at the venue, and other terms for it again and again."""

    @property
    def is_fair(self) -> bool:
        """Nothing goes wrong."""
        return not self.venue and self.road == RoadWeather() and self.crash == CrashWeather()

    def limits(self) -> RateLimits:
        return RateLimits(self.weight_limit, self.order_limit)


def forecast(seed: int, random: Random, mood: Mood = Mood.USUAL) -> Weather:
    """What this seed brings. A mood adds to it; what it does not concern stays as it usually is."""
    quick = random.random() < 0.85
    risk = Random(f"{seed}/risk")  # a stream of its own
    is_braked = risk.random() < BRAKES
    limits = _limits(risk) if is_braked else {}
    chosen = (QUICK if quick else USUAL) | {"risk": NO_LIMITS | limits}
    if quick and Random(f"{seed}/looks").random() < WATCHFUL:
        chosen = chosen | {"reconciler": chosen["reconciler"] | {"balance_interval": "1s"}}
    kinds = random.choice(TROUBLES)
    drifts = random.random() < DRIFTS
    listening = Random(f"{seed}/stream")
    if listening.random() > LISTENS:
        chosen = chosen | {"exchange": chosen["exchange"] | {"user_stream": False}}
    private = Random(f"{seed}/private")
    is_blind = private.random() < BLIND or mood is Mood.BLIND
    if is_blind:
        chosen = chosen | {"reconciler": chosen.get("reconciler", {}) | {"private_data_max_age": "3s"}}
    brakes, graceful = Random(f"{seed}/brakes"), Random(f"{seed}/graceful")
    if brakes.random() < TIGHT:
        chosen = chosen | {"breaker": SKITTISH}
    is_graceful = graceful.random() < GRACEFUL or mood is Mood.STOPPING
    graceful_stops = graceful.randint(*STOPS[mood is Mood.STOPPING]) if is_graceful else 0
    if graceful_stops:
        chosen = chosen | {"engine": chosen["engine"] | {"stop_timeout": graceful.choice(STOP_TIMEOUTS)}}
    terms = Random(f"{seed}/terms")
    is_restless = terms.random() < RESTLESS or mood in RESTS
    venue = (_venue_faults(seed, random) | _stream_faults(listening)) if "venue" in kinds else {}
    if LATE_FILLS not in venue:
        chosen = chosen | {"router": chosen["router"] | {"replace_wait": terms.choice(("0s", "300ms", "1s"))}}
    weather = Weather(
        settings=from_mapping(chosen),
        wishes=random.randint(5, 12) * (2 if drifts else 1),
        storm_ns=random.randint(6, 20) * (3 if drifts else 1) * NS_PER_S,
        venue=_blinded(venue, private if is_blind else None),
        requests_lost=random.choice((0.0, 0.02, 0.1)) if "venue" in kinds else 0.0,
        road=_road(random) if "road" in kinds else RoadWeather(),
        crash=_crash(random) if "crash" in kinds else CrashWeather(),
        by_hand=random.randint(1, 6) if random.random() < BY_HAND else 0,
        transfers=1 if drifts else 0,
        stops=risk.randint(1, 4) if is_braked and not drifts else 0,
        graceful_stops=graceful_stops,
        weight_limit=brakes.choice((2_500, 4_000)) if brakes.random() < TIGHT else 0,
        order_limit=brakes.choice((2, 5)) if brakes.random() < TIGHT else 0,
        is_restless=is_restless,
    )
    if mood is Mood.OUTLIVED:
        return weather._replace(crash=OUTLIVED)
    return weather._replace(road=SLOW_ROAD) if mood is Mood.BLIND else weather


def _limits(random: Random) -> dict[str, Any]:
    """Some of them, tight enough to be hit now and then. Money is lost to fees and spreads alone, so no drawdown."""
    tight: dict[str, Any] = {
        "max_open_orders": random.randint(1, 5),
        "max_positions": random.randint(1, 2),
        "max_exposure_pct": random.choice(("0.1", "0.3", "0.6")),
        "max_trades_per_day": random.randint(3, 12),
        "max_order_notional": random.choice((200, 500)),
        "max_position_notional": random.choice((300, 900)),
        "symbol_cooldown": random.choice(("1s", "5s")),
    }
    return {name: tight[name] for name in random.sample(list(tight), random.randint(1, 3))}


def _venue_faults(seed: int, random: Random) -> dict[str, Any]:
    """A handful of the faults, or all."""
    names = list(VENUE_FAULTS)
    if random.random() < 0.7:
        names = sorted({*random.sample(names, random.randint(1, 6)), *random.sample(RARE, 1)})
    return {"seed": seed} | {name: VENUE_FAULTS[name] for name in names}


def _blinded(faults: dict[str, Any], random: Random | None) -> dict[str, Any]:
    """With the account unreadable for some questions in a row; not for the first ones, without which nothing starts."""
    if random is None:
        return faults
    first = random.randint(3, 6)
    rule = {"on": ["account"], "nth": list(range(first, first + random.randint(4, 16))), "point": "before"}
    others = faults.get("server_error", [])
    return faults | {"server_error": [*others, rule]}


def _stream_faults(random: Random) -> dict[str, Any]:
    names = random.sample(list(STREAM_FAULTS), random.randint(0, len(STREAM_FAULTS)))
    return {name: STREAM_FAULTS[name] for name in names}


def _road(random: Random) -> RoadWeather:
    return RoadWeather(
        lost=random.choice((0.0, 0.005, 0.02)),
        twice=random.choice((0.0, 0.02, 0.1)),
        late=random.choice((0.0, 0.02, 0.08)),
        overtaking=random.choice((0.0, 0.05, 0.3)),
    )


def _crash(random: Random) -> CrashWeather:
    return CrashWeather(
        deaths_max=random.randint(1, 8), chance=random.choice((0.01, 0.03)), survives=random.choice((0.0, 0.3))
    )
