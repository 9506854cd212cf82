"""The router's brain: which effects follow from what happened, with a book that does what it says."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from core import effects as do
from core.book import OpeningOutcome
from core.effects import SubmitAnswer, Timer, TimerKind
from core.ids import IntentId
from core.intent import IntentRequest, TimeInForce, payload
from core.lifecycle import State
from core.records import AttemptRecord, AttemptStatus, IntentRecord
from core.reports import OpenOrder, OrderAbsent, OrderStatus, OutcomeUnknown, QueryFailed
from core.routing import Router, Submission
from core.settings import RouterSettings
from tests.builders import (
    SECOND,
    T0,
    Desk,
    dec,
    in_state,
    not_placed,
    opening,
    quote,
    request,
    rules,
    snapshot,
    unknown,
)

SETTINGS = RouterSettings()
FOLLOW = Timer(TimerKind.FOLLOW)


def router() -> Router:
    return Router(rules(), SETTINGS)


def submission(
    name: str = "r1", wish: IntentRequest | None = None, at_ns: int = T0, *, wait: bool = False
) -> Submission:
    return Submission(request_id=name, request=wish or request(), wait=wait, at_ns=at_ns)


class Floor:
    """A router with a fresh quote beside a desk whose book carries out what the router asks of it."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.router = router()
        self.router.quoted(quote(), T0)

    def accept(self, wish: IntentRequest | None = None, name: str = "r1", *, wait: bool = True) -> AttemptRecord:
        """A wish that is submitted, planned, opened in the book and placed."""
        (asked,) = self.router.submit(submission(name, wish, self.desk.now_ns, wait=wait), None, self.desk.now_ns)
        assert isinstance(asked, do.Open)
        result = self.desk.submit(wish)
        told = self.router.opened(asked.opening.intent.intent_id, result)
        assert result.attempt is not None
        assert do.Place(result.attempt) in told
        return result.attempt

    def report(self, report: Any) -> list[do.Effect]:
        """A report as it goes: through the router into the book and back."""
        (apply,) = self.router.reported(report, report.client_order_id)
        assert isinstance(apply, do.Apply)
        record = self.desk.apply(apply.report)
        return self.applied(record)

    def applied(self, record: IntentRecord) -> list[do.Effect]:
        latest = self.desk.attempt(record.intent.intent_id, record.attempts)
        return self.router.applied(record, latest, self.desk.now_ns)

    def begin(self, asked: do.Begin) -> list[do.Effect]:
        attempt = self.desk.begin(asked.intent_id)
        return self.router.begun(self.desk.record(asked.intent_id), attempt, self.desk.now_ns)


@pytest.fixture
def floor() -> Floor:
    return Floor()


def kinds(effects: list[do.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


# ── from a wish to the book ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_wish_asks_for_a_quote_first() -> None:
    """Without a quote nothing is planned; the quote is asked for once, however many wishes wait."""
    brain = router()
    assert brain.submit(submission("r1", request(key="a")), None, T0) == [do.AskQuote()]
    assert brain.submit(submission("r2", request(key="b")), None, T0) == []
    assert kinds(brain.quoted(quote(), T0)) == ["Open", "Open"]


def test_a_fresh_quote_is_used_again() -> None:
    """Within `quote_max_age` a wish is planned at once; after it, a new quote is asked for."""
    brain = router()
    brain.quoted(quote(observed_ns=T0), T0)
    assert kinds(brain.submit(submission("r1", request(key="a")), None, T0 + SECOND)) == ["Open"]
    assert kinds(brain.submit(submission("r2", request(key="b")), None, T0 + SECOND + 1)) == ["AskQuote"]


def test_without_a_price_a_wish_is_refused() -> None:
    """No quote, no order: whoever waits hears why, and the refusal is recorded."""
    brain = router()
    brain.submit(submission("r1"), None, T0)
    noted, answer = brain.quoted(QueryFailed(reason="timeout"), T0)
    assert isinstance(noted, do.NoteRefusal)
    assert isinstance(answer, do.Answer)
    assert answer.answer.refusal is not None
    assert (noted.refusal.code, answer.answer.refusal.code) == ("MARKET_DATA_UNAVAILABLE", "MARKET_DATA_UNAVAILABLE")
    assert not brain.in_flight


def test_what_cannot_be_planned_is_refused(floor: Floor) -> None:
    """A wish below the minimum is answered and noted, and never reaches the accepting transaction."""
    effects = floor.router.submit(submission(wish=request(qty="0.00001")), None, T0)
    assert kinds(effects) == ["NoteRefusal", "Answer"]


def test_what_is_known_is_answered_at_once() -> None:
    """I4: a duplicate in the book needs no quote and no transaction."""
    desk = Desk()
    record = desk.filled(request(key="k"))
    known = SubmitAnswer(outcome=OpeningOutcome.DUPLICATE, record=record)
    assert router().submit(submission(wish=request(key="k")), known, T0) == [do.Answer("r1", known)]


def test_the_opening_is_what_the_wish_says(floor: Floor) -> None:
    """What goes to the book equals what the builders make of the wish, id and keys included."""
    (asked,) = floor.router.submit(submission(), None, T0)
    assert asked == do.Open(opening())


@pytest.mark.parametrize("quoted", [True, False])
def test_identical_wishes_in_flight_are_one(quoted: bool) -> None:
    """The same wish twice before the book has answered: one opening; the second hears `duplicate` and its record."""
    brain, desk = router(), Desk()
    if quoted:
        brain.quoted(quote(), T0)
    effects = brain.submit(submission("r1"), None, T0) + brain.submit(submission("r2"), None, T0)
    if not quoted:
        effects += brain.quoted(quote(), T0)
    (asked,) = [effect for effect in effects if isinstance(effect, do.Open)]
    told = brain.opened(asked.opening.intent.intent_id, desk.submit())
    answers = {effect.request_id: effect.answer.outcome for effect in told if isinstance(effect, do.Answer)}
    assert answers == {"r1": OpeningOutcome.ACCEPTED, "r2": OpeningOutcome.DUPLICATE}
    assert kinds(told).count("Place") == 1


def test_another_wish_with_the_same_key_in_flight_is_left_to_the_book(floor: Floor) -> None:
    """A conflict is decided by the accepting transaction, in the order of arrival."""
    (first,) = floor.router.submit(submission("r1", request(key="k")), None, T0)
    (other,) = floor.router.submit(submission("r2", request(key="k", qty="0.02")), None, T0)
    assert isinstance(first, do.Open)
    assert isinstance(other, do.Open)
    results = [floor.desk.submit(request(key="k")), floor.desk.submit(request(key="k", qty="0.02"))]
    told = floor.router.opened(first.opening.intent.intent_id, results[0])
    told += floor.router.opened(other.opening.intent.intent_id, results[1])
    assert kinds(told) == ["Answer", "Place", "Answer"]
    assert told[2].answer.outcome is OpeningOutcome.CONFLICT  # type: ignore[union-attr]


def test_a_refusal_of_the_book_reaches_everybody_who_joined(floor: Floor) -> None:
    """Identical wishes share their refusal, and nothing is placed."""
    wish = request(qty="5")
    (asked,) = floor.router.submit(submission("r1", wish), None, T0)
    floor.router.submit(submission("r2", wish), None, T0)
    assert isinstance(asked, do.Open)
    told = floor.router.opened(asked.opening.intent.intent_id, floor.desk.submit(wish))
    assert kinds(told) == ["Answer", "Answer"]
    assert not floor.router.in_flight


def test_an_answer_of_the_book_that_comes_twice_is_heard_once(floor: Floor) -> None:
    """The transport may deliver twice: the second `opened` neither places again nor stops the router."""
    (asked,) = floor.router.submit(submission(), None, T0)
    assert isinstance(asked, do.Open)
    result = floor.desk.submit()
    floor.router.opened(asked.opening.intent.intent_id, result)
    assert floor.router.opened(asked.opening.intent.intent_id, result) == []


# ── waiting for the end ───────────────────────────────────────────────────────────────────────────────────────────────


def test_who_waits_hears_the_end_once(floor: Floor) -> None:
    """`Done` goes to those who asked to wait, and the reconciler is told."""
    attempt = floor.accept(wait=True)
    assert floor.router.is_waiting("r1")
    told = floor.report(snapshot(attempt, OrderStatus.FILLED, [floor.desk.trade("0.01")]))
    record = floor.desk.record(attempt.intent_id)
    assert told == [do.Done("r1", record), do.Reconcile(record)]
    assert not floor.router.is_waiting("r1")
    assert floor.applied(record) == []


def test_who_does_not_wait_hears_nothing_more(floor: Floor) -> None:
    """Without `wait` the acceptance is the only answer."""
    attempt = floor.accept(wait=False)
    told = floor.report(snapshot(attempt, OrderStatus.FILLED, [floor.desk.trade("0.01")]))
    assert kinds(told) == ["Reconcile"]


def test_a_duplicate_that_waits_hears_the_end_too(floor: Floor) -> None:
    """Whoever joins a working intent is told of its end with the others."""
    attempt = floor.accept(request(tif=TimeInForce.GTC), wait=True)
    floor.report(snapshot(attempt))
    known = SubmitAnswer(outcome=OpeningOutcome.DUPLICATE, record=floor.desk.record(attempt.intent_id))
    floor.router.submit(submission("r2", request(tif=TimeInForce.GTC), wait=True), known, T0)
    told = floor.report(snapshot(attempt, OrderStatus.CANCELED))
    assert [effect.request_id for effect in told if isinstance(effect, do.Done)] == ["r1", "r2"]


# ── after a report ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_outcome_goes_to_the_reconciler_once(floor: Floor) -> None:
    """UNKNOWN sends nothing; it is handed over once, not at each repetition."""
    attempt = floor.accept()
    told = floor.report(unknown(attempt))
    assert kinds(told) == ["Resolve"]
    assert floor.applied(floor.desk.record(attempt.intent_id)) == []


def test_absence_and_failed_questions_prove_nothing(floor: Floor) -> None:
    """G3: neither changes anything; the order is asked for again later."""
    attempt = floor.accept()
    known_as = attempt.client_order_id
    assert floor.router.reported(OrderAbsent(client_order_id=known_as), known_as) == []
    assert floor.router.reported(QueryFailed(reason="timeout"), known_as) == []


def test_a_retry_waits_for_its_time_then_is_planned_and_placed(floor: Floor) -> None:
    """RETRY: timer, fresh quote, `Begin`, and `Place` only after the attempt is durable."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    assert wake.at_ns == floor.desk.record(attempt.intent_id).retry_at_ns
    floor.desk.now_ns = wake.at_ns + 5 * SECOND
    assert floor.router.woken(wake.timer, floor.desk.now_ns) == [do.AskQuote()]
    (asked,) = floor.router.quoted(quote(observed_ns=floor.desk.now_ns), floor.desk.now_ns)
    assert isinstance(asked, do.Begin)
    assert asked.attempt == 2
    told = floor.begin(asked)
    assert told == [do.Place(floor.desk.attempt(attempt.intent_id, 2))]


def test_a_retry_timer_that_comes_twice_begins_once(floor: Floor) -> None:
    """A repeated timer leads to one `Begin` for one attempt."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    late = T0 + 10 * SECOND
    floor.router.woken(wake.timer, late)
    floor.router.woken(wake.timer, late)
    assert kinds(floor.router.quoted(quote(observed_ns=late), late)) == ["Begin"]


def test_an_attempt_that_is_answered_twice_is_placed_once(floor: Floor) -> None:
    """`AttemptBegun` may come twice, even after the attempt came back to RETRY: it is placed once."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    (asked,) = floor.router.woken(wake.timer, T0)
    assert isinstance(asked, do.Begin)
    second = floor.desk.begin(attempt.intent_id)
    answer = floor.desk.record(attempt.intent_id), second
    assert kinds(floor.router.begun(*answer, T0)) == ["Place"]
    assert floor.router.begun(*answer, T0) == []
    floor.report(not_placed(second, retryable=True))
    assert floor.router.begun(*answer, T0) == []


def test_a_retry_without_a_price_waits_and_tries_again(floor: Floor) -> None:
    """A failed quote puts the retry off by the backoff; it is not lost."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    late = T0 + 10 * SECOND
    floor.router.woken(wake.timer, late)
    (again,) = floor.router.quoted(QueryFailed(reason="timeout"), late)
    assert isinstance(again, do.WakeAt)
    assert (again.timer, again.at_ns > late) == (wake.timer, True)


def test_a_rest_that_is_dust_is_given_up(floor: Floor) -> None:
    """When the market has moved so that the rest is too small, the intent is ended, not sent."""
    attempt = floor.accept(request(qty="0.00011"))
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    late = T0 + 10 * SECOND
    floor.router.woken(wake.timer, late)
    (ended,) = floor.router.quoted(quote("9990", "10000", late), late)
    assert isinstance(ended, do.GiveUp)
    assert ended.refusal.code == "DUST"


def test_stale_timers_do_nothing(floor: Floor) -> None:
    """A timer of an attempt that is over, of an unknown intent, or of an ended one has no effect."""
    attempt = floor.accept()
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    assert floor.router.woken(replace(wake.timer, attempt=7), T0) == []
    assert floor.router.woken(replace(wake.timer, intent_id=IntentId("nobody")), T0) == []
    (asked,) = floor.router.woken(wake.timer, T0)
    assert isinstance(asked, do.Begin)
    floor.begin(asked)
    assert floor.router.woken(wake.timer, T0) == []


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
    other = OpenOrder(client_order_id="web-1", exchange_order_id="X9")  # type: ignore[arg-type]
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
    assert kinds(ended) == ["Done", "Reconcile"]


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
    assert kinds(cancel(floor, attempt)) == ["CancelAnswer", "Done", "Reconcile"]
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
    floor.router.opened(asked.opening.intent.intent_id, result)
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
