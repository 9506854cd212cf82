"""The heartbeat: each figure by example, and what it leaves to others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import book as rules_of_book
from core import health, private_data, trading
from core.events import BalancesCompared, StaleIntentCleanup
from core.health import BudgetHealthCheck, EngineHealth, Health
from core.intent import TimeInForce
from core.lifecycle import State
from core.records import PrivateData, PrivateDataState, TradingState
from tests.builders import SECOND, T0, Desk, dec, in_state, not_placed, request, sell, unknown

STALE_S = 60
B7 = (
    "my_budget", "reserved_budget", "verified_budget", "reserved_quote_total", "reserved_base_total",
    "expected_available", "actual_available", "budget_drift", "drift_pct", "active_reservations_count",
    "old_reservations", "health",
)  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    return Desk(USDT="10000", BTC="1", BNB="3")


def engine(**changes: Any) -> EngineHealth:
    fields: dict[str, Any] = {
        "state": "running",
        "reason": "",
        "mode": "sim",
        "started_ns": T0,
        "restarts": 0,
        "parts": {"engine": "running"},
        "quotes": (),
        "gateway_told_ns": 0,
        "rates": None,
        "breaker": None,
        "stream": None,
    }
    return EngineHealth(**(fields | changes))


def beat(desk: Desk, before: Health | None = None, **told: Any) -> Health:
    return health.beat(
        desk.book,
        engine(**told),
        before,
        used_share=0.25,
        stale_after_ns=STALE_S * SECOND,
        now_ns=desk.now_ns,
    )


def compare(desk: Desk, **drift: str) -> None:
    with desk.book.transaction() as unit:
        unit.append_event(
            BalancesCompared(at_ns=desk.now_ns, drift={name: dec(amount) for name, amount in drift.items()})
        )


def budget(found: Health, currency: str) -> BudgetHealthCheck:
    (wanted,) = [each for each in found.budgets if each.currency == currency]
    return wanted


def test_the_fields_of_a_budget_are_those_of_the_specification() -> None:
    """B7, every one, besides which event, when and which currency."""
    assert {*BudgetHealthCheck.__struct_fields__} == {*B7, "at_ns", "currency"}
    assert BudgetHealthCheck.__struct_config__.tag == "BUDGET_HEALTH_CHECK"
    assert health.Heartbeat.__struct_config__.tag == "heartbeat"


def test_a_budget_by_example(desk: Desk) -> None:
    """One buy and one sell, and a venue that has ten dollars less than the book."""
    compare(desk, USDT="-10")
    desk.accept(request(key="b"))
    desk.accept(sell(key="s", qty="0.4"))
    found = beat(desk)
    shown = {name: getattr(budget(found, "USDT"), name) for name in B7}
    assert shown == {
        "my_budget": dec(10_000),
        "reserved_budget": dec("500.5"),
        "verified_budget": dec(9_990),
        "reserved_quote_total": dec("500.5"),
        "reserved_base_total": 0,
        "expected_available": dec("9499.5"),
        "actual_available": dec("9489.5"),
        "budget_drift": dec(-10),
        "drift_pct": dec("0.1"),
        "active_reservations_count": 1,
        "old_reservations": 0,
        "health": "HEALTHY",
    }
    held = budget(found, "BTC")
    assert (held.reserved_base_total, held.reserved_quote_total, held.expected_available) == (dec("0.4"), 0, dec("0.6"))


@pytest.mark.parametrize(("drift", "expected"), [("99.99", "HEALTHY"), ("-99.99", "HEALTHY"), ("-100", "WARNING")])
def test_one_percent_of_drift_is_a_warning(desk: Desk, drift: str, expected: str) -> None:
    """In either direction; a little less is none."""
    compare(desk, USDT=drift)
    assert budget(beat(desk, quotes=("USDT",)), "USDT").health == expected


@pytest.mark.parametrize(("age_s", "old", "expected"), [(300, 0, "HEALTHY"), (301, 1, "WARNING")])
def test_a_reservation_of_more_than_five_minutes_is_old(desk: Desk, age_s: int, old: int, expected: str) -> None:
    """Though it may be that of an order that rests as it should."""
    compare(desk)
    in_state(desk, State.SENT, TimeInForce.GTC)
    desk.later(age_s)
    found = beat(desk)
    assert (budget(found, "USDT").old_reservations, found.heartbeat.old_reservations) == (old, old)
    assert budget(found, "USDT").health == expected


def test_without_a_comparison_nothing_is_called_healthy(desk: Desk) -> None:
    """Nobody has read the venue's balances yet: its figures are absent, not zero."""
    found = beat(desk, quotes=("USDT",))
    own = budget(found, "USDT")
    assert (own.verified_budget, own.actual_available, own.budget_drift, own.drift_pct) == (None,) * 4
    assert (own.health, found.heartbeat.compared_ns) == ("WARNING", 0)


def test_it_says_how_old_the_comparison_is(desk: Desk) -> None:
    """What is verified was verified then."""
    desk.later(5)
    compare(desk)
    at_ns = desk.now_ns
    desk.later(100)
    assert beat(desk).heartbeat.compared_ns == at_ns


def test_a_budget_is_checked_where_something_is_paid_or_held(desk: Desk) -> None:
    """What the venue's markets are paid in, as far as there is some, what the book's are, and whatever is held."""
    assert [each.currency for each in beat(desk).budgets] == []
    assert [each.currency for each in beat(desk, quotes=("BNB", "EUR")).budgets] == ["BNB"]
    desk.accept(sell(key="s"))
    assert [each.currency for each in beat(desk).budgets] == ["BTC", "USDT"]


def test_it_counts_what_is_open_and_what_is_unknown(desk: Desk) -> None:
    """By state, with the age of the oldest."""
    in_state(desk, State.SENT, TimeInForce.GTC)
    desk.later(20)
    desk.apply(unknown(desk.accept(request(key="u"))))
    desk.later(10)
    heartbeat = beat(desk).heartbeat
    assert heartbeat.open_intents == {"SENT": 1, "UNKNOWN": 1}
    assert (heartbeat.oldest_open_ns, heartbeat.unknown, heartbeat.active_reservations_count) == (30 * SECOND, 1, 2)


def test_it_shows_what_holds_trading(desk: Desk) -> None:
    """Trading state, sell-only and breaker, as the book has them; and how full the book is."""
    with desk.book.transaction() as unit:
        trading.tighten(unit, TradingState.REDUCING, "a test", "test", T0)
        private_data.note(unit, PrivateData(state=PrivateDataState.GONE, reason="502", revision=1), T0)
    heartbeat = beat(desk).heartbeat
    assert (heartbeat.trading.state, heartbeat.private_data.is_gone) == (TradingState.REDUCING, True)
    assert (heartbeat.breaker.state, heartbeat.book_used_share) == ("closed", 0.25)


def stale(desk: Desk, key: str) -> Any:
    """An intent that never left, and is too old."""
    attempt = desk.accept(request(key=key))
    desk.apply(not_placed(attempt, retryable=True))
    desk.later(STALE_S)
    return attempt.intent_id


def expire(desk: Desk, intent_id: Any) -> None:
    with desk.book.transaction() as unit:
        rules_of_book.expire_stale(unit, intent_id, STALE_S * SECOND, desk.now_ns)


def test_what_is_stale_is_named_before_it_is_cleaned_up_and_after(desk: Desk) -> None:
    """Each once: in the first beat that sees it, and in the one after the clean-up; a beat itself changes nothing."""
    intent_id = stale(desk, "old")
    first = beat(desk)
    assert (first.heartbeat.stale, first.heartbeat.cleaned_count) == ((intent_id,), 0)
    assert desk.record(intent_id).state is State.RETRY
    expire(desk, intent_id)
    second = beat(desk, first)
    assert (second.heartbeat.stale_count, second.heartbeat.cleaned) == (0, (intent_id,))
    third = beat(desk, second).heartbeat
    assert (third.cleaned_count, third.cleaned_total) == (0, 1)


def test_a_clean_up_says_what_came_back(desk: Desk) -> None:
    """Once, in the transaction that frees it; what may have been at the venue is not cleaned up at all."""
    intent_id = stale(desk, "old")
    doubtful = desk.accept(request(key="doubtful"))
    desk.apply(unknown(doubtful))
    desk.later(10 * STALE_S)
    for _ in range(2):
        expire(desk, intent_id)
        expire(desk, doubtful.intent_id)
    (told,) = desk.events(StaleIntentCleanup)
    assert (told.intent_id, told.symbol, told.attempts) == (intent_id, "BTC/USDT", 1)
    assert (told.released, told.currency, told.age_ns) == (dec("500.5"), "USDT", 11 * STALE_S * SECOND)
    assert msgspec.json.decode(msgspec.json.encode(told))["event"] == "STALE_INTENT_CLEANUP"
    assert desk.record(doubtful.intent_id).state is State.UNKNOWN
    assert desk.free("USDT") == dec("9499.5")


def test_many_are_counted_and_some_are_named(desk: Desk) -> None:
    """A line of the stream stays readable."""
    desk = Desk(USDT="1000000")
    for number in range(health.NAMED_MAX + 20):
        desk.apply(not_placed(desk.accept(request(key=f"k{number}", qty="0.001")), retryable=True))
    desk.later(STALE_S)
    heartbeat = beat(desk).heartbeat
    assert (heartbeat.stale_count, len(heartbeat.stale)) == (health.NAMED_MAX + 20, health.NAMED_MAX)


def test_a_beat_can_be_kept_and_read_back(desk: Desk) -> None:
    """To the digit."""
    compare(desk, USDT="0.10")
    desk.accept(request(key="b"))
    found = beat(desk, quotes=("USDT",))
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Health)
