"""What a new gateway reads of the one before it: orders that may count in the venue's window, and its last refusal."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.events import RateLimitHit
from core.meter import Earlier
from core.predecessor import LATELY_NS, left
from core.records import AttemptRecord
from core.reports import Report
from tests.builders import SECOND, Desk, not_placed, request, snapshot, unknown


@pytest.fixture
def desk() -> Desk:
    return Desk()


def placed(desk: Desk) -> tuple[Earlier, ...]:
    return left(desk.book, desk.now_ns).placed


def test_an_empty_book_has_nothing_of_anybody(desk: Desk) -> None:
    assert left(desk.book, desk.now_ns) == (None, ())


@pytest.mark.parametrize("answer", [snapshot, not_placed, unknown])
def test_an_attempt_counts_from_its_begin_to_the_first_that_was_heard(desk: Desk, answer: type[Report]) -> None:
    """An order, a refusal, or nothing: the request was over then."""
    attempt = desk.accept()
    begun_ns = desk.now_ns
    assert placed(desk) == (Earlier(begun_ns, None),)
    desk.now_ns += SECOND
    desk.apply(answer(attempt))
    desk.now_ns += SECOND
    if answer is unknown:
        desk.apply(snapshot(attempt))  # found later: it left no later for that
    assert placed(desk) == (Earlier(begun_ns, begun_ns + SECOND),)


def test_what_never_left_does_not_count(desk: Desk) -> None:
    """Thousands may have waited for room, or for this gateway."""
    first, second = desk.accept(), _another(desk)
    desk.apply(replace(not_placed(first, retryable=True), never_left=True))
    assert placed(desk) == (Earlier(second.created_ns, None),)


def test_what_is_older_does_not_count(desk: Desk) -> None:
    """Its window is over, however late it left."""
    desk.accept()
    desk.now_ns += LATELY_NS
    young = _another(desk)
    desk.now_ns += 1
    assert placed(desk) == (Earlier(young.created_ns, None),)


def test_the_last_refusal_is_found(desk: Desk) -> None:
    hits = [
        RateLimitHit(at_ns=number, status=418, lanes=("place",), until_ns=number + SECOND, reason="banned")
        for number in (1, 2)
    ]
    with desk.book.transaction() as unit:
        for hit in hits:
            unit.append_event(hit)
    assert left(desk.book, desk.now_ns).hit == hits[1]


def _another(desk: Desk) -> AttemptRecord:
    return desk.accept(request(key="another"))
