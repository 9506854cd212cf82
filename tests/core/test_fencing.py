"""Only the newest epoch counts, and what an older one was sending is nobody's knowledge any more."""

from __future__ import annotations

import pytest

from core import fencing
from core.errors import Fenced
from core.lifecycle import State
from core.outcomes import lose_track
from core.records import AttemptStatus
from tests.builders import T0, Desk


def test_each_beginning_is_a_new_epoch() -> None:
    """The number rises by one, and the time never goes back."""
    desk = Desk()
    with desk.book.transaction() as unit:
        first, second = fencing.begin(unit, T0), fencing.begin(unit, T0 - 5)
    assert (first.number, second.number, second.since_ns) == (1, 2, T0)


def test_a_part_of_an_older_epoch_is_stopped() -> None:
    """The current one passes; any other, older or from nowhere, does not."""
    desk = Desk()
    with desk.book.transaction() as unit:
        fencing.begin(unit, T0)
    fencing.check(desk.book, 1)
    for other in (0, 2):
        with pytest.raises(Fenced, match="epoch 1 has begun"):
            fencing.check(desk.book, other)


def test_an_attempt_carries_the_epoch_in_which_it_was_made_durable() -> None:
    """The gateway compares it with the book's in the last moment."""
    desk = Desk()
    with desk.book.transaction() as unit:
        fencing.begin(unit, T0)
    assert desk.accept().epoch == 1


def test_what_was_on_its_way_becomes_unknown_and_keeps_its_money() -> None:
    """Whoever was sending is gone; only what was SENDING is touched, and only once."""
    desk = Desk()
    attempt = desk.accept()
    with desk.book.transaction() as unit:
        lost = lose_track(unit, "the gateway died", T0)
        again = lose_track(unit, "the gateway died", T0)
    assert [record.state for record in lost] == [State.UNKNOWN]
    assert again == []
    assert desk.attempt(attempt.intent_id, 1).status is AttemptStatus.UNKNOWN
    assert desk.book.reservation(attempt.intent_id) is not None
