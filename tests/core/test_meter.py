"""The meter never says that less is taken than the venue has counted, whatever the clocks and the road do."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import NS_PER_MS, NS_PER_S
from core.meter import ERROR_AT_FIRST_NS, Earlier, Mark, Meter, VenueClock

LENGTH_NS = 10 * NS_PER_S
T0 = 170_000_000 * LENGTH_NS
"""The begin of a window."""
MIDDLE = T0 + 5 * NS_PER_S


def meter(limit: int = 100) -> Meter:
    return Meter("orders_10s", limit, LENGTH_NS, VenueClock())


def done(found: Meter, shown: int | None, at_ns: int, amount: int = 1) -> None:
    """One request, there and back at once."""
    found.settle(found.take(amount, at_ns), shown, at_ns, at_ns)


def test_what_is_on_its_way_counts() -> None:
    """Before any answer: nobody else knows of it yet."""
    found = meter()
    found.take(3, MIDDLE)
    assert (found.used(MIDDLE), found.taken(MIDDLE)) == (0, 3)


def test_the_venues_count_has_others_in_it() -> None:
    """Somebody else trades on the account: the largest count shown is what is used."""
    found = meter()
    done(found, 40, MIDDLE)
    assert found.taken(MIDDLE) == 40


def test_an_answer_without_a_count_is_counted_until_a_later_one_contains_it() -> None:
    """A time-out may have been counted; the count of a request that left after it tells."""
    found = meter()
    done(found, 1, MIDDLE)
    done(found, None, MIDDLE)
    assert found.taken(MIDDLE) == 2
    done(found, 2, MIDDLE)  # the lost one was not counted
    assert found.taken(MIDDLE) == 2


def test_answers_that_overtake_each_other_turn_no_window() -> None:
    """The smaller count belongs to a request that left before the larger one was read."""
    found = meter()
    first, second = found.take(1, MIDDLE), found.take(1, MIDDLE)
    found.settle(second, 8, MIDDLE, MIDDLE)
    found.settle(first, 7, MIDDLE, MIDDLE)
    assert (found.taken(MIDDLE), found.turn) == (8, 1)


def test_a_count_that_falls_has_turned_the_window() -> None:
    """Sent after 90 was read, and shows 3: the venue's window is a new one, whatever our clock says."""
    found = meter()
    done(found, 90, MIDDLE)
    done(found, 3, MIDDLE)
    assert found.taken(MIDDLE) == 3
    edge = T0 + LENGTH_NS + 2 * NS_PER_S  # ours; but the venue's window began in the middle
    assert found.taken(edge) == 3


def test_a_window_turns_by_the_venues_clock() -> None:
    """Which is three seconds ahead: its edge comes three seconds before ours."""
    found = meter()
    found._clock.read(MIDDLE + 3 * NS_PER_S, MIDDLE, MIDDLE)
    done(found, 90, MIDDLE)
    assert found.taken(T0 + 6_900 * NS_PER_MS) == 90
    assert found.taken(T0 + 7_100 * NS_PER_MS) == 0
    assert found.turns_at(MIDDLE) == T0 + 7 * NS_PER_S + found._clock.error_ns - NS_PER_MS // 2


def test_around_the_edge_both_windows_count() -> None:
    """As long as the venue may still be in the old window its count holds, and what was answered shortly before the
    edge may be in the new one."""
    found = meter()
    done(found, 60, MIDDLE)
    done(found, 61, T0 + LENGTH_NS - NS_PER_MS)
    assert found.taken(T0 + LENGTH_NS + NS_PER_MS) == 61
    assert found.taken(T0 + LENGTH_NS + ERROR_AT_FIRST_NS) == 1


def test_what_is_on_its_way_when_the_window_turns_counts_in_the_new_one() -> None:
    """It may arrive at any time."""
    found = meter()
    mark = found.take(5, MIDDLE)
    later = MIDDLE + LENGTH_NS
    assert found.taken(later) == 5
    found.settle(mark, 50, MIDDLE, later)  # of which window is the 50?
    assert found.taken(later) == 5


def test_what_did_not_leave_is_given_back() -> None:
    found = meter()
    found.give_back(found.take(5, MIDDLE))
    assert found.taken(MIDDLE) == 0


def test_a_clock_that_is_set_back_turns_no_window() -> None:
    """What was used stays used."""
    found = meter()
    done(found, 70, MIDDLE)
    assert found.taken(MIDDLE - LENGTH_NS) == 70


def test_what_was_sent_before_counts_in_the_window_in_which_it_was_sent() -> None:
    """Two of the window before, three of this one; and one that nobody has heard of may have come in either."""
    found, now_ns = meter(), MIDDLE + LENGTH_NS
    old, new = MIDDLE, T0 + LENGTH_NS + 2 * NS_PER_S
    earlier = [Earlier(old, old + NS_PER_S)] * 2 + [Earlier(new, new + NS_PER_S)] * 3 + [Earlier(old, None)]
    found.recall(earlier, now_ns)
    assert (found.taken(now_ns), found.in_flight) == (4, 0)
    assert found.taken(now_ns + LENGTH_NS) == 0
    done(found, 7, now_ns)  # the first answer has them in it
    assert found.taken(now_ns) == 7


def test_what_was_sent_before_near_an_edge_counts_on_both_sides() -> None:
    """The venue's clock may be off by a second."""
    found, edge = meter(), T0 + LENGTH_NS
    found.recall([Earlier(MIDDLE, MIDDLE), Earlier(edge - NS_PER_MS, edge - NS_PER_MS)], edge + NS_PER_MS)
    assert found.taken(edge + NS_PER_MS) == 2
    assert found.taken(edge + 2 * NS_PER_S) == 1


def test_what_was_sent_before_by_a_clock_that_was_set_back_counts_now() -> None:
    """Conservative: it lies in the future."""
    found = meter()
    found.recall([Earlier(MIDDLE + LENGTH_NS, MIDDLE + 2 * LENGTH_NS)], MIDDLE)
    assert found.taken(MIDDLE) == 1


class OnTheRoad(NamedTuple):
    mark: Mark
    sent_ns: int
    arrives_ns: int
    answered_ns: int
    is_lost: bool
    """The answer is."""


class VenueModel:
    """Counts in fixed windows of its own clock."""

    def __init__(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns
        self.counts: dict[int, int] = {}

    def count(self, at_ns: int, amount: int) -> int:
        window = (at_ns + self.offset_ns) // LENGTH_NS
        self.counts[window] = self.counts.get(window, 0) + amount
        return self.counts[window]


steps = st.lists(
    st.tuples(
        st.integers(1, 1_500),  # ms until this request
        st.integers(1, 3),  # amount
        st.integers(0, 900),  # ms there
        st.integers(0, 900),  # ms back
        st.booleans(),  # the answer has no count
    ),
    min_size=20,
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(offset_ms=st.integers(-990, 990), measured=st.booleans(), steps=steps)
def test_no_limit_is_passed_whatever_the_order_of_things(
    offset_ms: int, measured: bool, steps: list[tuple[int, int, int, int, bool]]
) -> None:
    """Whoever sends only what has room never makes the venue count beyond its limit: with a clock that is off, answers
    that overtake each other, are late, come after the edge, or show no count."""
    limit = 10
    found, venue = meter(limit), VenueModel(offset_ms * NS_PER_MS)
    if measured:
        found._clock.read(MIDDLE + venue.offset_ns, MIDDLE, MIDDLE)
    now_ns, events, number = T0 + NS_PER_S, [], 0
    arrivals: list[tuple[int, int, OnTheRoad]] = []
    for wait_ms, amount, there_ms, back_ms, is_lost in steps:
        now_ns += wait_ms * NS_PER_MS
        _deliver(found, venue, arrivals, events, now_ns)
        if found.taken(now_ns) + amount <= limit:
            arrives_ns = now_ns + there_ms * NS_PER_MS
            number += 1
            mark = found.take(amount, now_ns)
            arrivals.append(
                (number, amount, OnTheRoad(mark, now_ns, arrives_ns, arrives_ns + back_ms * NS_PER_MS, is_lost))
            )
    _deliver(found, venue, arrivals, events, now_ns + LENGTH_NS)
    assert max(venue.counts.values(), default=0) <= limit


def _deliver(
    found: Meter,
    venue: VenueModel,
    arrivals: list[tuple[int, int, OnTheRoad]],
    answers: list[tuple[int, int, OnTheRoad, int | None]],
    until_ns: int,
) -> None:
    """Everything that arrives at the venue, or comes back from it, until then, in order."""
    due = [(request.arrives_ns, number, amount, request) for number, amount, request in arrivals]
    for arrives_ns, number, amount, request in sorted(due, key=lambda entry: entry[:2]):
        if arrives_ns <= until_ns:
            arrivals.remove((number, amount, request))
            shown = venue.count(arrives_ns, amount)
            answers.append((request.answered_ns, number, request, None if request.is_lost else shown))
    answers.sort(key=lambda entry: entry[:2])
    while answers and answers[0][0] <= until_ns:
        answered_ns, _, request, shown = answers.pop(0)
        found.settle(request.mark, shown, request.sent_ns, answered_ns)
