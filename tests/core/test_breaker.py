"""The circuit breaker: opens for a venue that fails, tests it with a few orders, and forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core import events
from core.breaker import Breaker, Permit, failed, note
from core.ids import NS_PER_S, ClientOrderId
from core.records import BreakerRecord, BreakerState
from core.reports import NotPlaced, OutcomeUnknown
from core.settings import BreakerSettings
from tests.builders import T0
from tests.fakes import MemoryBook

SETTINGS = BreakerSettings()
COOL_OFF_NS = SETTINGS.cool_off
NAME = ClientOrderId("in1")


def breaker(record: BreakerRecord | None = None) -> Breaker:
    return Breaker(SETTINGS, record)


def order(found: Breaker, has_failed: bool | None, at_ns: int = T0) -> bool:
    """One order, if it may leave, and what became of it."""
    permit = found.admit(at_ns)
    if permit is not None:
        found.settle(permit, has_failed, at_ns)
    return permit is not None


def opened(at_ns: int = T0) -> Breaker:
    found = breaker()
    for _ in range(SETTINGS.min_samples):
        order(found, True, at_ns)
    assert found.record.state is BreakerState.OPEN
    return found


def test_half_of_ten_failures_open_it() -> None:
    """At the tenth order of the window, not before, with its figures."""
    found = breaker()
    for number in range(9):
        assert order(found, number % 2 == 0)
    assert found.record.state is BreakerState.CLOSED
    assert order(found, True)
    record = found.record
    assert (record.state, record.failures, record.samples, record.opens_total) == (BreakerState.OPEN, 6, 10, 1)
    assert found.wait_ns(T0) == COOL_OFF_NS
    assert not order(found, False)


def test_old_failures_are_forgotten() -> None:
    """The window slides: nine failures of a minute ago and one now are one."""
    found = breaker()
    for _ in range(9):
        order(found, True)
    order(found, True, T0 + 2 * SETTINGS.window)
    figures = found.figures(T0 + 2 * SETTINGS.window)
    assert (found.record.state, figures.failures, figures.samples) == (BreakerState.CLOSED, 1, 1)


def test_what_says_nothing_is_no_sample() -> None:
    """Orders that never left, or met a limit."""
    found = breaker()
    for _ in range(50):
        order(found, None)
    assert (found.record.state, found.figures(T0).samples) == (BreakerState.CLOSED, 0)


def test_after_the_cool_off_only_the_probes_leave() -> None:
    """Three at once; when all have succeeded, everybody."""
    found = opened()
    later = T0 + COOL_OFF_NS
    permits = [found.admit(later) for _ in range(5)]
    assert [permit is not None for permit in permits] == [True] * 3 + [False] * 2
    assert found.record.state is BreakerState.HALF_OPEN
    for permit in permits[:3]:
        assert isinstance(permit, Permit)
        assert not order(found, False, later)
        found.settle(permit, False, later)
    assert found.record.state is BreakerState.CLOSED
    assert order(found, False, later)


def test_a_failed_probe_opens_it_for_twice_as_long() -> None:
    """And so on, up to sixteen times; a success begins anew."""
    found, at_ns, waits = opened(), T0, []
    for _ in range(6):
        at_ns += found.record.cool_off_ns
        assert order(found, True, at_ns)
        waits.append(found.record.cool_off_ns // COOL_OFF_NS)
    assert waits == [2, 4, 8, 16, 16, 16]
    at_ns += found.record.cool_off_ns
    for _ in range(3):
        assert order(found, False, at_ns)
    assert (found.record.state, found.record.doublings) == (BreakerState.CLOSED, 0)


def test_a_probe_that_never_left_is_given_to_another() -> None:
    """It met a limit, or the engine stopped: nothing is known of the venue."""
    found, later = opened(), T0 + COOL_OFF_NS
    for _ in range(10):
        assert order(found, None, later)
    assert found.record.state is BreakerState.HALF_OPEN


def test_orders_from_before_a_change_do_not_count_after_it() -> None:
    """What left while it was closed is no probe, whenever its answer comes."""
    found = breaker()
    early = [found.admit(T0) for _ in range(20)]
    for permit in early[:10]:
        assert permit is not None
        found.settle(permit, True, T0)
    later = T0 + COOL_OFF_NS
    probe = found.admit(later)
    for permit in early[10:]:
        assert permit is not None
        found.settle(permit, True, later)
    assert probe is not None
    assert found.record.state is BreakerState.HALF_OPEN


def test_a_restart_forgets_no_open_breaker() -> None:
    """The rest of the cool-off is waited for; half-open begins its probes anew, at once."""
    record = opened().record
    again = breaker(record)
    assert again.wait_ns(T0 + NS_PER_S) == COOL_OFF_NS - NS_PER_S
    half = replace(record, state=BreakerState.HALF_OPEN, since_ns=T0 + COOL_OFF_NS)
    assert order(breaker(half), False, T0 + COOL_OFF_NS)


@pytest.mark.parametrize("back_s", [1, 3_600, 100_000_000])
def test_a_clock_that_is_set_back_waits_no_longer_than_the_cool_off(back_s: int) -> None:
    """Wherever it is set to."""
    found, earlier = opened(), T0 - back_s * NS_PER_S
    assert found.wait_ns(earlier) == COOL_OFF_NS
    assert found.wait_ns(earlier + COOL_OFF_NS) == 0
    closed = breaker()
    order(closed, True)
    assert closed.figures(earlier).samples == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 20), st.integers(0, 5)), max_size=200))
def test_it_lets_no_more_through_than_it_says(steps: list[tuple[bool | None, int, int]]) -> None:
    """While open nothing leaves; while half-open at most the probes are on their way; counts are never negative."""
    found, now_ns = breaker(), T0
    on_the_way: list[tuple[Permit, bool | None]] = []
    for has_failed, wait_s, answers in steps:
        now_ns += wait_s * NS_PER_S
        wait_ns = found.wait_ns(now_ns)
        permit = found.admit(now_ns)
        assert (permit is None) == (wait_ns > 0)
        if permit is not None:
            on_the_way.append((permit, has_failed))
        for _ in range(min(answers, len(on_the_way))):
            found.settle(*on_the_way.pop(0), now_ns)
        figures = found.figures(now_ns)
        probes = sum(permit.revision == found.record.revision for permit, _ in on_the_way)
        if found.record.state is BreakerState.HALF_OPEN:
            assert figures.probes_in_flight == probes <= SETTINGS.probes
        assert 0 <= figures.failures <= figures.samples


def test_what_a_report_says_about_the_venue() -> None:
    """Not knowing is a failure; a refusal is none; a limit, a clock and what never left say nothing."""

    def refused(code: str, *, never_left: bool = False) -> NotPlaced:
        return NotPlaced(client_order_id=NAME, code=code, reason="", retryable=False, never_left=never_left)

    assert failed(OutcomeUnknown(client_order_id=NAME, reason="503")) is True
    assert failed(refused("InsufficientFunds")) is False
    assert failed(refused("RateLimitExceeded")) is None
    assert failed(refused("InvalidNonce")) is None
    assert failed(refused("STALE", never_left=True)) is None


def test_the_book_keeps_each_change_once() -> None:
    """With an event; what is known, or older, changes nothing."""
    book, record = MemoryBook(), opened().record
    with book.transaction() as unit:
        for _ in range(2):
            note(unit, record, T0)
        note(unit, BreakerRecord(), T0)
    assert book.breaker() == record
    (_, event), *others = book.events()
    assert (others, type(event)) == ([], events.BreakerChanged)
    assert isinstance(event, events.BreakerChanged)
    assert (event.from_state, event.to_state, event.failures) == (BreakerState.CLOSED, BreakerState.OPEN, 10)
