"""The graceful stop: phase after phase (`core/stopping.py`), each within what is left of `engine.stop_timeout`.

New intents are refused from the first moment. The order of the phases is the point of it: nothing is canceled that may
still be on its way out, nothing is compared that still moves, and what was compared is in the streams. Who is dead, or
dies meanwhile, is not replaced and not waited for; who hangs, and a venue that is silent, cost what they were asked
for, never the end. What became of the intents is read in the book itself, so it does not matter who could still tell.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from actors.base import ActorExitRequest
from actors.children import GATEWAY, PORTFOLIO, RECONCILER, SCRIBE, STOP_ORDER, Child, router_name
from actors.front_desk import FrontDesk
from actors.supervisor import BOOK_DAMAGED
from core.errors import StorageError
from core.events import StopReconciled
from core.ids import NS_PER_MS, NS_PER_S
from core.intent import validate_free_text
from core.lifecycle import State
from core.records import IntentRecord
from core.settings import OnStop
from core.stopping import (
    DOUBT_PATIENCE_NS,
    Compared,
    Phase,
    Stop,
    StopReport,
    by_state,
    is_in_doubt,
    working,
)
from messages.admin import EngineStopped, StopBegun, StopDelayed, StopEngine
from messages.book import CancelOpenIntents, OpenIntentsCanceled, RecordEvents
from messages.lifecycle import PrepareStop, StopPrepared, Tick
from messages.reconciling import CompareAtStop, ComparedAtStop
from storage.book_store import BookStore

STOP_TICK, PHASE_TICK, LOOK_TICK, TELL_TICK = "stop", "stop phase", "stop look", "stop tell"
LOOK_NS: Final = 100 * NS_PER_MS
"""Between two looks at the book, while it is waited for intents."""
ASK_AGAIN_LOOKS: Final = 10
"""After so many looks without an answer the portfolio is asked again; the road may have lost it."""
TELL_NS: Final = 1 * NS_PER_S
"""A phase that lasts longer is worth a line to whoever waits."""
ANSWER_SHARE: Final = 10
"""A tenth of the comparison's time is for its answer to come back."""


class Stopper(FrontDesk):
    def __init__(self) -> None:
        super().__init__()
        self.launcher: Any = None
        self.stop_askers: list[Any] = []
        self.orphaned = False
        self.stop: Stop | None = None
        self.stop_book: BookStore | None = None
        """To read in; opened when no part is forked any more."""

    def receiveMsg_StopEngine(self, message: StopEngine, sender: Any) -> None:
        """The first one decides how; all hear of the end. What the book cannot keep stops nothing: its writer would end
        over it, and nothing would be canceled."""
        if not self.is_permitted(message, lambda: validate_free_text("reason", message.reason), sender):
            return
        if self.state == "failed":
            self.answer(sender, EngineStopped(reason=self.stop_reason, failed=True))
            return
        if self.state == "stopped":
            self.answer(sender, self.last_word())
            return
        if sender not in [self.launcher, *self.stop_askers]:
            self.stop_askers.append(sender)
        if message.force:
            self.end_by_force(message.reason)
        elif self.state != "stopping":
            self.begin_stop(message.reason, message.on_stop)

    def begin_stop(self, reason: str, on_stop: OnStop | None = None) -> None:
        engine = self.settings.engine
        was_damaged = self.state == "halted" and self.halt_code == BOOK_DAMAGED
        was_starting = self.state == "starting"
        self.state = "stopping"
        self.stop_reason = reason
        self.stop = Stop(on_stop or engine.on_stop, self.monotonic_ns(), engine.stop_timeout)
        self.log.info("engine_stopping", reason=reason, on_stop=str(self.stop.on_stop))
        self.tell_health()
        if not self.orphaned:
            self.answer(self.launcher, StopBegun(reason=reason))
        self.stop_book = None if was_damaged else self.book_at_stop()
        if self.orphaned or was_starting:
            why = "nobody would hear of it" if self.orphaned else "the start was not over"
            self.stop.compared = Compared(not_compared=(f"everything: {why}; the next start compares",))
        self.wake_after_ns(engine.stop_timeout, Tick(name=STOP_TICK))
        for child in self.routers():
            self.send(child.address, PrepareStop())
        self.set_clocks(self.stop.flush_ns)
        self.wake_after_ns(LOOK_NS, Tick(name=LOOK_TICK))
        self.go_on_stopping()

    def tell_health(self, state: str = "") -> None:
        """Have it written down how everything is. `state`: the engine's, where it will be another one by then."""
        raise NotImplementedError

    def book_at_stop(self) -> BookStore | None:
        try:
            return self.open_book()
        except StorageError as error:
            self.log.warning("book_not_read", reason=str(error))
            return None

    # ── from phase to phase ───────────────────────────────────────────────────────────────────────────────────────

    def go_on_stopping(self) -> None:
        """As far as it goes without waiting. Called whenever something has come, or somebody has gone."""
        while self.stop is not None and self.state == "stopping" and self.is_step_over(self.stop):
            self.next_step(self.stop)

    def is_step_over(self, stop: Stop) -> bool:
        match stop.phase:
            case Phase.SETTLING:
                return not self.is_in_flight(stop)
            case Phase.CANCELING:
                return not self.is_canceling(stop)
            case Phase.COMPARING:
                return stop.compared is not None or not (self.is_ready(RECONCILER) and self.is_ready(GATEWAY))
            case Phase.FLUSHING:
                child = self.children.get(stop.flushed[-1]) if stop.flushed else None
                return child is None or not child.is_ready or child.prepared

    def next_step(self, stop: Stop) -> None:
        match stop.phase:
            case Phase.SETTLING if stop.on_stop is OnStop.CANCEL:
                self.begin_canceling(stop)
            case Phase.SETTLING | Phase.CANCELING:
                self.begin_comparing(stop)
            case Phase.COMPARING | Phase.FLUSHING:
                self.flush_next(stop)

    def set_clocks(self, due_ns: int) -> None:
        """For what begins now: when it is cut short, and when a line about it is due."""
        assert self.stop is not None
        stop, now_ns = self.stop, self.monotonic_ns()
        stop.step += 1
        stop.step_began_ns = now_ns
        self.wake_after_ns(due_ns - now_ns, Tick(name=PHASE_TICK, generation=stop.step))
        self.wake_after_ns(TELL_NS, Tick(name=TELL_TICK, generation=stop.step))

    def on_stop_tick(self, tick: Tick) -> None:
        stop = self.stop
        if stop is None or self.state != "stopping":
            return
        if tick.name == STOP_TICK:
            stop.not_done.append(f"{stop.phase}: {self.waits_for(stop)}")
            self.stopped()
        elif tick.name == LOOK_TICK:
            self.look(stop)
        elif tick.generation != stop.step:
            return
        elif tick.name == TELL_TICK:
            self.tell_of_delay(stop)
        else:
            self.cut_short(stop)

    def look(self, stop: Stop) -> None:
        if stop.phase not in {Phase.SETTLING, Phase.CANCELING}:
            return
        self.wake_after_ns(LOOK_NS, Tick(name=LOOK_TICK))
        stop.looks += 1
        if stop.phase is Phase.CANCELING and stop.looks % ASK_AGAIN_LOOKS == 0:
            self.ask_to_cancel(stop)
        self.go_on_stopping()

    def cut_short(self, stop: Stop) -> None:
        """Its time is over: what it waits for is not waited for any longer."""
        stop.not_done.append(f"{stop.phase}: {self.waits_for(stop)}")
        self.log.warning("stop_phase_cut_short", phase=str(stop.phase), waiting_for=self.waits_for(stop))
        self.next_step(stop)
        self.go_on_stopping()

    def tell_of_delay(self, stop: Stop) -> None:
        if not self.orphaned:
            self.answer(self.launcher, StopDelayed(waits_for=self.waits_for(stop)))

    def waits_for(self, stop: Stop) -> str:
        match stop.phase:
            case Phase.SETTLING:
                late = [child.name for child in self.routers() if not child.prepared]
                return f"orders on the wire ({', '.join(late)})" if late else "orders whose outcome is not known yet"
            case Phase.CANCELING:
                left = len(self.left_to_cancel(stop))
                return f"{left} intents that are being canceled" if left else "orders on the wire"
            case Phase.COMPARING:
                return "the comparison with the venue"
            case Phase.FLUSHING:
                return f"the {stop.flushed[-1]}" if stop.flushed else "nothing"

    # ── settling ──────────────────────────────────────────────────────────────────────────────────────────────────

    def is_in_flight(self, stop: Stop) -> bool:
        """Whether something may still come that a router waits for. Without a book or a gateway nothing will."""
        if not self.is_hub_ready() or self.monotonic_ns() >= stop.settled_ns:
            return False
        if any(not child.prepared for child in self.routers()):
            return True
        return self.is_patient(stop) and is_in_doubt(self.open_intents())

    def is_hub_ready(self) -> bool:
        return self.is_ready(PORTFOLIO) and self.is_ready(GATEWAY)

    def is_patient(self, stop: Stop) -> bool:
        """A cancel is answered soon, and an unknown outcome as a rule found; a proof may take longer than the stop."""
        return self.is_ready(RECONCILER) and self.monotonic_ns() - stop.step_began_ns < DOUBT_PATIENCE_NS

    def open_intents(self) -> list[IntentRecord]:
        """As the book has them now; none if it cannot be read."""
        if self.stop_book is None:
            return []
        with self.stop_book.snapshot() as view:
            return list(view.open_intents())

    def receiveMsg_StopPrepared(self, message: StopPrepared, sender: Any) -> None:
        child = self.child_at(message.name, sender)
        if child is not None and not child.prepared:
            child.prepared = True
            if self.stop is not None and self.stop.phase is Phase.CANCELING:
                self.ask_to_cancel(self.stop)  # what it had accepted came into the book after the others
            self.go_on_stopping()

    def lost_while_stopping(self, child: Child) -> None:
        """Whatever else comes of it, somebody shall look at why it died."""
        if self.stop is not None:
            self.stop.not_done.append(f"{self.stop.phase}: the {child.name} died")
        super().lost_while_stopping(child)

    # ── canceling ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_canceling(self, stop: Stop) -> None:
        stop.phase = Phase.CANCELING
        self.set_clocks(stop.flush_ns)
        if self.stop_book is None:
            stop.not_done.append("canceling: the book cannot be read")
        elif self.left_to_cancel(stop) and not self.is_ready(PORTFOLIO):
            stop.not_done.append("canceling: the portfolio is gone, so nothing could be noted")
        else:
            self.ask_to_cancel(stop)

    def ask_to_cancel(self, stop: Stop) -> None:
        """If there is an intent of which the book does not say so yet."""
        if self.is_ready(PORTFOLIO) and any(not record.cancel_requested for record in self.left_to_cancel(stop)):
            self.send(self.address_of(PORTFOLIO), CancelOpenIntents(reason=self.stop_reason))

    def receiveMsg_OpenIntentsCanceled(self, message: OpenIntentsCanceled, _sender: Any) -> None:
        self.log.info("open_intents_canceled", noted=message.noted)
        self.go_on_stopping()

    def is_canceling(self, stop: Stop) -> bool:
        """Whether an intent may still come to its end. One that nobody follows will not."""
        if not self.is_ready(PORTFOLIO):
            return False
        left, there = self.left_to_cancel(stop), self.routers()
        if any(not record.cancel_requested for record in left):
            return True
        if not self.is_ready(GATEWAY):
            return False
        if any(not child.prepared for child in there):
            return True
        routers = {child.name for child in there}
        followed = [record for record in left if router_name(record.intent.symbol) in routers]
        known = [record for record in followed if record.state is not State.UNKNOWN]
        return bool(known) or (bool(followed) and self.is_patient(stop))

    def left_to_cancel(self, stop: Stop) -> list[IntentRecord]:
        """All that are open, also those that came into the book meanwhile."""
        left = self.open_intents()
        stop.to_cancel |= {record.intent.intent_id for record in left}
        return left

    # ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_comparing(self, stop: Stop) -> None:
        stop.phase = Phase.COMPARING
        left_ns = stop.flush_ns - self.monotonic_ns()
        self.set_clocks(stop.flush_ns)
        if left_ns <= 0:
            stop.compared = stop.compared or Compared(not_compared=("everything: no time was left",))
        elif stop.compared is None and self.is_ready(RECONCILER) and self.is_ready(GATEWAY):
            within_ns = left_ns - left_ns // ANSWER_SHARE
            self.send(self.address_of(RECONCILER), CompareAtStop(within_ns=within_ns))

    def receiveMsg_ComparedAtStop(self, message: ComparedAtStop, _sender: Any) -> None:
        if self.stop is not None and self.stop.phase is Phase.COMPARING and self.stop.compared is None:
            self.stop.compared = message.compared
            self.go_on_stopping()

    def why_not_compared(self) -> str:
        gone = [name for name in (RECONCILER, GATEWAY) if not self.is_ready(name)]
        return f"the {gone[0]} is gone" if gone else "the reconciler has not answered in time"

    # ── flushing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def flush_next(self, stop: Stop) -> None:
        """The next part that is there; all after one another, since each writes what those before it have told."""
        stop.phase = Phase.FLUSHING
        left = [name for name in STOP_ORDER if name not in stop.flushed]
        if not left:
            self.stopped()
            return
        stop.flushed.append(left[0])
        if left[0] == PORTFOLIO:
            self.write_report(stop)
        elif left[0] == SCRIBE:  # before it stops: it is the last one that writes, and all that is left to be done
            self.tell_health("stopped")
        if self.is_ready(left[0]):
            now_ns = self.monotonic_ns()
            self.set_clocks(now_ns + (stop.ends_ns - now_ns) // 2)  # as a rule at most one of them is slow
            self.send(self.address_of(left[0]), PrepareStop())

    def write_report(self, stop: Stop) -> None:
        """While the book can still take it."""
        told = StopReconciled(at_ns=self.now_ns(), reason=self.stop_reason, report=self.report_on(stop))
        if self.is_ready(PORTFOLIO):
            self.send(self.address_of(PORTFOLIO), RecordEvents(events=(told,)))

    def report_on(self, stop: Stop) -> StopReport:
        records = self.open_intents()
        canceled = len(stop.to_cancel - {record.intent.intent_id for record in records})
        unread = [] if self.stop_book is not None else ["counting open intents: the book cannot be read"]
        return StopReport(
            on_stop=stop.on_stop,
            open=by_state(records),
            working=working(records),
            canceled=canceled,
            uncanceled=len(records) if stop.on_stop is OnStop.CANCEL else 0,
            compared=stop.compared or Compared(not_compared=(f"everything: {self.why_not_compared()}",)),
            not_done=(*stop.not_done, *unread),
            elapsed_ns=self.monotonic_ns() - stop.began_ns,
        )

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stopped(self) -> None:
        if self.state == "stopped" or self.stop is None:
            return
        self.stop.report = report = self.report_on(self.stop)
        self.log.info("engine_stopped", reason=self.stop_reason, report=msgspec.to_builtins(report))
        self.end()

    def end_by_force(self, reason: str) -> None:
        """Somebody does not want to wait. The book is as sound as after any crash, and the next start takes it up."""
        self.stop_reason = reason
        self.log.warning("engine_stopped_by_force", reason=reason)
        self.stop = None
        self.end()

    def last_word(self) -> EngineStopped:
        stop = self.stop
        return EngineStopped(
            reason=self.stop_reason, failed=False, forced=stop is None, report=stop.report if stop else None
        )

    def end(self) -> None:
        """Everybody is told, once."""
        self.state = "stopped"
        if self.stop_book is not None:
            self.stop_book.close()
            self.stop_book = None
        for receiver in [*([] if self.orphaned else [self.launcher]), *self.stop_askers]:
            self.answer(receiver, self.last_word())
        if self.orphaned:
            self.actorSystemShutdown()

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: Any) -> None:
        self.state = "stopping" if self.state in {"running", "halted"} else self.state
        super().receiveMsg_ActorExitRequest(message, sender)
