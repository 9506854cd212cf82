"""The last look lets an order leave only while nothing in the world or the book forbids it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import arming, departure, fencing, private_data, trading
from core.departure import Moment
from core.evidence import SENT_WITHIN_NS
from core.records import AttemptRecord, PrivateData, PrivateDataState, TradingState
from core.settings import Mode
from tests.builders import SECOND, T0, Desk, sell

OURS = "0123456789ab"


@pytest.fixture
def desk() -> Desk:
    """A book in its first epoch, armed for our account, for a minute."""
    desk = Desk(USDT="100000", BTC="1")
    with desk.book.transaction() as unit:
        fencing.begin(unit, T0)
        arming.arm(unit, OURS, 60 * SECOND, "a test", "operator", T0, T0)
    return desk


def at(seconds: int = 0, *, mode: Mode = Mode.LIVE, account: str = OURS, is_stopping: bool = False) -> Moment:
    return Moment(mode, account, is_stopping, T0 + seconds * SECOND)


def code(desk: Desk, attempt: AttemptRecord, moment: Moment) -> str:
    """Why it does not leave; empty: it does."""
    refused = departure.refusal(desk.book, attempt, moment)
    if refused is None:
        return ""
    assert (refused.never_left, refused.client_order_id) == (True, attempt.client_order_id)
    return refused.code


@pytest.mark.parametrize("mode", [Mode.SIM, Mode.TESTNET, Mode.LIVE])
def test_an_order_leaves_when_nothing_forbids_it(desk: Desk, mode: Mode) -> None:
    """In every mode that sends; what is not live needs no arming."""
    assert code(desk, desk.accept(), at(mode=mode)) == ""


@pytest.mark.parametrize("mode", [Mode.SIM, Mode.TESTNET])
def test_only_live_trading_must_be_armed(desk: Desk, mode: Mode) -> None:
    """Nobody has armed this account."""
    assert code(desk, desk.accept(), at(mode=mode, account="")) == ""


def test_observe_sends_nothing_whatever_is_armed(desk: Desk) -> None:
    """It ends there, and is not tried again."""
    assert code(desk, desk.accept(), at(mode=Mode.OBSERVE)) == "OBSERVE_MODE"


@pytest.mark.parametrize("moment", [at(60), at(-1), at(account="ba9876543210")])
def test_live_sends_nothing_that_is_not_armed_now_for_this_account(desk: Desk, moment: Moment) -> None:
    """Over, not begun by this clock, or of another account: it ends, and names the remedy."""
    refused = departure.refusal(desk.book, replace(desk.accept(), created_ns=moment.now_ns), moment)
    assert refused is not None
    assert (refused.code, refused.retryable) == ("ORDER_BLOCKED_LIVE_TRADING", False)
    assert "intentctl arm" in refused.reason


def test_what_waits_is_told_to_come_again_and_what_was_stopped_is_not(desk: Desk) -> None:
    """An age, a stop and an epoch pass by themselves; a halt is lifted by an operator."""
    attempt = desk.accept()
    assert code(desk, replace(attempt, created_ns=T0 - SENT_WITHIN_NS - 1), at()) == "STALE"
    assert code(desk, attempt, at(is_stopping=True)) == "STOPPING"
    with desk.book.transaction() as unit:
        trading.tighten(unit, TradingState.REDUCING, "a test", "test", T0)
    assert code(desk, attempt, at()) == "TRADING_REDUCING"
    with desk.book.transaction() as unit:
        fencing.begin(unit, T0)
    assert code(desk, attempt, at()) == "FENCED"


def test_what_is_live_waits_until_the_account_is_known(desk: Desk) -> None:
    """A gateway that started while the account could not be read: nobody knows whether it is armed, so nothing ends."""
    moment = at(account="")
    refused = departure.refusal(desk.book, replace(desk.accept(), created_ns=moment.now_ns), moment)
    assert refused is not None
    assert (refused.code, refused.retryable, refused.never_left) == ("ACCOUNT_NOT_KNOWN", True, True)


def test_a_buy_waits_while_the_account_cannot_be_read_and_a_sale_does_not() -> None:
    """It comes again when somebody has looked once more, and uses up no retry."""
    desk = Desk()
    gone = PrivateData(state=PrivateDataState.GONE, since_ns=T0, reason="502", revision=1)
    bought, sold = desk.accept(), desk.accept(sell(key="s"))
    with desk.book.transaction() as unit:
        unit.put_private_data(gone)
    moment = at(mode=Mode.SIM)
    refused = departure.refusal(desk.book, bought, moment)
    assert refused is not None
    assert (refused.code, refused.never_left, refused.retry_after_ns) == (
        private_data.GONE,
        True,
        private_data.LOOK_AGAIN_NS,
    )
    assert departure.refusal(desk.book, sold, moment) is None
