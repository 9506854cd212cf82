"""Messages of the stream are believed whole or not at all."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.reports import OrderStatus
from exchange.stream_events import Answer, Ending, Malformed, OrderEvent, Other, parse

TRADE: dict[str, Any] = {
    "e": "executionReport", "E": 1700000000001, "s": "BTCUSDT", "c": "inours", "S": "SELL", "o": "LIMIT", "f": "GTC",
    "q": "1.00000000", "p": "0.50000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "TRADE",
    "X": "PARTIALLY_FILLED", "r": "NONE", "i": 17, "l": "0.25000000", "z": "0.75000000", "L": "0.50000000",
    "n": "0.00100000", "N": "BNB", "T": 1700000000000, "t": 99, "I": 8, "w": True, "m": True, "M": True,
    "O": 1600000000000, "Z": "0.37500000", "Y": "0.12500000", "Q": "0.00000000", "W": 1600000000000, "V": "NONE",
}  # fmt: skip
NO_TRADE = {
    "x": "NEW",
    "X": "NEW",
    "l": "0.00000000",
    "z": "0.00000000",
    "L": "0.00000000",
    "n": "0",
    "N": None,
    "t": -1,
}
CANCEL = NO_TRADE | {"x": "CANCELED", "X": "CANCELED", "c": "cancel-1", "C": "inours"}


def read(event: object) -> Any:
    return parse(json.dumps({"subscriptionId": 0, "event": event}), lambda name: name.replace("USDT", "/USDT"), str)


def changed(**changes: Any) -> dict[str, Any]:
    return TRADE | changes


def test_a_trade_is_read_with_all_its_fields() -> None:
    """Amounts are exact, times are ns, the side is our order's."""
    message = read(TRADE)
    assert isinstance(message, OrderEvent)
    report, (trade,) = message.report, message.report.trades
    assert (message.symbol, report.client_order_id, report.exchange_order_id) == ("BTC/USDT", "inours", "17")
    assert (report.status, report.venue_status, report.filled_qty) == (
        OrderStatus.OPEN, "PARTIALLY_FILLED", Decimal("0.75"),
    )  # fmt: skip
    assert (trade.trade_id, trade.exchange_order_id, trade.side, trade.maker) == ("99", "17", "sell", True)
    assert (trade.qty, trade.price, trade.quote_qty) == (Decimal("0.25"), Decimal("0.5"), Decimal("0.125"))
    assert (trade.fee, trade.fee_currency, trade.venue_ns) == (Decimal("0.001"), "BNB", 1_700_000_000_000_000_000)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (NO_TRADE, OrderStatus.OPEN),
        (CANCEL, OrderStatus.CANCELED),
        (CANCEL | {"c": "inours", "C": "null", "x": "EXPIRED", "X": "EXPIRED"}, OrderStatus.EXPIRED),
        (NO_TRADE | {"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH", "l": "0.5", "L": "1"}, OrderStatus.EXPIRED),
        (NO_TRADE | {"x": "REJECTED", "X": "REJECTED"}, OrderStatus.REJECTED),
    ],
)
def test_what_is_no_trade_has_none(change: dict[str, Any], status: OrderStatus) -> None:
    """And it is the order's name that counts, also when the event is named after a cancel."""
    report = read(TRADE | change).report
    assert (report.client_order_id, report.status, report.trades) == ("inours", status, ())


def test_a_trade_whose_fee_is_not_named_is_left_out() -> None:
    """What is filled tells that it is missing."""
    report = read(changed(n="0", N=None)).report
    assert (report.trades, report.filled_qty) == ((), Decimal("0.75"))


@pytest.mark.parametrize("missing", [*"scCSxXizlLYTtmnN", "e"])
def test_an_event_that_misses_a_field_is_malformed(missing: str) -> None:
    """No default stands for what is not there."""
    with pytest.raises(Malformed):
        read({name: value for name, value in TRADE.items() if name != missing})


@pytest.mark.parametrize(
    "change",
    [
        *({name: wrong} for name in "zlLY" for wrong in ("NaN", "Infinity", "-1", "1,5", "", None, [])),
        *({"n": wrong} for wrong in ("NaN", "-Infinity", "free", "")),
        *({name: wrong} for name in "iT" for wrong in ("1", -1, 1.5, None)),
        {"X": "NOBODY_KNOWS"}, {"X": None}, {"S": "BOTH"}, {"c": ""}, {"s": ""}, {"m": 1}, {"m": "true"},
        {"t": -1}, {"t": "99"}, {"l": "0"}, {"L": "0"}, {"l": "0.8"}, {"e": 5},
    ],
)  # fmt: skip
def test_an_event_that_makes_no_sense_is_malformed(change: dict[str, Any]) -> None:
    """Amounts that are none, statuses that nobody knows, trades without a quantity, or of more than is filled."""
    with pytest.raises(Malformed):
        read(TRADE | change)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", '"event"', "{}", '{"event": []}', '{"event": 7}',
                                  '{"id": 1}', '{"id": 1, "status": "200"}', '{"event": {"E": 5}}'])  # fmt: skip
def test_what_is_neither_answer_nor_event_is_malformed(text: str) -> None:
    """Half a message, another kind of JSON, no JSON."""
    with pytest.raises(Malformed):
        parse(text, str, str)


def test_answers_endings_and_others_are_told_apart() -> None:
    """An answer has our id; the end may come with and without an envelope."""
    refusal = {"id": 3, "status": 400, "error": {"code": -1022, "msg": "no"}, "rateLimits": []}
    assert parse(json.dumps(refusal), str, str) == Answer(3, 400, -1022, "no")
    assert parse('{"id":"x","status":200,"result":{"subscriptionId":0}}', str, str) == Answer("x", 200, 0, "")
    assert read({"e": "eventStreamTerminated", "E": 1}) == Ending("eventStreamTerminated")
    assert parse('{"e":"serverShutdown","E":1}', str, str) == Ending("serverShutdown")
    assert read({"e": "outboundAccountPosition", "B": []}) == Other("outboundAccountPosition")
    assert read({"e": "listStatus"}) == Other("listStatus")


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="replace")))
def test_no_text_raises_anything_else(text: str) -> None:
    """Whatever comes."""
    with contextlib.suppress(Malformed):
        parse(text, str, str)
