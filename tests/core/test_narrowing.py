"""Which working orders a narrower trading state cancels."""

from __future__ import annotations

import pytest

from core import narrowing, trading
from core.intent import Side, TimeInForce
from core.lifecycle import State, is_terminal
from core.records import TradingState
from tests.builders import T0, Desk, in_state, request, sell, snapshot

OPEN = [state for state in State if not is_terminal(state) and state not in {State.NEW, State.RESERVED, State.ERROR}]


def narrow(desk: Desk, state: TradingState, *, cancel_open: bool = False) -> list[State]:
    with desk.book.transaction() as unit:
        trading.put(unit, state, "a test", "operator", desk.now_ns)
        changed = narrowing.after_change(unit, cancel_open=cancel_open, now_ns=desk.now_ns)
        assert narrowing.after_change(unit, cancel_open=cancel_open, now_ns=desk.now_ns) == []
    return [record.state for record in changed]


@pytest.mark.parametrize("state", OPEN)
def test_reducing_wants_every_buy_gone(state: State) -> None:
    """Whatever it stands in: it ends now, or as soon as its order is proven to be there."""
    desk = Desk(USDT="10000", BTC="1")
    attempt = in_state(desk, state)
    narrow(desk, TradingState.REDUCING)
    record = desk.record(attempt.intent_id)
    assert record.cancel_requested or is_terminal(record.state)


@pytest.mark.parametrize(
    ("state", "cancel_open", "gone"),
    [
        (TradingState.REDUCING, False, {Side.BUY}),
        (TradingState.HALTED, False, set()),
        (TradingState.HALTED, True, {Side.BUY, Side.SELL}),
        (TradingState.ACTIVE, False, set()),
    ],
)
def test_sides_that_are_canceled(state: TradingState, cancel_open: bool, gone: set[Side]) -> None:
    """Sells get one out, so REDUCING leaves them; HALTED cancels nothing by itself."""
    desk = Desk(USDT="10000", BTC="1")
    buys = desk.accept(request(tif=TimeInForce.GTC, key="b"))
    sells = desk.accept(sell(tif=TimeInForce.GTC, key="s"))
    for attempt in (buys, sells):
        desk.apply(snapshot(attempt))
    assert narrow(desk, state, cancel_open=cancel_open) == [State.CANCELING] * len(gone)
    canceled = {attempt.side for attempt in (buys, sells) if desk.state(attempt) is State.CANCELING}
    assert canceled == gone


@pytest.mark.parametrize("state", OPEN)
def test_a_stop_that_cancels_wants_everything_gone(state: State) -> None:
    """Whatever trading may do: what is not at the venue ends now, what may be there when that is proven; once."""
    desk = Desk(USDT="10000", BTC="1")
    attempt = in_state(desk, state)
    with desk.book.transaction() as unit:
        first, second = (narrowing.at_stop(unit, "Ctrl-C", desk.now_ns) for _ in range(2))
    record = desk.record(attempt.intent_id)
    assert record.end_reason == ("enough" if state is State.CANCELING else "ENGINE_STOPS: Ctrl-C")
    assert (len(first), second) == (0 if state is State.CANCELING else 1, [])
    assert record.cancel_requested or is_terminal(record.state)
    assert is_terminal(record.state) == (state is State.RETRY)


def test_the_cancel_says_who_wanted_it() -> None:
    """The reason of the trading state is the reason of the end."""
    desk = Desk(USDT="10000")
    attempt = in_state(desk, State.RETRY)
    narrow(desk, TradingState.REDUCING)
    record = desk.record(attempt.intent_id)
    assert (record.state, record.end_reason, desk.now_ns) == (State.CANCELED, "TRADING_REDUCING: a test", T0)
