"""What never left this machine is no attempt in the sense of R4: it uses up no retry and lengthens no backoff."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.ids import NS_PER_MS
from core.lifecycle import State
from core.records import AttemptRecord, IntentRecord
from core.reports import NotPlaced
from tests.builders import SECOND, Desk, not_placed


@pytest.fixture
def desk() -> Desk:
    return Desk()


def held(attempt: AttemptRecord, retry_after_ns: int = 0) -> NotPlaced:
    report = not_placed(attempt, retryable=True, retry_after_ns=retry_after_ns)
    return replace(report, code="RATE_LIMITED", reason="all of 100 orders are used", never_left=True)


def again(desk: Desk, record: IntentRecord) -> AttemptRecord:
    desk.now_ns = record.retry_at_ns
    return desk.begin(record.intent.intent_id)


def test_waiting_for_room_uses_up_no_retry(desk: Desk) -> None:
    """After thirty waits the intent still has its first attempt and its three retries; then it has failed."""
    attempt = desk.accept()
    for _ in range(30):
        record = desk.apply(held(attempt, SECOND))
        assert (record.state, record.real_attempts) == (State.RETRY, 0)
        assert record.end_reason == "RATE_LIMITED: all of 100 orders are used"
        attempt = again(desk, record)
    for number in range(1, 4):
        record = desk.apply(not_placed(attempt, retryable=True))
        assert (record.state, record.real_attempts) == (State.RETRY, number)
        attempt = again(desk, record)
    assert desk.apply(not_placed(attempt, retryable=True)).state is State.FAILED_FINAL
    assert desk.record(attempt.intent_id).uncounted == 30


def test_it_comes_when_it_was_told_to(desk: Desk) -> None:
    """However often it has waited: its ticket is for that moment."""
    attempt = desk.accept()
    for _ in range(5):
        record = desk.apply(held(attempt, 25 * SECOND))
        assert record.retry_at_ns == desk.now_ns + 25 * SECOND
        attempt = again(desk, record)


def test_who_is_told_no_time_waits_a_little_longer_each_time(desk: Desk) -> None:
    """The gateway restarts, or the machine is busy: doubled three times at most, for it is soon over."""
    attempt, waits = desk.accept(), []
    for _ in range(6):
        record = desk.apply(held(attempt))
        waits.append((record.retry_at_ns - desk.now_ns) / (400 * NS_PER_MS))
        attempt = again(desk, record)
    assert all(least <= wait <= 1.25 * least for least, wait in zip((1, 2, 4, 8, 8, 8), waits, strict=True)), waits


def test_the_backoff_of_real_failures_does_not_see_the_waits(desk: Desk) -> None:
    """Its first failure is its first, after ten waits as well."""
    attempt = desk.accept()
    for _ in range(10):
        attempt = again(desk, desk.apply(held(attempt, SECOND)))
    record = desk.apply(not_placed(attempt, retryable=True))
    assert 400 * NS_PER_MS <= record.retry_at_ns - desk.now_ns <= 500 * NS_PER_MS
