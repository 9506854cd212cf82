"""The phases of a graceful stop: their order, what each waits for, and what a death, a hang or silence costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.children import GATEWAY, PORTFOLIO, RECONCILER, SCRIBE, STOP_ORDER
from actors.supervisor import BOOK_DAMAGED
from core.events import StopReconciled
from core.intent import TimeInForce
from core.lifecycle import State
from core.settings import OnStop
from core.stopping import DOUBT_PATIENCE_NS, Compared
from core.verdict import Difference
from messages import RequestRefused
from messages.admin import FindRouter, RouterFound, StopDelayed, StopEngine
from messages.book import RecordEvents
from messages.lifecycle import Beat, ChildFailed, ChildReady, GatewayGone, PrepareStop, RestartDue
from tests.actors.recorded_engine import CLIENT, LAUNCHER
from tests.actors.stopping_engine import AGREES, ROUTER, TIMEOUT_S, StoppingEngine, made, resting
from tests.builders import SECOND, SYMBOL, in_state, snapshot


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


def test_the_last_heartbeat_says_stopped_when_all_but_the_scribe_have_written(engine: StoppingEngine) -> None:
    """Who dies before that leaves `stopping`; the scribe writes it before it says that it is done."""
    engine.told_to_stop()
    engine.prepared(ROUTER)
    engine.compared()
    scribe = engine.address_of(SCRIBE)
    for name in STOP_ORDER[:-1]:
        assert [told.engine.state for told in engine.to(scribe, Beat)] == ["running", "stopping"]
        engine.prepared(name)
    beaten, prepare = engine.to(scribe)[-2:]
    assert (beaten.engine.state, beaten.engine.parts["engine"], beaten.engine.reason) == (
        "stopped",
        "stopped",
        "a test",
    )
    assert (type(prepare), engine.state, engine.ends()) == (PrepareStop, "stopping", [])


def test_a_stop_that_is_cut_short_before_the_scribe_leaves_no_heartbeat_that_says_stopped(
    engine: StoppingEngine,
) -> None:
    """Nobody knows then what is written."""
    engine.told_to_stop(force=True)
    assert engine.state == "stopped"
    assert [told.engine.state for told in engine.to(engine.address_of(SCRIBE), Beat)] == ["running"]


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
