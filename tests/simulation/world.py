"""One run: a machine with the daemon on it, a venue, clients, and the trouble that a seed brings.

A run has two parts. In the *storm* there are wishes and faults; in the *calm* after it nothing goes wrong any more, and
the daemon has ten minutes of virtual time to put everything right. What must hold is looked at after every step
(`safety.py`) and at the end (`ending.py`, `settled.py`). The first thing that does not hold ends the run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import msgspec

from core import trading
from core.ids import NS_PER_MS, NS_PER_S
from core.lifecycle import State
from core.records import TradingState
from core.settings import Settings
from core.stopping import StopReport
from storage.book_store import venue_name
from tests.simulation.crashes import Crashes, CrashWeather
from tests.simulation.ending import Ending
from tests.simulation.hand import Hand
from tests.simulation.launcher import Launcher
from tests.simulation.line import Line
from tests.simulation.machine import Machine
from tests.simulation.operator import Operator
from tests.simulation.parts import House
from tests.simulation.road import Road, RoadWeather
from tests.simulation.safety import OPERATOR, Safety
from tests.simulation.scheduler import Scheduler
from tests.simulation.settled import unsettled
from tests.simulation.shared_book import SharedBook
from tests.simulation.strategy import Strategy
from tests.simulation.stream import Streams
from tests.simulation.trace import Trace
from tests.simulation.venue import Venue
from tests.simulation.weather import Mood, Weather, forecast

START_NS: Final = 1_697_123_460 * NS_PER_S
CALM_NS: Final = 600 * NS_PER_S
"""The longest wait until everything is settled."""
LOOK_NS: Final = 1_037 * NS_PER_MS
"""Between two looks whether it is; no multiple of what is done on intervals, else all of them meet the same moment."""
CLIENTS: Final = 2
LOOKS_BY_OPERATOR: Final = 3
AFTER_OPENING_NS: Final = 1 * NS_PER_S
"""So long after its opening balances stand in the book, others may use the account."""
STEPS_MAX: Final = 300_000
FAIR_STOP_NS: Final = Settings().engine.stop_timeout
"""With less time a stop may have to leave something undone where nothing goes wrong, too."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run."""

    seed: int
    violation: str
    """The first promise that was broken; empty: none."""
    failed_itself: bool = False
    """The violation is a traceback: not a promise was broken, but the simulation."""
    at_s: float = 0.0
    """Virtual time when the run ended."""
    steps: int = 0
    crashes: int = 0
    faults: int = 0
    intents: int = 0
    fills: int = 0
    external: int = 0
    """Orders that somebody else had on the account."""
    replacements: int = 0
    """Intents' orders that were replaced at other terms."""
    stops: int = 0
    """Graceful ones that came to their end."""
    drifts: int = 0
    """Changes of balances that nothing explains."""


class World:
    """Everything of one run, wired together."""

    def __init__(self, seed: int, book: SharedBook, write: Callable[[str], None] | None, weather: Weather) -> None:
        def stream(name: str) -> Random:
            return Random(f"{seed}/{name}")

        self.seed = seed
        self.weather = weather
        self.book = book
        self.scheduler = Scheduler(START_NS)
        self.trace = Trace(self.scheduler, write)
        self.machine = Machine(self.scheduler, stream("machine"), self.trace)
        self.road = Road(self.machine, stream("road"))
        self.venue = Venue(self.scheduler, seed, stream("venue"), self.weather.limits())
        self.streams = Streams(self.machine, self.venue, stream("stream"))
        self.line = Line(self.machine, self.venue, self.streams, stream("line"))
        self.safety = Safety(book, self.venue, self.weather.settings)
        self.safety.is_fair = self.weather.is_fair
        self.crashes = Crashes(self.machine, stream("crashes"))
        self.launcher = Launcher(
            House(self.machine, self.road, book, self.line, self.safety), self.weather.settings, stream("launcher")
        )
        self.launcher.survives = self.crashes.survives_ns
        self.launcher.heard_how_it_stopped = self._has_stopped
        self.strategies = [
            Strategy(self.machine, self.road, self.launcher, self.venue, self.safety, stream(f"client {number}"))
            for number in range(CLIENTS)
        ]
        self.operator = Operator(self.machine, self.road, self.launcher, self.venue, self.safety, stream("operator"))
        self.hand = Hand(self.scheduler, self.venue, self.trace, stream("hand"), self._has_opened)
        self.graceful_stops = 0
        self.is_calm = False
        self.ending: Ending | None = None
        book.on_commit = self.safety.committed
        self.safety.on_move = self._has_moved
        self.venue.on_change = self.safety.venue_changed
        self.line.on_order_leaving = self._order_leaves
        self.line.on_cancel_leaving = self.safety.cancel_leaves

    def run(self) -> Outcome:
        """To the first violation, or until everything is settled."""
        weather, scheduler = self.weather, self.scheduler
        if self.trace.on:
            self.trace.note("weather", f"{weather}")
            self.trace.close_step()
        self.launcher.start()
        self._break_out()
        self.venue.move_prices(lambda: self.is_calm)
        for strategy in self.strategies:
            strategy.is_restless = weather.is_restless
            strategy.plan_wishes(weather.wishes // CLIENTS + 1, weather.storm_ns)
        self.operator.plan_looks(LOOKS_BY_OPERATOR, weather.storm_ns)
        self.operator.plan_stops(weather.stops)
        self.launcher.plan_stops(weather.graceful_stops, Random(f"{self.seed}/graceful stops"), weather.storm_ns)
        self.hand.plan(weather.by_hand, weather.transfers, weather.storm_ns)
        scheduler.after(weather.storm_ns, self._calm_down)
        while not self.safety.violations and not (self.ending is not None and not self.ending.waits_for):
            scheduler.step()
            self.trace.close_step()
            if scheduler.now_ns - START_NS > weather.storm_ns + CALM_NS:
                waits_for = self.ending.waits_for if self.ending is not None else "the calm"
                self.safety.broken(f"after ten minutes of calm: {waits_for}")
            elif scheduler.steps > STEPS_MAX:
                self.safety.broken(f"{STEPS_MAX} steps were not enough: something goes on for ever")
        return self._outcome()

    def close(self) -> None:
        """Give back what the operating system lent."""
        for process in self.machine.alive():
            self.machine.bury(process, "the run is over")

    def _break_out(self) -> None:
        self.venue.faults.set(self.weather.venue)
        self.line.lost = self.weather.requests_lost
        self.road.weather = self.weather.road
        self.crashes.weather = self.weather.crash

    def _order_leaves(self, order: Mapping[str, str]) -> None:
        self.safety.order_leaves(order)
        if not self.is_calm:
            self.operator.order_leaves()

    def _has_moved(self, state: State) -> None:
        if not self.is_calm:
            self.launcher.intent_moves(state)

    def _has_stopped(self, report: StopReport) -> None:
        """Where nothing goes wrong, a stop is quick and complete, and finds that book and venue agree."""
        self.graceful_stops += 1
        weather = self.weather
        has_time = weather.settings.engine.stop_timeout >= FAIR_STOP_NS
        if not weather.is_fair or not has_time or weather.transfers:
            return
        if report.not_done or report.compared.differences or report.uncanceled:
            self.safety.broken(f"a stop that nothing went wrong with: {report}")

    def _calm_down(self) -> None:
        """No more trouble. Whoever was stopped goes on; what was meant to rest is taken back."""
        self.trace.note("weather", "calm")
        self.is_calm = True
        self.venue.faults.clear()
        self.line.lost = 0.0
        self.road.weather = RoadWeather()
        self.crashes.weather = CrashWeather()
        for process in self.machine.alive():
            self.machine.go_on(process)
        for strategy in self.strategies:
            strategy.cancel_resting()
        self.hand.stop()
        self.ending = Ending(
            self.scheduler,
            self.book,
            self.safety,
            self.operator,
            self.weather.settings,
            self._unsettled,
            self.venue.transferred,
            is_tight=bool(self.weather.weight_limit),
        )
        self._look()

    def _look(self) -> None:
        assert self.ending is not None
        self.ending.go_on()
        self.scheduler.after(LOOK_NS, self._look)

    def _has_opened(self) -> bool:
        """Whether the book has its opening balances, since a while."""
        with self.book.view() as view:
            opening = next(iter(view.ledger()), None)
        return opening is not None and self.scheduler.now_ns - opening.at_ns >= AFTER_OPENING_NS

    def _unsettled(self) -> list[str]:
        if self.line.in_flight:
            return ["requests are still on their way"]
        if self.weather.transfers and not self.venue.transferred:
            return ["no money was moved yet"]
        with self.book.view() as view:
            standing = trading.standing(view)
        if standing.by == OPERATOR and standing.state is not TradingState.ACTIVE and not self.venue.transferred:
            self.operator.let_go_on()
        if self.operator.is_holding:
            return ["the operator holds trading"]
        return unsettled(self.book, self.venue, self.safety, self.strategies)

    def _outcome(self) -> Outcome:
        with self.book.view() as view:
            intents, fills = view.count("intents"), view.count("fills")
        return Outcome(
            seed=self.seed,
            violation=self.safety.violations[0] if self.safety.violations else "",
            at_s=self.scheduler.elapsed_s,
            steps=self.scheduler.steps,
            crashes=self.crashes.count,
            faults=self.road.faults.total() + self.line.faults.total() + self.streams.faults + self.venue.faults_seen,
            intents=intents,
            fills=fills,
            external=len(self.venue.foreign),
            replacements=self.safety.terms.replaced,
            stops=self.graceful_stops,
            drifts=len(self.venue.transferred),
        )


def run_seed(seed: int, write: Callable[[str], None] | None = None, mood: Mood = Mood.USUAL) -> Outcome:
    """One run from beginning to end. `write` gets its trace, line by line; `mood`: see the weather."""
    weather = forecast(seed, Random(f"{seed}/weather"), mood)
    with SharedBook(venue_name(weather.settings)) as book:
        world = World(seed, book, write, weather)
        try:
            return world.run()
        finally:
            world.close()
            gc.unfreeze()  # actors freeze what is there when they start; here it shall go again
