"""The router's brain: from a wish to an order, and from a report to what is next."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import effects as do
from core import replacing, routing
from core.book import OpeningOutcome, OpeningResult, give_up, open_intent
from core.effects import SubmitAnswer, Timer, TimerKind
from core.ids import IntentId
from core.intent import TimeInForce
from core.replacing import NewTerms
from core.reports import OrderAbsent, OrderStatus, QueryFailed
from core.routing import OPENING_MAX
from core.settings import UNLIMITED, Settings
from tests.builders import (
    SECOND,
    T0,
    Desk,
    dec,
    not_placed,
    opening,
    quote,
    request,
    snapshot,
    unknown,
)
from tests.core.floor import SETTINGS, Floor, kinds, router, submission

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


def test_no_more_wishes_than_a_few_are_on_their_way_through_the_book(floor: Floor) -> None:
    """The others wait in the router, in their order; each answer of the book lets the next one go."""
    wanted = [
        floor.router.submit(submission(f"r{number}", request(key=f"k{number}")), None, T0)
        for number in range(OPENING_MAX + 2)
    ]
    assert [kinds(effects) for effects in wanted] == [["Open"]] * OPENING_MAX + [[], []]
    assert not floor.router.can_plan(T0)
    (first,) = wanted[0]
    assert isinstance(first, do.Open)
    result = floor.desk.submit(request(key="k0"))
    told = floor.router.opened(first.opening.intent.intent_id, result, T0)
    asked = [effect.opening.intent.idempotency_key for effect in told if isinstance(effect, do.Open)]
    assert asked == [f"k{OPENING_MAX}"]


def test_a_wish_that_waited_long_is_planned_with_a_fresh_quote(floor: Floor) -> None:
    """Whoever waits for his turn must not be planned against the price of then."""
    (first, *_) = [
        floor.router.submit(submission(f"r{number}", request(key=f"k{number}")), None, T0)
        for number in range(OPENING_MAX + 1)
    ]
    (asked,) = first
    assert isinstance(asked, do.Open)
    later = T0 + SETTINGS.quote_max_age + 1
    told = floor.router.opened(asked.opening.intent.intent_id, floor.desk.submit(request(key="k0")), later)
    assert "AskQuote" in kinds(told)
    assert kinds(floor.router.quoted(quote(observed_ns=later), later)) == ["Open"]


def test_a_queue_that_is_full_refuses(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and who was refused may ask again."""
    monkeypatch.setattr(routing, "UNPLANNED_MAX", 1)
    for number in range(OPENING_MAX + 1):
        floor.router.submit(submission(f"r{number}", request(key=f"k{number}")), None, T0)
    told = floor.router.submit(submission("one too many", request(key="late")), None, T0)
    (refused,) = [effect.answer.refusal for effect in told if isinstance(effect, do.Answer)]
    assert refused is not None
    assert refused.code == "QUEUE_FULL"
    assert "NoteRefusal" in kinds(told)


def test_a_cancel_does_not_wait_for_the_wishes_before_it(floor: Floor) -> None:
    """It goes to the book at once, however many wait for their turn."""
    resting = floor.accept(request(key="resting"))
    for number in range(2 * OPENING_MAX):
        floor.router.submit(submission(f"w{number}", request(key=f"k{number}")), None, T0)
    assert kinds(floor.router.cancel("c1", resting.intent_id, "enough")) == ["NoteCancel"]


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
    told = brain.opened(asked.opening.intent.intent_id, desk.submit(), T0)
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
    told = floor.router.opened(first.opening.intent.intent_id, results[0], T0)
    told += floor.router.opened(other.opening.intent.intent_id, results[1], T0)
    assert kinds(told) == ["Answer", "Place", "Answer"]
    assert told[2].answer.outcome is OpeningOutcome.CONFLICT  # type: ignore[union-attr]


def test_a_refusal_of_the_book_reaches_everybody_who_joined(floor: Floor) -> None:
    """Identical wishes share their refusal, and nothing is placed."""
    wish = request(qty="5")
    (asked,) = floor.router.submit(submission("r1", wish), None, T0)
    floor.router.submit(submission("r2", wish), None, T0)
    assert isinstance(asked, do.Open)
    told = floor.router.opened(asked.opening.intent.intent_id, floor.desk.submit(wish), T0)
    assert kinds(told) == ["Answer", "Answer"]
    assert not floor.router.in_flight


def test_an_answer_of_the_book_that_comes_twice_is_heard_once(floor: Floor) -> None:
    """The transport may deliver twice: the second `opened` neither places again nor stops the router."""
    (asked,) = floor.router.submit(submission(), None, T0)
    assert isinstance(asked, do.Open)
    result = floor.desk.submit()
    floor.router.opened(asked.opening.intent.intent_id, result, T0)
    assert floor.router.opened(asked.opening.intent.intent_id, result, T0) == []


# ── waiting for the end ───────────────────────────────────────────────────────────────────────────────────────────────


def test_who_waits_hears_the_end_once(floor: Floor) -> None:
    """`Done` goes to those who asked to wait."""
    attempt = floor.accept(wait=True)
    assert floor.router.is_waiting("r1")
    told = floor.report(snapshot(attempt, OrderStatus.FILLED, [floor.desk.trade("0.01")]))
    record = floor.desk.record(attempt.intent_id)
    assert told == [do.Done("r1", record)]
    assert not floor.router.is_waiting("r1")
    assert floor.applied(record) == []


def test_who_does_not_wait_hears_nothing_more(floor: Floor) -> None:
    """Without `wait` the acceptance is the only answer."""
    attempt = floor.accept(wait=False)
    told = floor.report(snapshot(attempt, OrderStatus.FILLED, [floor.desk.trade("0.01")]))
    assert kinds(told) == []


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


def test_what_overtakes_the_answer_to_an_opening_is_kept_for_it() -> None:
    """The order may be filled before the router hears that it was accepted: the client hears both, in order."""
    floor = Floor()
    (asked,) = floor.router.submit(submission("r1", wait=True), None, T0)
    assert isinstance(asked, do.Open)
    with floor.desk.book.transaction() as unit:
        result = open_intent(unit, asked.opening, UNLIMITED, T0)
    assert result.attempt is not None
    done = floor.desk.trade(str(result.attempt.qty), str(result.attempt.price))
    record = floor.desk.apply(snapshot(result.attempt, OrderStatus.FILLED, [done]))
    latest = floor.desk.attempt(record.intent.intent_id, 1)
    assert floor.router.applied(record, latest, T0) == []
    effects = floor.router.opened(record.intent.intent_id, result, T0)
    assert kinds(effects) == ["Answer", "Done"]
    assert effects[-1] == do.Done("r1", record)
    assert not floor.router.in_flight
    assert floor.router.early == {}


def test_an_acceptance_that_is_asked_for_again_may_have_come_further() -> None:
    """The portfolio died with the order on its way, so its successor answers UNKNOWN: that is resolved, not awaited."""
    floor = Floor()
    (asked,) = floor.router.submit(submission("r1", wait=True), None, T0)
    assert isinstance(asked, do.Open)
    with floor.desk.book.transaction() as unit:
        opened = open_intent(unit, asked.opening, UNLIMITED, T0)
    assert opened.attempt is not None
    floor.desk.apply(unknown(opened.attempt))
    with floor.desk.book.transaction() as unit:
        again = open_intent(unit, asked.opening, UNLIMITED, T0)
    effects = floor.router.opened(asked.opening.intent.intent_id, again, T0)
    assert kinds(effects) == ["Answer", "Resolve"]


def test_an_opening_that_is_answered_late_is_followed_from_where_it_is() -> None:
    """The answer was lost and the opening asked for again: meanwhile the intent has come further, unheard."""
    floor = Floor()
    (asked,) = floor.router.submit(submission("r1"), None, T0)
    assert isinstance(asked, do.Open)
    attempt = floor.desk.accept(request())
    record = floor.desk.apply(not_placed(attempt, retryable=True))
    result = OpeningResult(
        outcome=OpeningOutcome.ACCEPTED, record=record, attempt=floor.desk.attempt(attempt.intent_id)
    )
    effects = floor.router.opened(asked.opening.intent.intent_id, result, T0)
    assert kinds(effects) == ["Answer", "WakeAt"]


def test_what_was_told_before_a_late_answer_to_an_opening_does_not_hide_it() -> None:
    """Told of a retry first and then answered with the same retry: its timer is set once."""
    floor = Floor()
    (asked,) = floor.router.submit(submission("r1"), None, T0)
    assert isinstance(asked, do.Open)
    attempt = floor.desk.accept(request())
    record = floor.desk.apply(not_placed(attempt, retryable=True))
    latest = floor.desk.attempt(attempt.intent_id)
    assert floor.router.applied(record, latest, T0) == []
    result = OpeningResult(outcome=OpeningOutcome.ACCEPTED, record=record, attempt=latest)
    assert kinds(floor.router.opened(record.intent.intent_id, result, T0)) == ["Answer", "WakeAt"]


# ── what the road lost ────────────────────────────────────────────────────────────────────────────────────────────────


def test_news_that_was_lost_is_found_in_the_book() -> None:
    """The book moved the intent to RETRY and its answer was lost: the timer is set all the same, once."""
    floor = Floor()
    attempt = floor.accept()
    record = floor.desk.apply(not_placed(attempt, retryable=True))
    found = [(record, floor.desk.attempt(attempt.intent_id))]
    assert kinds(floor.router.compare(found, T0)) == ["WakeAt"]
    assert floor.router.compare(found, T0) == []


def test_an_end_that_was_lost_is_found_in_the_book() -> None:
    """Whoever waits hears of it."""
    floor = Floor()
    attempt = floor.accept()
    record = floor.desk.apply(not_placed(attempt))
    assert floor.router.compare([(record, floor.desk.attempt(attempt.intent_id))], T0) == [do.Done("r1", record)]
    assert floor.router.live == {}


def test_an_intent_of_a_router_that_died_is_taken_over() -> None:
    """Its opening was still on the road when this router started: the order is awaited like one of our own."""
    floor = Floor()
    attempt = floor.desk.accept()
    found = [(floor.desk.record(attempt.intent_id), attempt)]
    assert floor.router.compare(found, T0) == [do.Place(attempt)]
    assert floor.router.compare(found, T0) == []


def test_an_opening_that_is_under_way_is_left_to_its_answer() -> None:
    """The book has it already; the client is told by the answer."""
    floor = Floor()
    floor.router.submit(submission("r1"), None, T0)
    attempt = floor.desk.accept()
    assert floor.router.compare([(floor.desk.record(attempt.intent_id), attempt)], T0) == []


# ── other terms ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_replacement_that_is_noted_cancels_the_order(floor: Floor) -> None:
    """The book has taken the terms in: whoever asked hears so, and the order is canceled and followed."""
    attempt = floor.accept(request(tif=TimeInForce.GTC, limit_price="40000"))
    floor.report(snapshot(attempt))
    terms = NewTerms(qty=None, price=dec("41000"), reason="nearer", asked_ns=T0)
    (asked,) = floor.router.replace("r2", attempt.intent_id, terms)
    assert asked == do.NoteReplace("r2", attempt.intent_id, terms)
    with floor.desk.book.transaction() as unit:
        result = replacing.request(unit, attempt.intent_id, terms, Settings(risk=UNLIMITED), T0)
    noted = floor.router.replace_noted("r2", result, attempt, T0)
    assert noted[:2] == [do.ReplaceAnswer("r2", result), do.Cancel(attempt)]
    assert floor.router.replace_noted("r2", result, attempt, T0) == [do.ReplaceAnswer("r2", result)]  # told twice


def test_an_attempt_that_was_not_begun_is_planned_again(floor: Floor) -> None:
    """The terms were replaced after it was planned: the wait for the retry is set anew, else nobody would begin it."""
    attempt = floor.desk.accept(request(tif=TimeInForce.GTC, key="k"))
    record = floor.desk.apply(not_placed(attempt, retryable=True))
    floor.router.resume([(record, attempt)], T0)
    floor.router.beginning.add(attempt.intent_id)
    timer = Timer(TimerKind.RETRY, attempt.intent_id, 1)
    assert floor.router.begun(record, attempt, T0) == [do.WakeAt(record.retry_at_ns, timer)]


def test_a_rest_that_was_given_up_is_planned_again_at_other_terms(floor: Floor) -> None:
    """The book does not end it then, and nobody else would begin it."""
    attempt = floor.accept(request(tif=TimeInForce.GTC, qty="0.00011"))
    (wake,) = floor.report(not_placed(attempt, retryable=True))
    assert isinstance(wake, do.WakeAt)
    floor.desk.later(10)
    late = floor.desk.now_ns
    floor.router.woken(wake.timer, late)
    (ended,) = floor.router.quoted(quote("9990", "10000", late), late)
    assert isinstance(ended, do.GiveUp)
    terms = NewTerms(qty=dec("0.01"), price=None, reason="more", asked_ns=late)
    with floor.desk.book.transaction() as unit:
        result = replacing.request(unit, attempt.intent_id, terms, Settings(risk=UNLIMITED), late)
        left = give_up(unit, attempt.intent_id, ended.refusal, late, ended.amendments)
    told = [*floor.router.replace_noted("r2", result, attempt, late), *floor.applied(left)]
    assert told == [do.ReplaceAnswer("r2", result), do.WakeAt(left.retry_at_ns, wake.timer)]
