"""The account's one budget of requests: may this one leave now, and if not, when?

What it guarantees
------------------
* Nothing leaves that would pass a limit of the venue, as far as its own answers let anybody know (`core/meter.py`), and
  the book: what a gateway before this one has placed lately counts, too (`core/predecessor.py`).
* Of each minute's weight a part is kept for each lane (`KEPT`), so none starves another; the part of cancels is kept
  from everybody, and cancels may use all.
* The orders of ten seconds and of a day bind placements alone.
* When the venue says "too many", what it concerns stops until it says: all lanes for weight (-1003) and for a ban
  (418), placements alone for the order count (-1015).
* A placement without room is not kept waiting here: it is told when to come again (`core/tickets.py`).

Limits are the venue's own, from its `exchangeInfo`; a list without a kind has no such limit, and only where there is no
list do Binance's hold. Who uses it: `exchange/lanes.py`. Pure: the clock comes in, ns UTC of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from core.events import RateLimitHit
from core.ids import NS_PER_S
from core.meter import Earlier, Mark, Meter, VenueClock
from core.tickets import Tickets

MINUTE_NS: Final = 60 * NS_PER_S
TEN_SECONDS_NS: Final = 10 * NS_PER_S
DAY_NS: Final = 86_400 * NS_PER_S


class Lane(StrEnum):
    """By priority."""

    CANCEL = "cancel"
    LOOK_UP = "look_up"
    """What became of one order, and the price that the next one is planned against."""
    SWEEP = "sweep"
    """Lists: open orders, recent orders, trades, balances."""
    ON_DEMAND = "on_demand"
    """The same lists, because somebody has asked for everything to be compared: as often as he likes."""
    PLACE = "place"


QUERIES: Final = (Lane.LOOK_UP, Lane.SWEEP, Lane.ON_DEMAND)
KEPT: Final[Mapping[Lane, int]] = {
    Lane.CANCEL: 5, Lane.LOOK_UP: 20, Lane.SWEEP: 20, Lane.ON_DEMAND: 5, Lane.PLACE: 20,
}  # fmt: skip
"""Percent of a minute's weight that no other lane may use, but for cancels; the rest is for whoever comes first."""


class Limit(NamedTuple):
    """One of the venue's."""

    name: str
    """`weight_1m`, `orders_10s`, `orders_1d`."""
    length_ns: int
    limit: int
    """0: none."""


DEFAULTS: Final = (
    Limit("weight_1m", MINUTE_NS, 6_000),
    Limit("orders_10s", TEN_SECONDS_NS, 100),
    Limit("orders_1d", DAY_NS, 200_000),
)
KINDS: Final = {("REQUEST_WEIGHT", "MINUTE", 1): 0, ("ORDERS", "SECOND", 10): 1, ("ORDERS", "DAY", 1): 2}
"""A row of `exchangeInfo` → its place in `DEFAULTS`. Binance's RAW_REQUESTS (61 000 in 5 min) never binds: each request
weighs at least 1."""
TOO_MANY: Final = 429
BANNED: Final = 418
ORDERS_CODE: Final = -1015


def limits_of(rows: object) -> tuple[Limit, ...]:
    """From the `rateLimits` of `exchangeInfo`; what is no such list is none."""
    if not isinstance(rows, list):
        return DEFAULTS
    stated = [0] * len(DEFAULTS)
    for row in rows:
        if isinstance(row, Mapping) and isinstance(row.get("limit"), int):
            place = KINDS.get((str(row.get("rateLimitType")), str(row.get("interval")), row.get("intervalNum", 0)))
            if place is not None:
                stated[place] = row["limit"]
    return tuple(default._replace(limit=limit) for default, limit in zip(DEFAULTS, stated, strict=True))


DOUBLINGS_MAX: Final = 6
"""The venue does not say which limit of orders was hit. After each refusal that follows a stop the next one is twice as
long, ten seconds at first, so that a day's limit is not asked for every ten seconds until midnight."""


class Pass(NamedTuple):
    """A request may leave, and is counted."""

    lane: Lane
    sent_ns: int
    marks: tuple[Mark, ...]
    """Of the weight's meter, and for a placement of the orders'."""


class Held(NamedTuple):
    """It may not."""

    until_ns: int
    """When there may be room; ns of ours."""
    reason: str


class Stop(NamedTuple):
    """The venue has said "too many"."""

    lanes: tuple[Lane, ...]
    since_ns: int
    until_ns: int
    reason: str


class LimitFigures(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    used: int
    """In the present window, as far as it is known."""
    in_flight: int
    """On its way."""
    limit: int
    """0: none."""


class StopFigures(msgspec.Struct, frozen=True, kw_only=True):
    lane: str
    until_ns: int
    """ns UTC."""
    reason: str


class RateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """For reports."""

    limits: tuple[LimitFigures, ...]
    stopped: tuple[StopFigures, ...]
    waiting: dict[str, int]
    """Requests by lane: cancels and questions wait in the gateway, placements in RETRY."""
    refused_by_venue: int
    """Answers 429 and 418 since the gateway's start."""
    placements_held: int
    """Placements that had no room, since the gateway's start."""


class Rates:
    """Of one account."""

    def __init__(self, limits: Iterable[Limit] = DEFAULTS, ahead_ns: int = MINUTE_NS) -> None:
        """A placement without room is told to come within `ahead_ns` or to ask again then."""
        self.clock = VenueClock()
        self.refused_by_venue = 0
        self.placements_held = 0
        self._refusals_in_a_row = 0
        """Placements that were too many for the venue, with a stop between each two of them and nothing else."""
        self._has_shown_orders = False
        self._ahead_ns = ahead_ns
        self._stops: dict[Lane, Stop] = {}
        self.announce(limits)

    def announce(self, limits: Iterable[Limit]) -> None:
        """The venue's limits; what was counted so far is forgotten, for the venue shows it, or it is recalled."""
        meters = [Meter(limit.name, limit.limit, limit.length_ns, self.clock) for limit in limits]
        self._weight, self._orders = meters[0], tuple(meters[1:])
        self._tickets = Tickets(self._orders[0], self._ahead_ns)
        self._kept = {lane: self._weight.limit * percent // 100 for lane, percent in KEPT.items()}
        self._own = dict.fromkeys(Lane, 0)
        self._own_turn = -1

    def recall(self, placed: Iterable[Earlier], now_ns: int) -> None:
        """After the limits were announced and the venue's clock was read: these orders of a gateway before this one
        count in their ten seconds. A day's count is shown with the first answer."""
        self._orders[0].recall(placed, now_ns)

    def end_placing(self) -> None:
        """No placement comes any more: what is kept for them is for the others."""
        self._kept[Lane.PLACE] = 0

    # ── before a request ──────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, lane: Lane, weight: int, now_ns: int) -> Pass | Held:
        """For a cancel or a question."""
        held = self._stopped(lane, now_ns) or self._too_heavy(lane, weight, now_ns)
        return held or self._pass(lane, now_ns, weight)

    def place(self, intent_id: str, weight: int, now_ns: int) -> Pass | Held:
        """For a placement. Who is held has a ticket for that time."""
        held = self.would_hold(intent_id, weight, now_ns)
        if held is not None:
            return self.come_again(intent_id, held.until_ns, held.reason, now_ns)
        self._tickets.use(intent_id, now_ns)
        return self._pass(Lane.PLACE, now_ns, weight, with_orders=True)

    def would_hold(self, intent_id: str, weight: int, now_ns: int) -> Held | None:
        """Why a placement may not leave now."""
        held = self._stopped(Lane.PLACE, now_ns) or self._too_heavy(Lane.PLACE, weight, now_ns)
        if held is not None:
            return held
        for meter in self._orders:
            if meter.limit and meter.taken(now_ns) >= meter.limit:
                return Held(meter.turns_at(now_ns), f"{meter.name}: all of {meter.limit} orders are used")
        shortest = self._orders[0]
        kept = self._tickets.kept(intent_id, now_ns)
        if kept and shortest.limit and shortest.taken(now_ns) + kept >= shortest.limit:
            next_ns = shortest.begins_at(shortest.window_at(now_ns) + 1)
            return Held(next_ns, f"{shortest.name}: {kept} of {shortest.limit} orders belong to intents that wait")
        return None

    def come_again(self, intent_id: str, from_ns: int, reason: str, now_ns: int) -> Held:
        """A time for a placement that may not leave now, not before `from_ns`."""
        self.placements_held += 1
        return Held(self._tickets.give(intent_id, from_ns, now_ns), reason)

    def give_back(self, passed: Pass) -> None:
        """The request did not leave after all."""
        for meter, mark in zip(self._meters, passed.marks, strict=False):
            meter.give_back(mark)
        weight = passed.marks[0]
        if weight.turn == self._own_turn:
            self._own[passed.lane] -= weight.amount

    @property
    def orders_are_known(self) -> bool:
        """Whether the venue has shown how many orders it counts, if it limits them: a gateway before this one may have
        placed some."""
        return self._has_shown_orders or not any(meter.limit for meter in self._orders)

    # ── after it ──────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self, passed: Pass, shown: Iterable[int | None], now_ns: int) -> None:
        """It is over. `shown` are the venue's counts of weight and orders with its answer, in the order of `DEFAULTS`;
        None where there is none."""
        counts = tuple(shown)
        for meter, mark, count in zip(self._meters, passed.marks, counts, strict=False):
            meter.settle(mark, count, passed.sent_ns, now_ns)
        if passed.lane is Lane.PLACE and counts[1] is not None:
            self._has_shown_orders = True

    def order_answered(self) -> None:
        """The venue has answered a placement, and not that there were too many."""
        self._refusals_in_a_row = 0

    def refused(self, status: int, code: int | None, retry_after_ns: int, now_ns: int) -> Stop:
        """The venue answered 429 or 418. What stops until when; a shorter stop does not end a longer one, and it is the
        longer one then that is told: a gateway after this one knows only of the last."""
        self.refused_by_venue += 1
        concerns_orders = status == TOO_MANY and code == ORDERS_CODE
        lanes = (Lane.PLACE,) if concerns_orders else tuple(Lane)
        meter = self._orders[0] if concerns_orders else self._weight
        until_ns = now_ns + retry_after_ns if retry_after_ns else meter.turns_at(now_ns)
        if concerns_orders and not retry_after_ns:
            if self._stopped(Lane.PLACE, now_ns) is None:
                self._refusals_in_a_row += 1
            doublings = min(max(0, self._refusals_in_a_row - 1), DOUBLINGS_MAX)  # 0 also within a stop for weight
            until_ns += meter.length_ns * (2**doublings - 1)
        what = "banned" if status == BANNED else "too many orders" if concerns_orders else "too much weight"
        stop = Stop(lanes, now_ns, until_ns + self.clock.error_ns, f"the venue answered {status}: {what}")
        in_force = [self._stops[lane] for lane in lanes if self._stopped(lane, now_ns)]
        shortest = min(in_force, key=lambda each: each.until_ns, default=stop)
        if len(in_force) == len(lanes) and shortest.until_ns >= stop.until_ns:
            return shortest
        for lane in lanes:
            before = self._stops.get(lane)
            if before is None or before.until_ns < stop.until_ns:
                self._stops[lane] = stop
        return stop

    def go_on_with(self, hit: RateLimitHit, now_ns: int) -> None:
        """What a gateway before this one was told, so that this one does not insist. By the wall clock; one that was
        set back makes it no longer than it was."""
        until_ns = min(hit.until_ns, now_ns + hit.until_ns - hit.at_ns)
        lanes = tuple(lane for lane in Lane if lane in hit.lanes)
        self._stops |= dict.fromkeys(lanes, Stop(lanes, now_ns, until_ns, hit.reason))

    # ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────

    def figures(self, queued: Mapping[Lane, int], now_ns: int) -> RateFigures:
        """`queued` counts the requests that wait, by lane."""
        stopped = [(lane, stop) for lane, stop in self._stops.items() if self._stopped(lane, now_ns)]
        return RateFigures(
            limits=tuple(
                LimitFigures(name=meter.name, used=meter.used(now_ns), in_flight=meter.in_flight, limit=meter.limit)
                for meter in self._meters
            ),
            stopped=tuple(
                StopFigures(lane=str(lane), until_ns=stop.until_ns, reason=stop.reason) for lane, stop in stopped
            ),
            waiting={str(lane): count for lane, count in queued.items()}
            | {str(Lane.PLACE): self._tickets.waiting(now_ns)},
            refused_by_venue=self.refused_by_venue,
            placements_held=self.placements_held,
        )

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _meters(self) -> tuple[Meter, ...]:
        return (self._weight, *self._orders)

    def _pass(self, lane: Lane, now_ns: int, weight: int, *, with_orders: bool = False) -> Pass:
        marks = [self._weight.take(weight, now_ns)]
        if with_orders:
            marks += [meter.take(1, now_ns) for meter in self._orders]
        self._own[lane] += weight
        return Pass(lane, now_ns, tuple(marks))

    def _stopped(self, lane: Lane, now_ns: int) -> Held | None:
        stop = self._stops.get(lane)
        if stop is None:
            return None
        if now_ns < stop.since_ns:  # our clock was set back
            stop = self._stops[lane] = stop._replace(since_ns=now_ns, until_ns=now_ns + stop.until_ns - stop.since_ns)
        return Held(stop.until_ns, stop.reason) if now_ns < stop.until_ns else None

    def _too_heavy(self, lane: Lane, weight: int, now_ns: int) -> Held | None:
        meter = self._weight
        if not meter.limit:
            return None
        taken = meter.taken(now_ns)
        if meter.turn != self._own_turn:
            self._own, self._own_turn = dict.fromkeys(Lane, 0), meter.turn
        kept = 0
        if lane is not Lane.CANCEL:
            kept = sum(max(0, self._kept[other] - self._own[other]) for other in Lane if other is not lane)
        if taken + weight + kept <= meter.limit:
            return None
        return Held(meter.turns_at(now_ns), f"{meter.name}: {taken} of {meter.limit} used, {kept} kept for other lanes")
