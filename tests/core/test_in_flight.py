"""What may still reach the venue: answered orders not, lost ones for as long as the venue takes them."""

from __future__ import annotations

from core.ids import ClientOrderId
from core.in_flight import KEPT_MAX, InFlight, reach_ns
from tests.builders import SECOND, T0

WINDOW_NS = 5 * SECOND
REACH_NS = reach_ns(WINDOW_NS)
A, B = ClientOrderId("a"), ClientOrderId("b")


def wire() -> InFlight:
    """Of a gateway whose predecessor died long ago."""
    return InFlight(WINDOW_NS, T0 - REACH_NS)


def test_a_lost_order_is_over_when_the_venue_takes_it_no_longer() -> None:
    """Not a nanosecond before."""
    flight = wire()
    flight.leaves(A, T0)
    asked = flight.orders(T0)
    assert asked == {A}
    assert not flight.is_quiet(asked, T0 + REACH_NS - 1)
    assert flight.is_quiet(asked, T0 + REACH_NS)


def test_an_answered_order_is_over() -> None:
    """The others are not."""
    flight = wire()
    flight.leaves(A, T0)
    flight.leaves(B, T0)
    asked = flight.orders(T0)
    flight.answered(A)
    assert not flight.is_quiet(asked, T0)
    flight.answered(B)
    assert flight.is_quiet(asked, T0)


def test_what_leaves_later_is_not_waited_for() -> None:
    """Whoever asks, asks about what was on the way then."""
    flight = wire()
    asked = flight.orders(T0)
    flight.leaves(A, T0)
    assert flight.is_quiet(asked, T0)


def test_a_gateway_that_takes_over_counts_its_predecessors_orders() -> None:
    """Nobody knows what the one that died had sent."""
    flight = InFlight(WINDOW_NS, T0)
    assert not flight.is_quiet((), T0 + REACH_NS - 1)
    assert flight.is_quiet((), T0 + REACH_NS)


def test_orders_of_unknown_outcome_are_forgotten_when_they_are_over() -> None:
    """Memory is bounded by what may be on the way, not by what was ever lost."""
    flight = wire()
    for number in range(KEPT_MAX):
        flight.leaves(ClientOrderId(str(number)), T0)
    flight.leaves(A, T0 + REACH_NS)
    assert len(flight._until_ns) == 1
