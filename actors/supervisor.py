"""Supervisor: which parts there are, where each one is, and a fresh one for each that dies or no longer answers.

A part starts when what it needs is ready (`actors/children.py`), and begins from the book. Whenever one is ready,
everybody is told where it is (`Rewire`). How often parts are replaced is bounded (`core/supervision.py`); when that is
exhausted, trading is halted, and what is left goes on answering.
"""

from __future__ import annotations

import os
from typing import Any

from actors.base import ActorExitRequest, ChildActorExited, Guarded
from actors.children import (
    CLASSES,
    GATEWAY,
    NEEDS,
    PORTFOLIO,
    RECONCILER,
    ROUTER_CLASS,
    ROUTER_NEEDS,
    Child,
    router_name,
    symbol_of,
)
from actors.system import process_lives
from core import drift
from core.concern import Concern
from core.errors import IntentdError
from core.events import AlertFired
from core.market import MarketRules
from core.records import TradingState
from core.supervision import Exhausted, Supervision
from messages.admin import StartEngine
from messages.book import RecordEvents, TightenTrading
from messages.lifecycle import (
    Alive,
    ChildBorn,
    ChildFailed,
    ChildReady,
    ConfigureChild,
    GatewayGone,
    Probe,
    RestartDue,
    Rewire,
    StreamChanged,
    Tick,
)
from messages.venue import GatewayHealth

PROBE_TICK = "probe"
PROBES_PER_TIMEOUT = 4
HALT_TICK = "halt"
RESTARTS_EXHAUSTED, BOOK_DAMAGED = "RESTARTS_EXHAUSTED", "BOOK_DAMAGED"
"""Why trading is halted, in the audit stream."""
HALT_AGAIN_NS = 5_000_000_000


class Supervisor(Guarded):
    """What is above it says what happens when a start is complete, and when it cannot succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "starting"
        """`starting`, `running`, `halted`, `stopping`, `stopped`, `failed`."""
        self.stop_reason = ""
        self.halt_code = RESTARTS_EXHAUSTED
        self.halted_ns = 0
        """Since when the engine is `halted`; ns UTC."""
        self.start: StartEngine | None = None
        self.children: dict[str, Child] = {}
        self.supervision = self.new_supervision()
        self.resting: dict[str, str] = {}
        """Parts that died and wait for their restart, or are not started again; with the reason."""
        self.wanted: list[str] = []
        """Symbols that have a router, or shall have one."""
        self.unlisted: dict[str, str] = {}
        """Routers that would have open intents, but no market; with the reason."""
        self.markets: dict[str, MarketRules] = {}
        self.credentials: dict[str, str] = {}
        self.gateway_health: GatewayHealth | None = None
        """Its latest; None: it has not said anything since its start."""
        self.probed_ns = 0

    # ── what is above ─────────────────────────────────────────────────────────────────────────────────────────────

    def announce(self) -> None:
        """Every part is ready for the first time."""
        raise NotImplementedError

    def give_up(self, reason: str, *, passing: bool = False, venue_silent: bool = False) -> None:
        """The start cannot succeed. `passing`: for a cause from outside, which can pass by itself."""
        raise NotImplementedError

    def router_ready(self, name: str) -> None:
        """A part is ready while the engine runs; maybe somebody waits for it."""
        raise NotImplementedError

    def go_on_stopping(self) -> None:
        """A part has ended while everything stops."""
        raise NotImplementedError

    # ── where everybody is ────────────────────────────────────────────────────────────────────────────────────────

    def address_of(self, name: str) -> Any:
        child = self.children.get(name)
        return child.address if child else None

    def child_at(self, name: str, address: Any) -> Child | None:
        """The part of this name, if this is where it is now."""
        child = self.children.get(name)
        return child if child is not None and child.address == address else None

    def is_ready(self, name: str) -> bool:
        return name in self.children and self.children[name].is_ready

    def all_ready(self) -> bool:
        wanted = [*CLASSES, *map(router_name, self.wanted)]
        return all(self.is_ready(name) or name in self.unlisted for name in wanted)

    def routers(self) -> list[Child]:
        return [child for child in self.children.values() if symbol_of(child.name) is not None and child.is_there]

    def router_addresses(self) -> dict[str, Any]:
        return {symbol: child.address for child in self.routers() if (symbol := symbol_of(child.name))}

    def want(self, symbol: str) -> None:
        if symbol not in self.wanted:
            self.wanted.append(symbol)

    # ── a part starts ─────────────────────────────────────────────────────────────────────────────────────────────

    def advance(self) -> None:
        """Start every part that is missing and has what it needs; say so when all are there."""
        if self.state not in {"starting", "running"}:
            return
        for name, actor_class in CLASSES.items():
            if self.may_start(name, NEEDS[name]):
                self.create(name, actor_class)
        for symbol in self.wanted:
            if self.may_start(router_name(symbol), ROUTER_NEEDS):
                self.start_router(symbol)
        if self.state == "starting" and self.all_ready():
            self.announce()

    def may_start(self, name: str, needs: tuple[str, ...]) -> bool:
        return name not in self.children and name not in self.resting and all(map(self.is_ready, needs))

    def start_router(self, symbol: str) -> None:
        rules, name = self.markets.get(symbol), router_name(symbol)
        if rules is not None:
            self.unlisted.pop(name, None)
            self.create(name, ROUTER_CLASS, rules)
        elif name not in self.unlisted:
            self.do_without(name, symbol)

    def do_without(self, name: str, symbol: str) -> None:
        """One symbol that is suspended stops no other. Its intents are the reconciler's; new ones are refused."""
        text = (
            f"the venue does not trade {symbol} at the moment: orders there are followed as far as it answers, nothing "
            "new is sent; look at the venue, and cancel there what shall go"
        )
        self.unlisted[name] = text
        self.log.error("symbol_not_traded", symbol=symbol)
        alert = AlertFired(at_ns=self.now_ns(), code="SYMBOL_NOT_TRADED", text=text)
        self.send(self.address_of(PORTFOLIO), RecordEvents(events=(alert,)))

    def create(self, name: str, actor_class: str, rules: MarketRules | None = None) -> None:
        assert self.start is not None
        if name == GATEWAY:
            os.environ.update(self.credentials)  # only for the fork: nobody else has them
        child = Child(name, self.createActor(actor_class), self.now_ns())
        for variable in self.credentials if name == GATEWAY else ():
            os.environ.pop(variable, None)
        self.children[name] = child
        self.send(
            child.address,
            ConfigureChild(
                settings=self.start.settings,
                state_root=self.start.state_root,
                session_id=self.start.session_id,
                engine_pid=self.process_id(),
                portfolio=self.address_of(PORTFOLIO) if name != PORTFOLIO else None,
                gateway=self.address_of(GATEWAY) if name != GATEWAY else None,
                reconciler=self.address_of(RECONCILER) if name != RECONCILER else None,
                routers=self.router_addresses() if name == PORTFOLIO else {},
                venue_was_reached=self.start.venue_was_reached or bool(self.markets),
                stream_is_live=self.stream_is_live,
                rules=rules,
            ),
        )
        if rules is not None or name == GATEWAY:  # the portfolio answers routers, and lets in a gateway that it knows
            self.rewire_one(self.children[PORTFOLIO], name)

    def receiveMsg_ChildBorn(self, message: ChildBorn, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None:
            child.pid = message.pid

    def receiveMsg_ChildReady(self, message: ChildReady, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is None or child.is_ready:
            return  # of one that was replaced meanwhile, or told twice
        child.pid, child.state, child.heard_ns = message.pid, "ready", self.now_ns()
        self.supervision.ready(child.name, child.heard_ns)
        self.log.info("child_ready", child=message.name, child_pid=message.pid)
        for symbol in message.open_symbols:
            self.want(symbol)
        self.rewire(message.name)
        if self.state == "running":
            self.router_ready(message.name)
        self.advance()

    def rewire(self, name: str) -> None:
        """Tell everybody where a new part is."""
        for child in self.children.values():
            if child.name != name and child.is_there:
                self.rewire_one(child, name)

    def rewire_one(self, child: Child, replaced: str) -> None:
        self.send(
            child.address,
            Rewire(
                replaced=replaced,
                portfolio=self.address_of(PORTFOLIO),
                gateway=self.address_of(GATEWAY),
                reconciler=self.address_of(RECONCILER),
                routers=self.router_addresses(),
            ),
        )

    # ── a part ends ───────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        child = next((c for c in self.children.values() if c.address == message.childAddress), None)
        if child is None or not child.is_there:
            return
        child.state = "gone"
        if self.state == "stopping":
            self.lost_while_stopping(child)
        elif self.state in {"starting", "running"}:
            self.replace(child, f"the {child.name} process (pid {child.pid}) died")
        elif self.state == "halted":
            self.lost_while_halted(child, f"the {child.name} process (pid {child.pid}) died")

    def receiveMsg_ChildFailed(self, message: ChildFailed, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is None:
            return
        child.state = "failed"
        if self.state == "starting" and self.supervision.total == 0:
            self.give_up(message.reason, passing=message.passing, venue_silent=message.venue_silent)
        elif self.state in {"starting", "running"}:
            self.send(child.address, ActorExitRequest())
            if message.damaged:
                self.resting[child.name] = message.reason
                self.halt(message.reason, BOOK_DAMAGED)
            else:
                self.replace(child, message.reason, passing=message.passing)
        elif self.state == "halted":
            self.lost_while_halted(child, message.reason)
        elif self.state == "stopping":
            self.lost_while_stopping(child)

    def lost_while_stopping(self, child: Child) -> None:
        """It is not replaced, and nobody waits for it; what was to leave through it has not left."""
        self.log.warning("child_lost", child=child.name, reason="it ended while the engine stops")
        if child.name == GATEWAY:
            self.gateway_gone()
        self.go_on_stopping()

    def lost_while_halted(self, child: Child, reason: str) -> None:
        """It is not replaced; and a portfolio may have died before it could write the halt."""
        self.resting[child.name] = reason
        self.log.error("child_lost", child=child.name, reason=reason)
        if child.name == PORTFOLIO:
            self.halt_in_book()

    def replace(self, child: Child, reason: str, *, passing: bool = False) -> None:
        """Start a part anew, now or a little later; when that was done too often, stop trading instead."""
        decision = self.supervision.died(child.name, self.now_ns(), passing=passing)
        self.resting[child.name] = reason
        if isinstance(decision, Exhausted):
            self.halt(f"{reason}; {decision.reason}")
            return
        self.log.error("child_replaced", child=child.name, reason=reason, restarts=self.supervision.total)
        del self.children[child.name]
        if child.name == GATEWAY:
            self.gateway_gone()
        if decision.after_ns:
            self.wake_after_ns(decision.after_ns, RestartDue(name=child.name))
        else:
            self.restart(child.name)

    def gateway_gone(self) -> None:
        if self.is_ready(PORTFOLIO):
            self.send(self.address_of(PORTFOLIO), GatewayGone())
        was_live, self.gateway_health = self.stream_is_live, None
        if was_live:
            self.tell_of_stream()

    @property
    def stream_is_live(self) -> bool:
        stream = self.gateway_health.stream if self.gateway_health is not None else None
        return stream is not None and stream.is_live

    def tell_of_stream(self) -> None:
        """Whoever follows orders asks the less while they are told of."""
        followers = [*self.routers(), *filter(None, [self.children.get(RECONCILER)])]
        for child in followers:
            if child.is_there:
                self.send(child.address, StreamChanged(is_live=self.stream_is_live))

    def restart(self, name: str) -> None:
        if self.state in {"starting", "running"}:
            self.resting.pop(name, None)
            self.advance()

    def halt(self, reason: str, code: str = RESTARTS_EXHAUSTED) -> None:
        """Restarts do not help: nothing new is sent any more, and somebody must look."""
        self.halt_code, self.halted_ns = code, self.now_ns()
        was_starting, self.state = self.state == "starting", "halted"
        self.stop_reason = reason
        self.log.critical("engine_halted", reason=reason)
        if was_starting:  # all of it ends now, so a message would come too late
            self.end_portfolio()
        self.halt_in_book()
        if was_starting:
            self.give_up(reason)

    def halt_in_book(self) -> None:
        """It must stand there before anybody trades again. Without a portfolio we write it: nobody else does then."""
        concern = Concern(code=self.halt_code, text=self.stop_reason)
        if self.is_ready(PORTFOLIO):
            halt = TightenTrading(state=TradingState.HALTED, concern=concern, by=self.name)
            self.send(self.address_of(PORTFOLIO), halt)
            return
        self.end_portfolio()
        try:
            store = self.open_book_to_write()
            try:
                with store.transaction() as unit:
                    drift.act_on(unit, concern, TradingState.HALTED, self.name, self.now_ns())
            finally:
                store.close()
        except IntentdError as error:
            self.log.critical("halt_not_written", reason=str(error))
            self.wake_after_ns(HALT_AGAIN_NS, Tick(name=HALT_TICK))

    def end_portfolio(self) -> None:
        """One that is starting, or has failed and not ended yet, must not be in the way with a transaction."""
        child = self.children.get(PORTFOLIO)
        if child is not None and child.state != "gone":
            child.state = "gone"
            if child.pid:
                self.kill_process(child.pid)

    def begin_again(self) -> None:
        """An operator has looked at why it was halted: as many restarts as at the start."""
        self.log.warning("engine_begins_again", reason=self.stop_reason)
        self.supervision = self.new_supervision()
        self.state, self.stop_reason = "running", ""
        self.resting.clear()
        self.children = {name: child for name, child in self.children.items() if child.is_there}
        self.advance()

    def new_supervision(self) -> Supervision:
        return Supervision(self.settings.engine.restarts_max, self.settings.engine.restart_window)

    # ── signs of life ─────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_Alive(self, message: Alive, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None:
            child.heard_ns = self.now_ns()

    def probe(self) -> None:
        """Ask everybody for a sign of life; a part that has given none for too long is ended, and so replaced."""
        timeout_ns, now = self.settings.engine.hang_timeout, self.now_ns()
        overslept = now - self.probed_ns > timeout_ns // 2  # then it is not they who were silent
        self.probed_ns = now
        for child in list(self.children.values()):
            if not child.is_there:
                continue
            if overslept:
                child.heard_ns = now
            if child.pid and not self.lives(child.pid):
                self.count_as_dead(child, f"the {child.name} process (pid {child.pid}) is gone, and nobody told of it")
                continue
            allowed_ns = timeout_ns if child.is_ready else max(timeout_ns, self.settings.engine.start_timeout)
            if now - child.heard_ns > allowed_ns:
                self.end_silent(child)
            elif child.is_ready:
                self.send(child.address, Probe())
        self.wake_after_ns(timeout_ns // PROBES_PER_TIMEOUT, Tick(name=PROBE_TICK))

    def end_silent(self, child: Child) -> None:
        """It is replaced when it is dead. One without a pid cannot be killed, and its death may never be told."""
        self.log.error("child_hangs", child=child.name, child_pid=child.pid)
        if child.pid:
            self.kill_process(child.pid)
            return
        self.send(child.address, ActorExitRequest())  # should it wake up; what it writes or sends is of an old epoch
        self.count_as_dead(child, f"the {child.name} process has never said that it was born")

    def count_as_dead(self, child: Child, reason: str) -> None:
        """thespian's word of a death can be lost; who waited for it would wait for ever."""
        child.state = "gone"
        if self.state in {"starting", "running"}:
            self.replace(child, reason)
        elif self.state == "halted":
            self.lost_while_halted(child, reason)
        elif self.state == "stopping":
            self.lost_while_stopping(child)

    def lives(self, pid: int) -> bool:
        """Whether there is such a process, and it is more than a zombie."""
        return process_lives(pid)
