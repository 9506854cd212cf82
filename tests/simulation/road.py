"""The road between processes: what is sent arrives after a while, once and in order, unless the weather is bad.

Every message is written as it is on the real road (`actors/wire.py`) when it leaves and read when it is handled, so no
two processes ever share an object. Who is gone receives nothing, and nobody is told.

The Unix transport loses nothing and keeps the order of each pair; thespian's TCP base does neither. intentd must hold
on both, so messages are lost, delivered twice, late, and out of order here. What the engine and its parts say to each
other about their life is spared (`SPARED`): no part can start without its configuration.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Final, NamedTuple

from actors import wire
from messages import admin, lifecycle
from messages.venue import GatewayReady
from tests.simulation.machine import Machine, Process
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.simulation.trace import shown

USUAL_NS: Final = (50 * NS_PER_US, 2 * NS_PER_MS)
LATE_NS: Final = (5 * NS_PER_MS, 3 * NS_PER_S)
VERY_LATE_NS: Final = (3 * NS_PER_S, 40 * NS_PER_S)
VERY_LATE_SHARE: Final = 0.1
"""Of what is late."""
SPARED: Final = (
    lifecycle.ConfigureChild, lifecycle.ChildBorn, lifecycle.ChildReady, lifecycle.ChildFailed, lifecycle.Rewire,
    lifecycle.GatewayGone, lifecycle.PrepareStop, lifecycle.StopPrepared, admin.StartEngine, admin.EngineStarted,
    admin.EngineStopped, admin.StopEngine, admin.StopBegun, admin.StopDelayed, GatewayReady,
)  # fmt: skip


class RoadWeather(NamedTuple):
    """Chances per message."""

    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    overtaking: float = 0.0
    """It does not wait for what was sent before it."""


class Road:
    def __init__(self, machine: Machine, random: Random) -> None:
        self.weather = RoadWeather()
        self.faults: Counter[str] = Counter()
        self._machine = machine
        self._random = random
        self._last_ns: dict[tuple[int, int], int] = {}

    def carry(self, sender: Process, receiver: Any, message: Any) -> None:
        """Take a message on its way. To oneself it is handled after what has already arrived."""
        trace = self._machine.trace
        if trace.on:
            trace.note("", f"{type(message).__name__}⇢{receiver}")
        payload = wire.dumps(message) if not type(message).__module__.startswith("thespian") else message
        if receiver == sender.address:
            sender.arrive(payload, sender.address)
            return
        if isinstance(message, SPARED) or self.weather == RoadWeather():
            self._arrive(sender, receiver, payload, self._in_order(sender, receiver, self._usual_ns()))
            return
        self._through_weather(sender, receiver, message, payload)

    def _through_weather(self, sender: Process, receiver: Any, message: Any, payload: Any) -> None:
        drawn, weather = self._random.random, self.weather
        if drawn() < weather.lost:
            self._note("message lost", message)
            return
        if drawn() < weather.twice:
            self._note("message twice", message)
            self._arrive(sender, receiver, payload, self._random.randint(*LATE_NS))
        delay_ns = self._usual_ns()
        if drawn() < weather.late:
            self._note("message late", message)
            delay_ns = self._random.randint(*(VERY_LATE_NS if drawn() < VERY_LATE_SHARE else LATE_NS))
        if drawn() < weather.overtaking:
            self.faults["message overtaking"] += 1
        else:
            delay_ns = self._in_order(sender, receiver, delay_ns)
        self._arrive(sender, receiver, payload, delay_ns)

    def _usual_ns(self) -> int:
        return self._random.randint(*USUAL_NS)

    def _in_order(self, sender: Process, receiver: Any, delay_ns: int) -> int:
        """The delay, such that it comes after everything that this sender has sent there."""
        pair = (sender.address.number, receiver.number)
        now_ns = self._machine.scheduler.now_ns
        due_ns = max(now_ns + delay_ns, self._last_ns.get(pair, 0) + 1)
        self._last_ns[pair] = due_ns
        return due_ns - now_ns

    def _arrive(self, sender: Process, receiver: Any, payload: Any, delay_ns: int) -> None:
        def arrive() -> None:
            process = self._machine.at(receiver)
            if process is not None:
                process.arrive(payload, sender.address)

        self._machine.scheduler.after(delay_ns, arrive)

    def _note(self, fault: str, message: Any) -> None:
        self.faults[fault] += 1
        if self._machine.trace.on:
            self._machine.trace.note("road", f"{fault}: {shown(message)}")
