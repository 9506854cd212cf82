"""The daemon's parts as they run in a simulated world: the real actors, whose hooks lead into it.

Nothing of what an actor decides is here. The one that is not real is the scribe: what it writes follows from the book
alone (tests/actors/test_scribe.py), and its polling would cost more than all else.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final, NamedTuple

from actors.base import Guarded
from actors.engine import Engine
from actors.gateway import Gateway
from actors.portfolio import Portfolio
from actors.reconciler import Reconciler
from actors.router import OrderRouter
from core.errors import Fenced
from exchange.client import VenueClient
from messages.lifecycle import Beat, ChildReady, ConfigureChild
from storage.book_store import BookStore
from tests.simulation.line import Line
from tests.simulation.machine import Killed, Machine, Process
from tests.simulation.road import Road
from tests.simulation.safety import Safety
from tests.simulation.shared_book import SharedBook


class House(NamedTuple):
    """What every part needs of its world."""

    machine: Machine
    road: Road
    book: SharedBook
    line: Line
    safety: Safety


class Log:
    """What an actor says goes into the trace."""

    def __init__(self, house: House, process: Process) -> None:
        self._trace = house.machine.trace
        self._who = str(process.address)

    def _say(self, event: str, **fields: Any) -> None:
        if self._trace.on and event != "actor_crashed":
            told = " ".join(f"{name}={value}" for name, value in fields.items() if name != "child_pid")
            self._trace.note("", f"“{event} {told}”")

    debug = info = warning = error = critical = exception = _say


class Simulated(Guarded):
    """Mixed in before an actor's class."""

    house: House
    process: Process

    def settle_in(self, house: House, process: Process) -> Any:
        self.house, self.process = house, process
        self.log = Log(house, process)
        return self

    def transmit(self, targetAddr: Any, msg: Any) -> None:  # noqa: N803  (thespian's names)
        if isinstance(msg, Beat):
            return  # for the scribe, who is not here
        self.house.safety.leaves(self.process, targetAddr, msg)
        self.house.road.carry(self.process, targetAddr, msg)
        self.process.touch(f"sent {type(msg).__name__}")

    @property
    def myAddress(self) -> Any:  # noqa: N802
        return self.process.address

    def createActor(self, actorClass: Any, *_: Any, **__: Any) -> Any:  # noqa: N802, N803
        return start_part(self.house, str(actorClass), self.process).address

    def actorSystemShutdown(self) -> None:  # noqa: N802
        raise AssertionError("the launcher of a simulated world does not die")

    def wake_after_ns(self, delay_ns: int, payload: Any) -> None:
        self.house.machine.wake_after(self.process, delay_ns, payload)

    def now_ns(self) -> int:
        return self.house.machine.scheduler.now_ns

    def monotonic_ns(self) -> int:
        scheduler = self.house.machine.scheduler
        return scheduler.now_ns - scheduler.start_ns

    def process_id(self) -> int:
        return self.process.address.number

    def end_with_engine(self, pid: int) -> None:
        """That a part may outlive its engine for a while is the harder world."""

    def name_process(self) -> None:
        """All of them are in one real process, which keeps its name."""

    def open_log(self, session_id: str) -> Any:  # noqa: ARG002  (all runs of a world share one trace)
        return Log(self.house, self.process)

    def open_book(self) -> BookStore:
        return self.house.book.door(self.process)

    def open_book_to_write(self) -> BookStore:
        return self.house.book.door(self.process)

    def end_process(self) -> None:
        """An actor has given up on itself. Nothing that a world does may lead there, but for being fenced."""
        error = sys.exc_info()[1]
        if not isinstance(error, Fenced):
            frames = traceback.extract_tb(error.__traceback__) if error else []
            where = " ← ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
            self.house.safety.broken(f"{self.process.name} crashed: {type(error).__name__}: {error} ({where})")
        raise Killed(f"{type(error).__name__}")

    def kill_process(self, pid: int) -> None:
        machine = self.house.machine
        machine.scheduler.after(0, lambda: machine.kill(machine.processes[pid], "killed by its engine"))


class SimulatedEngine(Simulated, Engine):
    def lives(self, pid: int) -> bool:
        return self.house.machine.processes[pid].is_alive


class SimulatedPortfolio(Simulated, Portfolio):
    def settle_in(self, house: House, process: Process) -> Any:
        process.writes_book = True
        return super().settle_in(house, process)


class SimulatedGateway(Simulated, Gateway):
    def open_venue(self) -> VenueClient:
        client = self.house.line.connect(self)
        self.process.on_end.append(self.vanish)
        return client

    def on_stop(self) -> None:
        """Closing takes time that nobody waits for here."""

    def vanish(self) -> None:
        """The operating system closes the connections of a process that is gone."""
        self.house.line.hang_up(self)


class SimulatedRouter(Simulated, OrderRouter):
    pass


class SimulatedReconciler(Simulated, Reconciler):
    pass


class QuietScribe(Simulated):
    """Says that it is there."""

    name = "scribe"

    def on_start(self, _message: ConfigureChild) -> ChildReady:
        return ChildReady(name=self.label, pid=self.process_id())


PARTS: Final[dict[str, type[Simulated]]] = {
    "actors.engine.Engine": SimulatedEngine,
    "actors.portfolio.Portfolio": SimulatedPortfolio,
    "actors.gateway.Gateway": SimulatedGateway,
    "actors.reconciler.Reconciler": SimulatedReconciler,
    "actors.scribe.Scribe": QuietScribe,
    "actors.router.OrderRouter": SimulatedRouter,
}


def start_part(house: House, actor_class: str, parent: Process | None) -> Process:
    """A new process with this actor in it."""
    kind = PARTS[actor_class]
    process = house.machine.spawn(kind.name, lambda process: kind().settle_in(house, process), parent)
    process.is_part = True
    return process
