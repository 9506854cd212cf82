"""Whoever starts the daemon and starts it again: `run.py up` with its watchdog, as far as the other parts can tell.

It notices an engine that died, failed or hangs, ends what is left of it and starts a new one. Now and then it stops one
gracefully first, with working orders kept or canceled, and does not always wait for the end. Sometimes a part of the
old one survives that for a while: it was stopped, and nobody could kill it. That is what fencing is for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from actors.engine import Engine
from core.lifecycle import State
from core.settings import OnStop, Settings
from core.stopping import StopReport
from messages.admin import AskStatus, EngineStarted, EngineStopped, StartEngine, StatusReported, StopEngine
from tests.simulation.machine import Process
from tests.simulation.parts import House, start_part
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S

NAME: Final = "launcher"
LOOK_NS: Final = 500 * NS_PER_MS
START_TIMEOUT_NS: Final = 60 * NS_PER_S
STOP_SLACK_NS: Final = 1 * NS_PER_S
IMPATIENT: Final = 0.15
"""So often somebody does not wait for the end of a graceful stop."""
IMPATIENT_NS: Final = 300 * NS_PER_MS
HASTENED: Final = {State.UNKNOWN: 0.5, State.PARTIAL: 0.3, State.SENT: 0.1}
"""So often a stop that is planned comes at once when an intent comes into one of these: it hangs in the air then."""


class Launcher:
    def __init__(self, house: House, settings: Settings, random: Random) -> None:
        self.engine: Any = None
        """The address that clients find in `engine.json`; None while there is no engine that is ready."""
        self.starts = 0
        self.survives: Callable[[Process], int] = lambda _process: 0
        """How long, ns, a process outlives being killed, because it is stopped and goes on later."""
        self._house = house
        self._settings = settings
        self._random = random
        self._process = house.machine.spawn(NAME, lambda _process: self)
        self.heard_how_it_stopped: Callable[[StopReport], None] = lambda _report: None
        self._running: Process | None = None
        self._stops_ns: int | None = None
        """When the running engine was told to stop."""
        self._planned: list[tuple[StopEngine, bool]] = []
        """Graceful stops to come, and whether somebody is impatient with them."""
        self._haste = Random()
        self._started_ns = self._heard_ns = 0

    def start(self) -> None:
        """An engine, and from then on whatever takes its place."""
        self._launch()
        self._house.machine.scheduler.after(LOOK_NS, self._look)

    def plan_stops(self, count: int, random: Random, within_ns: int) -> None:
        """Stop gracefully so often, and start again: at any time, or just when it hurts."""
        self._haste = random
        for _ in range(count):
            on_stop, force = random.choice(list(OnStop)), random.random() < IMPATIENT
            self._planned.append((StopEngine(request_id=NAME, reason="maintenance", on_stop=on_stop), force))
            self._house.machine.scheduler.after(random.randrange(within_ns), self._stop)

    def intent_moves(self, state: State) -> None:
        """A stop that is planned may come just now."""
        if self._planned and self._haste.random() < HASTENED.get(state, 0.0):
            self._house.machine.scheduler.after(0, self._stop)

    def _stop(self) -> None:
        if self.engine is None or self._stops_ns is not None or not self._planned:
            return
        wish, force = self._planned.pop()
        self._stops_ns = self._house.machine.scheduler.now_ns
        self._send(wish)
        if force:
            forced = replace(wish, force=True)
            self._house.machine.scheduler.after(IMPATIENT_NS, lambda: self._running and self._send(forced))

    def _launch(self) -> None:
        self.starts += 1
        self._started_ns = self._heard_ns = self._house.machine.scheduler.now_ns
        self._stops_ns = None
        self._running = start_part(self._house, "actors.engine.Engine", None)
        self._send(
            StartEngine(
                settings=self._settings,
                state_root=str(self._house.book.folder.root),
                session_id=f"session-{self.starts}",
                launcher_pid=self._process.address.number,
            )
        )

    def _send(self, message: Any) -> None:
        assert self._running is not None
        self._house.road.carry(self._process, self._running.address, message)

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  (thespian's name)
        if self._running is None or sender != self._running.address:
            return  # of one that is gone
        self._heard_ns = self._house.machine.scheduler.now_ns
        match message:
            case EngineStarted():
                self.engine = self._running.address
            case EngineStopped():
                if message.report is not None:
                    self.heard_how_it_stopped(message.report)
                self._relaunch(message.reason)
            case StatusReported(state="halted"):
                self._relaunch(message.reason)

    def _look(self) -> None:
        scheduler = self._house.machine.scheduler
        scheduler.after(LOOK_NS, self._look)
        if self._running is None:
            return
        silent_ns = scheduler.now_ns - self._heard_ns
        if not self._running.is_alive:
            self._relaunch("the engine died")
        elif self.engine is None:
            if scheduler.now_ns - self._started_ns > START_TIMEOUT_NS:
                self._relaunch("the engine did not start")
        elif self._stops_ns is not None and self._is_late(scheduler.now_ns - self._stops_ns):
            self._relaunch("the engine did not stop")
        elif silent_ns > self._settings.engine.hang_timeout:
            self._relaunch("the engine hangs")
        else:
            self._send(AskStatus(request_id=NAME))

    def _is_late(self, for_ns: int) -> bool:
        """Whether the launcher waits no longer. The words of both may be late; what the engine has begun may not."""
        assert self._running is not None
        engine, allowed_ns = self._running.actor, self._settings.engine.stop_timeout + STOP_SLACK_NS
        assert isinstance(engine, Engine)
        if engine.state == "stopping" and engine.stop is not None and not self._running.was_stopped:
            lasts_ns = engine.monotonic_ns() - engine.stop.began_ns
            if lasts_ns > allowed_ns:
                self._house.safety.broken(f"the engine has been stopping for {lasts_ns / NS_PER_S:.1f} s")
        return for_ns > allowed_ns

    def _relaunch(self, reason: str) -> None:
        """End what is left, and start anew a little later."""
        machine = self._house.machine
        self.engine = self._running = None
        if machine.trace.on:
            machine.trace.note(str(self._process.address), f"starts the engine anew: {reason}")
        for process in machine.alive():
            if process.is_part:
                self._end(process)
        machine.scheduler.after(self._random.randint(NS_PER_MS, NS_PER_S), self._launch)

    def _end(self, process: Process) -> None:
        machine = self._house.machine
        for_ns = self.survives(process)
        if for_ns:
            machine.stop(process, self._random.randrange(for_ns))
            machine.scheduler.after(for_ns, lambda: machine.kill(process, "killed at last"))
        else:
            machine.kill(process, "killed by the launcher")
