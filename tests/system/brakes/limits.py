"""Risk limits under concurrency: far more is wanted at once than they allow, and at no commit is there more.

Half of the buys are filled at once, the others rest below the market, and they come in waves, so every limit has its
turn. The audit trail tells what was held, bought and open after each step; the venue tells what was really bought.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from actors.client import Client
from core.intent import IntentRequest, Kind, Side, TimeInForce
from messages.intents import IntentAnswered
from tests.system.brakes.account import QUOTE, Account, opening_of
from tests.system.brakes.ground import ANSWER_TIMEOUT_S, Ground, events, router
from tests.system.harness import until
from tools.demo import reference_prices
from tools.trial import judgement
from tools.trial.strategy import Wish

NOTIONAL = Decimal(100)
OPENING = Decimal(100_000)
"""The simulator's, in USDT."""
PATIENT = (Decimal("0.96"), Decimal("0.98"))
"""A resting buy's price, as a share of the market's."""
RESTING_SHARE = 0.5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run shall be."""

    intents: int = 500
    """Of one wave, all at once."""
    waves: int = 4
    """Each comes when what is filled at once of the one before is filled: so every limit has its turn."""
    symbols: int = 20
    budget_for: int = 100
    """Buys that the exposure limit has room for."""
    open_orders: int = 60
    positions: int = 8
    seed: int = 1

    @property
    def wanted(self) -> int:
        return self.intents * self.waves

    @property
    def exposure_pct(self) -> Decimal:
        return self.budget_for * NOTIONAL / OPENING

    @property
    def budget(self) -> Decimal:
        return self.budget_for * NOTIONAL

    def settings(self, venue_url: str) -> str:
        return f"""
[exchange]
base_url = "{venue_url}"

[risk]
max_exposure_pct = "{self.exposure_pct}"
max_open_orders = {self.open_orders}
max_positions = {self.positions}
max_trades_per_day = 0
max_daily_drawdown_pct = 0
"""


def run(ground: Ground, plan: Plan) -> dict[str, Any]:
    """The figures of the JSON; `problems` are part of them."""
    began_s = time.monotonic()
    ground.start(plan.settings(ground.venue.base_url))
    wanted = wishes(plan)
    answers: Counter[str] = Counter()
    with ground.client() as client:
        for first in range(0, plan.wanted, plan.intents):
            wave = list(wanted.values())[first : first + plan.intents]
            answers += ask_for_all(ground, client, wave)
            until(lambda: is_calm(ground), "only what rests is open", ANSWER_TIMEOUT_S)
    ground.progress.tell("canceling what rests")
    ground.daemon.ask("halt", "--reason", "enough was wanted", "--cancel-open")
    until(lambda: not ground.daemon.ask("intents", "--open"), "what rests is canceled", ANSWER_TIMEOUT_S)
    ground.daemon.ask("resume", "--reason", "all are canceled")
    verified = ground.daemon.ask("verify")
    ground.stop()
    told = events(ground.folder)
    account = Account(opening_of(told))
    account.take_in(told)
    figures = figures_of(plan, answers, account, told) | {
        "verified": verified["agrees"],
        "spent_at_venue": OPENING - ground.truth().balances[QUOTE],
        "book": ground.judged(wanted),
        "seed": plan.seed,
        "elapsed_s": round(time.monotonic() - began_s, 3),
    }
    return figures | {"problems": problems(plan, figures)}


def wishes(plan: Plan) -> dict[str, Wish]:
    """By key; the symbols come in turn, so that all are wanted at once."""
    draw = random.Random(f"brakes limits {plan.seed}")
    prices = dict(draw.sample(sorted(traded().items()), plan.symbols))
    made = {}
    for number in range(plan.wanted):
        symbol = list(prices)[number % plan.symbols]
        common: Any = {"symbol": symbol, "side": Side.BUY, "quote_budget": NOTIONAL, "key": f"greedy-{number}"}
        if draw.random() >= RESTING_SHARE:
            request = IntentRequest(kind=Kind.MARKET, **common)
        else:
            share = Decimal(str(round(draw.uniform(*map(float, PATIENT)), 4)))
            limit = (prices[symbol] * share).quantize(Decimal(1).scaleb(prices[symbol].adjusted() - 3))
            request = IntentRequest(kind=Kind.LIMIT, limit_price=limit, tif=TimeInForce.GTC, **common)
        made[f"greedy-{number}"] = Wish(request)
    return made


def is_calm(ground: Ground) -> bool:
    with ground.book() as view:
        return all(record.intent.tif is TimeInForce.GTC for record in view.open_intents())


def ask_for_all(ground: Ground, client: Client, wanted: Sequence[Wish]) -> Counter[str]:
    """Every wish at once; how many were accepted or refused for what. What was told is noted in the wishes."""
    routers = {wish.request.symbol: router(client, wish.request.symbol) for wish in wanted}
    asked = {client.send_intent(routers[wish.request.symbol], wish.request, wait=False): wish for wish in wanted}
    answers: Counter[str] = Counter()
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while asked and time.monotonic() < deadline:
        ground.progress.tell("answers", len(wanted) - len(asked), len(wanted))
        message = client.next_message(1.0)
        if isinstance(message, IntentAnswered) and (wish := asked.pop(message.request_id, None)):
            wish.record, wish.refusal = message.answer.record, message.answer.refusal
            wish.intent_id = wish.record.intent.intent_id if wish.record else None
            answers[wish.refusal.code if wish.refusal else "accepted"] += 1
            answers["unnamed"] += wish.refusal is not None and not names_its_limit(
                wish.refusal.code, wish.refusal.reason
            )
    answers["unanswered"] = len(asked)
    return answers


def names_its_limit(code: str, reason: str) -> bool:
    return code.startswith("RISK_") and f"risk limit {code.removeprefix('RISK_').lower()}: " in reason


def traded() -> dict[str, Decimal]:
    """The simulator's symbols in the quote currency, with the prices at which they open."""
    return {symbol: price for symbol, price in reference_prices().items() if symbol.endswith(f"/{QUOTE}")}


def figures_of(plan: Plan, answers: Counter[str], account: Account, told: list[dict[str, Any]]) -> dict[str, Any]:
    checks = [event for event in told if event["event"] == "risk_limits_eval"]
    counts = {name: answers.pop(name, 0) for name in ("accepted", "unnamed", "unanswered")}
    return {
        "intents": plan.wanted,
        "at_once": plan.intents,
        "accepted": counts["accepted"],
        "refused": dict(sorted(answers.items())),
        "refusals_without_limit": counts["unnamed"],
        "unanswered": counts["unanswered"],
        "commits_looked_at": account.looks,
        "checks_recorded": len(checks),
        "refusals_recorded": sum(1 for event in checks if any(check["hit"] for check in event["checks"])),
        "exposure_pct_max": account.exposure_pct.quantize(Decimal("1e-6")),
        "exposure_pct_limit": plan.exposure_pct,
        "reserved_max": account.reserved,
        "reserved_limit": plan.budget,
        "open_orders_max": account.open_orders,
        "open_orders_limit": plan.open_orders,
        "positions_max": account.positions,
        "positions_limit": plan.positions,
        "reservations_overspent": account.least_held < 0,
        "held_at_end": len(account.held),
    }


def problems(plan: Plan, figures: dict[str, Any]) -> list[str]:
    """What does not hold, one line each."""
    wrong = [
        f"{name} is {figures[f'{name}_max']}, and the limit {figures[f'{name}_limit']}"
        for name in ("exposure_pct", "reserved", "open_orders", "positions")
        if figures[f"{name}_max"] > figures[f"{name}_limit"]
    ]
    refused = sum(figures["refused"].values())
    if figures["accepted"] + refused != plan.wanted:
        wrong.append(f"{plan.wanted} were wanted, {figures['accepted']} accepted and {refused} refused")
    if not refused and plan.intents > max(plan.budget_for, plan.open_orders):
        wrong.append("nothing was refused, though more was wanted than any limit allows")
    if figures["refusals_without_limit"]:
        wrong.append(f"{figures['refusals_without_limit']} refusals do not name their limit")
    if (figures["checks_recorded"], figures["refusals_recorded"]) != (plan.wanted, refused):
        wrong.append(f"the audit trail has {figures['checks_recorded']} checks and {figures['refusals_recorded']} hits")
    if figures["reservations_overspent"]:
        wrong.append("more was spent for an intent than was held for it")
    if figures["held_at_end"]:
        wrong.append(f"{figures['held_at_end']} reservations are held at the end")
    if figures["spent_at_venue"] > plan.budget:
        wrong.append(f"{figures['spent_at_venue']} were spent at the venue, and the budget is {plan.budget}")
    if not figures["verified"]:
        wrong.append("`intentctl verify` finds that book and venue differ")
    return wrong + judgement.problems(figures["book"])
