"""Front desk: what clients and operators ask the engine for. It answers itself, or hands on to the part that can."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from actors.children import GATEWAY, PORTFOLIO, RECONCILER, router_name, symbol_of
from actors.supervisor import Supervisor
from core import arming
from core.account import Account
from core.errors import InvalidInput
from core.ids import NS_PER_MS
from core.in_flight import reach_ns
from core.intent import SYMBOL_PATTERN, validate_reason
from core.planning import Refusal
from core.records import Arming, Standing, TradingState
from core.settings import Mode
from core.trading import is_looser
from messages import ClientRequest, RequestRefused
from messages.admin import AskStatus, ChildStatus, FindRouter, RouterFound, StatusReported
from messages.book import (
    ArmingSet,
    ArmTrading,
    DisarmTrading,
    LiftQuarantine,
    QuarantineAnswered,
    RecordRefusal,
    SetTradingState,
    TradingStateSet,
)
from messages.lifecycle import QuietDue
from messages.reconciling import BookVerified, VerifyBook
from messages.venue import AwaitQuiet, GatewayHealth, WireQuiet

CLIENTS_MAX = 1_000
"""So many wait for another part's answer at once; whoever has waited longest is forgotten first, and asks again."""


class FrontDesk(Supervisor):
    def __init__(self) -> None:
        super().__init__()
        self.started_ns = 0
        self.waiting_for_router: dict[str, list[tuple[str, Any]]] = {}
        self.clients: dict[str, Any] = {}
        """Who waits for another part's answer, by request."""
        self.account: Account | None = None
        """The one that the gateway was connected to last; None before the first time."""
        self.settling: dict[str, TradingStateSet | ArmingSet] = {}
        """Stricter rules that are durable, while what was sent before is still on its way to the venue."""
        self.standing_seen: tuple[Standing, int] | None = None
        """The latest, and since when it was known to be durable; monotonic."""

    # ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_FindRouter(self, message: FindRouter, sender: Any) -> None:
        refusal = self.refuse_symbol(message.symbol, to_cancel=message.to_cancel)
        if refusal is not None:
            if refusal.code == "UNKNOWN_SYMBOL":
                self.send(
                    self.address_of(PORTFOLIO), RecordRefusal(symbol=message.symbol[:40], key=None, refusal=refusal)
                )
            self.answer_router(message.request_id, message.symbol, sender, None, refusal)
            return
        self.waiting_for_router.setdefault(message.symbol, []).append((message.request_id, sender))
        self.want(message.symbol)
        self.advance()
        self.router_ready(router_name(message.symbol))

    def refuse_symbol(self, symbol: str, *, to_cancel: bool = False) -> Refusal | None:
        has_router = self.is_ready(router_name(symbol))
        can_cancel = to_cancel and has_router and self.is_ready(PORTFOLIO) and self.is_ready(GATEWAY)
        if self.state == "halted" and not can_cancel:
            return Refusal("ENGINE_HALTED", f"{self.stop_reason}; look at {self.log_path()}, then `intentctl resume`")
        if self.state not in {"running", "halted"} and not (self.state == "stopping" and has_router):
            return Refusal("ENGINE_NOT_READY", f"the engine is {self.state}; see `intentctl status`")
        if symbol in self.markets or has_router:
            return None  # a router that is there knows what it has, and refuses what is new itself while all stops
        if router_name(symbol) in self.unlisted:
            return Refusal("SYMBOL_NOT_TRADED", f"{symbol}: the venue does not trade it at the moment")
        if not SYMBOL_PATTERN.fullmatch(symbol):
            return Refusal("INVALID", f"symbol {symbol[:40]!a}: must be BASE/QUOTE in upper case, like BTC/USDT")
        close = difflib.get_close_matches(symbol, self.markets, n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see the venue's list of markets"
        return Refusal("UNKNOWN_SYMBOL", f"symbol {symbol!r} is not traded at the venue; {remedy}")

    def log_path(self) -> str:
        return str(self.folder.program_log)

    def router_ready(self, name: str) -> None:
        symbol = symbol_of(name)
        if symbol is None or not self.is_ready(name):
            return
        for request_id, client in self.waiting_for_router.pop(symbol, []):
            self.answer_router(request_id, symbol, client, self.children[name].address, None)

    def answer_router(self, request_id: str, symbol: str, client: Any, address: Any, refusal: Refusal | None) -> None:
        self.answer(client, RouterFound(request_id=request_id, symbol=symbol, router=address, refusal=refusal))

    # ── operators ─────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_AskStatus(self, message: AskStatus, sender: Any) -> None:
        self.answer(
            sender,
            StatusReported(
                request_id=message.request_id,
                state=self.state,
                reason=self.stop_reason,
                mode=str(self.settings.engine.mode),
                session_id=self.start.session_id if self.start else "",
                started_ns=self.started_ns,
                restarts=self.supervision.total,
                children=self.parts(),
                markets=len(self.markets),
                gateway=self.gateway_health,
                account=self.account,
            ),
        )

    def parts(self) -> tuple[ChildStatus, ...]:
        """How each is; the engine itself first."""
        engine = ChildStatus(name=self.name, pid=self.process_id(), state=self.state)
        children = [ChildStatus(name=c.name, pid=c.pid, state=c.state) for c in self.children.values() if c.is_there]
        children += [
            ChildStatus(name=name, pid=0, state=f"down: {why}") for name, why in (self.resting | self.unlisted).items()
        ]
        return (engine, *children)

    def receiveMsg_GatewayHealth(self, message: GatewayHealth, sender: Any) -> None:
        if self.child_at(GATEWAY, sender) is None:
            return  # the last words of one that is dead
        before = self.gateway_health.stream if self.gateway_health is not None else None
        self.gateway_health = message
        if message.stream != before:  # lost and found again is news, too: what happened in between was told by nobody
            self.tell_of_stream()

    def receiveMsg_LiftQuarantine(self, message: LiftQuarantine, sender: Any) -> None:
        if self.is_reasoned(message, message.reason, sender):
            self.hand_on(message, PORTFOLIO, sender)

    def receiveMsg_SetTradingState(self, message: SetTradingState, sender: Any) -> None:
        """Where restarts were exhausted, `resume` is for the engine, too: what is in the book alone starts no part."""
        if not self.is_reasoned(message, message.reason, sender):
            return
        if self.state == "halted" and message.state is TradingState.ACTIVE and self.knows_of_halt(message):
            self.begin_again()
            if not self.is_ready(PORTFOLIO):
                reason = (
                    "the engine was halted and starts its parts again now; trading is still HALTED: "
                    "resume again when `intentctl status` shows them ready"
                )
                self.refuse(message, reason, sender)
                return
        self.hand_on(message, PORTFOLIO, sender)

    def knows_of_halt(self, message: SetTradingState) -> bool:
        """Whether it was asked for after the engine halted. One that is asked for again, because nobody has answered it
        before, starts nothing that an operator has not looked at. Without a time, or where a clock was set, it does."""
        return not 0 < message.asked_ns < self.halted_ns <= self.now_ns()

    def receiveMsg_ArmTrading(self, message: ArmTrading, sender: Any) -> None:
        """For the account that is connected now: without a gateway nobody knows which one that is."""
        mode, account = self.settings.engine.mode, self.account if self.is_ready(GATEWAY) else None
        if mode is Mode.LIVE and account is None:
            self.refuse(message, "the gateway is not ready; see `intentctl status`, then ask again", sender)
        elif self.is_permitted(
            message, lambda: arming.validate(mode, account, message.account, message.for_ns), sender
        ) and self.is_reasoned(message, message.reason, sender):
            self.hand_on(message, PORTFOLIO, sender)

    def receiveMsg_DisarmTrading(self, message: DisarmTrading, sender: Any) -> None:
        if self.is_permitted(
            message, lambda: arming.validate_mode(self.settings.engine.mode), sender
        ) and self.is_reasoned(message, message.reason, sender):
            self.hand_on(message, PORTFOLIO, sender)

    def receiveMsg_ArmingSet(self, message: ArmingSet, _sender: Any) -> None:
        """A wish to disarm is told like a halt: who hears of it relies on it. It is a new one each time it is asked."""
        if message.arming is not None and not message.arming.account:
            self.hand_back_when_quiet(message)
        else:
            if message.arming is not None:  # armed since: who waits to be told that it is not would rely on it
                self.tell_who_disarmed(message.arming)
            self.hand_back(message.request_id, message)

    def tell_who_disarmed(self, now: Arming) -> None:
        for request_id, waiting in list(self.settling.items()):
            if isinstance(waiting, ArmingSet):
                del self.settling[request_id]
                self.hand_back(request_id, replace(waiting, arming=now))

    def receiveMsg_VerifyBook(self, message: VerifyBook, sender: Any) -> None:
        self.hand_on(message, RECONCILER, sender)

    def is_reasoned(self, message: ClientRequest, reason: str, sender: Any) -> bool:
        """The book keeps the operator's words; refuses what is none."""
        return self.is_permitted(message, lambda: validate_reason(reason), sender)

    def is_permitted(self, message: ClientRequest, validate: Callable[[], None], sender: Any) -> bool:
        """Refuses what does not stand up to `validate`, which raises `InvalidInput`."""
        try:
            validate()
        except InvalidInput as error:
            self.refuse(message, str(error), sender)
            return False
        return True

    def refuse(self, message: ClientRequest, reason: str, sender: Any) -> None:
        self.answer(sender, RequestRefused(request_id=message.request_id, reason=reason))

    def hand_on(self, message: ClientRequest, part: str, sender: Any) -> None:
        """To the part that can answer; its answer goes back to the client."""
        if not self.is_ready(part):
            self.answer(sender, self.not_ready(message, part))
            return
        self.clients[message.request_id] = sender
        if len(self.clients) > CLIENTS_MAX:
            del self.clients[next(iter(self.clients))]
        self.send(self.address_of(part), message)

    def not_ready(self, message: ClientRequest, part: str) -> RequestRefused:
        """Who insists waits for a part that is being started, not for one that nobody starts."""
        is_passing = self.state != "halted"
        reason = f"the {part} is not ready; see `intentctl status`, then ask again"
        if not is_passing:
            reason = (
                f"the {part} is gone, and the engine is halted ({self.stop_reason}): it stays so until "
                "`intentctl resume`, and no new order leaves before; see `intentctl status`"
            )
        return RequestRefused(request_id=message.request_id, reason=reason, is_passing=is_passing)

    def receiveMsg_QuarantineAnswered(self, message: QuarantineAnswered, _sender: Any) -> None:
        self.hand_back(message.request_id, message)

    def receiveMsg_TradingStateSet(self, message: TradingStateSet, _sender: Any) -> None:
        """Who is told that trading is stopped may rely on it: no order reaches the venue after that.

        The gateway knows best when the last one is over. Without its word, and without a gateway, it is the venue's own
        rule that ends the wait: it takes nothing that was sent so long ago. A state that stands for so long, and is
        asked for again because its answer was lost, needs no wait.
        """
        self.tell_who_is_overtaken(message.standing)
        longest_ns = self.longest_on_the_way_ns(message)
        if self.standing_seen is None or self.standing_seen[0] != message.standing:
            self.standing_seen = message.standing, self.monotonic_ns()
        is_old = self.monotonic_ns() - self.standing_seen[1] >= longest_ns
        if message.standing.state is TradingState.ACTIVE or is_old:
            self.hand_back(message.request_id, message)
        else:
            self.hand_back_when_quiet(message)

    def tell_who_is_overtaken(self, now: Standing) -> None:
        """Somebody has made it looser, who knew of what others wait here to be told: it is not so any more, and they
        must neither be told that it is, nor bring it about again by asking again."""
        for request_id, waiting in list(self.settling.items()):
            if isinstance(waiting, TradingStateSet) and is_looser(now, waiting.standing):
                del self.settling[request_id]
                self.hand_back(request_id, replace(waiting, standing=now))

    def hand_back_when_quiet(self, message: TradingStateSet | ArmingSet) -> None:
        self.settling[message.request_id] = message
        self.wake_after_ns(self.longest_on_the_way_ns(message), QuietDue(request_id=message.request_id))
        if self.is_ready(GATEWAY):
            self.send(self.address_of(GATEWAY), AwaitQuiet(request_id=message.request_id))

    def longest_on_the_way_ns(self, message: TradingStateSet | ArmingSet) -> int:
        return reach_ns(self.settings.exchange.recv_window_ms * NS_PER_MS, message.clock_span_ns)

    def receiveMsg_WireQuiet(self, message: WireQuiet, _sender: Any) -> None:
        self.settled(message.request_id)

    def settled(self, request_id: str) -> None:
        answer = self.settling.pop(request_id, None)
        if answer is not None:
            self.hand_back(request_id, answer)

    def receiveMsg_BookVerified(self, message: BookVerified, _sender: Any) -> None:
        self.hand_back(message.request_id, message)

    def hand_back(self, request_id: str, answer: Any) -> None:
        client = self.clients.pop(request_id, None)
        if client is not None:
            self.answer(client, answer)
