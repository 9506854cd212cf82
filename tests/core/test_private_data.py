"""Sell-only: what is refused, what waits and what goes on while the account's data cannot be read."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import private_data
from core.book import OpeningOutcome
from core.events import AlertFired, PrivateDataChanged
from core.intent import Side
from core.lifecycle import State
from core.planning import Refusal
from core.records import PrivateData, PrivateDataState
from core.reports import NotPlaced
from tests.builders import SECOND, T0, Desk, request, sell

LOST = PrivateData(state=PrivateDataState.GONE, since_ns=T0, reason="502", revision=1)
FOUND = PrivateData(since_ns=T0 + 90 * SECOND, revision=2)


@pytest.fixture
def desk() -> Desk:
    return Desk(USDT="10000", BTC="1")


def note(desk: Desk, *records: PrivateData) -> None:
    for record in records:
        with desk.book.transaction() as unit:
            private_data.note(unit, record, desk.now_ns)


def alerts(desk: Desk) -> list[str]:
    return [alert.code for alert in desk.events(AlertFired)]


def test_a_buy_is_refused_while_it_is_gone(desk: Desk) -> None:
    """Inside the accepting transaction, with code, cause and age; nothing is held."""
    note(desk, LOST)
    desk.later(75)
    result = desk.submit(request(key="b"))
    assert result.outcome is OpeningOutcome.REFUSED
    assert result.refusal is not None
    assert result.refusal.code == "PRIVATE_DATA_GONE"
    assert "75 s ago (502)" in result.refusal.reason
    assert list(desk.book.reservations()) == []


def test_a_sell_goes_on_while_it_is_gone(desk: Desk) -> None:
    """Accepted and sent as ever."""
    note(desk, LOST)
    assert desk.state(desk.accept(sell(key="s"))) is State.SENDING


def test_a_refused_buy_may_be_asked_for_again_when_it_is_back(desk: Desk) -> None:
    """A refusal does not use up the key."""
    note(desk, LOST)
    assert desk.submit(request(key="b")).outcome is OpeningOutcome.REFUSED
    note(desk, FOUND)
    desk.later()
    assert desk.submit(request(key="b")).outcome is OpeningOutcome.ACCEPTED


def test_a_buy_that_waits_goes_on_when_it_is_back(desk: Desk) -> None:
    """The gateway did not let it leave: it stands in RETRY with the reason, and no retry is used up."""
    attempt = desk.accept(request(key="b"))
    note(desk, LOST)
    refused = private_data.refusal(desk.book, Side.BUY, desk.now_ns)
    assert refused is not None
    desk.apply(
        NotPlaced(
            client_order_id=attempt.client_order_id,
            code=refused.code,
            reason=refused.reason,
            retryable=True,
            retry_after_ns=private_data.LOOK_AGAIN_NS,
            never_left=True,
        )
    )
    record = desk.record(attempt.intent_id)
    assert (record.state, record.real_attempts) == (State.RETRY, 0)
    assert record.end_reason.startswith("PRIVATE_DATA_GONE: ")
    assert record.retry_at_ns >= desk.now_ns + private_data.LOOK_AGAIN_NS
    note(desk, FOUND)
    desk.later(10)
    assert desk.state(desk.begin(attempt.intent_id)) is State.SENDING


def test_both_changes_are_told_with_an_alert_each(desk: Desk) -> None:
    """Who looks later sees when, why and for how long."""
    note(desk, LOST)
    desk.later(95)
    note(desk, FOUND)
    told = desk.events(PrivateDataChanged)
    assert [(event.from_state, event.to_state, event.reason) for event in told] == [
        ("ok", "gone", "502"),
        ("gone", "ok", ""),
    ]
    assert alerts(desk) == ["PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK"]
    assert "95 s" in desk.events(AlertFired)[1].text


def test_messages_that_come_twice_or_late_change_nothing(desk: Desk) -> None:
    """The reconciler says it until it reads it; what is overtaken must not narrow again, nor lift."""
    note(desk, LOST, LOST, FOUND, FOUND, LOST, replace(LOST, reason="other words"))
    assert private_data.standing(desk.book) == FOUND
    assert alerts(desk) == ["PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK"]


def test_a_gateway_may_start_without_the_account_where_a_fee_is_known(desk: Desk) -> None:
    """With the one of the markets that the book knows; without any the account must be read."""
    assert private_data.known_taker(desk.book) is None
    desk.accept(sell(key="s"))
    assert private_data.known_taker(desk.book) == desk.market.taker_fee


def test_a_book_that_was_never_told_anything_is_not_sell_only(desk: Desk) -> None:
    """Both sides may leave; and when it is gone, one."""
    assert [private_data.refusal(desk.book, side, T0) for side in Side] == [None, None]
    note(desk, LOST)
    refused = {side: private_data.refusal(desk.book, side, T0) for side in Side}
    assert isinstance(refused[Side.BUY], Refusal)
    assert refused[Side.SELL] is None
