"""Who dies when: chosen step by step, so that the moments at which something happens are hit, not the silence between.

Before a part handles a message it may be killed there, or be doomed to die in the middle of it, at its k-th touch of
the world (a message that leaves, a commit), or right after it. Any other part may be killed or stopped at that moment,
too, or all of them be killed at once. And one may be stopped with what it has been sent while another one dies: when it
goes on, the world around it is a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from messages.book import ApplyReport, BeginAttempt, CommitBatch, OpenIntent
from messages.lifecycle import Alive, Probe
from messages.venue import PlaceOrder
from tests.simulation.machine import Killed, Machine, Process
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S

DULL: Final = (Probe, Alive)
"""Messages that nothing hangs on."""
DECISIVE: Final = (OpenIntent, BeginAttempt, CommitBatch, PlaceOrder, ApplyReport)
"""Between these an order is on disk, on its way, or both."""
DECISIVE_TIMES: Final = 5
"""So much likelier is a death there."""
TOUCHES_MAX: Final = 5
STOP_NS: Final = (10 * NS_PER_MS, 3 * NS_PER_S)
LONG_STOP_NS: Final = (5 * NS_PER_S, 20 * NS_PER_S)
"""Longer than a supervisor waits."""
LONG_STOP_SHARE: Final = 0.3


class CrashWeather(NamedTuple):
    deaths_max: int = 0
    chance: float = 0.0
    """Per message that a part handles."""
    survives: float = 0.0
    """Chance of a part to outlive, stopped, the engine that the launcher ends."""


class Crashes:
    def __init__(self, machine: Machine, random: Random) -> None:
        self.weather = CrashWeather()
        self.counts: Counter[str] = Counter()
        self._machine = machine
        self._random = random
        machine.before_handling = self._before_handling

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def survives_ns(self, process: Process) -> int:
        """How long a part outlives its end."""
        engine_like = process.name == "engine"  # a second engine would start parts of its own
        if engine_like or self._random.random() >= self.weather.survives:
            return 0
        self.counts["survived"] += 1
        return self._random.randint(NS_PER_S, 30 * NS_PER_S)

    def _before_handling(self, process: Process, message: Any) -> None:
        if not process.is_part or isinstance(message, DULL) or self.count >= self.weather.deaths_max:
            return
        chance = self.weather.chance * (DECISIVE_TIMES if isinstance(message, DECISIVE) else 1)
        if self._random.random() >= chance:
            return
        self._random.choices(list(WAYS), list(WAYS.values()))[0](self, process)

    def _before(self, _process: Process) -> None:
        self.counts["killed before"] += 1
        raise Killed("killed before a step")

    def _within(self, process: Process) -> None:
        self.counts["killed within"] += 1
        process.doom(self._random.randint(0, TOUCHES_MAX))

    def _beside(self, process: Process) -> None:
        others = self._others(process)
        if others:
            self.counts["killed beside"] += 1
            self._machine.kill(self._random.choice(others), "killed beside a step")

    def _stop(self, process: Process) -> None:
        """After this message it does nothing for a while."""
        self.counts["stopped"] += 1
        self._hold(process)

    def _depose(self, process: Process) -> None:
        """It dies, and another one that it may have sent something to is stopped meanwhile."""
        others = self._others(process)
        if others:
            self.counts["stopped beside a death"] += 1
            self._hold(self._random.choice(others))
            process.doom(self._random.randint(0, TOUCHES_MAX))

    def _everybody(self, process: Process) -> None:
        """Power is lost."""
        self.counts["all killed"] += 1
        for other in self._others(process):
            self._machine.kill(other, "power lost")
        raise Killed("power lost")

    def _hold(self, process: Process) -> None:
        limits = LONG_STOP_NS if self._random.random() < LONG_STOP_SHARE else STOP_NS
        for_ns = self._random.randint(*limits)
        if self._machine.writer is not process:  # who holds the write lock would hold everybody up
            self._machine.stop(process, for_ns)

    def _others(self, process: Process) -> list[Process]:
        return [other for other in self._machine.alive() if other.is_part and other is not process]


WAYS: Final[dict[Callable[[Crashes, Process], None], int]] = {
    Crashes._before: 15,
    Crashes._within: 45,
    Crashes._beside: 10,
    Crashes._stop: 10,
    Crashes._depose: 15,
    Crashes._everybody: 5,
}
"""What may happen, and how often among all that does."""
