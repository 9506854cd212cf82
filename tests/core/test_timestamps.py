"""Requests claim the venue's time when ours is wrong, and nothing that rests on those times gets weaker by it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import departure, timestamps
from core.departure import Moment
from core.events import AbsenceProven, AlertFired
from core.evidence import SENT_WITHIN_NS
from core.ids import NS_PER_MS
from core.in_flight import InFlight, reach_ns
from core.inquiry import AskOrders, AskTrades
from core.lifecycle import State
from core.outcomes import CLOCK_REFUSALS_MAX
from core.records import AttemptRecord
from core.reports import NotPlaced
from core.settings import Mode
from core.timestamps import CORRECTION_MAX_NS, NEGLIGIBLE_NS, READ_EVERY_NS, Timestamps
from tests.builders import SECOND, T0, Desk, not_placed, request
from tests.core.office import Office

PROVEN_S = SENT_WITHIN_NS // SECOND + 5 + 10
"""From the acceptance on: until it has left at the latest, recvWindow, read lag."""
AHEAD_S = 20


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def told(desk: Desk, correction_s: int) -> None:
    with desk.book.transaction() as unit:
        timestamps.note(unit, correction_s * SECOND, desk.now_ns)


def refused(attempt: AttemptRecord) -> NotPlaced:
    """Its time was refused, and nothing else."""
    return replace(not_placed(attempt, retryable=True), wrong_time=True)


def again(desk: Desk, attempt: AttemptRecord) -> AttemptRecord:
    desk.now_ns = desk.record(attempt.intent_id).retry_at_ns
    return desk.begin(attempt.intent_id)


# ── the correction ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("offset_s", [AHEAD_S, -AHEAD_S, 60, -60])
def test_requests_claim_the_venues_time(offset_s: int) -> None:
    """Half of the road is taken off, so the middle of the exchange is what the venue's time is compared with."""
    stamps = Timestamps()
    stamps.read(T0 + offset_s * SECOND, T0 - 40 * NS_PER_MS, T0 + 40 * NS_PER_MS, 0)
    assert (stamps.correction_ns, stamps.problem) == (offset_s * SECOND, "")


@pytest.mark.parametrize("offset_ns", [CORRECTION_MAX_NS + SECOND, -CORRECTION_MAX_NS - SECOND])
def test_a_clock_that_is_too_far_off_is_not_made_up_for(offset_ns: int) -> None:
    """Every wait would be as long; whoever looks is told to set the clock."""
    stamps = Timestamps()
    stamps.read(T0 + offset_ns, T0, T0, 0)
    assert stamps.correction_ns == 0
    assert "61 s" in stamps.problem
    assert "set the clock" in stamps.problem


def test_a_reading_that_took_too_long_is_none() -> None:
    """It may be wrong by half of that; and our clock may have been set in between."""
    stamps = Timestamps()
    for answered_ns in (T0 + 3 * SECOND, T0 - 3 * SECOND):
        stamps.read(T0 + 20 * SECOND, T0, answered_ns, 0)
        assert stamps.correction_ns == 0
        assert stamps.problem


def test_a_request_that_was_only_late_changes_nothing() -> None:
    """The clocks agree, so the road or this machine was slow; an earlier correction is over."""
    stamps = Timestamps()
    stamps.read(T0 + 20 * SECOND, T0, T0, 0)
    stamps.read(T0 + NEGLIGIBLE_NS - 1, T0, T0, 0)
    assert stamps.correction_ns == 0


def test_one_reading_answers_all_that_were_refused_before_it() -> None:
    """Whoever was signed before the reading says nothing about the clock after it."""
    stamps = Timestamps()
    later = 7 + READ_EVERY_NS
    assert [stamps.refused(0, 5) for _ in range(3)] == [True, False, False]
    assert stamps.is_doubted
    stamps.read(T0, T0, T0, 7)
    assert not stamps.is_doubted
    assert not stamps.refused(0, later)
    assert not stamps.is_doubted
    assert stamps.refused(1, later)


def test_the_clock_is_not_read_more_often_than_each_second_and_orders_do_not_wait_for_that() -> None:
    """Whether it could be read or not: a road that is slow again and again holds up nobody."""
    stamps = Timestamps()
    stamps.not_read("no answer", 5)
    assert not stamps.refused(1, 4 + READ_EVERY_NS)
    assert not stamps.is_doubted
    assert stamps.refused(1, 5 + READ_EVERY_NS)
    assert stamps.is_doubted


# ── what the book knows ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_book_covers_only_grows(desk: Desk) -> None:
    """An order that left with the larger one may still be on its way."""
    for correction_s in (20, -5, 3, 0, -20):
        told(desk, correction_s)
    known = timestamps.span(desk.book)
    assert (known.ahead_ns, known.behind_ns) == (20 * SECOND, 20 * SECOND)
    codes = [event.code for event in desk.events(AlertFired)]
    assert codes == ["CLOCK_OFF"] * 3


@pytest.mark.parametrize("correction_s", [AHEAD_S, -AHEAD_S])
def test_no_order_leaves_with_what_the_book_does_not_cover(desk: Desk, correction_s: int) -> None:
    """Nor while the clock is being read. It has not left, so it waits and uses up no retry."""
    attempt = desk.accept()
    usual = Moment(Mode.SIM, "", is_stopping=False, now_ns=T0, correction_ns=correction_s * SECOND)
    refusal = departure.refusal(desk.book, attempt, usual)
    assert refusal is not None
    assert (refusal.code, refusal.retryable, refusal.never_left) == ("CLOCK_NOT_RECORDED", True, True)
    told(desk, correction_s)
    assert departure.refusal(desk.book, attempt, usual) is None
    doubted = departure.refusal(desk.book, attempt, usual._replace(is_clock_doubted=True))
    assert doubted is not None
    assert (doubted.code, doubted.retryable, doubted.never_left) == ("CLOCK_DOUBTED", True, True)


# ── the refusal ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_time_uses_up_no_retry(desk: Desk) -> None:
    """It says nothing about the order; the intent waits in RETRY, with the reason, and has all its attempts left."""
    attempt = desk.accept()
    record = desk.apply(refused(attempt))
    assert (record.state, record.real_attempts, record.clock_refusals) == (State.RETRY, 0, 1)
    assert record.end_reason
    assert record.retry_at_ns > desk.now_ns


def test_refusals_of_the_time_do_not_go_on_for_ever(desk: Desk) -> None:
    """The venue goes on refusing: after those that are free, each is a failure like others, and the intent ends."""
    attempt, tries = desk.accept(), 1
    while desk.apply(refused(attempt)).state is State.RETRY:
        attempt, tries = again(desk, attempt), tries + 1
        assert tries < 100
    record = desk.record(attempt.intent_id)
    assert record.state is State.FAILED_FINAL
    assert tries == CLOCK_REFUSALS_MAX + 1 + record.retries_max
    assert record.end_reason


# ── what rests on it ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_may_claim_a_later_time_is_proven_absent_later(office: Office) -> None:
    """The venue's clock was 20 s ahead, and falls back while the order is on the road: it is taken for 20 s more.

    Also when the book learned of it after the search had begun: the order may have left since.
    """
    attempt = office.lost()
    office.resolve(attempt)
    told(office.desk, AHEAD_S)
    office.wait(PROVEN_S + AHEAD_S - 2)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.wait(6)
    (proven,) = office.events(AbsenceProven)
    assert min(proven.proof.asked.values()) >= attempt.created_ns + (PROVEN_S + AHEAD_S) * SECOND
    assert proven.proof.clock_span_ns == AHEAD_S * SECOND


def test_a_proof_waits_for_both_ways_in_which_the_clocks_differed(office: Office) -> None:
    """The order may have claimed the latest time of all, and be asked about when the venue shows the earliest."""
    for correction_s in (AHEAD_S, -AHEAD_S):
        told(office.desk, correction_s)
    attempt = office.lost()
    office.resolve(attempt)
    office.wait(PROVEN_S + 2 * AHEAD_S - 2)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.wait(6)
    assert len(office.events(AbsenceProven)) == 1


def test_lists_by_time_begin_earlier_where_the_venue_is_behind(office: Office) -> None:
    """The order has a time of the venue that is 20 s before the one at which it was made here."""
    told(office.desk, -AHEAD_S)
    attempt = office.lost()
    office.resolve(attempt)
    office.wait(PROVEN_S + AHEAD_S - 1)
    office.answers_itself = False
    office.wait(6)
    asked = [*office.asked_of(AskOrders), *office.asked_of(AskTrades)]
    assert asked
    assert all(question.since_ns <= attempt.created_ns - (AHEAD_S + 10) * SECOND for question in asked)


def test_a_lost_order_that_claimed_a_later_time_is_on_its_way_for_longer() -> None:
    """And what a gateway before this one has sent; a halt is told when neither can be executed any more."""
    window_ns, ahead_ns = 5 * SECOND, AHEAD_S * SECOND
    flight = InFlight(window_ns, T0, ahead_ns)
    over_ns = T0 + reach_ns(window_ns) + ahead_ns
    assert not flight.is_quiet((), over_ns - 1)
    assert flight.is_quiet((), over_ns)
    name = Desk().accept().client_order_id
    flight.leaves(name, over_ns, ahead_ns)
    assert not flight.is_quiet((name,), over_ns + reach_ns(window_ns) + ahead_ns - 1)
    assert flight.is_quiet((name,), over_ns + reach_ns(window_ns) + ahead_ns)


def test_a_lost_order_is_on_its_way_for_longer_when_the_venues_clock_falls_back() -> None:
    """It has claimed a later time than the venue shows then. One that claims the venue's time is over as usual."""
    window_ns = 5 * SECOND
    flight = InFlight(window_ns, T0)
    before, after = (Desk().accept(request(key=key)).client_order_id for key in ("before", "after"))
    flight.leaves(before, T0)
    flight.clock_read(-AHEAD_S * SECOND)
    flight.leaves(after, T0 + SECOND, -AHEAD_S * SECOND)
    over_ns = T0 + reach_ns(window_ns)
    assert flight.orders(over_ns) == {before, after}
    assert flight.orders(over_ns + SECOND) == {before}
    flight.clock_read(0)
    for asked in ((), (before,)):  # what a gateway before this one has sent, too
        assert not flight.is_quiet(asked, over_ns + AHEAD_S * SECOND - 1)
        assert flight.is_quiet(asked, over_ns + AHEAD_S * SECOND)


def test_an_order_is_not_proven_absent_earlier_because_our_clock_was_set_forward(office: Office) -> None:
    """By what is left of the venue's own time: one second after it was sent it can be executed for four more."""
    attempt = office.lost()
    office.resolve(attempt)
    office.wait(1)
    office.desk.now_ns += 60 * SECOND
    told(office.desk, -60)
    office.wait(PROVEN_S - 3)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.wait(8)
    (proven,) = office.events(AbsenceProven)
    assert min(proven.proof.asked.values()) >= attempt.created_ns + (PROVEN_S + 60) * SECOND
