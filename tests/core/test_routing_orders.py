"""The router's brain: following working orders, cancels, and a restart."""

from __future__ import annotations

from typing import Any

import pytest

from core import effects as do
from core.effects import Timer, TimerKind
from core.ids import IntentId
from core.intent import TimeInForce, payload
from core.lifecycle import State
from core.records import AttemptRecord, AttemptStatus
from core.reports import OpenOrder, OrderStatus, OutcomeUnknown, QueryFailed
from core.routing import LIST_PATIENCE_NS
from tests.builders import (
    SECOND,
    SYMBOL,
    T0,
    Desk,
    dec,
    in_state,
    not_placed,
    opening,
    request,
    snapshot,
)
from tests.core.floor import FOLLOW, SETTINGS, Floor, kinds, router, submission

# ── following working orders ──────────────────────────────────────────────────────────────────────────────────────────


def working(floor: Floor, **changes: Any) -> AttemptRecord:
    attempt = floor.accept(request(tif=TimeInForce.GTC, **changes))
    (wake,) = floor.report(snapshot(attempt))
    assert wake == do.WakeAt(T0 + SETTINGS.poll_interval, FOLLOW)
    return attempt


def listed(attempt: AttemptRecord, filled: str = "0") -> OpenOrder:
    return OpenOrder(
        client_order_id=attempt.client_order_id,
        exchange_order_id=attempt.exchange_order_id or "X",  # type: ignore[arg-type]
        symbol=SYMBOL,
        filled_qty=dec(filled),
    )


def test_working_orders_are_followed_by_one_list(floor: Floor) -> None:
    """One question per symbol and interval, and the timer goes on as long as something works."""
    working(floor)
    later = T0 + SETTINGS.poll_interval
    assert floor.router.woken(FOLLOW, later) == [
        do.ListOpenOrders(),
        do.WakeAt(later + SETTINGS.poll_interval, Timer(TimerKind.FOLLOW, round=1)),
    ]


def test_a_follow_timer_that_comes_twice_starts_one_round(floor: Floor) -> None:
    """A doubled timer does not start a second chain of questions."""
    working(floor)
    assert floor.router.woken(FOLLOW, T0 + SECOND) != []
    assert floor.router.woken(FOLLOW, T0 + SECOND) == []


def test_following_ends_with_the_last_working_order(floor: Floor) -> None:
    """Nothing works: the timer does not go on."""
    attempt = working(floor)
    floor.report(snapshot(attempt, OrderStatus.CANCELED))
    assert floor.router.woken(FOLLOW, T0 + SECOND) == []


def test_an_order_that_looks_as_expected_is_left_alone(floor: Floor) -> None:
    """Listed with the filled quantity that the book has: no look-up."""
    attempt = working(floor)
    assert floor.router.listed((listed(attempt),)) == []


@pytest.mark.parametrize("filled", [None, "0.004"])
def test_an_order_that_differs_is_looked_up_once(floor: Floor, filled: str | None) -> None:
    """Missing from the list or filled differently: one look-up, and no second one while it is under way."""
    attempt = working(floor)
    orders = () if filled is None else (listed(attempt, filled),)
    assert kinds(floor.router.listed(orders)) == ["LookUp"]
    assert floor.router.listed(orders) == []
    floor.router.reported(QueryFailed(reason="timeout"), attempt.client_order_id)
    assert kinds(floor.router.listed(orders)) == ["LookUp"]


def test_a_list_that_failed_says_nothing(floor: Floor) -> None:
    """No list is not an empty list."""
    working(floor)
    assert floor.router.listed(QueryFailed(reason="timeout")) == []


def test_orders_of_others_are_not_touched(floor: Floor) -> None:
    """C4: what is not ours has no effect."""
    attempt = working(floor)
    other = OpenOrder(client_order_id="web-1", exchange_order_id="X9", symbol=SYMBOL)  # type: ignore[arg-type]
    assert floor.router.listed((listed(attempt), other)) == []


def test_a_closed_order_whose_trades_lag_is_looked_up(floor: Floor) -> None:
    """Over at the venue, not all trades here: asked at every interval until they are."""
    attempt = floor.accept()
    floor.report(snapshot(attempt, OrderStatus.EXPIRED, filled="0.004"))
    assert kinds(floor.router.woken(FOLLOW, T0 + SECOND)) == ["ListOpenOrders", "LookUp", "WakeAt"]


def test_an_old_resting_order_is_canceled(floor: Floor) -> None:
    """R6: beyond `router.order_max_age` a cancel is noted in the book."""
    attempt = working(floor)
    on_time, late = T0 + SETTINGS.order_max_age, T0 + SETTINGS.order_max_age + 1
    assert "NoteCancel" not in kinds(floor.router.woken(FOLLOW, on_time))
    told = floor.router.woken(Timer(TimerKind.FOLLOW, round=1), late)
    (noted,) = [effect for effect in told if isinstance(effect, do.NoteCancel)]
    assert (noted.intent_id, "order_max_age" in noted.reason) == (attempt.intent_id, True)


# ── cancels ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def cancel(floor: Floor, attempt: AttemptRecord, name: str = "c1") -> list[do.Effect]:
    assert floor.router.cancel(name, attempt.intent_id, "enough") == [do.NoteCancel(attempt.intent_id, "enough")]
    record = floor.desk.cancel(attempt.intent_id)
    latest = floor.desk.attempt(attempt.intent_id, record.attempts) if record else None
    return floor.router.cancel_noted(attempt.intent_id, record, latest, floor.desk.now_ns)


def test_a_working_order_is_canceled_then_looked_at(floor: Floor) -> None:
    """R7: noted in the book, sent to the venue; the venue's answer is only a reason to look."""
    attempt = working(floor)
    told = cancel(floor, attempt)
    assert kinds(told)[:2] == ["CancelAnswer", "Cancel"]
    assert kinds(floor.router.cancel_answered(attempt.client_order_id)) == ["LookUp"]
    ended = floor.report(snapshot(attempt, OrderStatus.CANCELED, source="lookup"))
    assert kinds(ended) == ["Done"]


def test_a_cancel_that_did_not_arrive_is_sent_again(floor: Floor) -> None:
    """CANCELING and still listed unchanged: the cancel is repeated, which is harmless."""
    attempt = working(floor)
    cancel(floor, attempt)
    latest = floor.desk.attempt(attempt.intent_id)
    assert floor.router.listed((listed(attempt),)) == [do.Cancel(latest)]


def test_a_cancel_of_an_unknown_intent_is_refused(floor: Floor) -> None:
    """The answer names the id."""
    nobody = IntentId("1-BTCUSDT-00000000")
    floor.router.cancel("c1", nobody, "")
    (answer,) = floor.router.cancel_noted(nobody, None, None, T0)
    assert isinstance(answer, do.CancelAnswer)
    assert answer.refusal is not None
    assert (answer.refusal.code, nobody in answer.refusal.reason) == ("UNKNOWN_INTENT", True)


def test_every_canceler_is_answered_once(floor: Floor) -> None:
    """Two cancels of one intent: two answers, and the order is canceled once."""
    attempt = working(floor)
    floor.router.cancel("c0", attempt.intent_id, "enough")
    told = cancel(floor, attempt, "c1") + cancel(floor, attempt, "c2")
    answered = [effect.request_id for effect in told if isinstance(effect, do.CancelAnswer)]
    assert (sorted(answered), kinds(told).count("Cancel")) == (["c0", "c1", "c2"], 1)


def test_a_cancel_during_a_retry_ends_it(floor: Floor) -> None:
    """Nothing is at the venue: the end is told at once and the timer finds nothing."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    assert kinds(cancel(floor, attempt)) == ["CancelAnswer", "Done"]
    assert floor.router.woken(wake.timer, T0) == []


def test_a_cancel_of_an_ended_intent_is_answered(floor: Floor) -> None:
    """The answer is the intent as it ended; nothing else happens."""
    attempt = floor.accept(wait=False)
    floor.report(snapshot(attempt, OrderStatus.FILLED, [floor.desk.trade("0.01")]))
    assert kinds(cancel(floor, attempt)) == ["CancelAnswer"]


# ── after a restart ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "effects"),
    [
        (State.SENDING, ["Apply"]),
        (State.SENT, ["WakeAt"]),
        (State.PARTIAL, ["WakeAt"]),
        (State.UNKNOWN, ["Resolve"]),
        (State.RETRY, ["WakeAt"]),
        (State.CANCELING, ["Cancel", "WakeAt"]),
    ],
)
def test_every_open_state_is_taken_up_again(state: State, effects: list[str]) -> None:
    """I7: after a start each open intent goes on from where the book says it is, and nothing is placed."""
    desk = Desk()
    attempt = in_state(desk, state, TimeInForce.GTC if state is not State.RETRY else TimeInForce.IOC)
    brain = router()
    assert kinds(brain.resume([(desk.record(attempt.intent_id), attempt)], T0)) == effects


def test_what_was_being_sent_at_the_stop_becomes_unknown() -> None:
    """The attempt may have left: it is never placed again, the reconciler finds out."""
    desk = Desk()
    attempt = in_state(desk, State.SENDING)
    brain = router()
    (apply,) = brain.resume([(desk.record(attempt.intent_id), attempt)], T0)
    assert isinstance(apply, do.Apply)
    assert isinstance(apply.report, OutcomeUnknown)
    record = desk.apply(apply.report)
    assert brain.applied(record, desk.attempt(attempt.intent_id), T0) == [do.Resolve(desk.attempt(attempt.intent_id))]


def test_an_answer_to_the_router_before_the_restart_places_nothing() -> None:
    """A new router that gets `opened` or `begun` of its predecessor's attempts does not place them."""
    desk = Desk()
    first = in_state(desk, State.RETRY)
    second = desk.begin(first.intent_id)
    record = desk.record(first.intent_id)
    brain = router()
    brain.resume([(record, second)], T0)
    assert "Place" not in kinds(brain.begun(record, second, T0))


def test_an_overtaken_answer_is_not_believed(floor: Floor) -> None:
    """An older copy of the record that comes after a newer one changes nothing."""
    attempt = floor.accept()
    before = floor.desk.record(attempt.intent_id)
    floor.report(snapshot(attempt, OrderStatus.EXPIRED))
    assert floor.applied(before) == []
    assert floor.router.live[attempt.intent_id][0].state is State.RETRY


def test_in_flight_is_what_a_stop_should_wait_for(floor: Floor) -> None:
    """A wish that waits for its price or its opening, or an order being sent; not a resting order."""
    assert not floor.router.in_flight
    (asked,) = floor.router.submit(submission(wish=request(tif=TimeInForce.GTC)), None, T0)
    assert isinstance(asked, do.Open)
    assert floor.router.in_flight
    result = floor.desk.submit(request(tif=TimeInForce.GTC))
    floor.router.opened(asked.opening.intent.intent_id, result, T0)
    assert floor.router.in_flight
    assert result.attempt is not None
    floor.report(snapshot(result.attempt))
    assert not floor.router.in_flight


def test_the_attempt_that_is_placed_is_the_one_on_disk(floor: Floor) -> None:
    """What leaves the machine is exactly what the book has."""
    attempt = floor.accept()
    assert (attempt, attempt.status) == (floor.desk.attempt(attempt.intent_id), AttemptStatus.SENDING)


def test_a_submissions_key_is_its_intents_key() -> None:
    """The key that is looked up before is the key that the accepting transaction uses."""
    sent = submission()
    made = opening()
    assert (sent.key, sent.alternate_key, sent.payload_hash) == (
        made.intent.idempotency_key,
        made.alternate_key,
        payload(request()),
    )
    assert submission(wish=request(signal_id="s")).alternate_key is None


# ── the user stream ───────────────────────────────────────────────────────────────────────────────────────────────────


def resting(floor: Floor) -> AttemptRecord:
    attempt = floor.accept(request(tif=TimeInForce.GTC))
    floor.report(snapshot(attempt))
    return attempt


def test_a_resting_order_is_looked_at_less_often_while_the_stream_lives(floor: Floor) -> None:
    """And at once when it is lost or comes back: nobody has told of what happened in between."""
    resting(floor)
    told = floor.router.stream_changed(is_live=True, now_ns=T0)
    assert kinds(told) == ["ListOpenOrders", "WakeAt"]
    assert isinstance(told[1], do.WakeAt)
    assert told[1].at_ns == T0 + SETTINGS.stream_poll_interval
    told = floor.router.stream_changed(is_live=False, now_ns=T0 + SECOND)
    assert kinds(told) == ["ListOpenOrders", "WakeAt"]
    assert isinstance(told[1], do.WakeAt)
    assert told[1].at_ns == T0 + SECOND + SETTINGS.poll_interval


def test_an_order_that_is_being_canceled_is_looked_at_as_often_as_ever(floor: Floor) -> None:
    """Also when a slow look was planned already; that one does nothing any more."""
    attempt = resting(floor)
    (_, slow) = floor.router.stream_changed(is_live=True, now_ns=T0)
    record = floor.desk.cancel(attempt.intent_id)
    assert record is not None
    told = floor.applied(record)
    (wake,) = [effect for effect in told if isinstance(effect, do.WakeAt)]
    assert wake.at_ns == floor.desk.now_ns + SETTINGS.poll_interval
    assert isinstance(slow, do.WakeAt)
    assert floor.router.woken(slow.timer, slow.at_ns) == []
    assert floor.router.woken(wake.timer, wake.at_ns) != []


def test_a_list_that_is_awaited_is_not_asked_for_again(floor: Floor) -> None:
    """A venue without room for it has none for a second one; after a while, or a new gateway, it is asked once more."""
    resting(floor)
    first = floor.router.woken(FOLLOW, T0 + SECOND)
    assert "ListOpenOrders" in kinds(first)
    second = floor.router.woken(Timer(TimerKind.FOLLOW, round=1), T0 + 2 * SECOND)
    assert kinds(second) == ["WakeAt"]
    floor.router.gateway_replaced()
    third = floor.router.woken(Timer(TimerKind.FOLLOW, round=2), T0 + 3 * SECOND)
    assert "ListOpenOrders" in kinds(third)
    fourth = floor.router.woken(Timer(TimerKind.FOLLOW, round=3), T0 + 3 * SECOND + LIST_PATIENCE_NS)
    assert "ListOpenOrders" in kinds(fourth)


def test_an_order_that_is_over_with_trades_missing_is_looked_at_soon(floor: Floor) -> None:
    """Though the stream lives: it has told the end and not the trades."""
    attempt = resting(floor)
    floor.router.stream_changed(is_live=True, now_ns=T0)
    told = floor.report(snapshot(attempt, OrderStatus.FILLED, filled="0.01", source="stream"))
    (wake,) = [effect for effect in told if isinstance(effect, do.WakeAt)]
    assert wake.at_ns == floor.desk.now_ns + SETTINGS.poll_interval
    assert "LookUp" in kinds(floor.router.woken(wake.timer, wake.at_ns))
