"""A client of the engine, for tools and strategies in Python: submit, cancel, ask.

Every request carries an id of its own, and every answer is matched by it: thespian's `ask` returns whatever arrives
first. One client belongs to one thread.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorSystemException, DeadEnvelope

from actors import system
from core.effects import SubmitAnswer
from core.errors import EngineNotRunning, IntentdError, RequestTimedOut
from core.ids import IntentId
from core.intent import IntentRequest
from core.lifecycle import is_terminal
from core.planning import Refusal
from core.records import TradingState
from core.replacing import NewTerms, ReplaceResult
from core.settings import OnStop
from core.verdict import Verdict
from messages import RequestRefused
from messages.admin import AskStatus, EngineStopped, FindRouter, RouterFound, StatusReported, StopEngine
from messages.book import (
    ArmingSet,
    ArmTrading,
    LiftQuarantine,
    QuarantineAnswered,
    SetTradingState,
    TradingStateSet,
)
from messages.intents import (
    CancelIntent,
    IntentAnswered,
    IntentCancelNoted,
    IntentDone,
    IntentReplaceNoted,
    ReplaceIntent,
    SubmitIntent,
)
from messages.reconciling import BookVerified, VerifyBook
from storage.layout import StateFolder

INBOX_MAX = 100_000
LOOK_S = 0.25
"""Between two looks whether anybody is left who could answer."""


class Client:
    """Talks to one engine. Use `connect`, or build it on the launcher's own door."""

    def __init__(self, door: system.ActorSystemHandle, engine: Any, launcher_pid: int = 0) -> None:
        """`launcher_pid`: of the process that has started the engine; 0 where that is this one."""
        self._door = door
        self._engine = engine
        self._launcher_pid = launcher_pid
        self._routers: dict[str, Any] = {}
        self._inbox: list[Any] = []

    @classmethod
    def connect(cls, folder: StateFolder) -> Client:
        """To the engine that runs on a state folder. Raises `EngineNotRunning`."""
        file = system.read_engine_file(folder)
        try:
            door = system.join(file)
        except ActorSystemException:
            raise EngineNotRunning(f"the engine (pid {file.pid}) does not answer; see `intentctl status`") from None
        return cls(door, system.address_from_text(file.engine), file.pid)

    def close(self) -> None:
        self._door.leave()

    # ── intents ───────────────────────────────────────────────────────────────────────────────────────────────────

    def router(self, symbol: str, timeout_s: float, *, to_cancel: bool = False) -> Any | Refusal:
        """The address of a symbol's router, or why there is none. `to_cancel`: to ask nothing else of it."""
        if symbol not in self._routers:
            request_id = new_request_id()
            self.tell(self._engine, FindRouter(request_id=request_id, symbol=symbol, to_cancel=to_cancel))
            found = self.await_answer(RouterFound, request_id, timeout_s)
            if found.refusal is not None:
                return found.refusal
            self._routers[symbol] = found.router
        return self._routers[symbol]

    def forget_router(self, symbol: str) -> None:
        """The one that is known does not answer: the next `router` asks the engine, which knows who took its place."""
        self._routers.pop(symbol, None)

    def send_intent(self, router: Any, request: IntentRequest, *, wait: bool) -> str:
        """Send without waiting for the answer; returns the request's id. Collect with `next_message`.

        The engine does not wait for who does not collect: some thousand answers are held, then what follows is lost.
        """
        request_id = new_request_id()
        self.tell(router, SubmitIntent(request_id=request_id, request=request, wait=wait))
        return request_id

    def submit(self, router: Any, request: IntentRequest, *, wait: bool, timeout_s: float) -> SubmitAnswer:
        """Send and wait for the answer; with `wait`, also for the end.

        When the time is over before the end, the answer is the intent as it was accepted. Raises `RequestTimedOut`
        when there was no answer at all; the intent may exist then, so ask again with the same key.
        """
        deadline = time.monotonic() + timeout_s
        request_id = self.send_intent(router, request, wait=wait)
        answer: SubmitAnswer = self.await_answer(IntentAnswered, request_id, timeout_s).answer
        if not wait or answer.record is None or answer.refusal is not None or is_terminal(answer.record.state):
            return answer
        try:
            done = self.await_answer(IntentDone, request_id, deadline - time.monotonic())
        except RequestTimedOut:
            return answer
        return SubmitAnswer(outcome=answer.outcome, record=done.record)

    def send_cancel(self, router: Any, intent_id: IntentId, reason: str) -> str:
        """Send without waiting for the answer; returns the request's id."""
        request_id = new_request_id()
        self.tell(router, CancelIntent(request_id=request_id, intent_id=intent_id, reason=reason))
        return request_id

    def cancel(self, router: Any, intent_id: IntentId, reason: str, timeout_s: float) -> IntentCancelNoted:
        request_id = self.send_cancel(router, intent_id, reason)
        noted: IntentCancelNoted = self.await_answer(IntentCancelNoted, request_id, timeout_s)
        return noted

    def send_replace(self, router: Any, intent_id: IntentId, terms: NewTerms) -> str:
        """Send without waiting for the answer; returns the request's id."""
        request_id = new_request_id()
        self.tell(router, ReplaceIntent(request_id=request_id, intent_id=intent_id, terms=terms))
        return request_id

    def replace(self, router: Any, intent_id: IntentId, terms: NewTerms, timeout_s: float) -> ReplaceResult:
        """Other terms for a working intent. Without an answer ask again with the same `NewTerms`: noted once."""
        request_id = self.send_replace(router, intent_id, terms)
        noted: IntentReplaceNoted = self.await_answer(IntentReplaceNoted, request_id, timeout_s)
        return noted.result

    # ── the engine ────────────────────────────────────────────────────────────────────────────────────────────────

    def status(self, timeout_s: float) -> StatusReported:
        request_id = new_request_id()
        self.tell(self._engine, AskStatus(request_id=request_id))
        status: StatusReported = self.await_answer(StatusReported, request_id, timeout_s)
        return status

    def lift_quarantine(self, symbol: str, reason: str, timeout_s: float) -> bool:
        """False: the symbol was not quarantined."""
        request_id = new_request_id()
        self.tell(self._engine, LiftQuarantine(request_id=request_id, symbol=symbol, reason=reason))
        return bool(self.await_answer(QuarantineAnswered, request_id, timeout_s).lifted)

    def set_trading(
        self, state: TradingState, reason: str, timeout_s: float, *, cancel_open: bool = False
    ) -> TradingStateSet:
        """What is in force from now on. A stricter state is told when no earlier order can reach the venue any more.

        Asked once, of this engine; `actors.operator` insists.
        """
        request_id = self.send_trading(state, reason, cancel_open=cancel_open)
        answer: TradingStateSet = self.await_answer(TradingStateSet, request_id, timeout_s)
        return answer

    def send_trading(self, state: TradingState, reason: str, *, cancel_open: bool = False) -> str:
        """Ask for a trading state without waiting; returns the request's id."""
        request_id = new_request_id()
        wanted = SetTradingState(
            request_id=request_id, state=state, reason=reason, cancel_open=cancel_open, asked_ns=time.time_ns()
        )
        self.tell(self._engine, wanted)
        return request_id

    def arm(self, account: str, for_ns: int, reason: str, timeout_s: float) -> ArmingSet:
        """Let orders leave in mode live for so long, for the account of this fingerprint."""
        request_id = new_request_id()
        wish = ArmTrading(request_id=request_id, account=account, for_ns=for_ns, reason=reason, asked_ns=time.time_ns())
        self.tell(self._engine, wish)
        answer: ArmingSet = self.await_answer(ArmingSet, request_id, timeout_s)
        return answer

    def verify(self, timeout_s: float) -> Verdict:
        """The whole book against the venue."""
        request_id = new_request_id()
        self.tell(self._engine, VerifyBook(request_id=request_id))
        answer: BookVerified = self.await_answer(BookVerified, request_id, timeout_s)
        return answer.verdict

    def stop(
        self, reason: str, timeout_s: float, *, on_stop: OnStop | None = None, force: bool = False
    ) -> EngineStopped:
        """How it ended. `on_stop`: what becomes of working orders, where not what the settings say.

        Raises `EngineNotRunning` when engine and launcher are gone without a word.
        """
        wish = StopEngine(request_id=new_request_id(), reason=reason, on_stop=on_stop, force=force)
        self.tell(self._engine, wish)
        stopped: EngineStopped = self._await(
            lambda message: isinstance(message, EngineStopped), wish.request_id, timeout_s, self._all_gone
        )
        return stopped

    def _all_gone(self) -> str:
        """Why nobody will tell any more how a stop went; empty as long as somebody may.

        An engine without its launcher ends its stop and tells, and a launcher without its engine puts none in its place
        then, but ends soon.
        """
        if not self._launcher_pid or system.process_lives(self._launcher_pid) or self._door.is_there(self._engine):
            return ""
        return (
            f"the engine and its launcher (pid {self._launcher_pid}) are gone, and nobody has told how the stop went; "
            "what was acknowledged is in the book, the next start looks for what was in flight; see `intentctl status`"
        )

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, address: Any, message: Any) -> None:
        """Raises `EngineNotRunning`."""
        self._door.tell(address, message)

    def tell_engine(self, message: Any) -> None:
        """Raises `EngineNotRunning`."""
        self.tell(self._engine, message)

    def next_message(self, timeout_s: float) -> Any:
        """Whatever arrives next, or None when the time is over."""
        return self._inbox.pop(0) if self._inbox else self._door.listen(timeout_s)

    def await_answer(self, kind: type[Any], request_id: str, timeout_s: float) -> Any:
        """The answer of this kind to this request; others wait in the inbox. Raises `RequestTimedOut`."""
        return self._await(
            lambda message: isinstance(message, kind) and message.request_id == request_id, request_id, timeout_s
        )

    def _await(
        self,
        fits: Callable[[Any], bool],
        request_id: str,
        timeout_s: float,
        all_gone: Callable[[], str] | None = None,
    ) -> Any:
        """`all_gone`: asked while nothing comes, why nothing will; empty as long as something may."""
        for position, message in enumerate(self._inbox):
            if fits(message) or _refuses(message, request_id):
                return _accepted(self._inbox.pop(position))
        deadline, gone = time.monotonic() + timeout_s, ""
        while (left := deadline - time.monotonic()) > 0:
            message = self._door.listen(min(left, LOOK_S) if all_gone else left)
            if message is None:
                if all_gone is None:
                    break
                if gone:  # for a whole look: what they had said before would have come by now
                    raise EngineNotRunning(gone)
                gone = all_gone()
                continue
            if fits(message) or _refuses(message, request_id):
                return _accepted(message)
            if isinstance(message, DeadEnvelope):
                raise EngineNotRunning(
                    "a part of the engine is gone, and is being replaced; ask again, an intent with the same key"
                )
            if len(self._inbox) < INBOX_MAX:
                self._inbox.append(message)
        raise RequestTimedOut(
            f"no answer within {timeout_s:g} s; it may have been heard all the same: see `intentctl status`, or ask "
            "again, an intent with the same key"
        )


def _refuses(message: Any, request_id: str) -> bool:
    """Whether it refuses this request. Of another one, whose time was over, it says nothing about this."""
    return isinstance(message, RequestRefused) and message.request_id == request_id


def _accepted(message: Any) -> Any:
    """The answer. Raises what it says if it is a refusal."""
    if isinstance(message, RequestRefused):
        raise IntentdError(message.reason)
    return message


def new_request_id() -> str:
    return uuid.uuid4().hex
