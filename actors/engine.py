"""Engine: starts the parts in order, knows who is where, and stops them.

Order of a start: Portfolio (the book) → Gateway (markets, account, opening balances) → Reconciler and Scribe → a
router for each symbol with open intents. Only then is the launcher told. Other routers start on first use.

In this version a part that dies ends the engine: it stops with the reason, and the launcher exits. Nothing goes on
with half of its parts.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from actors.base import CREDENTIAL_VARIABLES, ActorExitRequest, ChildActorExited, Guarded
from actors.system import process_lives
from core.errors import InvalidInput
from core.intent import SYMBOL_PATTERN, validate_free_text
from core.market import MarketRules
from core.planning import Refusal
from messages import RequestRefused
from messages.admin import (
    AskStatus,
    ChildStatus,
    EngineStarted,
    EngineStopped,
    FindRouter,
    RouterFound,
    StartEngine,
    StatusReported,
    StopEngine,
)
from messages.book import LiftQuarantine, QuarantineAnswered, RecordRefusal
from messages.lifecycle import ChildFailed, ChildReady, ConfigureChild, PrepareStop, StopPrepared, Tick
from messages.venue import GatewayReady
from storage.layout import StateFolder

PORTFOLIO, GATEWAY, RECONCILER, SCRIBE = "portfolio", "gateway", "reconciler", "scribe"
CLASSES = {
    PORTFOLIO: "actors.portfolio.Portfolio",
    GATEWAY: "actors.gateway.Gateway",
    RECONCILER: "actors.reconciler.Reconciler",
    SCRIBE: "actors.scribe.Scribe",
}
ROUTER_CLASS = "actors.router.OrderRouter"
STOP_ORDER = (RECONCILER, GATEWAY, PORTFOLIO, SCRIBE)
"""Routers settle first; the scribe is last, so that it writes what all the others did."""
STOP_TICK = "stop"
LAUNCHER_TICK = "launcher"
LAUNCHER_CHECK_NS = 500_000_000


class Child:
    """One actor that the engine has started."""

    def __init__(self, name: str, address: Any) -> None:
        self.name = name
        self.address = address
        self.pid = 0
        self.state = "starting"
        self.prepared = False


class Engine(Guarded):
    name = "engine"

    def __init__(self) -> None:
        super().__init__()
        self.state = "starting"
        self.start: StartEngine | None = None
        self.launcher: Any = None
        self.children: dict[str, Child] = {}
        self.markets: dict[str, MarketRules] = {}
        self.waiting_for_router: dict[str, list[tuple[str, Any]]] = {}
        self.open_symbols: tuple[str, ...] = ()
        self.started_ns = 0
        self.stop_reason = ""
        self.stop_askers: list[Any] = []
        self.clients: dict[str, Any] = {}
        self.orphaned = False

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_StartEngine(self, message: StartEngine, sender: Any) -> None:
        self.start, self.launcher = message, sender
        self.settings = message.settings
        self.folder = StateFolder(message.state_root)
        self.started_ns = self.now_ns()
        self.log = self.open_log(message.session_id)
        self.log.info("engine_starting", mode=str(self.settings.engine.mode))
        self.create(PORTFOLIO, CLASSES[PORTFOLIO])
        self.wake_after_ns(LAUNCHER_CHECK_NS, Tick(name=LAUNCHER_TICK))

    def watch_launcher(self) -> None:
        """Without its launcher nobody could stop the system; end it rather than trade on unattended."""
        assert self.start is not None
        if process_lives(self.start.launcher_pid):
            self.wake_after_ns(LAUNCHER_CHECK_NS, Tick(name=LAUNCHER_TICK))
            return
        self.orphaned = True
        self.log.critical("launcher_gone", launcher_pid=self.start.launcher_pid)
        if self.state in {"stopped", "failed"}:
            self.actorSystemShutdown()
        else:
            self.begin_stop("the launcher is gone")

    def create(self, name: str, actor_class: str, rules: MarketRules | None = None) -> None:
        assert self.start is not None
        child = Child(name, self.createActor(actor_class))
        self.children[name] = child
        self.send(
            child.address,
            ConfigureChild(
                settings=self.start.settings,
                state_root=self.start.state_root,
                session_id=self.start.session_id,
                portfolio=self.address_of(PORTFOLIO) if name != PORTFOLIO else None,
                gateway=self.address_of(GATEWAY),
                reconciler=self.address_of(RECONCILER),
                rules=rules,
            ),
        )

    def address_of(self, name: str) -> Any:
        child = self.children.get(name)
        return child.address if child else None

    def receiveMsg_ChildReady(self, message: ChildReady, _sender: Any) -> None:
        child = self.children[message.name]
        child.pid, child.state = message.pid, "ready"
        self.log.info("child_ready", child=message.name, child_pid=message.pid)
        if message.name == PORTFOLIO:
            self.open_symbols = message.open_symbols
            self.create(GATEWAY, CLASSES[GATEWAY])
            # from here on only the gateway, forked just now, still has them
            for variable in CREDENTIAL_VARIABLES:
                os.environ.pop(variable, None)
        elif message.name == GATEWAY:
            self.create(RECONCILER, CLASSES[RECONCILER])
            self.create(SCRIBE, CLASSES[SCRIBE])
            for symbol in self.open_symbols:
                self.start_router(symbol)
        elif self.state == "running":
            self.router_ready(message.name)
        if self.state == "starting" and self.all_ready():
            self.announce()

    def receiveMsg_GatewayReady(self, message: GatewayReady, _sender: Any) -> None:
        self.markets = message.markets

    def all_ready(self) -> bool:
        return CLASSES.keys() <= self.children.keys() and all(c.state == "ready" for c in self.children.values())

    def announce(self) -> None:
        self.state = "running"
        self.log.info("engine_running", markets=len(self.markets), open_symbols=list(self.open_symbols))
        self.send(self.launcher, EngineStarted(pid=os.getpid(), process_group=os.getpgrp(), markets=len(self.markets)))
        for name in list(self.children):
            self.router_ready(name)

    def receiveMsg_ChildFailed(self, message: ChildFailed, _sender: Any) -> None:
        self.children[message.name].state = "failed"
        self.give_up(message.reason)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        for child in self.children.values():
            if child.address == message.childAddress and child.state != "gone":
                was = child.state
                child.state = "gone"
                if self.state == "stopping":
                    self.go_on_stopping()
                if self.state not in {"stopping", "stopped"} and was != "failed":
                    self.give_up(f"the {child.name} process (pid {child.pid}) died; see {self.log_path()}")

    def log_path(self) -> str:
        return str(self.folder.program_log)

    def give_up(self, reason: str) -> None:
        """Something is broken: stop trading, say so, end."""
        if self.state == "failed":
            return
        self.state = "failed"
        self.stop_reason = reason
        self.log.critical("engine_failed", reason=reason)
        for receiver in [self.launcher, *self.stop_askers]:
            self.send(receiver, EngineStopped(reason=reason, failed=True))

    # ── routers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_FindRouter(self, message: FindRouter, sender: Any) -> None:
        refusal = self.refuse_symbol(message.symbol)
        if refusal is not None:
            if refusal.code == "UNKNOWN_SYMBOL":
                self.send(
                    self.address_of(PORTFOLIO), RecordRefusal(symbol=message.symbol[:40], key=None, refusal=refusal)
                )
            self.answer_router(message.request_id, message.symbol, sender, None, refusal)
            return
        self.waiting_for_router.setdefault(message.symbol, []).append((message.request_id, sender))
        name = router_name(message.symbol)
        if name not in self.children:
            self.start_router(message.symbol)
        else:
            self.router_ready(name)

    def refuse_symbol(self, symbol: str) -> Refusal | None:
        if self.state != "running":
            return Refusal("ENGINE_NOT_READY", f"the engine is {self.state}; see `intentctl status`")
        if symbol in self.markets:
            return None
        if not SYMBOL_PATTERN.fullmatch(symbol):
            return Refusal("INVALID", f"symbol {symbol[:40]!a}: must be BASE/QUOTE in upper case, like BTC/USDT")
        close = difflib.get_close_matches(symbol, self.markets, n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see the venue's list of markets"
        return Refusal("UNKNOWN_SYMBOL", f"symbol {symbol!r} is not traded at the venue; {remedy}")

    def start_router(self, symbol: str) -> None:
        rules = self.markets.get(symbol)
        if rules is None:
            self.give_up(f"{symbol} has open intents, but the venue no longer trades it; cancel them at the venue")
            return
        self.create(router_name(symbol), ROUTER_CLASS, rules)

    def router_ready(self, name: str) -> None:
        child = self.children[name]
        symbol = name.removeprefix("router ")
        if child.state != "ready" or symbol == name:
            return
        for request_id, client in self.waiting_for_router.pop(symbol, []):
            self.answer_router(request_id, symbol, client, child.address, None)

    def answer_router(self, request_id: str, symbol: str, client: Any, address: Any, refusal: Refusal | None) -> None:
        self.send(client, RouterFound(request_id=request_id, symbol=symbol, router=address, refusal=refusal))

    # ── operators ─────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_AskStatus(self, message: AskStatus, sender: Any) -> None:
        engine = ChildStatus(name=self.name, pid=os.getpid(), state=self.state)
        children = (ChildStatus(name=c.name, pid=c.pid, state=c.state) for c in self.children.values())
        self.send(
            sender,
            StatusReported(
                request_id=message.request_id,
                state=self.state,
                mode=str(self.settings.engine.mode),
                session_id=self.start.session_id if self.start else "",
                started_ns=self.started_ns,
                children=(engine, *children),
                markets=len(self.markets),
            ),
        )

    def receiveMsg_LiftQuarantine(self, message: LiftQuarantine, sender: Any) -> None:
        try:
            validate_free_text("reason", message.reason)
        except InvalidInput as error:
            self.send(sender, RequestRefused(request_id=message.request_id, reason=str(error)))
            return
        if message.symbol not in self.markets:
            self.send(sender, QuarantineAnswered(request_id=message.request_id, lifted=False))
            return
        self.clients[message.request_id] = sender
        self.send(self.address_of(PORTFOLIO), message)

    def receiveMsg_QuarantineAnswered(self, message: QuarantineAnswered, _sender: Any) -> None:
        client = self.clients.pop(message.request_id, None)
        if client is not None:
            self.send(client, message)

    # ── stop ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_StopEngine(self, message: StopEngine, sender: Any) -> None:
        self.stop_askers.append(sender)
        if self.state in {"stopping", "failed"}:
            if self.state == "failed":
                self.send(sender, EngineStopped(reason=self.stop_reason, failed=True))
            return
        self.begin_stop(message.reason)

    def begin_stop(self, reason: str) -> None:
        self.state = "stopping"
        self.stop_reason = reason
        self.log.info("engine_stopping", reason=reason)
        self.wake_after_ns(self.settings.engine.stop_timeout, Tick(name=STOP_TICK))
        for child in self.routers():
            self.send(child.address, PrepareStop())
        self.go_on_stopping()

    def routers(self) -> list[Child]:
        return [child for child in self.children.values() if child.name not in CLASSES]

    def receiveMsg_StopPrepared(self, message: StopPrepared, _sender: Any) -> None:
        child = self.children[message.name]
        if not child.prepared:
            child.prepared = True
            self.go_on_stopping()

    def go_on_stopping(self) -> None:
        """Routers first, then the others one after the other; then everybody is told."""
        if any(not child.prepared for child in self.routers() if child.state == "ready"):
            return
        for name in STOP_ORDER:
            child = self.children.get(name)
            if child is not None and child.state == "ready" and not child.prepared:
                self.send(child.address, PrepareStop())
                return
        self.stopped()

    def stopped(self) -> None:
        if self.state == "stopped":
            return
        self.state = "stopped"
        self.log.info("engine_stopped", reason=self.stop_reason)
        for receiver in [*([] if self.orphaned else [self.launcher]), *self.stop_askers]:
            self.send(receiver, EngineStopped(reason=self.stop_reason, failed=False))
        if self.orphaned:
            self.actorSystemShutdown()

    def on_timer(self, payload: Any) -> None:
        if isinstance(payload, Tick) and payload.name == LAUNCHER_TICK:
            self.watch_launcher()
        elif isinstance(payload, Tick) and payload.name == STOP_TICK and self.state == "stopping":
            late = [child.name for child in self.children.values() if child.state == "ready" and not child.prepared]
            self.log.warning("stop_timed_out", waiting_for=late)
            self.stopped()

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: Any) -> None:
        self.state = "stopping" if self.state == "running" else self.state
        super().receiveMsg_ActorExitRequest(message, sender)


def router_name(symbol: str) -> str:
    return f"router {symbol}"
