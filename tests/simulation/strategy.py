"""Clients of the daemon: they wish, insist with the same key until they know how it ended, cancel, and forget nothing.

A client that gets no answer asks again; one that hears that the engine or a router is gone looks for it anew. What it
is told must fit what it was told before, or a promise is broken.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, Final

from core.book import OpeningOutcome
from core.intent import RESTING, IntentRequest, Kind, Side, TimeInForce
from core.lifecycle import is_terminal
from core.planning import Refusal
from core.records import IntentRecord
from core.replacing import NewTerms
from messages.admin import FindRouter, RouterFound
from messages.intents import (
    CancelIntent,
    IntentAnswered,
    IntentCancelNoted,
    IntentDone,
    IntentReplaceNoted,
    ReplaceIntent,
    SubmitIntent,
)
from tests.simulation.launcher import Launcher
from tests.simulation.machine import Machine, Process
from tests.simulation.road import Road
from tests.simulation.safety import CLIENT, Safety
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S
from tests.simulation.venue import MARKETS, Venue

ASK_AGAIN_NS: Final = (NS_PER_S, 6 * NS_PER_S)
PASSING: Final = frozenset(
    {"MARKET_DATA_UNAVAILABLE", "ENGINE_NOT_READY", "ENGINE_HALTED", "STOPPING", "SYMBOL_QUARANTINED"}
)
"""Refusals that say "not now"; any other is a "no"."""
ASKED_MAX: Final = 12
"""After so many times of "not now" a client gives a wish up, if nothing was accepted."""
BURST_SHARE: Final = 0.3
CHANGES_MIND: Final = 0.6
CHANGES_MIND_NS: Final = (50 * NS_PER_MS, 6 * NS_PER_S)
"""After so long a client cancels what may rest."""
REPLACES: Final = 0.5
"""Share of what may rest that gets other terms on its way, once or more often."""
REPLACES_MAX: Final = 3
SECOND_THOUGHTS_NS: Final = (20 * NS_PER_MS, 12 * NS_PER_S)
RESTLESS_CHANGES_MIND: Final = 0.2
RESTLESS_TIFS: Final = (TimeInForce.GTC, TimeInForce.GTC, TimeInForce.PO)
TIFS: Final = (
    TimeInForce.IOC, TimeInForce.IOC, TimeInForce.GTC, TimeInForce.GTC, TimeInForce.FOK, TimeInForce.PO
)  # fmt: skip
NOTIONAL: Final = (20, 700)
"""Quote."""


class Wish:
    """One request and what its client was told of it."""

    def __init__(self, request: IntentRequest, number: int) -> None:
        self.request = request
        self.number = number
        self.record: IntentRecord | None = None
        """The newest that was told."""
        self.refusal: Refusal | None = None
        self.cancel = False
        self.terms: NewTerms | None = None
        """Other terms that were asked for and not answered yet."""
        self.asked = 0
        self.asked_before_told = 0
        """How often it was asked when it was told first that there is an intent."""

    @property
    def is_over(self) -> bool:
        return self.refusal is not None or (self.record is not None and is_terminal(self.record.state))


class Strategy:
    """One client process with its wishes."""

    def __init__(
        self, machine: Machine, road: Road, launcher: Launcher, venue: Venue, safety: Safety, random: Random
    ) -> None:
        self.wishes: list[Wish] = []
        self._machine = machine
        self._road = road
        self._launcher = launcher
        self._venue = venue
        self._safety = safety
        self._random = random
        self._process: Process = machine.spawn(CLIENT, lambda _process: self)
        self._routers: dict[str, Any] = {}
        self._requests: dict[str, Wish] = {}
        self._terms: dict[str, NewTerms] = {}
        """By request."""
        self.is_restless = False
        """Wants what rests, and other terms for it again and again."""
        self._second_thoughts = Random(f"{random.random()}")

    @property
    def is_over(self) -> bool:
        return all(wish.is_over for wish in self.wishes)

    def plan_wishes(self, count: int, within_ns: int) -> None:
        """Some at once, so that they share a commit, the others at any time."""
        burst_ns = self._random.randrange(within_ns)
        for number in range(count):
            when_ns = burst_ns if self._random.random() < BURST_SHARE else self._random.randrange(within_ns)
            self._machine.scheduler.after(when_ns, partial(self._wish, number))

    def cancel_resting(self) -> None:
        """The run comes to its end: nothing shall rest any longer."""
        for wish in self.wishes:
            if not wish.is_over and wish.request.tif in RESTING:
                wish.cancel = True

    # ── wishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _wish(self, number: int) -> None:
        wish = Wish(self._request(number), number)
        self.wishes.append(wish)
        if self._machine.trace.on:
            request = wish.request
            size = request.qty if request.qty is not None else f"{request.quote_budget} quote"
            self._machine.trace.note(
                str(self._process.address),
                f"wishes {request.key}: {request.side} {size} {request.symbol} {request.kind} {request.limit_price} "
                f"{request.tif}",
            )
        changes_mind = RESTLESS_CHANGES_MIND if self.is_restless else CHANGES_MIND
        if wish.request.tif in RESTING and self._random.random() < changes_mind:
            after_ns = self._random.randint(*CHANGES_MIND_NS)
            self._machine.scheduler.after(after_ns, lambda: self._change_mind(wish))
        if wish.request.tif in RESTING and (self.is_restless or self._second_thoughts.random() < REPLACES):
            for _ in range(self._second_thoughts.randint(1, REPLACES_MAX)):
                after_ns = self._second_thoughts.randint(*SECOND_THOUGHTS_NS)
                self._machine.scheduler.after(after_ns, lambda: self._want_other_terms(wish))
        self._insist(wish)
        if self._random.random() < 0.15:  # an impatient one asks twice at once
            self._ask(wish)
        if self._random.random() < 0.1:
            self._contradict(wish)

    def _change_mind(self, wish: Wish) -> None:
        wish.cancel = True
        if not wish.is_over:
            self._ask(wish)

    def _want_other_terms(self, wish: Wish) -> None:
        """Another price, another quantity, or both: nearer, further away, more, less."""
        random, request = self._second_thoughts, wish.request
        assert request.qty is not None
        bid, ask = self._venue.best(request.symbol)
        touch = ask if request.side is Side.BUY else bid
        price = _cut(touch * (10_000 + random.choice((-60, -20, -5, 0, 10, 30))) / 10_000)
        qty = _cut(request.qty * random.choice((40, 70, 100, 130, 200)) / 100)
        what = random.choice(("price", "qty", "both"))
        wish.terms = NewTerms(
            qty=None if what == "price" else qty,
            price=None if what == "qty" else price,
            reason="second thoughts",
            asked_ns=self._machine.scheduler.now_ns,
        )
        if not wish.is_over:
            self._ask(wish)

    def _request(self, number: int) -> IntentRequest:
        random = self._random
        symbol = random.choice(list(MARKETS))
        side = random.choice((Side.BUY, Side.BUY, Side.SELL))
        bid, ask = self._venue.best(symbol)
        touch = ask if side is Side.BUY else bid
        notional = Decimal(random.randint(*NOTIONAL))
        key = f"{self._process.address.number}-{number}"
        if random.random() < 0.3 and not self.is_restless:
            if random.random() < 0.5:
                return IntentRequest(symbol=symbol, side=side, kind=Kind.MARKET, quote_budget=notional, key=key)
            return IntentRequest(symbol=symbol, side=side, kind=Kind.MARKET, qty=_cut(notional / touch), key=key)
        worse_bps = random.choice((-60, -30, -10, -2, 0, 15, 40))
        if self.is_restless:
            worse_bps = min(worse_bps, -2)
        sign = 1 if side is Side.BUY else -1
        return IntentRequest(
            symbol=symbol,
            side=side,
            kind=Kind.LIMIT,
            qty=_cut(notional / touch),
            limit_price=_cut(touch * (10_000 + sign * worse_bps) / 10_000),
            tif=random.choice(RESTLESS_TIFS if self.is_restless else TIFS),
            key=key,
        )

    def _contradict(self, wish: Wish) -> None:
        """Somebody uses the same key for something else: it must conflict, or be accepted in the other's place."""
        request = wish.request
        other = IntentRequest(
            symbol=request.symbol, side=request.side, kind=Kind.MARKET, quote_budget=Decimal(50), key=request.key
        )
        router = self._routers.get(request.symbol)
        if router is not None and request.quote_budget != other.quote_budget:
            self._road.carry(
                self._process,
                router,
                SubmitIntent(request_id=f"{request.key}-other", request=other, wait=False),
            )

    # ── insisting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _insist(self, wish: Wish) -> None:
        """Ask, and again until it is over."""
        if wish.is_over:
            return
        self._ask(wish)
        self._machine.scheduler.after(self._random.randint(*ASK_AGAIN_NS), lambda: self._insist(wish))

    def _ask(self, wish: Wish) -> None:
        engine = self._launcher.engine
        if engine is None:
            return
        wish.asked += 1
        request_id = f"{wish.request.key}-{wish.asked}"
        self._requests[request_id] = wish
        router = self._routers.pop(wish.request.symbol, None)
        if router is None or wish.asked % 3 == 0:  # an address may be that of a router that is gone
            self._send(engine, FindRouter(request_id=request_id, symbol=wish.request.symbol))
            return
        self._routers[wish.request.symbol] = router
        self._submit(router, request_id, wish)

    def _submit(self, router: Any, request_id: str, wish: Wish) -> None:
        self._send(router, SubmitIntent(request_id=request_id, request=wish.request, wait=True))
        if wish.cancel and wish.record is not None:
            cancel = CancelIntent(
                request_id=f"{request_id}-cancel", intent_id=wish.record.intent.intent_id, reason="changed its mind"
            )
            self._requests[cancel.request_id] = wish
            self._send(router, cancel)
        if wish.terms is not None and wish.record is not None:
            other = ReplaceIntent(
                request_id=f"{request_id}-replace", intent_id=wish.record.intent.intent_id, terms=wish.terms
            )
            self._requests[other.request_id], self._terms[other.request_id] = wish, wish.terms
            self._send(router, other)

    def _send(self, receiver: Any, message: Any) -> None:
        self._road.carry(self._process, receiver, message)

    # ── being told ────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802, ARG002  (thespian's name)
        wish = self._requests.get(getattr(message, "request_id", ""))
        if wish is None:
            return
        match message:
            case RouterFound(router=None):
                self._refused(wish, message.refusal, message.request_id)
            case RouterFound():
                self._routers[message.symbol] = message.router
                if not wish.is_over:
                    self._submit(message.router, message.request_id, wish)
            case IntentAnswered():
                self._answered(wish, message)
            case IntentDone():
                self._told(wish, message.record)
            case IntentCancelNoted() if message.record is not None:
                self._told(wish, message.record)
            case IntentReplaceNoted():
                self._heard_of_terms(wish, message)

    def _heard_of_terms(self, wish: Wish, message: IntentReplaceNoted) -> None:
        """Noted or refused: nobody needs to ask again."""
        if wish.terms is not None and wish.terms == self._terms[message.request_id]:
            wish.terms = None
        if message.result.record is not None:
            self._told(wish, message.result.record)

    def _answered(self, wish: Wish, message: IntentAnswered) -> None:
        answer, key = message.answer, wish.request.key
        if answer.outcome is OpeningOutcome.CONFLICT:
            if wish.record is not None:
                self._safety.broken(f"{key}: was accepted as {wish.record.intent.intent_id}, and is a conflict now")
            wish.refusal = answer.refusal  # somebody else's wish of this key was first
        elif answer.record is not None:
            self._told(wish, answer.record)
        elif wish.record is not None and _number_of(message.request_id) > wish.asked_before_told:
            self._safety.broken(f"{key}: refused ({answer.refusal}) after it was accepted")
        else:
            self._refused(wish, answer.refusal, message.request_id)

    def _refused(self, wish: Wish, refusal: Refusal | None, request_id: str) -> None:
        assert refusal is not None
        if wish.record is not None and _number_of(request_id) <= wish.asked_before_told:
            return  # of a question that was asked before it was accepted; the road may reorder answers
        if refusal.code in PASSING or refusal.code.startswith("TRADING_"):
            if wish.record is None and wish.asked > ASKED_MAX:
                wish.refusal = refusal  # it gives up
        elif wish.record is not None:
            self._safety.broken(f"{wish.request.key}: refused ({refusal.code}) after it was accepted")
        else:
            wish.refusal = refusal

    def _told(self, wish: Wish, record: IntentRecord) -> None:
        before = wish.record
        if before is not None and before.intent.intent_id != record.intent.intent_id:
            self._safety.broken(
                f"{wish.request.key}: is {record.intent.intent_id}, and was {before.intent.intent_id} before"
            )
        if before is None:
            wish.asked_before_told = wish.asked
        if wish.refusal is not None:
            return  # it was refused before, and asked once more meanwhile
        if before is None or record.revision >= before.revision:
            wish.record = record


def _number_of(request_id: str) -> int:
    """How often the wish was asked with this request; the last part of its name."""
    return int(request_id.split("-")[2])


def _cut(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("1e-8"))
