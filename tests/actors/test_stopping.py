"""The phases of a graceful stop: their order, what each waits for, and what a death, a hang or silence costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.children import GATEWAY, PORTFOLIO, RECONCILER, SCRIBE, STOP_ORDER, router_name
from actors.stopping import LOOK_TICK, PHASE_TICK, STOP_TICK, TELL_TICK
from actors.supervisor import BOOK_DAMAGED
from core import narrowing
from core.events import StopReconciled
from core.intent import TimeInForce
from core.lifecycle import State
from core.records import AttemptRecord
from core.settings import OnStop, from_mapping
from core.stopping import DOUBT_PATIENCE_NS, Compared, StopReport
from core.verdict import Difference
from messages import RequestRefused
from messages.admin import EngineStopped, FindRouter, RouterFound, StopDelayed, StopEngine
from messages.book import CancelOpenIntents, OpenIntentsCanceled, RecordEvents
from messages.lifecycle import ChildFailed, ChildReady, GatewayGone, PrepareStop, RestartDue, StopPrepared, Tick
from messages.reconciling import CompareAtStop, ComparedAtStop
from storage.layout import StateFolder
from tests.actors.recorded_engine import CLIENT, LAUNCHER, RecordedEngine
from tests.builders import SECOND, SYMBOL, Desk, in_state, snapshot

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


@pytest.fixture
def engine(tmp_path: Path) -> StoppingEngine:
    """It runs, with a router for one symbol, and keeps working orders."""
    running = made(tmp_path)
    running.let_all_start(open_symbols=(SYMBOL,))
    return running


@pytest.fixture
def canceler(tmp_path: Path) -> StoppingEngine:
    """The same, and it cancels them."""
    running = made(tmp_path, "cancel")
    running.let_all_start(open_symbols=(SYMBOL,))
    return running


def resting(engine: StoppingEngine) -> AttemptRecord:
    return in_state(engine.desk, State.SENT, TimeInForce.GTC)


# ── the order of the phases ───────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_compared_before_the_routers_have_settled(engine: StoppingEngine) -> None:
    """And nobody else is stopped before the comparison is there."""
    engine.told_to_stop()
    assert engine.asked(ROUTER)
    assert engine.asked_to_compare() == []
    engine.prepared(ROUTER)
    assert len(engine.asked_to_compare()) == 1
    assert not any(map(engine.asked, STOP_ORDER))
    engine.compared()
    for name in STOP_ORDER:
        assert [other for other in STOP_ORDER if engine.asked(other)][-1] == name
        assert engine.ends() == []
        engine.prepared(name)
    assert engine.report.compared == AGREES
    assert not engine.shelf.is_open


def test_the_report_is_in_the_book_before_the_portfolio_stops(engine: StoppingEngine) -> None:
    """So the scribe, which is last, has it in the audit stream."""
    resting(engine)
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.compared()
    engine.flush()
    sent = engine.to(engine.address_of(PORTFOLIO))
    kinds = [type(message) for message in sent if isinstance(message, RecordEvents | PrepareStop)]
    assert kinds == [RecordEvents, PrepareStop]
    ((told,),) = [message.events for message in sent if isinstance(message, RecordEvents)]
    assert isinstance(told, StopReconciled)
    assert (told.report.open, told.report.working, told.report.is_clean) == ({"SENT": 1}, 1, True)


def test_what_works_is_canceled_after_the_wire_is_quiet_and_before_the_comparison(canceler: StoppingEngine) -> None:
    """It is followed in the book to its end."""
    attempt = resting(canceler)
    canceler.told_to_stop()
    assert canceler.asked_to_cancel() == 0
    canceler.prepared(ROUTER)
    canceler.noted()
    canceler.pass_time(1)
    assert canceler.desk.state(attempt) is State.CANCELING
    assert canceler.asked_to_compare() == []
    canceler.desk.apply(snapshot(attempt, "canceled"))
    canceler.pass_time(0.2)
    assert len(canceler.asked_to_compare()) == 1
    canceler.compared()
    canceler.flush()
    assert (canceler.report.canceled, canceler.report.uncanceled, canceler.report.open) == (1, 0, {})


def test_retries_end_at_once_when_everything_is_canceled(canceler: StoppingEngine) -> None:
    """Nothing of them is at the venue."""
    in_state(canceler.desk, State.RETRY)
    canceler.told_to_stop()
    canceler.prepared(ROUTER)
    canceler.noted()
    assert len(canceler.asked_to_compare()) == 1


@pytest.mark.parametrize(("on_stop", "cancels"), [(OnStop.KEEP, 0), (OnStop.CANCEL, 1), (None, 1)])
def test_one_stop_may_do_otherwise_than_the_settings(
    canceler: StoppingEngine, on_stop: OnStop | None, cancels: int
) -> None:
    """The settings say cancel; the wish of this stop comes first."""
    resting(canceler)
    canceler.told_to_stop(on_stop=on_stop)
    canceler.prepared(ROUTER)
    assert canceler.asked_to_cancel() == cancels


@pytest.mark.parametrize("reason", ["\udcff", "x" * 501])
def test_a_reason_that_the_book_cannot_keep_stops_nothing(canceler: StoppingEngine, reason: str) -> None:
    """The portfolio would end over it, and orders that shall be canceled would stay: it is refused instead."""
    canceler.receiveMsg_StopEngine(StopEngine(request_id="r", reason=reason), CLIENT)
    (refused,) = canceler.to(CLIENT, RequestRefused)
    assert (canceler.state, "reason" in refused.reason) == ("running", True)


def test_the_wish_to_cancel_is_repeated_until_it_is_durable(canceler: StoppingEngine) -> None:
    """The road may lose it."""
    resting(canceler)
    canceler.told_to_stop()
    canceler.prepared(ROUTER)
    canceler.pass_time(2.5)
    assert canceler.asked_to_cancel() == 3


def test_an_order_that_is_not_answered_does_not_keep_the_others_from_being_canceled(canceler: StoppingEngine) -> None:
    """After a third of the time; it is waited for on, and what its router had accepted meanwhile is canceled, too."""
    attempt = resting(canceler)
    canceler.told_to_stop()
    canceler.pass_time(2.9)
    assert canceler.asked_to_cancel() == 0
    canceler.pass_time(0.2)
    assert canceler.asked_to_cancel() == 1
    canceler.noted()
    canceler.desk.apply(snapshot(attempt, "canceled"))
    canceler.pass_time(1)
    assert canceler.asked_to_compare() == []
    late = resting(canceler)
    canceler.prepared(ROUTER)
    assert canceler.asked_to_cancel() == 2
    canceler.noted()
    canceler.desk.apply(snapshot(late, "canceled"))
    canceler.pass_time(0.2)
    assert len(canceler.asked_to_compare()) == 1
    canceler.compared()
    canceler.flush()
    assert (canceler.report.canceled, canceler.report.uncanceled, canceler.report.not_done) == (2, 0, ())


# ── what is unknown ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_outcome_gets_a_look_and_no_more(engine: StoppingEngine) -> None:
    """Proof of absence takes longer than a stop may; it stays open, and is told."""
    in_state(engine.desk, State.UNKNOWN)
    engine.told_to_stop()
    engine.prepared(ROUTER)
    assert engine.asked_to_compare() == []
    engine.pass_time(DOUBT_PATIENCE_NS / SECOND + 0.2)
    assert len(engine.asked_to_compare()) == 1
    engine.compared()
    engine.flush()
    assert engine.report.open == {"UNKNOWN": 1}


def test_a_cancel_that_a_client_has_asked_for_is_followed_first(engine: StoppingEngine) -> None:
    """It is answered in a moment, and then nothing moves while book and venue are compared."""
    attempt = in_state(engine.desk, State.CANCELING, TimeInForce.GTC)
    engine.told_to_stop()
    engine.prepared(ROUTER)
    assert engine.asked_to_compare() == []
    engine.desk.apply(snapshot(attempt, "canceled"))
    engine.pass_time(0.2)
    assert len(engine.asked_to_compare()) == 1


def test_an_unknown_intent_is_never_ended_by_a_stop(canceler: StoppingEngine) -> None:
    """It is wanted gone, and keeps its money until it is proven."""
    attempt = in_state(canceler.desk, State.UNKNOWN)
    canceler.told_to_stop()
    canceler.prepared(ROUTER)
    canceler.pass_time(2.2)
    canceler.noted()
    canceler.pass_time(2.2)
    canceler.compared()
    canceler.flush()
    assert (canceler.report.open, canceler.report.uncanceled) == ({"UNKNOWN": 1}, 1)
    assert canceler.desk.record(attempt.intent_id).cancel_requested


# ── within its time ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_is_silent_costs_the_stop_no_more_than_its_time(engine: StoppingEngine) -> None:
    """Nobody answers anything; it is over when `stop_timeout` is, and says what was not done."""
    resting(engine)
    engine.told_to_stop()
    engine.pass_time(TIMEOUT_S - 1)
    assert engine.ends() == []
    engine.pass_time(1)
    assert engine.report.not_done[0] == f"settling: orders on the wire ({ROUTER})"
    assert engine.report.compared.not_compared == ("everything: no time was left",)
    assert [what.split(":")[0] for what in engine.report.not_done].count("flushing") == len(STOP_ORDER)
    assert all(map(engine.asked, STOP_ORDER))
    assert not engine.report.is_clean


def test_the_comparison_is_asked_for_with_the_time_that_is_left(engine: StoppingEngine) -> None:
    """Less what flushing needs, and what the answer takes to come back."""
    engine.told_to_stop()
    engine.pass_time(3)
    engine.prepared(ROUTER)
    (asked,) = engine.asked_to_compare()
    assert asked.within_ns == (TIMEOUT_S - 3 - 1) * SECOND * 9 // 10


def test_a_reconciler_that_hangs_costs_the_comparison_alone(engine: StoppingEngine) -> None:
    """All the others flush."""
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.pass_time(TIMEOUT_S - 1)
    engine.pass_time(0.6)
    for name in (GATEWAY, PORTFOLIO, SCRIBE):
        engine.prepared(name)
    assert engine.report.compared.not_compared == ("everything: the reconciler has not answered in time",)
    assert engine.report.not_done == ("comparing: the comparison with the venue", "flushing: the reconciler")


def test_the_launcher_hears_what_lasts(engine: StoppingEngine) -> None:
    """After a second; not of what is quick."""
    engine.told_to_stop()
    engine.pass_time(0.9)
    assert engine.to(LAUNCHER, StopDelayed) == []
    engine.pass_time(0.2)
    (told,) = engine.to(LAUNCHER, StopDelayed)
    assert told.waits_for == f"orders on the wire ({ROUTER})"


# ── who is gone ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [GATEWAY, PORTFOLIO, ROUTER])
def test_whoever_dies_while_all_settles_is_not_waited_for(engine: StoppingEngine, name: str) -> None:
    """Nothing can settle without it; it is not replaced, and the stop goes on at once."""
    engine.told_to_stop()
    born = engine.born
    engine.let_die(name)
    assert engine.stop is not None
    assert engine.stop.phase != "settling"
    engine.let_restart()
    assert engine.born == born
    assert not [payload for _, payload in engine.woken if isinstance(payload, RestartDue)]


@pytest.mark.parametrize("name", [GATEWAY, RECONCILER])
def test_whoever_dies_while_all_is_compared_costs_the_comparison(engine: StoppingEngine, name: str) -> None:
    """It is told, and the exit is no later."""
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.let_die(name)
    engine.flush()
    assert engine.report.compared.not_compared == (f"everything: the {name} is gone",)
    assert engine.report.not_done == (f"comparing: the {name} died",)


def test_the_portfolio_hears_of_a_gateway_that_dies(engine: StoppingEngine) -> None:
    """So an order that it has not handed over is proven not to have left."""
    engine.told_to_stop()
    engine.let_die(GATEWAY)
    assert engine.to(engine.address_of(PORTFOLIO), GatewayGone)


@pytest.mark.parametrize("name", STOP_ORDER)
def test_whoever_dies_while_all_is_flushed_is_passed_over(engine: StoppingEngine, name: str) -> None:
    """The others still write what they have."""
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.compared()
    engine.let_die(name)
    engine.flush()
    assert engine.ends()


def test_a_part_that_fails_is_like_one_that_is_dead(engine: StoppingEngine) -> None:
    """A full disk, say."""
    engine.told_to_stop()
    failed = ChildFailed(name=PORTFOLIO, pid=1, reason="the disk is full")
    engine.receiveMsg_ChildFailed(failed, engine.children[PORTFOLIO].address)
    assert engine.stop is not None
    assert engine.stop.phase != "settling"


def test_a_router_that_has_just_been_replaced_is_waited_for(canceler: StoppingEngine) -> None:
    """It takes up its orders in a moment, and cancels what shall be canceled."""
    attempt = resting(canceler)
    canceler.let_die(ROUTER)
    canceler.told_to_stop()
    assert canceler.asked_to_cancel() == 0
    canceler.receiveMsg_ChildReady(ChildReady(name=ROUTER, pid=9), canceler.children[ROUTER].address)
    canceler.prepared(ROUTER)
    canceler.noted()
    assert canceler.asked_to_compare() == []
    canceler.desk.apply(snapshot(attempt, "canceled"))
    canceler.pass_time(0.2)
    assert len(canceler.asked_to_compare()) == 1


def test_orders_of_a_router_that_is_gone_are_noted_and_not_waited_for(canceler: StoppingEngine) -> None:
    """Nobody follows them; the next start does, and the report counts them."""
    resting(canceler)
    canceler.told_to_stop()
    canceler.let_die(ROUTER)
    assert canceler.asked_to_cancel() == 1
    canceler.noted()
    canceler.compared()
    canceler.flush()
    assert (canceler.report.uncanceled, canceler.report.open) == (1, {"CANCELING": 1})


def test_without_a_portfolio_nothing_can_be_canceled_and_that_is_told(canceler: StoppingEngine) -> None:
    """The orders work on at the venue."""
    resting(canceler)
    canceler.told_to_stop()
    canceler.let_die(PORTFOLIO)
    canceler.compared()
    canceler.flush()
    assert canceler.report.not_done == (
        "settling: the portfolio died",
        "canceling: the portfolio is gone, so nothing could be noted",
    )
    assert (canceler.report.uncanceled, canceler.report.working) == (1, 1)


def test_a_part_that_waits_for_its_restart_stays_where_it_is(engine: StoppingEngine) -> None:
    """Its timer may ring while everything stops."""
    engine.let_die(SCRIBE)
    engine.let_die(SCRIBE)
    engine.told_to_stop()
    born = engine.born
    engine.let_restart()
    assert engine.born == born


# ── who asks, and when ────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_asks_again_hears_the_same_end(engine: StoppingEngine) -> None:
    """The first one decides; also who asks when it is over hears how."""
    engine.told_to_stop()
    engine.told_to_stop(CLIENT, on_stop=OnStop.CANCEL)
    engine.prepared(ROUTER)
    engine.compared()
    engine.flush()
    assert engine.report.on_stop is OnStop.KEEP
    engine.told_to_stop("late")
    (first,), (late,) = engine.ends(CLIENT), engine.ends("late")
    assert first == late
    assert engine.state == "stopped"


def test_force_ends_it_at_once(engine: StoppingEngine) -> None:
    """Also where a graceful stop lasts already, and whoever waits for that is told."""
    engine.told_to_stop(CLIENT)
    engine.told_to_stop("impatient", force=True)
    for whom in (LAUNCHER, CLIENT, "impatient"):
        (ended,) = engine.ends(whom)
        assert (ended.forced, ended.failed, ended.report) == (True, False, None)
    engine.pass_time(TIMEOUT_S + 1)
    assert len(engine.ends()) == 1


def test_a_halted_engine_stops_like_any_other(engine: StoppingEngine) -> None:
    """With the parts that are left."""
    for _ in range(60):
        if engine.state != "halted":
            engine.let_die(SCRIBE)
            engine.let_restart()
    assert engine.state == "halted"
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.compared()
    engine.flush()
    assert engine.report.compared == AGREES


def test_a_damaged_book_is_not_read_for_a_report(engine: StoppingEngine) -> None:
    """There is damage at which LMDB ends the process that reads it."""
    failed = ChildFailed(name=SCRIBE, pid=1, reason="the book is damaged", damaged=True)
    engine.receiveMsg_ChildFailed(failed, engine.children[SCRIBE].address)
    assert engine.halt_code == BOOK_DAMAGED
    engine.told_to_stop()
    assert engine.stop_book is None
    engine.prepared(ROUTER)
    engine.compared()
    engine.flush()
    assert engine.report.not_done == ("counting open intents: the book cannot be read",)


def test_a_stop_during_the_start_waits_for_nobody_who_is_not_ready(tmp_path: Path) -> None:
    """And compares nothing, since the start has not either."""
    starting = made(tmp_path)
    starting.let_all_start(but=GATEWAY)
    starting.told_to_stop()
    starting.flush()
    assert starting.report.compared.not_compared == ("everything: the start was not over; the next start compares",)
    late = ChildReady(name=GATEWAY, pid=9)
    starting.receiveMsg_ChildReady(late, starting.children[GATEWAY].address)
    assert starting.state == "stopped"


def test_an_orphaned_engine_does_as_configured_and_tells_nobody(canceler: StoppingEngine) -> None:
    """Its launcher was killed: orders are canceled if they should be, nothing is compared, and all of it ends."""
    attempt = resting(canceler)
    canceler.gone.add(1)
    canceler.watch_launcher()
    canceler.prepared(ROUTER)
    canceler.noted()
    canceler.desk.apply(snapshot(attempt, "canceled"))
    canceler.pass_time(0.2)
    assert canceler.asked_to_compare() == []
    canceler.flush()
    assert canceler.is_shut_down
    assert canceler.ends() == []


def test_a_launcher_that_dies_while_all_stops_begins_no_second_stop(engine: StoppingEngine) -> None:
    """What was begun comes to its end, and then the system does."""
    engine.told_to_stop(CLIENT)
    engine.gone.add(1)
    engine.watch_launcher()
    engine.prepared(ROUTER)
    engine.compared()
    engine.flush()
    assert engine.is_shut_down
    assert len(engine.ends(CLIENT)) == 1


def test_a_repeat_finds_its_router_while_all_stops(engine: StoppingEngine) -> None:
    """The router knows what it has, and refuses what is new; a symbol without one is refused here."""
    engine.told_to_stop()
    for symbol in (SYMBOL, "ETH/USDT"):
        engine.receiveMsg_FindRouter(FindRouter(request_id="f", symbol=symbol), CLIENT)
    known, new = engine.to(CLIENT, RouterFound)
    assert known.router == engine.children[ROUTER].address
    assert new.refusal.code == "ENGINE_NOT_READY"


def test_a_difference_makes_the_stop_one_to_look_at(engine: StoppingEngine) -> None:
    """What could not be compared does not: the next start does."""
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.compared(Compared(differences=(Difference(kind="balance", subject="USDT"),)))
    engine.flush()
    assert not engine.report.is_clean
