"""Engine: starts everything in order, watches its launcher, and stops everything in order.

Order of a start: Portfolio (the book) → Gateway (markets, account, opening balances) → Reconciler (which first compares
the venue with the book) and Scribe → a router for each symbol with open intents. Only then is the launcher told. Other
routers start on first use.

It stands on three floors: `actors/supervisor.py` replaces parts that die, `actors/front_desk.py` answers clients and
operators, `actors/stopping.py` is the graceful stop. A part that says at the first start why it cannot work ends the
start, with its words.
"""

from __future__ import annotations

import os
from typing import Any

from actors.base import CREDENTIAL_VARIABLES
from actors.children import GATEWAY, PORTFOLIO, RECONCILER, SCRIBE
from actors.stopping import Stopper
from actors.supervisor import HALT_TICK, PROBE_TICK, PROBES_PER_TIMEOUT
from core.account import Account, KeyWarning, warnings
from core.events import AlertFired
from core.health import EngineHealth
from messages.admin import EngineBorn, EngineStarted, EngineStopped, StartEngine
from messages.book import RecordEvents
from messages.lifecycle import Beat, QuietDue, RestartDue, StartDelayed, Tick
from messages.reconciling import ExpireStale
from messages.venue import GatewayReady
from storage.layout import StateFolder

LAUNCHER_TICK, HEARTBEAT_TICK = "launcher", "heartbeat"
LAUNCHER_CHECK_NS = 500_000_000


class Engine(Stopper):
    name = "engine"
    first = StartEngine

    def __init__(self) -> None:
        super().__init__()
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
        if not account.fingerprint:
            return  # it could not be read
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

    def give_up(self, reason: str, *, passing: bool = False, venue_silent: bool = False) -> None:
        """The start cannot succeed: say why, and end."""
        if self.state == "failed":
            return
        self.state = "failed"
        self.stop_reason = reason
        self.log.critical("engine_failed", reason=reason)
        for receiver in [self.launcher, *self.stop_askers]:
            self.answer(receiver, EngineStopped(reason=reason, failed=True, passing=passing, venue_silent=venue_silent))

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
        elif self.state != "stopping":
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

    def tell_health(self, state: str = "") -> None:
        if self.is_ready(SCRIBE):
            self.send(self.address_of(SCRIBE), Beat(engine=self.health(state or self.state)))

    def health(self, state: str) -> EngineHealth:
        told = self.gateway_health
        return EngineHealth(
            state=state,
            reason=self.stop_reason,
            mode=str(self.settings.engine.mode),
            started_ns=self.started_ns,
            restarts=self.supervision.total,
            parts={part.name: part.state for part in self.parts()} | {self.name: state},
            quotes=tuple(sorted({rules.quote for rules in self.markets.values()})),
            gateway_told_ns=told.at_ns if told else 0,
            rates=told.rates if told else None,
            breaker=told.breaker if told else None,
            stream=told.stream if told else None,
        )

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
        else:
            self.on_stop_tick(payload)
