"""An engine that stops: its parts are recorded, its book is a desk, its clock moves when it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.children import PORTFOLIO, RECONCILER, STOP_ORDER, router_name
from actors.stopping import LOOK_TICK, PHASE_TICK, STOP_TICK, TELL_TICK
from core import narrowing
from core.intent import TimeInForce
from core.lifecycle import State
from core.records import AttemptRecord
from core.settings import from_mapping
from core.stopping import Compared, StopReport
from messages.admin import EngineStopped, StopEngine
from messages.book import CancelOpenIntents, OpenIntentsCanceled
from messages.lifecycle import PrepareStop, StopPrepared, Tick
from messages.reconciling import CompareAtStop, ComparedAtStop
from storage.layout import StateFolder
from tests.actors.recorded_engine import LAUNCHER, RecordedEngine
from tests.builders import SECOND, SYMBOL, Desk, in_state

ROUTER = router_name(SYMBOL)
TIMEOUT_S = 10
AGREES = Compared(orders=1, trades=2, balances=3)


class Shelf:
    """The desk's book, as a part opens it to read."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.is_open = True

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Any]:
        with self.desk.book.snapshot() as view:
            yield view

    def close(self) -> None:
        self.is_open = False


class StoppingEngine(RecordedEngine):
    """With a book, and parts that do what they are asked when the test lets them."""

    desk: Desk
    shelf: Shelf

    def open_book(self) -> Any:
        self.shelf = Shelf(self.desk)
        return self.shelf

    def actorSystemShutdown(self) -> None:  # noqa: N802  (thespian's name)
        self.is_shut_down = True

    is_shut_down = False

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────

    def told_to_stop(self, client: str = LAUNCHER, **wish: Any) -> None:
        self.receiveMsg_StopEngine(StopEngine(request_id="r", reason="a test", **wish), client)

    def prepared(self, name: str) -> None:
        self.receiveMsg_StopPrepared(StopPrepared(name=name), self.children[name].address)

    def noted(self) -> None:
        """The portfolio has made the cancels durable."""
        with self.desk.book.transaction() as unit:
            changed = narrowing.at_stop(unit, "a test", self.desk.now_ns)
        self.receiveMsg_OpenIntentsCanceled(OpenIntentsCanceled(noted=len(changed)), PORTFOLIO)

    def compared(self, found: Compared = AGREES) -> None:
        self.receiveMsg_ComparedAtStop(ComparedAtStop(compared=found), RECONCILER)

    def flush(self) -> None:
        for name in STOP_ORDER:
            if self.is_ready(name):
                self.prepared(name)

    def pass_time(self, seconds: float) -> None:
        """Every timer that is due by then rings, in its order."""
        until = self.clock_ns + int(seconds * SECOND)
        while due := [timer for timer in self.alarms() if timer[0] <= until]:
            at_ns, payload = min(due, key=lambda timer: timer[0])
            self.set_alarms.remove((at_ns, payload))
            self.clock_ns = max(self.clock_ns, at_ns)
            self.on_timer(payload)
        self.clock_ns = until

    def alarms(self) -> list[tuple[int, Any]]:
        return self.set_alarms

    set_alarms: list[tuple[int, Any]]

    def wake_after_ns(self, delay_ns: int, payload: Any) -> None:
        super().wake_after_ns(delay_ns, payload)
        if isinstance(payload, Tick) and payload.name in {STOP_TICK, PHASE_TICK, LOOK_TICK, TELL_TICK}:
            self.set_alarms.append((self.clock_ns + max(delay_ns, 0), payload))

    # ── what it has done ──────────────────────────────────────────────────────────────────────────────────────────

    def asked(self, name: str) -> bool:
        """Whether this part was told to prepare."""
        return bool(self.to(self.children[name].address, PrepareStop))

    def asked_to_compare(self) -> list[CompareAtStop]:
        return self.to(self.address_of(RECONCILER), CompareAtStop)

    def asked_to_cancel(self) -> int:
        return len(self.to(self.children[PORTFOLIO].address, CancelOpenIntents))

    def ends(self, whom: str = LAUNCHER) -> list[EngineStopped]:
        return self.to(whom, EngineStopped)

    @property
    def report(self) -> StopReport:
        (ended,) = self.ends()
        assert ended.report is not None
        return ended.report


def made(tmp_path: Path, on_stop: str = "keep", **desk: str) -> StoppingEngine:
    settings = from_mapping({"engine": {"stop_timeout": f"{TIMEOUT_S}s", "on_stop": on_stop}})
    engine = StoppingEngine(StateFolder(tmp_path).create(), settings)
    engine.set_alarms = []
    engine.desk = Desk(**desk)
    return engine


def resting(engine: StoppingEngine) -> AttemptRecord:
    return in_state(engine.desk, State.SENT, TimeInForce.GTC)
