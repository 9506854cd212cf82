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
from actors.children import GATEWAY
from actors.stopping import Stopper
from actors.supervisor import HALT_TICK, PROBE_TICK, PROBES_PER_TIMEOUT
from messages.admin import EngineBorn, EngineStarted, EngineStopped, StartEngine
from messages.lifecycle import QuietDue, RestartDue, StartDelayed, Tick
from messages.venue import GatewayReady
from storage.layout import StateFolder

LAUNCHER_TICK = "launcher"
LAUNCHER_CHECK_NS = 500_000_000


class Engine(Stopper):
    name = "engine"
    first = StartEngine

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

    def receiveMsg_GatewayReady(self, message: GatewayReady, sender: Any) -> None:
        if self.child_at(GATEWAY, sender) is not None:
            self.markets = message.markets

    def announce(self) -> None:
        self.state = "running"
        self.log.info("engine_running", markets=len(self.markets), open_symbols=self.wanted)
        self.answer(
            self.launcher, EngineStarted(pid=self.process_id(), process_group=os.getpgrp(), markets=len(self.markets))
        )
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
        elif self.state != "stopping":
            self.begin_stop("the launcher is gone")

    def on_timer(self, payload: Any) -> None:
        if isinstance(payload, RestartDue):
            self.restart(payload.name)
        elif isinstance(payload, QuietDue):
            self.settled(payload.request_id)
        elif payload.name == LAUNCHER_TICK:
            self.watch_launcher()
        elif payload.name == PROBE_TICK:
            self.probe()
        elif payload.name == HALT_TICK:
            if self.state == "halted":
                self.halt_in_book()
        else:
            self.on_stop_tick(payload)
