"""Engine: starts everything in order, watches its launcher, and stops everything in order.

Order of a start: Portfolio (the book) → Gateway (markets, account, opening balances) → Reconciler (which first compares
the venue with the book) and Scribe → a router for each symbol with open intents. Only then is the launcher told. Other
routers start on first use.

It stands on two floors: `actors/supervisor.py` replaces parts that die, `actors/front_desk.py` answers clients and
operators. A part that says at the first start why it cannot work ends the start, with its words.
"""

from __future__ import annotations

import os
from typing import Any

from actors.base import CREDENTIAL_VARIABLES, ActorExitRequest
from actors.children import GATEWAY, PORTFOLIO, RECONCILER, SCRIBE, STOP_ORDER
from actors.front_desk import FrontDesk
from actors.supervisor import HALT_TICK, PROBE_TICK, PROBES_PER_TIMEOUT
from core.account import Account, KeyWarning, warnings
from core.events import AlertFired
from core.health import EngineHealth
from messages.admin import EngineBorn, EngineStarted, EngineStopped, StartEngine, StopEngine
from messages.book import RecordEvents
from messages.lifecycle import Beat, PrepareStop, QuietDue, RestartDue, StartDelayed, StopPrepared, Tick
from messages.reconciling import ExpireStale
from messages.venue import GatewayReady
from storage.layout import StateFolder

STOP_TICK, LAUNCHER_TICK, HEARTBEAT_TICK = "stop", "launcher", "heartbeat"
LAUNCHER_CHECK_NS = 500_000_000


class Engine(FrontDesk):
    name = "engine"
    first = StartEngine

    def __init__(self) -> None:
        super().__init__()
        self.launcher: Any = None
        self.stop_askers: list[Any] = []
        self.orphaned = False
        self.warned_of: tuple[KeyWarning, ...] = ()

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_StartEngine(self, message: StartEngine, sender: Any) -> None:
        self.is_configured = True
        self.name_process()
        self.start, self.launcher = message, sender
        self.settings = message.settings
        self.supervision = self.new_supervision()
        self.folder = StateFolder(message.state_root)
        self.answer(sender, EngineBorn(pid=self.process_id()))
        self.started_ns = self.probed_ns = self.now_ns()
        self.log = self.open_log(message.session_id)
        self.log.info("engine_starting", mode=str(self.settings.engine.mode))
        self.credentials = {name: os.environ.pop(name) for name in CREDENTIAL_VARIABLES if name in os.environ}
        self.advance()
        self.wake_after_ns(LAUNCHER_CHECK_NS, Tick(name=LAUNCHER_TICK))
        self.wake_after_ns(self.settings.engine.hang_timeout // PROBES_PER_TIMEOUT, Tick(name=PROBE_TICK))
        self.wake_after_ns(self.settings.engine.heartbeat, Tick(name=HEARTBEAT_TICK))

    def receiveMsg_GatewayReady(self, message: GatewayReady, sender: Any) -> None:
        if self.child_at(GATEWAY, sender) is not None:
            self.markets, self.account = message.markets, message.account
            self.warn_of_key(message.account)

    def warn_of_key(self, account: Account) -> None:
        """Once in a start, however often the gateway is replaced, unless the key is another one then."""
        found = warnings(account)
        news, self.warned_of = [warning for warning in found if warning not in self.warned_of], found
        for warning in news:
            self.log.warning("key_warning", code=warning.code, text=warning.text)
        if news:
            alerts = tuple(AlertFired(at_ns=self.now_ns(), code=code, text=text) for code, text in news)
            self.send(self.address_of(PORTFOLIO), RecordEvents(events=alerts))

    def announce(self) -> None:
        self.state = "running"
        self.log.info("engine_running", markets=len(self.markets), open_symbols=self.wanted)
        self.answer(
            self.launcher, EngineStarted(pid=self.process_id(), process_group=os.getpgrp(), markets=len(self.markets))
        )
        self.tell_health()
        for name in list(self.children):
            self.router_ready(name)

    def receiveMsg_StartDelayed(self, message: StartDelayed, _sender: Any) -> None:
        if self.state == "starting":
            self.answer(self.launcher, message)

    def give_up(self, reason: str, *, told_why: bool = False, passing: bool = False) -> None:
        """The start cannot succeed: say why, and end."""
        if self.state == "failed":
            return
        self.state = "failed"
        self.stop_reason = reason
        self.log.critical("engine_failed", reason=reason)
        for receiver in [self.launcher, *self.stop_askers]:
            self.answer(receiver, EngineStopped(reason=reason, failed=True, told_why=told_why, passing=passing))

    # ── the launcher ──────────────────────────────────────────────────────────────────────────────────────────────

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

    # ── the heartbeat ─────────────────────────────────────────────────────────────────────────────────────────────

    def beat(self) -> None:
        """Have it written down how everything is, and what is stale looked for. Who is not there misses nothing."""
        if self.state not in {"starting", "running", "halted"}:
            return
        if self.is_ready(RECONCILER):
            self.send(self.address_of(RECONCILER), ExpireStale())
        self.tell_health()
        self.wake_after_ns(self.settings.engine.heartbeat, Tick(name=HEARTBEAT_TICK))

    def tell_health(self) -> None:
        if self.is_ready(SCRIBE):
            self.send(self.address_of(SCRIBE), Beat(engine=self.health()))

    def health(self) -> EngineHealth:
        told = self.gateway_health
        return EngineHealth(
            state=self.state,
            reason=self.stop_reason,
            mode=str(self.settings.engine.mode),
            started_ns=self.started_ns,
            restarts=self.supervision.total,
            parts={part.name: part.state for part in self.parts()},
            quotes=tuple(sorted({rules.quote for rules in self.markets.values()})),
            gateway_told_ns=told.at_ns if told else 0,
            rates=told.rates if told else None,
            breaker=told.breaker if told else None,
            stream=told.stream if told else None,
        )

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
        self.tell_health()
        self.wake_after_ns(self.settings.engine.stop_timeout, Tick(name=STOP_TICK))
        for child in self.routers():
            self.send(child.address, PrepareStop())
        self.go_on_stopping()

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
        elif isinstance(payload, QuietDue):
            self.settled(payload.request_id)
        elif payload.name == LAUNCHER_TICK:
            self.watch_launcher()
        elif payload.name == PROBE_TICK:
            self.probe()
        elif payload.name == HEARTBEAT_TICK:
            self.beat()
        elif payload.name == HALT_TICK:
            if self.state == "halted":
                self.halt_in_book()
        elif payload.name == STOP_TICK and self.state == "stopping":
            late = [child.name for child in self.children.values() if child.is_ready and not child.prepared]
            self.log.warning("stop_timed_out", waiting_for=late)
            self.stopped()

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: Any) -> None:
        self.state = "stopping" if self.state in {"running", "halted"} else self.state
        super().receiveMsg_ActorExitRequest(message, sender)
