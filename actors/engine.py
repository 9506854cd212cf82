"""Engine: starts the parts in order, knows who is where, replaces those that die, and stops them all.

Order of a start: Portfolio (the book) → Gateway (markets, account, opening balances) → Reconciler and Scribe → a
router for each symbol with open intents. Only then is the launcher told. Other routers start on first use.

A part that dies, or no longer answers, is replaced by a fresh one that starts from the book, and everybody is told
where it is (`Rewire`); how often is bounded (`core/supervision.py`). When that is exhausted, trading is halted and the
engine goes on answering. A part that says at the first start why it cannot work ends the start, with its words.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from actors.base import CREDENTIAL_VARIABLES, ActorExitRequest, ChildActorExited, Guarded
from actors.children import (
    CLASSES,
    GATEWAY,
    NEEDS,
    PORTFOLIO,
    RECONCILER,
    ROUTER_CLASS,
    ROUTER_NEEDS,
    STOP_ORDER,
    Child,
    router_name,
    symbol_of,
)
from actors.system import process_lives
from core.errors import InvalidInput
from core.events import AlertFired
from core.intent import SYMBOL_PATTERN, validate_free_text
from core.market import MarketRules
from core.planning import Refusal
from core.records import TradingState
from core.supervision import Exhausted, Supervision
from messages import ClientRequest, RequestRefused
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
from messages.book import LiftQuarantine, RecordEvents, RecordRefusal, SetTradingState, TightenTrading
from messages.lifecycle import (
    Alive,
    ChildBorn,
    ChildFailed,
    ChildReady,
    ConfigureChild,
    GatewayGone,
    PrepareStop,
    Probe,
    RestartDue,
    Rewire,
    StopPrepared,
    Tick,
)
from messages.reconciling import VerifyBook
from messages.venue import GatewayReady
from storage.layout import StateFolder

STOP_TICK, LAUNCHER_TICK, PROBE_TICK = "stop", "launcher", "probe"
LAUNCHER_CHECK_NS = 500_000_000
PROBES_PER_TIMEOUT = 4


class Engine(Guarded):
    name = "engine"
    first = StartEngine

    def __init__(self) -> None:
        super().__init__()
        self.state = "starting"
        """`starting`, `running`, `halted`, `stopping`, `stopped`, `failed`."""
        self.start: StartEngine | None = None
        self.launcher: Any = None
        self.children: dict[str, Child] = {}
        self.supervision = Supervision(self.settings.engine.restarts_max, self.settings.engine.restart_window)
        self.resting: dict[str, str] = {}
        """Parts that died and wait for their restart, or are not started again; with the reason."""
        self.wanted: list[str] = []
        """Symbols that have a router, or shall have one."""
        self.credentials: dict[str, str] = {}
        self.markets: dict[str, MarketRules] = {}
        self.waiting_for_router: dict[str, list[tuple[str, Any]]] = {}
        self.started_ns = 0
        self.probed_ns = 0
        self.stop_reason = ""
        self.stop_askers: list[Any] = []
        self.clients: dict[str, Any] = {}
        self.orphaned = False

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_StartEngine(self, message: StartEngine, sender: Any) -> None:
        self.is_configured = True
        self.start, self.launcher = message, sender
        self.settings = message.settings
        self.supervision = Supervision(self.settings.engine.restarts_max, self.settings.engine.restart_window)
        self.folder = StateFolder(message.state_root)
        self.started_ns = self.probed_ns = self.now_ns()
        self.log = self.open_log(message.session_id)
        self.log.info("engine_starting", mode=str(self.settings.engine.mode))
        self.credentials = {name: os.environ.pop(name) for name in CREDENTIAL_VARIABLES if name in os.environ}
        self.advance()
        self.wake_after_ns(LAUNCHER_CHECK_NS, Tick(name=LAUNCHER_TICK))
        self.wake_after_ns(self.settings.engine.hang_timeout // PROBES_PER_TIMEOUT, Tick(name=PROBE_TICK))

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

    def is_ready(self, name: str) -> bool:
        return name in self.children and self.children[name].is_ready

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
                portfolio=self.address_of(PORTFOLIO) if name != PORTFOLIO else None,
                gateway=self.address_of(GATEWAY) if name != GATEWAY else None,
                reconciler=self.address_of(RECONCILER) if name != RECONCILER else None,
                routers=self.router_addresses() if name == PORTFOLIO else {},
                rules=rules,
            ),
        )
        if rules is not None:
            self.rewire_one(self.children[PORTFOLIO], name)  # it answers the router of a symbol, so it comes first

    def address_of(self, name: str) -> Any:
        child = self.children.get(name)
        return child.address if child else None

    def router_addresses(self) -> dict[str, Any]:
        return {symbol: child.address for child in self.routers() if (symbol := symbol_of(child.name))}

    def receiveMsg_ChildBorn(self, message: ChildBorn, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None:
            child.pid = message.pid

    def receiveMsg_ChildReady(self, message: ChildReady, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is None or child.is_ready:
            return  # of one that was replaced meanwhile, or told twice
        child.pid, child.state, child.heard_ns = message.pid, "ready", self.now_ns()
        self.log.info("child_ready", child=message.name, child_pid=message.pid)
        for symbol in message.open_symbols:
            self.want(symbol)
        self.rewire(message.name)
        if self.state == "running":
            self.router_ready(message.name)
        self.advance()

    def child_at(self, name: str, address: Any) -> Child | None:
        """The part of this name, if this is where it is now."""
        child = self.children.get(name)
        return child if child is not None and child.address == address else None

    def receiveMsg_GatewayReady(self, message: GatewayReady, _sender: Any) -> None:
        self.markets = message.markets

    def all_ready(self) -> bool:
        wanted = [*CLASSES, *map(router_name, self.wanted)]
        return all(map(self.is_ready, wanted))

    def announce(self) -> None:
        self.state = "running"
        self.log.info("engine_running", markets=len(self.markets), open_symbols=self.wanted)
        self.answer(
            self.launcher, EngineStarted(pid=self.process_id(), process_group=os.getpgrp(), markets=len(self.markets))
        )
        for name in list(self.children):
            self.router_ready(name)

    # ── supervision ───────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        child = next((c for c in self.children.values() if c.address == message.childAddress), None)
        if child is None or not child.is_there:
            return
        child.state = "gone"
        if self.state == "stopping":
            self.go_on_stopping()
        elif self.state in {"starting", "running"}:
            self.replace(child, f"the {child.name} process (pid {child.pid}) died")

    def receiveMsg_ChildFailed(self, message: ChildFailed, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is None:
            return
        child.state = "failed"
        if self.state == "starting" and self.supervision.total == 0:
            self.give_up(message.reason)
        elif self.state in {"starting", "running"}:
            self.send(child.address, ActorExitRequest())
            self.replace(child, message.reason)

    def replace(self, child: Child, reason: str) -> None:
        """Start a part anew, now or a little later; when that was done too often, stop trading instead."""
        decision = self.supervision.died(child.name, self.now_ns())
        self.resting[child.name] = reason
        if isinstance(decision, Exhausted):
            self.halt(f"{reason}; {decision.reason}")
            return
        self.log.error("child_replaced", child=child.name, reason=reason, restarts=self.supervision.total)
        del self.children[child.name]
        if child.name == GATEWAY and self.is_ready(PORTFOLIO):
            self.send(self.address_of(PORTFOLIO), GatewayGone())
        if decision.after_ns:
            self.wake_after_ns(decision.after_ns, RestartDue(name=child.name))
        else:
            self.restart(child.name)

    def restart(self, name: str) -> None:
        self.resting.pop(name, None)
        self.advance()

    def halt(self, reason: str) -> None:
        """Restarts do not help: nothing new is sent any more, and somebody must look."""
        self.state = "halted"
        self.stop_reason = reason
        self.log.critical("engine_halted", reason=reason)
        if self.is_ready(PORTFOLIO):
            book = self.address_of(PORTFOLIO)
            self.send(book, TightenTrading(state=TradingState.HALTED, reason=reason, by=self.name))
            alert = AlertFired(at_ns=self.now_ns(), code="RESTARTS_EXHAUSTED", text=reason)
            self.send(book, RecordEvents(events=(alert,)))

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

    def receiveMsg_Alive(self, message: Alive, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None:
            child.heard_ns = self.now_ns()

    def probe(self) -> None:
        """Ask everybody for a sign of life; a part that has given none for too long is ended, and so replaced."""
        timeout_ns, now = self.settings.engine.hang_timeout, self.now_ns()
        overslept = now - self.probed_ns > timeout_ns // 2  # then it is not they who were silent
        self.probed_ns = now
        for child in self.children.values():
            if not child.is_there:
                continue
            if overslept:
                child.heard_ns = now
            allowed_ns = timeout_ns if child.is_ready else max(timeout_ns, self.settings.engine.start_timeout)
            if now - child.heard_ns > allowed_ns and child.pid:
                self.log.error("child_hangs", child=child.name, child_pid=child.pid)
                self.kill_process(child.pid)
            elif child.is_ready:
                self.send(child.address, Probe())
        self.wake_after_ns(timeout_ns // PROBES_PER_TIMEOUT, Tick(name=PROBE_TICK))

    def watch_launcher(self) -> None:
        """Without its launcher nobody could stop the system; end it rather than trade on unattended."""
        assert self.start is not None
        if self.lives(self.start.launcher_pid):
            self.wake_after_ns(LAUNCHER_CHECK_NS, Tick(name=LAUNCHER_TICK))
            return
        self.orphaned = True
        self.log.critical("launcher_gone", launcher_pid=self.start.launcher_pid)
        if self.state in {"stopped", "failed"}:
            self.actorSystemShutdown()
        else:
            self.begin_stop("the launcher is gone")

    def lives(self, pid: int) -> bool:
        """Whether a process that is no child of ours is still there."""
        return process_lives(pid)

    def give_up(self, reason: str) -> None:
        """The start cannot succeed: say why, and end."""
        if self.state == "failed":
            return
        self.state = "failed"
        self.stop_reason = reason
        self.log.critical("engine_failed", reason=reason)
        for receiver in [self.launcher, *self.stop_askers]:
            self.answer(receiver, EngineStopped(reason=reason, failed=True))

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
        self.want(message.symbol)
        self.advance()
        self.router_ready(router_name(message.symbol))

    def want(self, symbol: str) -> None:
        if symbol not in self.wanted:
            self.wanted.append(symbol)

    def refuse_symbol(self, symbol: str) -> Refusal | None:
        if self.state == "halted":
            return Refusal(
                "ENGINE_HALTED", f"{self.stop_reason}; look at {self.log_path()}, then start the engine anew"
            )
        if self.state != "running":
            return Refusal("ENGINE_NOT_READY", f"the engine is {self.state}; see `intentctl status`")
        if symbol in self.markets:
            return None
        if not SYMBOL_PATTERN.fullmatch(symbol):
            return Refusal("INVALID", f"symbol {symbol[:40]!a}: must be BASE/QUOTE in upper case, like BTC/USDT")
        close = difflib.get_close_matches(symbol, self.markets, n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see the venue's list of markets"
        return Refusal("UNKNOWN_SYMBOL", f"symbol {symbol!r} is not traded at the venue; {remedy}")

    def log_path(self) -> str:
        return str(self.folder.program_log)

    def start_router(self, symbol: str) -> None:
        rules = self.markets.get(symbol)
        if rules is None:
            self.give_up(f"{symbol} has open intents, but the venue no longer trades it; cancel them at the venue")
            return
        self.create(router_name(symbol), ROUTER_CLASS, rules)

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
        engine = ChildStatus(name=self.name, pid=self.process_id(), state=self.state)
        children = [ChildStatus(name=c.name, pid=c.pid, state=c.state) for c in self.children.values() if c.is_there]
        children += [ChildStatus(name=name, pid=0, state=f"down: {why}") for name, why in self.resting.items()]
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
                children=(engine, *children),
                markets=len(self.markets),
            ),
        )

    def receiveMsg_LiftQuarantine(self, message: LiftQuarantine, sender: Any) -> None:
        self.hand_on(message, PORTFOLIO, message.reason, sender)

    def receiveMsg_SetTradingState(self, message: SetTradingState, sender: Any) -> None:
        self.hand_on(message, PORTFOLIO, message.reason, sender)

    def receiveMsg_VerifyBook(self, message: VerifyBook, sender: Any) -> None:
        self.hand_on(message, RECONCILER, self.name, sender)

    def hand_on(self, message: ClientRequest, part: str, reason: str, sender: Any) -> None:
        """To the part that can answer; its answer goes back to the client."""
        why_not = "" if self.is_ready(part) else f"the {part} is not ready; see `intentctl status`, then ask again"
        try:
            validate_free_text("reason", reason)
        except InvalidInput as error:
            why_not = str(error)
        if why_not:
            self.answer(sender, RequestRefused(request_id=message.request_id, reason=why_not))
            return
        self.clients[message.request_id] = sender
        self.send(self.address_of(part), message)

    def receiveMsg_QuarantineAnswered(self, message: Any, _sender: Any) -> None:
        client = self.clients.pop(message.request_id, None)
        if client is not None:
            self.answer(client, message)

    receiveMsg_TradingStateSet = receiveMsg_BookVerified = receiveMsg_QuarantineAnswered  # noqa: N815

    # ── stop ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_StopEngine(self, message: StopEngine, sender: Any) -> None:
        self.stop_askers.append(sender)
        if self.state in {"stopping", "failed"}:
            if self.state == "failed":
                self.answer(sender, EngineStopped(reason=self.stop_reason, failed=True))
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
        return [child for child in self.children.values() if symbol_of(child.name) is not None and child.is_there]

    def receiveMsg_StopPrepared(self, message: StopPrepared, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None and not child.prepared:
            child.prepared = True
            self.go_on_stopping()

    def go_on_stopping(self) -> None:
        """Routers first, then the others one after the other; then everybody is told."""
        if any(child.is_ready and not child.prepared for child in self.routers()):
            return
        for name in STOP_ORDER:
            child = self.children.get(name)
            if child is not None and child.is_ready and not child.prepared:
                self.send(child.address, PrepareStop())
                return
        self.stopped()

    def stopped(self) -> None:
        if self.state == "stopped":
            return
        self.state = "stopped"
        self.log.info("engine_stopped", reason=self.stop_reason)
        for receiver in [*([] if self.orphaned else [self.launcher]), *self.stop_askers]:
            self.answer(receiver, EngineStopped(reason=self.stop_reason, failed=False))
        if self.orphaned:
            self.actorSystemShutdown()

    def on_timer(self, payload: Any) -> None:
        if isinstance(payload, RestartDue):
            self.restart(payload.name)
        elif payload.name == LAUNCHER_TICK:
            self.watch_launcher()
        elif payload.name == PROBE_TICK:
            self.probe()
        elif payload.name == STOP_TICK and self.state == "stopping":
            late = [child.name for child in self.children.values() if child.is_ready and not child.prepared]
            self.log.warning("stop_timed_out", waiting_for=late)
            self.stopped()

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: Any) -> None:
        self.state = "stopping" if self.state in {"running", "halted"} else self.state
        super().receiveMsg_ActorExitRequest(message, sender)
