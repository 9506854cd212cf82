"""Who is replaced, when that is enough, and that a halt stands in the book whoever is dead."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.base import ActorExitRequest
from actors.children import CLASSES, GATEWAY, PORTFOLIO, RECONCILER, SCRIBE
from actors.engine import HEARTBEAT_TICK
from core import trading
from core.events import AlertFired
from core.records import TradingState
from messages import RequestRefused
from messages.admin import EngineStopped, FindRouter, RouterFound
from messages.book import (
    RecordEvents,
    SetTradingState,
    TightenTrading,
)
from messages.lifecycle import Beat, ChildFailed, ChildReady, ConfigureChild, Tick
from messages.reconciling import ExpireStale
from storage.book_store import BookStore
from tests.actors.recorded_engine import CLIENT, LAUNCHER, RESTARTS_MAX, RecordedEngine, health
from tests.builders import SECOND, SYMBOL, T0, rules


def standing(engine: RecordedEngine) -> tuple[TradingState, list[str]]:
    """What the book says, and the codes of its alerts."""
    store = BookStore.open_reader(engine.folder)
    try:
        with store.snapshot() as view:
            events = [event for _, event in view.events(after=0, limit=100)]
            return trading.standing(view).state, [e.code for e in events if isinstance(e, AlertFired)]
    finally:
        store.close()


# ── halt ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_book_halts_at_once(running: RecordedEngine) -> None:
    """Another part would find the same, for ever; the reason is in `status`."""
    failed = ChildFailed(name="reconciler", pid=1, reason="the book is damaged", damaged=True)
    running.receiveMsg_ChildFailed(failed, running.children["reconciler"].address)
    (halt,) = running.to(running.children[PORTFOLIO].address, TightenTrading)
    assert (halt.state, halt.concern.code) == (TradingState.HALTED, "BOOK_DAMAGED")
    status = running.status()
    assert (status.state, status.reason) == ("halted", "the book is damaged")


def test_a_damaged_book_that_cannot_take_the_halt_is_not_traded_on(running: RecordedEngine) -> None:
    """The portfolio has met the damage: it is not started again, and without it nobody trades."""
    running.disk_full = True
    failed = ChildFailed(name=PORTFOLIO, pid=1, reason="the book is damaged", damaged=True)
    running.receiveMsg_ChildFailed(failed, running.children[PORTFOLIO].address)
    running.let_restart()
    assert running.status().state == "halted"
    assert not running.is_ready(PORTFOLIO)


def test_a_part_that_dies_too_often_halts_trading_through_the_portfolio(running: RecordedEngine) -> None:
    """The book has one writer, as long as it is there."""
    running.exhaust(SCRIBE)
    assert running.state == "halted"
    (halt,) = running.to(running.address_of(PORTFOLIO), TightenTrading)
    assert (halt.state, halt.concern.code) == (TradingState.HALTED, "RESTARTS_EXHAUSTED")


def test_a_portfolio_that_dies_too_often_leaves_a_halt_in_the_book(running: RecordedEngine) -> None:
    """Nobody else could write it, and the next start must not trade on by itself."""
    running.exhaust(PORTFOLIO)
    assert running.state == "halted"
    assert standing(running) == (TradingState.HALTED, ["RESTARTS_EXHAUSTED"])
    assert running.status().state == "halted"


def test_a_portfolio_that_dies_with_the_halt_in_its_hands_does_not_lose_it(running: RecordedEngine) -> None:
    """It is not replaced any more, so what was sent to it is written in its place."""
    running.exhaust(SCRIBE)
    running.let_die(PORTFOLIO)
    assert standing(running) == (TradingState.HALTED, ["RESTARTS_EXHAUSTED"])


def test_a_halt_that_cannot_be_written_is_written_later(running: RecordedEngine) -> None:
    """With a full disk nobody trades; when there is room, the halt comes first."""
    running.disk_full = True
    running.exhaust(PORTFOLIO)
    again = [payload for _, payload in running.woken if isinstance(payload, Tick)]
    running.disk_full = False
    running.on_timer(again[-1])
    assert standing(running)[0] is TradingState.HALTED


def test_what_works_can_be_canceled_while_the_engine_is_halted(engine: RecordedEngine) -> None:
    """Cancels always go on, through the parts that are left; nothing new does."""
    engine.let_all_start(open_symbols=(SYMBOL,))
    engine.exhaust(SCRIBE)
    for to_cancel in (True, False):
        engine.receiveMsg_FindRouter(FindRouter(request_id="r", symbol=SYMBOL, to_cancel=to_cancel), CLIENT)
    canceler, other = engine.to(CLIENT, RouterFound)
    assert (canceler.refusal, canceler.router) == (None, engine.address_of(f"router {SYMBOL}"))
    assert other.refusal.code == "ENGINE_HALTED"


@pytest.mark.parametrize("dead", [PORTFOLIO, GATEWAY, f"router {SYMBOL}"])
def test_a_cancel_that_nobody_could_carry_out_is_refused(engine: RecordedEngine, dead: str) -> None:
    """Nothing that died is started again, so whoever cancels must hear that it cannot be done."""
    engine.let_all_start(open_symbols=(SYMBOL,))
    engine.exhaust(SCRIBE)
    engine.let_die(dead)
    engine.receiveMsg_FindRouter(FindRouter(request_id="r", symbol=SYMBOL, to_cancel=True), CLIENT)
    (found,) = engine.to(CLIENT, RouterFound)
    assert found.refusal.code == "ENGINE_HALTED"


def test_a_start_that_cannot_succeed_ends_with_a_halt_and_its_reason(engine: RecordedEngine) -> None:
    """The launcher is told at once, not when its patience is over."""
    engine.let_all_start(but=SCRIBE)
    for _ in range(RESTARTS_MAX + 1):
        engine.let_die(SCRIBE)
        engine.let_restart()
    (stopped,) = engine.to(LAUNCHER, EngineStopped)
    assert (stopped.failed, stopped.passing) == (True, False)
    assert "the scribe process" in stopped.reason
    assert standing(engine)[0] is TradingState.HALTED


def test_a_part_that_ends_over_what_can_pass_is_never_given_up(running: RecordedEngine) -> None:
    """Somebody makes room; `status` names it."""
    for number in range(20):
        child = running.children[PORTFOLIO]
        failed = ChildFailed(name=PORTFOLIO, pid=number, reason="the disk is full; free space", passing=True)
        running.receiveMsg_ChildFailed(failed, child.address)
        assert running.state == "running"
        running.clock_ns += 61 * SECOND
        running.let_restart()
    for _ in range(2):
        running.receiveMsg_ChildFailed(failed, running.children[PORTFOLIO].address)
    assert "down: the disk is full; free space" in {child.state for child in running.status().children}


def test_a_disk_that_is_full_for_several_parts_at_once_does_not_halt(running: RecordedEngine) -> None:
    """Together they die more often than parts may within the window; whoever else dies afterwards counts."""
    for number in range(RESTARTS_MAX + 1):
        for name in (PORTFOLIO, SCRIBE):
            failed = ChildFailed(name=name, pid=number, reason="the disk is full; free space", passing=True)
            running.receiveMsg_ChildFailed(failed, running.children[name].address)
        running.let_restart()
        running.let_all_start()
    assert (running.state, running.supervision.total) == ("running", 2 * (RESTARTS_MAX + 1))
    running.exhaust(GATEWAY)
    assert running.state == "halted"


def test_a_reason_that_the_next_one_finds_again_uses_up_the_restarts(running: RecordedEngine) -> None:
    """E1: a book that contradicts itself does so every time. It is not tried for ever, with nobody called."""
    for number in range(RESTARTS_MAX + 1):
        assert running.state == "running"
        failed = ChildFailed(name=RECONCILER, pid=number, reason="the book contradicts itself")
        running.receiveMsg_ChildFailed(failed, running.children[RECONCILER].address)
        running.let_restart()
        running.clock_ns += 61 * SECOND
    (halt,) = running.to(running.children[PORTFOLIO].address, TightenTrading)
    assert (running.state, halt.concern.code) == ("halted", "RESTARTS_EXHAUSTED")
    assert running.stop_reason.startswith("the book contradicts itself; ")


def test_a_portfolio_that_cannot_start_for_such_a_reason_leaves_a_halt_in_the_book(running: RecordedEngine) -> None:
    """It is ended first, and its writer's place is taken for this alone."""
    for number in range(RESTARTS_MAX + 1):
        failed = ChildFailed(name=PORTFOLIO, pid=number, reason="the book contradicts itself")
        running.receiveMsg_ChildFailed(failed, running.children[PORTFOLIO].address)
        running.let_restart()
    assert (running.state, standing(running)) == ("halted", (TradingState.HALTED, ["RESTARTS_EXHAUSTED"]))


@pytest.mark.parametrize("passing", [False, True])
def test_the_launcher_hears_whether_what_ends_a_start_can_pass(engine: RecordedEngine, passing: bool) -> None:
    """It bounds how often it tries by that, too."""
    engine.advance()
    failed = ChildFailed(name=PORTFOLIO, pid=1, reason="because", passing=passing)
    engine.receiveMsg_ChildFailed(failed, engine.children[PORTFOLIO].address)
    (stopped,) = engine.to(LAUNCHER, EngineStopped)
    assert (stopped.reason, stopped.failed, stopped.passing) == ("because", True, passing)


# ── resume ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def resume(engine: RecordedEngine, reason: str = "mended") -> None:
    engine.receiveMsg_SetTradingState(SetTradingState(request_id="r", state=TradingState.ACTIVE, reason=reason), CLIENT)


def test_resume_starts_what_was_given_up(running: RecordedEngine) -> None:
    """What stands in the book alone would say ACTIVE, and everything would be refused."""
    running.exhaust(SCRIBE)
    resume(running)
    assert running.to(running.address_of(PORTFOLIO), SetTradingState)
    running.let_all_start()
    assert (running.state, running.all_ready(), running.stop_reason) == ("running", True, "")
    running.let_die(SCRIBE)
    assert running.state == "running"


def test_resume_without_a_portfolio_says_that_trading_is_still_halted(running: RecordedEngine) -> None:
    """It is being started; nobody is told ACTIVE for something that nobody has written."""
    running.exhaust(PORTFOLIO)
    resume(running)
    (refused,) = running.to(CLIENT, RequestRefused)
    assert "still HALTED" in refused.reason
    running.let_all_start()
    resume(running)
    assert running.to(running.address_of(PORTFOLIO), SetTradingState)


def test_a_resume_from_before_the_halt_starts_nothing(running: RecordedEngine) -> None:
    """It was asked for because of something else, and is asked again; nobody has looked at why parts die."""
    running.clock_ns += 1
    running.exhaust(SCRIBE)
    early = SetTradingState(request_id="r", state=TradingState.ACTIVE, reason="withdrew 100 USDT", asked_ns=T0)
    running.receiveMsg_SetTradingState(early, CLIENT)
    assert running.state == "halted"
    assert running.to(running.address_of(PORTFOLIO), SetTradingState) == [early]  # who tells what is in force
    running.receiveMsg_SetTradingState(replace(early, asked_ns=T0 + 1), CLIENT)
    assert running.state == "running"


def test_resume_without_a_reason_changes_nothing(running: RecordedEngine) -> None:
    """It stands in the audit trail, so it must say something."""
    running.exhaust(SCRIBE)
    resume(running, reason=" ")
    assert running.state == "halted"


# ── a part that is never born ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_part_that_never_says_that_it_was_born_is_replaced(running: RecordedEngine) -> None:
    """It has no pid that could be killed. It is asked to end, should it ever wake up."""
    running.let_die(GATEWAY)
    unborn = running.children[GATEWAY].address
    running.wait(60)
    assert running.to(unborn, ActorExitRequest)
    running.let_restart()
    assert running.children[GATEWAY].address != unborn
    running.receiveMsg_ChildReady(ChildReady(name=GATEWAY, pid=7), unborn)
    assert not running.is_ready(GATEWAY)
    running.let_all_start()
    assert all(map(running.is_ready, CLASSES))
    assert running.killed == []


def test_a_gateway_that_is_replaced_knows_that_the_venue_was_there(engine: RecordedEngine) -> None:
    """The first one may have been given a wrong address; of the next ones nobody says so."""
    engine.markets = {}
    engine.let_all_start(but=GATEWAY)
    engine.markets = {SYMBOL: rules()}
    engine.let_all_start()
    engine.let_die(GATEWAY)
    engine.let_restart()
    of_gateways = [message for to, message in engine.sent if str(to).startswith(CLASSES[GATEWAY])]
    configured = [message for message in of_gateways if isinstance(message, ConfigureChild)]
    assert [message.venue_was_reached for message in configured] == [False, True]


def test_a_part_whose_death_nobody_told_of_is_replaced(running: RecordedEngine) -> None:
    """The word of it can be lost; its pid is gone, so killing it again and again would help nobody."""
    child = running.children[SCRIBE]
    running.gone.add(child.pid)
    running.probe()
    assert running.children[SCRIBE].address != child.address
    assert running.supervision.total == 1


# ── a symbol that is no market ────────────────────────────────────────────────────────────────────────────────────────


def test_a_symbol_that_is_suspended_does_not_keep_the_others_from_trading(engine: RecordedEngine) -> None:
    """Its intents are left to the reconciler; status and an alert name it, once."""
    engine.let_all_start(open_symbols=(SYMBOL, "ETH/USDT"))
    assert engine.state == "running"
    assert engine.is_ready(f"router {SYMBOL}")
    assert [(c.name, c.pid) for c in engine.status().children if "ETH" in c.state] == [("router ETH/USDT", 0)]
    engine.advance()
    ((alert,),) = [message.events for message in engine.to(engine.address_of(PORTFOLIO), RecordEvents)]
    assert isinstance(alert, AlertFired)
    assert (alert.code, "ETH/USDT" in alert.text) == ("SYMBOL_NOT_TRADED", True)


def test_a_symbol_that_is_suspended_takes_no_new_intents(engine: RecordedEngine) -> None:
    """The reason is its own, not that somebody has misspelled it."""
    engine.let_all_start(open_symbols=("ETH/USDT",))
    engine.receiveMsg_FindRouter(FindRouter(request_id="r", symbol="ETH/USDT"), CLIENT)
    (found,) = engine.to(CLIENT, RouterFound)
    assert found.refusal.code == "SYMBOL_NOT_TRADED"


def test_a_symbol_that_is_suspended_while_the_engine_runs_ends_nothing(engine: RecordedEngine) -> None:
    """Its router dies when the next gateway does not know it any more; when it is traded again, the router comes."""
    engine.let_all_start(open_symbols=(SYMBOL,))
    markets, engine.markets = engine.markets, {}
    engine.let_die(f"router {SYMBOL}")
    assert engine.state == "running"
    assert not engine.to(LAUNCHER, EngineStopped)
    engine.markets = markets
    engine.let_die(GATEWAY)
    engine.let_all_start()
    assert engine.is_ready(f"router {SYMBOL}")
    assert engine.all_ready()


# ── the heartbeat ─────────────────────────────────────────────────────────────────────────────────────────────────────


def beat(engine: RecordedEngine) -> list[Beat]:
    """The timer is due; what the scribe was told."""
    engine.sent.clear()
    engine.woken.clear()
    engine.on_timer(Tick(name=HEARTBEAT_TICK))
    scribe = engine.children.get(SCRIBE)
    return engine.to(scribe.address, Beat) if scribe is not None else []


def test_the_first_beat_comes_when_all_are_ready(running: RecordedEngine) -> None:
    """Whoever asks a moment later sees something."""
    (told,) = running.to(running.children[SCRIBE].address, Beat)
    assert (told.engine.state, told.engine.quotes) == ("running", ("USDT",))
    assert told.engine.parts == {"engine": "running"} | dict.fromkeys(CLASSES, "ready")


def test_each_beat_tells_what_the_engine_knows_and_sets_the_next(running: RecordedEngine) -> None:
    """With what is stale looked for, whatever the reconciler's own intervals are."""
    (told,) = beat(running)
    assert (told.engine.restarts, told.engine.rates, told.engine.stream) == (0, None, None)
    assert len(running.to(running.children[RECONCILER].address, ExpireStale)) == 1
    assert running.woken == [(running.settings.engine.heartbeat, Tick(name=HEARTBEAT_TICK))]


def test_a_beat_passes_on_what_the_gateway_has_told(running: RecordedEngine) -> None:
    """And nothing of a gateway that is gone."""
    heard = health(is_live=True)
    running.receiveMsg_GatewayHealth(heard, running.children[GATEWAY].address)
    (told,) = beat(running)
    assert (told.engine.rates, told.engine.breaker, told.engine.stream) == (heard.rates, heard.breaker, heard.stream)
    running.let_die(GATEWAY)
    (told,) = beat(running)
    assert (told.engine.rates, told.engine.stream, told.engine.restarts) == (None, None, 1)


def test_without_a_scribe_everything_goes_on(running: RecordedEngine) -> None:
    """A beat is missing, and the next one is set all the same."""
    running.let_die(SCRIBE)
    beat(running)
    assert [message for _, message in running.sent if isinstance(message, Beat)] == []
    assert Tick(name=HEARTBEAT_TICK) in [payload for _, payload in running.woken]


def test_a_halted_engine_beats_and_one_that_begins_to_stop_does_so_once_more(running: RecordedEngine) -> None:
    """Why it is halted, and that it stopped on purpose, can be read for as long as it stands."""
    running.halt("a test")
    (told,) = beat(running)
    assert (told.engine.state, told.engine.reason) == ("halted", "a test")
    running.begin_stop("enough")
    last = running.to(running.children[SCRIBE].address, Beat)[-1]
    assert (last.engine.state, last.engine.reason) == ("stopping", "enough")
    assert (beat(running), running.woken) == ([], [])
