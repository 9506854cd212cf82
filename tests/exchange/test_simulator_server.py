"""The venue on the wire: who may ask, what a malformed request is told, and what the answers look like."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from exchange.simulator.auth import SIM_API_KEY
from exchange.simulator.process import SimulatorProcess
from tests.exchange.conftest import Venue

LIMIT_BUY = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.001",
    "price": "50000",
}
MARKET_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
NO_TRADES = {"symbol": "LTCUSDT"}


def place(venue: Venue, params: Mapping[str, Any]) -> Any:
    answer = venue.ask_signed("POST", "/api/v3/order", params)
    assert answer.status == 200, answer.body
    return answer.body


# ── who may ask ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_without_a_key_is_refused(venue: Venue) -> None:
    """401 and -2014."""
    answer = venue.ask("GET", "/api/v3/account?timestamp=1&signature=00")
    assert (answer.status, answer.body) == (401, {"code": -2014, "msg": "API-key format invalid."})


def test_an_unknown_key_is_refused(venue: Venue) -> None:
    """401 and -2015."""
    answer = venue.ask_signed("GET", "/api/v3/account", {}, key="another-key")
    assert (answer.status, answer.body["code"]) == (401, -2015)


def test_a_wrong_signature_is_refused(venue: Venue) -> None:
    """-1022, in the query as in the body."""
    assert venue.ask_signed("GET", "/api/v3/account", {}, secret="wrong").body["code"] == -1022
    assert venue.ask_signed("POST", "/api/v3/order", MARKET_BUY, secret="wrong").body["code"] == -1022


def test_a_missing_signature_is_named(venue: Venue) -> None:
    """-1102 says which parameter is missing."""
    answer = venue.ask("GET", f"/api/v3/account?timestamp={time.time_ns()}", headers={"X-MBX-APIKEY": SIM_API_KEY})
    assert answer.body["code"] == -1102
    assert "'signature'" in answer.body["msg"]


@pytest.mark.parametrize(
    ("offset_ms", "recv_window", "expected"),
    [
        (0, 5_000, None),
        (-1_000, 5_000, None),
        (-50_000, 60_000, None),
        (500, 5_000, None),
        (-6_000, 5_000, "Timestamp for this request is outside of the recvWindow."),
        (-6_000, 60_000, None),
        (-600, 500, "Timestamp for this request is outside of the recvWindow."),
        (9_000, 60_000, "Timestamp for this request was 1000ms ahead of the server's time."),
        (0, 60_001, "'recvWindow' must be less than 60000."),
    ],
)
def test_a_timestamp_must_be_recent(venue: Venue, offset_ms: int, recv_window: int, expected: str | None) -> None:
    """Neither older than the window nor a second in the future."""
    params = {"timestamp": time.time_ns() // 1_000_000 + offset_ms, "recvWindow": recv_window}
    assert venue.ask_signed("GET", "/api/v3/account", params).body.get("msg") == expected


# ── malformed requests ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"symbol": None}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ({"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
        ({"symbol": "btc/usdt"}, -1100, "Illegal characters found in parameter 'symbol'"),
        ({"side": None}, -1102, "Mandatory parameter 'side' was not sent"),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "STOP"}, -1116, "Invalid orderType."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce' was not sent"),
        ({"price": None}, -1102, "Mandatory parameter 'price' was not sent"),
        ({"price": "abc"}, -1100, "Illegal characters found in parameter 'price'; legal range is '^([0-9]{1,20})"),
        ({"price": "-5"}, -1100, "Illegal characters found in parameter 'price'"),
        ({"price": "1e5"}, -1100, "Illegal characters found in parameter 'price'"),
        ({"quantity": ""}, -1105, "Parameter 'quantity' was empty."),
        ({"quantity": "0"}, -1130, "Data sent for parameter 'quantity' is not valid."),
        ({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "0.0000155"}, -1013, "Filter failure: LOT_SIZE"),
        ({"price": "50000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
        ({"newClientOrderId": "has space"}, -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        ({"newClientOrderId": "x" * 37}, -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        ({"newOrderRespType": "SOME"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
        ({"extra": "1"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but was sent '9'."),
        ({"type": "MARKET"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({"type": "MARKET", "timeInForce": None}, -1106, "Parameter 'price' sent when not required."),
        (
            {"type": "MARKET", "timeInForce": None, "price": None, "quantity": None},
            -1102,
            "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!",
        ),
        ({"type": "MARKET", "timeInForce": None, "price": None, "quoteOrderQty": "50"}, -1128, "Combination of"),
        ({"type": "LIMIT_MAKER"}, -1106, "Parameter 'timeInForce' sent when not required."),
    ],
)
def test_a_malformed_order_is_refused_in_words(venue: Venue, changes: dict[str, Any], code: int, text: str) -> None:
    """Status 400, Binance's code and words; nothing is placed."""
    params = {name: value for name, value in {**LIMIT_BUY, **changes}.items() if value is not None}
    before = len(venue.orders())
    answer = venue.ask_signed("POST", "/api/v3/order", params)
    assert (answer.status, answer.body["code"]) == (400, code)
    assert answer.body["msg"].startswith(text)
    assert len(venue.orders()) == before


def test_a_parameter_sent_twice_is_refused(venue: Venue) -> None:
    """-1101 names it."""
    answer = venue.ask("GET", "/api/v3/depth?symbol=BTCUSDT&symbol=ETHUSDT")
    assert (answer.body["code"], "'symbol'" in answer.body["msg"]) == (-1101, True)


@pytest.mark.parametrize(
    ("method", "path", "params", "code"),
    [
        ("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": 99_999}, -2011),
        ("DELETE", "/api/v3/order", {"symbol": "BTCUSDT"}, -1102),
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": 99_999}, -2013),
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "never"}, -2013),
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT"}, -1102),
        ("GET", "/api/v3/openOrders", {"symbol": "NOPE"}, -1121),
        ("GET", "/api/v3/allOrders", {}, -1102),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "limit": 1_001}, -1130),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "startTime": 1, "endTime": 86_400_002}, -1127),
    ],
)
def test_a_bad_question_is_refused(venue: Venue, method: str, path: str, params: dict[str, Any], code: int) -> None:
    """Each with its own code."""
    assert venue.ask_signed(method, path, params).body["code"] == code


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_answer_to_an_order_is_as_long_as_wanted(venue: Venue) -> None:
    """ACK has the ids only, RESULT the state, FULL the trades, and FULL is usual."""
    shapes = {
        kind: set(place(venue, {**MARKET_BUY, **({"newOrderRespType": kind} if kind else {})}))
        for kind in ("ACK", "RESULT", "FULL", "")
    }
    assert shapes["ACK"] == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert shapes["RESULT"] - shapes["ACK"] >= {"executedQty", "cummulativeQuoteQty", "status", "side"}
    assert shapes["FULL"] - shapes["RESULT"] == {"fills"}
    assert shapes[""] == shapes["FULL"]


def test_fills_and_trades_agree(venue: Venue) -> None:
    """The placement's fills, myTrades of the order and its cumulated amounts tell the same."""
    order = place(venue, {**MARKET_BUY, "quantity": "0.1"})
    query = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
    trades = venue.ask_signed("GET", "/api/v3/myTrades", query).body
    assert len(trades) > 1
    shared = ("price", "qty", "commission", "commissionAsset")
    assert [{name: trade[name] for name in shared} | {"tradeId": trade["id"]} for trade in trades] == order["fills"]
    stored = venue.ask_signed("GET", "/api/v3/order", query).body
    assert (stored["executedQty"], stored["status"]) == ("0.10000000", "FILLED")
    assert sum(float(trade["quoteQty"]) for trade in trades) == pytest.approx(float(stored["cummulativeQuoteQty"]))


def test_a_cancel_tells_both_names(venue: Venue) -> None:
    """The order's client id is `origClientOrderId`; the query still knows the order by it."""
    place(venue, {**LIMIT_BUY, "newClientOrderId": "to-cancel"})
    by_name = {"symbol": "BTCUSDT", "origClientOrderId": "to-cancel"}
    answer = venue.ask_signed("DELETE", "/api/v3/order", {**by_name, "newClientOrderId": "the-cancel"}).body
    assert (answer["origClientOrderId"], answer["clientOrderId"]) == ("to-cancel", "the-cancel")
    assert answer["status"] == "CANCELED"
    assert venue.ask_signed("GET", "/api/v3/order", by_name).body["clientOrderId"] == "to-cancel"


def test_open_orders_are_listed_by_symbol_and_all_together(venue: Venue) -> None:
    """Each list has the order until it is canceled."""
    order = place(venue, {**LIMIT_BUY, "symbol": "LTCUSDT", "price": "60", "quantity": "1"})
    for params in ({"symbol": "LTCUSDT"}, {}):
        listed = venue.ask_signed("GET", "/api/v3/openOrders", params).body
        assert ("LTCUSDT", order["orderId"]) in {(row["symbol"], row["orderId"]) for row in listed}
    venue.ask_signed("DELETE", "/api/v3/order", {"symbol": "LTCUSDT", "orderId": order["orderId"]})
    assert venue.ask_signed("GET", "/api/v3/openOrders", {"symbol": "LTCUSDT"}).body == []


def test_histories_come_in_pages(venue: Venue) -> None:
    """From an id on, from a time on, or the latest ones; the oldest first in each page."""
    order = {**MARKET_BUY, "symbol": "ADAUSDT", "quantity": "100"}
    ids = [place(venue, order)["orderId"] for _ in range(5)]

    def orders(**params: Any) -> list[int]:
        rows = venue.ask_signed("GET", "/api/v3/allOrders", {"symbol": "ADAUSDT", **params}).body
        return [row["orderId"] for row in rows]

    def trades(**params: Any) -> list[int]:
        rows = venue.ask_signed("GET", "/api/v3/myTrades", {"symbol": "ADAUSDT", **params}).body
        return [row["id"] for row in rows]

    assert orders() == ids
    assert orders(limit=2) == ids[-2:]
    assert orders(orderId=ids[1], limit=2) == ids[1:3]
    every = trades()
    assert every == list(range(1, len(every) + 1))
    assert trades(fromId=2, limit=2) == [2, 3]
    assert trades(startTime=0, limit=2) == [1, 2]
    assert trades(limit=2) == every[-2:]
    assert trades(startTime=time.time_ns() // 1_000_000 + 60_000) == []
    assert trades(endTime=1) == []


def test_balances_have_what_is_locked(venue: Venue) -> None:
    """An open sell locks its base, and the account says so."""
    order = place(venue, {**LIMIT_BUY, "symbol": "ETCUSDT", "side": "SELL", "price": "50", "quantity": "3"})
    account = venue.ask_signed("GET", "/api/v3/account", {}).body
    balance = next(row for row in account["balances"] if row["asset"] == "ETC")
    assert balance == {"asset": "ETC", "free": "797.00000000", "locked": "3.00000000"}
    assert venue.balances()["ETC"] == {"free": "797.00000000", "locked": "3.00000000"}
    assert account["commissionRates"]["taker"] == "0.00100000"
    venue.ask_signed("DELETE", "/api/v3/order", {"symbol": "ETCUSDT", "orderId": order["orderId"]})


def test_market_data_is_public_and_consistent(venue: Venue) -> None:
    """Depth begins with the book ticker, and everything is available without a key."""
    depth = venue.ask("GET", "/api/v3/depth?symbol=SOLUSDT&limit=5").body
    assert (len(depth["bids"]), len(depth["asks"])) == (5, 5)
    info = venue.ask("GET", "/api/v3/exchangeInfo").body
    assert len(info["symbols"]) == 24
    one = venue.ask("GET", "/api/v3/exchangeInfo?symbol=SOLUSDT").body["symbols"]
    assert one == [row for row in info["symbols"] if row["symbol"] == "SOLUSDT"]
    assert len(venue.ask("GET", "/api/v3/ticker/bookTicker").body) == 24
    asked_ms = time.time_ns() // 1_000_000
    assert asked_ms <= venue.ask("GET", "/api/v3/time").body["serverTime"] <= time.time_ns() // 1_000_000


def test_an_address_that_does_not_exist_is_not_json(venue: Venue) -> None:
    """An unknown path is a 404 with a page, whatever the method."""
    for method in ("GET", "POST"):
        answer = venue.ask(method, "/sapi/v1/system/status")
        assert (answer.status, answer.body[:6]) == (404, "<html>")


def test_a_test_order_places_nothing(venue: Venue) -> None:
    """It is checked like a real one."""
    before = len(venue.orders())
    assert venue.ask_signed("POST", "/api/v3/order/test", LIMIT_BUY).body == {}
    assert venue.ask_signed("POST", "/api/v3/order/test", {**LIMIT_BUY, "price": "1"}).body["code"] == -1013
    assert len(venue.orders()) == before


# ── levers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_market_can_be_moved(venue: Venue) -> None:
    """A resting order that the new price crosses is filled as maker."""
    place(venue, {**LIMIT_BUY, "symbol": "UNIUSDT", "price": "7", "quantity": "5", "newClientOrderId": "resting"})
    venue.move("UNIUSDT", "6.9")
    deadline = time.monotonic() + 60
    while (order := venue.order("resting")) and order["status"] != "FILLED" and time.monotonic() < deadline:
        pass
    trades = [trade for trade in venue.trades() if trade["symbol"] == "UNIUSDT"]
    assert order is not None
    assert order["status"] == "FILLED"
    assert {(trade["isMaker"], trade["price"]) for trade in trades} == {(True, "7.00000000")}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"symbol": "NOPE", "mid": "5"}', "there is no symbol NOPE"),
        (b'{"symbol": "BTCUSDT", "mid": "-5"}', "mid is -5; it must be between 0.01 and 1000000"),
        (b'{"symbol": "BTCUSDT", "mid": "NaN"}', "mid is NaN"),
        (b'{"symbol": "BTCUSDT"}', "Object missing required field `mid`"),
        (b"nonsense", "JSON is malformed"),
    ],
)
def test_a_wrong_move_is_refused(venue: Venue, body: bytes, complaint: str) -> None:
    """400, and the text says what to send."""
    answer = venue.ask("PUT", "/_sim/price", body)
    assert answer.status == 400
    assert answer.body["error"].startswith(complaint)


def test_transfers_change_what_is_free(venue: Venue) -> None:
    """A deposit adds and a withdrawal takes, to the last digit; looking shows it at once."""
    before = Decimal(venue.ask("GET", "/_sim/balances").body["USDT"]["free"])
    assert venue.ask("PUT", "/_sim/transfer", b'{"asset": "USDT", "amount": "-100.00000001"}').status == 200
    after = Decimal(venue.ask("GET", "/_sim/balances").body["USDT"]["free"])
    assert before - after == Decimal("100.00000001")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"asset": "USDT", "amount": "-99999999999"}', "is not free"),
        (b'{"asset": "XXX", "amount": "1"}', "there are"),
        (b'{"asset": "USDT", "amount": "0.000000001"}', "8 decimals"),
        (b'{"asset": "USDT", "amount": "nan"}', "number"),
        (b'{"asset": "USDT"}', "amount"),
    ],
)
def test_impossible_transfers_are_refused(venue: Venue, body: bytes, told: str) -> None:
    """With what is wrong, and nothing has changed."""
    before = venue.ask("GET", "/_sim/balances").body
    answer = venue.ask("PUT", "/_sim/transfer", body)
    assert answer.status == 400
    assert told in answer.body["error"]
    assert venue.ask("GET", "/_sim/balances").body == before


def test_requests_are_counted(venue: Venue) -> None:
    """The statistics know each address."""
    before = venue.ask("GET", "/_sim/stats").body["requests"].get("GET /api/v3/ping", 0)
    venue.ask("GET", "/api/v3/ping")
    assert venue.ask("GET", "/_sim/stats").body["requests"]["GET /api/v3/ping"] == before + 1


def test_answers_are_counted_by_status(venue: Venue) -> None:
    """What was refused, and what was not answered at all, is told by the venue itself."""
    before = Counter(venue.ask("GET", "/_sim/stats").body["answers"])
    venue.ask("GET", "/api/v3/ping")
    venue.ask("GET", "/api/v3/account")
    venue.set_faults({"close_connection": {"on": ["market"]}})
    with pytest.raises(ConnectionError):
        venue.ask("GET", "/api/v3/time")
    told = Counter(venue.ask("GET", "/_sim/stats").body["answers"])
    names = ("GET /api/v3/ping 200", "GET /api/v3/account 401", "GET /api/v3/time none")
    assert told - before == dict.fromkeys(names, 1)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_are_charged_and_enforced() -> None:
    """Headers count up by the documented weights; then come 429s that say how long to wait, then a ban."""
    with SimulatorProcess.start(arguments=["--weight-limit", "100"]) as process:
        venue = Venue(process)
        first = venue.ask_signed("GET", "/api/v3/account", {})
        assert first.headers["X-MBX-USED-WEIGHT-1M"] == "20"
        seen = []
        for _ in range(300):
            answer = venue.ask_signed("GET", "/api/v3/openOrders", {})
            seen.append(answer.status)
            if answer.status != 200:
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.body["code"] == -1003
            if answer.status == 418:
                break
        assert seen[-1] == 418
        assert seen.count(429) >= 10
        assert venue.ask("GET", "/_sim/orders").status == 200


def test_orders_are_counted_and_limited() -> None:
    """The header counts placed orders; the one too many is a 429 with -1015, and is not placed."""
    with SimulatorProcess.start(arguments=["--order-limit", "3"]) as process:
        venue = Venue(process)
        answers = [venue.ask_signed("POST", "/api/v3/order", LIMIT_BUY) for _ in range(12)]
        refused = [answer for answer in answers if answer.status != 200]
        placed = [answer for answer in answers if answer.status == 200]
        assert placed[0].headers["X-MBX-ORDER-COUNT-10S"] == "1"
        assert {(answer.status, answer.body["code"]) for answer in refused} == {(429, -1015)}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        assert len(venue.orders()) == len(placed) < 12
