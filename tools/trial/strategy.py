"""A strategy that insists: it asks again with the same key until it knows how its intent ended, whatever dies.

This is how a bot should use intentd: one key per wish, no answer means ask again, and an engine that is gone is looked
for again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Final

import msgspec

from actors.client import Client
from core.book import OpeningOutcome
from core.errors import IntentdError
from core.ids import IntentId
from core.intent import RESTING, IntentRequest
from core.lifecycle import is_terminal
from core.planning import Refusal
from core.records import IntentRecord, TradingState
from core.replacing import NewTerms, ReplaceResult
from core.verdict import Verdict
from messages.book import TradingStateSet
from messages.intents import IntentAnswered, IntentDone, IntentReplaceNoted
from storage.layout import StateFolder

ASK_AGAIN_S: Final = 2.0
"""A wish whose end is not known is asked about again after this long."""
CONNECT_AGAIN_S: Final = 0.1
ROUTER_TIMEOUT_S: Final = 2.0
INSIST_S: Final = 1.0
PASSING: Final = frozenset(
    {
        "MARKET_DATA_UNAVAILABLE", "ENGINE_NOT_READY", "ENGINE_HALTED", "STOPPING", "SYMBOL_QUARANTINED",
        "PRIVATE_DATA_GONE", "QUEUE_FULL",
    }
)  # fmt: skip
"""Refusals that say "not now"; everything else is a "no"."""
LATE_FILL: Final = "LATE_FILL"


class Wish(msgspec.Struct):
    """What became of one request so far."""

    request: IntentRequest
    asked_s: float = 0.0
    """Monotonic; 0: not since the last connection."""
    intent_id: IntentId | None = None
    record: IntentRecord | None = None
    """The newest that was told."""
    refusal: Refusal | None = None
    cancel: bool = False
    terms: NewTerms | None = None
    """Other terms that are wanted, and were neither noted nor refused yet."""
    asked: int = 0
    """How often."""
    asked_before_told: int = 0
    """How often when it was told first that there is an intent."""

    @property
    def is_over(self) -> bool:
        return self.refusal is not None or (self.record is not None and is_terminal(self.record.state))


class Strategy:
    """One client of one engine, or of those that take its place."""

    def __init__(self, folder: StateFolder) -> None:
        self.wishes: dict[str, Wish] = {}
        """By key."""
        self.contradictions: list[str] = []
        """What was told and then told otherwise."""
        self._folder = folder
        self._client: Client | None = None
        self._connect_s = 0.0
        self.heard_s = 0.0
        """When the daemon last answered to a wish, monotonic."""
        self.told_ns = 0
        """When the trading state that it insisted on was told, ns UTC."""
        self._wanted: TradingState | None = None
        self._wanted_requests: set[str] = set()
        self._wanted_asked_s = 0.0
        self.lifted: list[str] = []
        """Symbols that were quarantined for a late fill, once for each time; an operator has looked."""
        self._quarantined: set[str] = set()
        self._by_request: dict[str, tuple[str, int]] = {}
        """Key of the wish, and the how manieth question about it."""

    def close(self) -> None:
        self._disconnect()

    def add(self, request: IntentRequest, terms: NewTerms | None = None) -> None:
        """A new wish, and other terms that it shall get later. Its key is what makes asking again safe."""
        assert request.key is not None
        self.wishes[request.key] = Wish(request, terms=terms)

    @property
    def open(self) -> list[Wish]:
        return [wish for wish in self.wishes.values() if not wish.is_over]

    def cancel_resting(self) -> None:
        """Nothing that rests shall outlast the trial."""
        for wish in self.open:
            wish.cancel = wish.request.tif in RESTING

    def is_answered(self) -> bool:
        """Whether there is an engine, and every part of it is ready."""
        try:
            status = self._connected().status(ROUTER_TIMEOUT_S)
        except (IntentdError, OSError):
            self._disconnect()
            return False
        return status.state == "running" and all(child.state in {"running", "ready"} for child in status.children)

    def part(self, name: str) -> int:
        """The process id of a part of the engine that is ready; 0 when there is none, or it cannot be told now."""
        try:
            children = self._connected().status(ROUTER_TIMEOUT_S).children
        except (IntentdError, OSError):
            self._disconnect()
            return 0
        return next((child.pid for child in children if child.name == name and child.state == "ready"), 0)

    def verify(self, timeout_s: float) -> Verdict | None:
        """What the engine itself says of book and venue; None when it cannot be asked now."""
        try:
            return self._connected().verify(timeout_s)
        except (IntentdError, OSError):
            self._disconnect()
            return None

    def resume(self) -> bool:
        """An operator lets trading go on; False when nobody answers now."""
        try:
            self._connected().set_trading(TradingState.ACTIVE, "the trial goes on", ROUTER_TIMEOUT_S)
        except (IntentdError, OSError):
            self._disconnect()
            return False
        return True

    def lift_what_is_explained(self) -> None:
        """As an operator: let the symbols trade on that were stopped because the venue showed a fill late, which it
        was told to do. What else may have stopped one is never right, and stays."""
        for symbol in sorted(self._quarantined):
            try:
                if self._connected().lift_quarantine(symbol, "the venue was told to be late", ROUTER_TIMEOUT_S):
                    self.lifted.append(symbol)
            except (IntentdError, OSError):
                self._disconnect()
                return
            self._quarantined.discard(symbol)

    def insist_on(self, state: TradingState) -> None:
        """As an operator: ask for a trading state until it is told that it is so."""
        self._wanted, self._wanted_asked_s = state, 0.0

    @property
    def insists(self) -> bool:
        return self._wanted is not None

    def step(self, timeout_s: float) -> None:
        """Ask what is due, then take in answers for a while. Never raises for an engine that is gone."""
        try:
            self._ask()
            self._listen(timeout_s)
        except (IntentdError, OSError):  # it is gone, or just going
            self._disconnect()
            time.sleep(min(timeout_s, CONNECT_AGAIN_S))

    def _ask(self) -> None:
        now_s = time.monotonic()
        if self._wanted is not None and now_s - self._wanted_asked_s >= INSIST_S:
            self._wanted_asked_s = now_s
            self._wanted_requests.add(self._connected().send_trading(self._wanted, "the trial wants it"))
        for wish in self.open:
            if now_s - wish.asked_s < ASK_AGAIN_S:
                continue
            client = self._connected()
            router = client.router(wish.request.symbol, ROUTER_TIMEOUT_S)
            wish.asked_s = time.monotonic()
            if isinstance(router, Refusal):
                continue
            request_id = client.send_intent(router, wish.request, wait=True)
            wish.asked += 1
            self._by_request[request_id] = (wish.request.key or "", wish.asked)
            if wish.cancel and wish.intent_id is not None:
                client.send_cancel(router, wish.intent_id, "the trial ends")
            elif wish.terms is not None and wish.intent_id is not None:
                replacing = client.send_replace(router, wish.intent_id, wish.terms)
                self._by_request[replacing] = (wish.request.key or "", wish.asked)

    def _listen(self, timeout_s: float) -> None:
        client, deadline = self._connected(), time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            message = client.next_message(left)
            if message is None:
                return
            if isinstance(message, TradingStateSet) and message.request_id in self._wanted_requests:
                self._wanted, self.told_ns = None, time.time_ns()
                self._wanted_requests.clear()
            question = self._by_request.get(getattr(message, "request_id", ""))
            if question is None:
                continue
            key, number = question
            if isinstance(message, IntentAnswered):
                self.heard_s = time.monotonic()
                self._answered(self.wishes[key], message, number)
            elif isinstance(message, IntentDone):
                self._told(self.wishes[key], message.record)
            elif isinstance(message, IntentReplaceNoted):
                self._terms_noted(self.wishes[key], message.result)

    def _terms_noted(self, wish: Wish, result: ReplaceResult) -> None:
        """Noted, or refused for good; while it is only too early, it is asked for again."""
        if result.refusal is None or not is_passing(result.refusal):
            wish.terms = None
        if result.record is not None:
            self._told(wish, result.record)

    def _answered(self, wish: Wish, message: IntentAnswered, number: int) -> None:
        answer = message.answer
        if answer.outcome is OpeningOutcome.CONFLICT:
            self.contradictions.append(f"{wish.request.key}: conflict with itself")
        elif answer.record is not None:
            self._told(wish, answer.record)
        elif answer.refusal is not None and wish.record is not None and number <= wish.asked_before_told:
            pass  # of a question that was asked before it was accepted
        elif answer.refusal is not None and wish.record is not None:
            self.contradictions.append(f"{wish.request.key}: refused ({answer.refusal.code}) after it was accepted")
        elif answer.refusal is not None and not is_passing(answer.refusal):
            wish.refusal = answer.refusal
        else:
            if answer.refusal is not None and LATE_FILL in answer.refusal.reason:
                self._quarantined.add(wish.request.symbol)
            wish.asked_s = time.monotonic() - ASK_AGAIN_S / 2

    def _told(self, wish: Wish, record: IntentRecord) -> None:
        if wish.intent_id not in {None, record.intent.intent_id}:
            self.contradictions.append(f"{wish.request.key}: {wish.intent_id}, then {record.intent.intent_id}")
        if wish.intent_id is None:
            wish.asked_before_told = wish.asked
        wish.intent_id = record.intent.intent_id
        if wish.record is None or record.revision >= wish.record.revision:
            wish.record = record

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client.connect(self._folder)
        return self._client

    def _disconnect(self) -> None:
        """Whoever was asked is gone, so everything open is asked again."""
        if self._client is not None:
            with contextlib.suppress(IntentdError, OSError):
                self._client.close()
            self._client = None
        self._by_request.clear()
        self._wanted_asked_s = 0.0
        for wish in self.wishes.values():
            wish.asked_s = 0.0


def is_passing(refusal: Refusal) -> bool:
    return refusal.code in PASSING or refusal.code.startswith("TRADING_")


def ended(wishes: Iterable[Wish]) -> int:
    return sum(1 for wish in wishes if wish.is_over)
