"""Thousands of intents in a queue before a venue that lets few orders through: no ban, and cancels go out at once.

First some orders are placed that rest. Then all intents are submitted at once, and the resting orders are canceled one
by one: some while the flood comes in, the others until the queue is empty. When a cancel went out is the venue's own
time of it; when it was wanted is ours, and both are of one machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from actors.client import Client
from core.ids import NS_PER_MS, IntentId
from core.intent import RESTING, IntentRequest, Kind, Side, TimeInForce
from core.lifecycle import State
from messages.intents import IntentAnswered
from tests.system.brakes.ground import ANSWER_TIMEOUT_S, POLL_S, Ground, router
from tests.system.harness import until
from tools.demo import reference_prices
from tools.demo_stream import Purpose, stream
from tools.trial import judgement
from tools.trial.strategy import Wish

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "ADA/USDT", "DOGE/USDT", "LTC/USDT", "LINK/USDT")
WINDOW_S = 10
"""Of the venue's order limit."""
RESTING_AT = Decimal("0.95")
"""Of the market's price: as good as never filled."""
RESTING_NOTIONAL = Decimal(20)
EARLY_S = 10.0
"""The flood is felt most right after it: so long, cancels come closely."""
EARLY_SHARE = 0.4
SLIPPAGE_BPS = 1_000
"""What an intent may pay at most is fixed when it is accepted, and the market walks away while it waits for minutes."""
LOOK_S = 1.0
"""Between two looks at the book."""
STUCK_S = 120.0
"""No intent has ended for so long: something is wrong."""
TOO_MANY_MAX = 1
"""Answers 429 that are forgiven."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run shall be."""

    intents: int = 5_000
    cancels: int = 60
    order_limit: int = 100
    """Of the venue, in ten seconds."""
    weight_limit: int = 6_000
    """Of the venue, a minute."""
    symbols: int = 4
    cancel_within_ms: int = 1_000
    """Of being wanted, a cancel is at the venue."""
    seed: int = 1

    @property
    def names(self) -> Sequence[str]:
        return SYMBOLS[: self.symbols]

    @property
    def venue_options(self) -> Sequence[str]:
        return ("--order-limit", str(self.order_limit), "--weight-limit", str(self.weight_limit))

    @property
    def expected_s(self) -> float:
        return self.intents / self.order_limit * WINDOW_S

    def settings(self, venue_url: str) -> str:
        return f"""
[exchange]
base_url = "{venue_url}"

[router]
intent_stale_threshold = "24h"
slippage_bps = {SLIPPAGE_BPS}

[risk]
max_exposure_pct = 0
max_open_orders = 0
max_positions = 0
max_trades_per_day = 0
max_daily_drawdown_pct = 0
"""


class Wanted:
    """Everything that was submitted on one client, and what was answered."""

    def __init__(self, client: Client, symbols: Sequence[str]) -> None:
        self.wishes: dict[str, Wish] = {}
        self._client = client
        self._routers = {symbol: router(client, symbol) for symbol in symbols}
        self._asked: dict[str, Wish] = {}

    def submit(self, wish: Wish) -> None:
        assert wish.request.key is not None
        self.wishes[wish.request.key] = wish
        request_id = self._client.send_intent(self._routers[wish.request.symbol], wish.request, wait=False)
        self._asked[request_id] = wish

    def cancel(self, intent_id: IntentId, symbol: str) -> None:
        self._client.send_cancel(self._routers[symbol], intent_id, "the brakes are tried")

    def listen(self, timeout_s: float) -> None:
        """Take in one message, if one comes."""
        message = self._client.next_message(timeout_s)
        if isinstance(message, IntentAnswered) and (wish := self._asked.pop(message.request_id, None)):
            wish.record, wish.refusal = message.answer.record, message.answer.refusal
            wish.intent_id = wish.record.intent.intent_id if wish.record else None


class Cancels:
    """Resting orders, when each is to be canceled, and when it was."""

    def __init__(self, resting: Sequence[tuple[IntentId, str]], expected_s: float) -> None:
        """`resting`: intent and symbol."""
        early_s = min(EARLY_S, expected_s / 2)
        early = round(len(resting) * EARLY_SHARE)
        later = len(resting) - early
        steps = [early_s * number / max(early, 1) for number in range(early)]
        steps += [early_s + (expected_s - early_s) * number / max(later, 1) for number in range(later)]
        self._due = list(zip(steps, resting, strict=True))
        self._began_s = time.monotonic()
        self.asked_ns: dict[IntentId, int] = {}

    @property
    def left(self) -> int:
        return len(self._due)

    @property
    def next_in_s(self) -> float:
        return max(self._due[0][0] + self._began_s - time.monotonic(), 0) if self._due else POLL_S

    def send_due(self, wanted: Wanted) -> None:
        while self._due and not self.next_in_s:
            _, (intent_id, symbol) = self._due.pop(0)
            self.asked_ns[intent_id] = time.time_ns()
            wanted.cancel(intent_id, symbol)


def run(ground: Ground, plan: Plan) -> dict[str, Any]:
    """The figures of the JSON; `problems` are part of them."""
    began_s = time.monotonic()
    ground.start(plan.settings(ground.venue.base_url))
    with ground.client() as client:
        wanted = Wanted(client, plan.names)
        cancels = Cancels(place_resting(ground, wanted, plan), plan.expected_s)
        submit_s = queue_all(ground, wanted, flood_requests(plan), cancels)
        work_off(ground, wanted, cancels, plan)
        rates = ground.daemon.ask("status")["rate_limits"]
    ground.agrees_soon(wanted.wishes)
    ground.stop()
    book = ground.judged(wanted.wishes)
    figures = {
        "intents": book["intents"],
        "terminal": book["terminal"],
        "by_state": book["by_state"],
        "orders_at_venue": book["orders_at_venue"],
        "duplicate_orders_at_venue": book["duplicate_orders_at_venue"],
        **refusals(ground),
        **windows(ground, plan),
        **timing(ground, cancels, plan.cancel_within_ms),
        "submit_s": round(submit_s, 3),
        "engine": {name: rates[name] for name in ("refused_by_venue", "placements_held")},
        "book": book,
        "seed": plan.seed,
        "elapsed_s": round(time.monotonic() - began_s, 3),
    }
    return figures | {"problems": problems(plan, figures)}


def place_resting(ground: Ground, wanted: Wanted, plan: Plan) -> list[tuple[IntentId, str]]:
    """Intent and symbol of each, when all are at the venue."""
    ground.progress.tell("placing what rests")
    for request in resting_requests(plan):
        wanted.submit(Wish(request))

    def placed() -> list[tuple[IntentId, str]]:
        wanted.listen(0)
        with ground.book() as view:
            found = [record for record in view.open_intents() if record.state is State.SENT]
        return (
            [(record.intent.intent_id, record.intent.symbol) for record in found] if len(found) == plan.cancels else []
        )

    patience_s = ANSWER_TIMEOUT_S + plan.cancels / plan.order_limit * WINDOW_S
    found: list[tuple[IntentId, str]] = until(placed, "the resting orders are at the venue", patience_s)
    return found


def resting_requests(plan: Plan) -> Iterator[IntentRequest]:
    prices = reference_prices()
    for number in range(plan.cancels):
        symbol = plan.names[number % plan.symbols]
        limit = (prices[symbol] * RESTING_AT).quantize(Decimal(1).scaleb(prices[symbol].adjusted() - 3))
        yield IntentRequest(
            symbol=symbol,
            side=Side.BUY,
            kind=Kind.LIMIT,
            limit_price=limit,
            tif=TimeInForce.GTC,
            quote_budget=RESTING_NOTIONAL,
            key=f"resting-{plan.seed}-{number}",
            source="brakes",
        )


def flood_requests(plan: Plan) -> list[IntentRequest]:
    """Of orders that are over as soon as the venue has them."""
    prices = {symbol: reference_prices()[symbol] for symbol in plan.names}
    wishes = stream(2 * plan.intents, plan.names, prices, plan.seed)
    return [wish.request for wish in wishes if wish.purpose is Purpose.INTENT and wish.request.tif not in RESTING][
        : plan.intents
    ]


def queue_all(ground: Ground, wanted: Wanted, requests: Sequence[IntentRequest], cancels: Cancels) -> float:
    """Submit everything as fast as it is taken; returns how long that took, in seconds."""
    began_s = time.monotonic()
    for number, request in enumerate(requests):
        wanted.submit(Wish(request))
        cancels.send_due(wanted)
        ground.progress.tell("submitting", number, len(requests))
    return time.monotonic() - began_s


def work_off(ground: Ground, wanted: Wanted, cancels: Cancels, plan: Plan) -> None:
    """Until nothing is open, or nothing happens any more."""
    total = plan.intents + plan.cancels
    began_s = moved_s = time.monotonic()
    most, looked_s = 0, 0.0
    while True:
        cancels.send_due(wanted)
        wanted.listen(min(cancels.next_in_s, POLL_S))
        now_s = time.monotonic()
        if now_s - looked_s < LOOK_S:
            continue
        looked_s = now_s
        with ground.book() as view:
            opened, known = view.open_count(), view.count("intents")
        if known - opened > most:
            most, moved_s = known - opened, now_s
        if (not opened and not cancels.left and known == total) or now_s - moved_s > STUCK_S:
            return
        ground.progress.tell("working off", known - opened, total, plan.expected_s - (now_s - began_s))


def refusals(ground: Ground) -> dict[str, int]:
    """By the venue's own count of its answers."""
    answers = ground.answers()
    return {
        f"status_{status}": sum(count for name, count in answers.items() if name.endswith(f" {status}"))
        for status in (429, 418)
    }


def windows(ground: Ground, plan: Plan) -> dict[str, Any]:
    """Orders in the fullest of the venue's windows."""
    by_window = Counter(at_ms // (WINDOW_S * 1_000) for _, at_ms in ground.truth().arrived)
    return {"orders_10s_max": max(by_window.values(), default=0), "orders_10s_limit": plan.order_limit}


def timing(ground: Ground, cancels: Cancels, within_ms: int) -> dict[str, Any]:
    """From the wish to cancel to the venue's time of it; of each that was not filled before."""
    canceled = {
        order["clientOrderId"]: int(order["updateTime"])
        for order in ground.venue.ask("orders")
        if order["status"] == "CANCELED"
    }
    taken: list[float] = []
    missing = 0
    with ground.book() as view:
        for intent_id, asked_ns in cancels.asked_ns.items():
            orders = [attempt.client_order_id for attempt in view.attempts(intent_id)]
            at_ms = next((canceled[order] for order in orders if order in canceled), None)
            record = view.intent(intent_id)
            if at_ms is not None:
                taken.append(at_ms - asked_ns / NS_PER_MS)
            elif record is None or record.state is not State.FILLED:
                missing += 1
    taken.sort()
    return {
        "cancels": len(cancels.asked_ns),
        "cancels_missing": missing,
        "cancel_ms_p50": round(taken[len(taken) // 2], 1) if taken else None,
        "cancel_ms_max": round(taken[-1], 1) if taken else None,
        "cancels_late": sum(1 for time_ms in taken if time_ms > within_ms),
        "cancel_ms_worst": [round(time_ms, 1) for time_ms in taken[-5:]],
    }


def problems(plan: Plan, figures: Mapping[str, Any]) -> list[str]:
    """What does not hold, one line each."""
    wrong = judgement.problems(figures["book"])
    if figures["intents"] != plan.intents + plan.cancels:
        wrong.append(f"{figures['intents']} of {plan.intents + plan.cancels} intents were accepted")
    if figures["status_418"]:
        wrong.append(f"the venue banned us: {figures['status_418']} answers 418")
    if figures["status_429"] > TOO_MANY_MAX:
        wrong.append(f"the venue said {figures['status_429']} times that there are too many requests (429)")
    if plan.order_limit and figures["orders_10s_max"] > plan.order_limit:
        wrong.append(f"{figures['orders_10s_max']} orders in ten seconds, and the limit is {plan.order_limit}")
    if figures["cancels_missing"]:
        wrong.append(f"{figures['cancels_missing']} cancels never reached the venue")
    if figures["cancels_late"]:
        wrong.append(f"{figures['cancels_late']} cancels took longer than {plan.cancel_within_ms} ms")
    return wrong
