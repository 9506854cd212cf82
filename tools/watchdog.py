"""The daemon's main loop: watches the engine, replaces it when it dies or hangs, and tells systemd how things are.

How often the engine is replaced is bounded like every restart (`core/supervision.py`). When that is exhausted, trading
is halted in the book, so that the next start does not trade on by itself either, and the daemon ends with the reason.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

from core import drift
from core.concern import Concern
from core.errors import EngineExhausted, IntentdError, StartRefused, StartupFailed
from core.records import TradingState
from core.supervision import Exhausted, Supervision
from messages.admin import EngineStopped
from storage.book_store import BookStore, venue_name
from tools.launch import Launch

LISTEN_S = 0.5
NS_PER_S = 1_000_000_000
ENGINE = "the engine"


class Watchdog:
    """Over one `Launch`, from when it is ready until it is told to stop."""

    def __init__(self, launch: Launch, say: Callable[[str], None], is_told_to_stop: Callable[[], bool]) -> None:
        engine = launch.settings.engine
        self._launch = launch
        self._say = say
        self._is_told_to_stop = is_told_to_stop
        self._supervision = Supervision(engine.restarts_max, engine.restart_window)
        launch.is_wanted = self._go_on

    def run(self) -> EngineStopped | None:
        """Until told to stop (None), or the engine has ended a stop, or died in one. Raises `EngineExhausted`."""
        notify("READY=1")
        self._supervision.ready(ENGINE, time.monotonic_ns())
        while not self._is_told_to_stop():
            ended = self._launch.wait(LISTEN_S)
            if ended is None:
                notify("WATCHDOG=1")
            elif not ended.failed or self._launch.is_stopping:
                return ended
            else:
                self._replace(ended.reason)
        notify("STOPPING=1")
        return None

    def _replace(self, reason: str) -> None:
        """Until a new engine is ready, or it was tried too often, or we are told to stop."""
        passing = False
        while not self._is_told_to_stop():
            decision = self._supervision.died(ENGINE, time.monotonic_ns(), passing=passing)
            if isinstance(decision, Exhausted):
                raise self._exhausted(f"{reason}; {decision.reason}")
            self._say(f"{reason}; starting a new one")
            self._pause(decision.after_ns)
            try:
                self._launch.relaunch()
            except StartupFailed as error:
                reason, passing = f"the engine did not start: {error}", isinstance(error, StartRefused)
            else:
                self._supervision.ready(ENGINE, time.monotonic_ns())
                self._say("the engine is ready again")
                return

    def _go_on(self) -> bool:
        """While a new engine starts, which may take `engine.start_timeout`."""
        notify("WATCHDOG=1")
        return not self._is_told_to_stop()

    def _pause(self, for_ns: int) -> None:
        until = time.monotonic_ns() + for_ns
        while not self._is_told_to_stop() and (left := until - time.monotonic_ns()) > 0:
            notify("WATCHDOG=1")
            time.sleep(min(left / NS_PER_S, LISTEN_S))

    def _exhausted(self, reason: str) -> EngineExhausted:
        self._launch.end_by_force()
        try:
            halt(self._launch, reason)
        except IntentdError as error:
            reason = f"{reason}; trading could not be halted in the book: {error}"
        return EngineExhausted(f"{reason}; trading is halted, see `intentctl status`, then `intentctl resume`")


def halt(launch: Launch, reason: str) -> None:
    """In the book itself, since there is no engine: nobody else has it open now."""
    settings = launch.settings
    store = BookStore.open_writer(launch.folder, settings.storage.map_size_gib, venue_name(settings))
    try:
        with store.transaction() as unit:
            concern = Concern(code="RESTARTS_EXHAUSTED", text=reason)
            drift.act_on(unit, concern, TradingState.HALTED, "watchdog", time.time_ns())
    finally:
        store.close()


def notify(state: str) -> None:
    """Tell systemd, if it started us (sd_notify(3)). If it cannot hear us just now, that is no reason to end."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(state.encode(), socket.MSG_DONTWAIT, address)
