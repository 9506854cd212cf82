"""Our client of Binance: nothing leaves for another host, nothing is sent twice, no number is a float."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import ccxt
import ccxt.async_support
import pytest

from exchange.binance import Binance, TraceRecord, make_binance
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.simulator.errors import INJECTABLE
from tests.exchange.conftest import Venue, connected, plainly_connected

NOWHERE = "http://127.0.0.1:9"
REAL = "https://api.binance.com/api/v3/order"


def client(**changes: Any) -> Binance:
    usual: dict[str, Any] = {
        "api_key": "a-key",
        "api_secret": "a-secret",
        "base_url": NOWHERE,
        "timeout_ms": 1_000,
        "recv_window_ms": 3_000,
        "rate_limit": False,
    }
    return make_binance(**{**usual, **changes})


def addresses(entry: Any) -> Iterator[str]:
    if isinstance(entry, dict):
        for value in entry.values():
            yield from addresses(value)
    elif isinstance(entry, str):
        yield entry


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("book", ["api", "test", "demo"])
def test_every_address_is_rewritten(book: str) -> None:
    """Scheme, host and port are ours and the path is ccxt's, in each entry that requests are built from."""
    ours, theirs = list(addresses(client().urls[book])), list(addresses(ccxt.async_support.binance().urls[book]))
    assert [urlsplit(url).path for url in ours] == [urlsplit(url).path for url in theirs]
    assert {url[: len(NOWHERE)] for url in ours} == {NOWHERE}
    assert len(ours) > 10


def test_without_a_base_url_the_real_addresses_stay() -> None:
    """Live trading goes where ccxt goes."""
    assert client(base_url=None).urls["api"] == ccxt.async_support.binance().urls["api"]


def test_the_sandbox_is_binance_s_testnet() -> None:
    """Orders go to the testnet's host."""
    assert client(base_url=None, sandbox=True).urls["api"]["private"] == "https://testnet.binance.vision/api/v3"


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "ftp://host", "http://", ""])
def test_a_base_url_that_is_none_is_refused(text: str) -> None:
    """The error shows what was given and how to write it."""
    with pytest.raises(ValueError, match="is not an address; write scheme, host and port like http://127"):
        client(base_url=text)


def test_no_request_leaves_for_another_host(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, trading, other families of addresses: all connections are to the simulator, no name is looked up."""
    connections: list[tuple[str, int]] = []
    connect = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def noted(loop: Any, sock: socket.socket, address: tuple[str, int]) -> None:
        connections.append(address[:2])
        await connect(loop, sock, address)

    def refused(host: str, *_rest: object) -> None:
        raise AssertionError(f"somebody looked up {host}")

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", noted)
    monkeypatch.setattr(socket, "getaddrinfo", refused)

    async def wander() -> None:
        async with connected(venue.base_url) as binance:
            await binance.load_markets()
            await binance.fetch_balance()
            for elsewhere in (
                "sapiGetSystemStatus",
                "sapiGetCapitalConfigGetall",
                "fapiPublicGetPing",
                "fapiPrivateV2GetBalance",
                "dapiPublicGetPing",
                "eapiPublicGetPing",
                "papiGetPing",
            ):
                with pytest.raises(ccxt.BaseError):
                    await getattr(binance, elsewhere)()

    asyncio.run(wander())
    assert set(connections) == {("127.0.0.1", venue.process.port)}


def test_an_address_set_later_is_stopped() -> None:
    """Even if somebody changes an entry afterwards, nothing is sent."""

    async def stray() -> None:
        async with connected(NOWHERE) as binance:
            binance.urls["api"]["public"] = "https://api.binance.com/api/v3"
            await binance.fetch_time()

    with pytest.raises(ConnectionRefusedError, match=r"https://api\.binance\.com is not http://127\.0\.0\.1:9"):
        asyncio.run(stray())


# ── settings of ccxt ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_ccxt_repeats_nothing_and_asks_for_spot_only() -> None:
    """The settings that facts and requirements rest on."""
    binance = client()
    assert binance.options["maxRetriesOnFailure"] == 0
    assert binance.options["fetchMarkets"]["types"] == ["spot"]
    assert (binance.options["fetchCurrencies"], binance.options["fetchMargins"]) == (False, False)
    assert binance.options["newOrderRespType"] == {"limit": "FULL", "market": "FULL"}
    assert (binance.options["recvWindow"], binance.timeout) == (3_000, 1_000)


def test_a_broken_connection_is_not_retried() -> None:
    """A cancel on a kept-alive connection that breaks is seen once by the server, and fails."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answered in (True, False):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.append(head.split(" ", 1)[0])
            if answered:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def cancel_twice() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, connected(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as binance:
            await binance.publicGetPing()
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await binance.privateDeleteOrder({"symbol": "BTCUSDT", "orderId": 1})

    asyncio.run(cancel_twice())
    assert seen == ["GET", "DELETE"]


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_error_table_is_that_of_the_real_host() -> None:
    """A rewritten address leads to the same table as the real one, for spot and for the others."""
    plain = ccxt.async_support.binance()
    ours = client()
    for name, original in plain.urls["api"].items():
        if urlsplit(original).path == "/futures/data":
            continue  # of two hosts, and without errors of its own
        for kind in ("exact", "broad"):
            expected = plain.get_exceptions_by_url(f"{original}/x", kind)
            assert ours.get_exceptions_by_url(f"{ours.urls['api'][name]}/x", kind) == expected
    assert ours.get_exceptions_by_url(REAL, "exact") == plain.get_exceptions_by_url(REAL, "exact") != {}


ERRORS = {
    -1003: ccxt.DDoSProtection,
    -1013: ccxt.BadRequest,  # NOTIONAL; LOT_SIZE, PRICE_FILTER and PERCENT_PRICE_BY_SIDE are InvalidOrder
    -1015: ccxt.DDoSProtection,
    -1021: ccxt.InvalidNonce,
    -1022: ccxt.AuthenticationError,
    -1102: ccxt.BadRequest,
    -1111: ccxt.BadRequest,
    -1121: ccxt.BadSymbol,
    -2010: ccxt.InsufficientFunds,
    -2014: ccxt.AuthenticationError,
    -2015: ccxt.AuthenticationError,
}


@pytest.mark.parametrize("code", sorted(INJECTABLE))
def test_each_definite_refusal_has_its_class(venue: Venue, code: int) -> None:
    """What a caller may take for proof that no order was placed."""
    venue.set_faults({"reject": {"codes": [code]}})
    assert (
        type(asyncio.run(caught(venue, lambda b: b.create_order("BTC/USDT", "market", "buy", "0.001")))) is ERRORS[code]
    )


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (lambda b: b.create_order("BTC/USDT", "limit", "buy", "10", "60000"), ccxt.InsufficientFunds),
        (lambda b: b.create_order("BTC/USDT", "limit", "buy", "0.001", "1"), ccxt.InvalidOrder),
        (
            lambda b: b.create_order("BTC/USDT", "limit", "buy", "0.001", "90000", {"postOnly": True}),
            ccxt.OrderImmediatelyFillable,
        ),
        (lambda b: b.create_order("BTC/USDT", "limit", "buy", "0.001", "60000", {"timeInForce": "X"}), ccxt.BadRequest),
        (lambda b: b.create_order("BTC/USDT", "market", "buy", "0.001", None, {"extra": 1}), ccxt.BadRequest),
        (lambda b: b.create_order("NO/USDT", "market", "buy", "0.001"), ccxt.BadSymbol),
        (lambda b: b.cancel_order("999999", "BTC/USDT"), ccxt.OrderNotFound),
        (lambda b: b.fetch_order("999999", "BTC/USDT"), ccxt.OrderNotFound),
    ],
)
def test_a_real_refusal_has_its_class(
    venue: Venue, question: Callable[[Binance], Any], expected: type[Exception]
) -> None:
    """The simulator's own refusals lead to the same classes."""
    assert type(asyncio.run(caught(venue, question))) is expected


def test_a_duplicate_is_an_invalid_order_with_those_words(venue: Venue) -> None:
    """It does not mean that nothing was placed: the first one is alive."""

    async def twice() -> Exception:
        async with connected(venue.base_url) as binance:
            order = ("BTC/USDT", "limit", "buy", "0.001", "50000", {"newClientOrderId": "twice"})
            await binance.create_order(*order)
            with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent") as error:
                await binance.create_order(*order)
            await binance.cancel_order(None, "BTC/USDT", {"origClientOrderId": "twice"})
            return error.value

    assert type(asyncio.run(twice())) is ccxt.InvalidOrder


@pytest.mark.parametrize(("key", "secret"), [("another-key", SIM_API_SECRET), (SIM_API_KEY, "another-secret")])
def test_wrong_credentials_are_an_authentication_error(venue: Venue, key: str, secret: str) -> None:
    """A wrong key as well as a wrong secret."""
    question = caught(venue, lambda b: b.fetch_balance(), api_key=key, api_secret=secret)
    assert type(asyncio.run(question)) is ccxt.AuthenticationError


async def caught(venue: Venue, question: Callable[[Binance], Any], **changes: Any) -> Exception:
    async with connected(venue.base_url, **changes) as binance:
        await binance.load_markets()
        with pytest.raises(ccxt.BaseError) as error:
            await question(binance)
        return error.value


# ── trading, with our class and with ccxt's own ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("connect", [connected, plainly_connected])
def test_a_day_of_trading(venue: Venue, connect: Callable[[str], Any]) -> None:
    """Every function that a client needs, against the same server."""
    asyncio.run(trade(venue, connect))


async def trade(venue: Venue, connect: Callable[[str], Any]) -> None:
    async with connect(venue.base_url) as binance:
        markets = await binance.load_markets()
        assert len(markets) == 24
        quote = (await binance.fetch_bids_asks(["ETH/USDT"]))["ETH/USDT"]
        ask, above = str(quote["ask"]), str(float(quote["ask"]) + 3)

        taken = await binance.create_order("ETH/USDT", "limit", "buy", "0.01", above, {"timeInForce": "IOC"})
        assert (taken["status"], float(taken["filled"])) == ("closed", 0.01)
        assert (await binance.create_order("ETH/USDT", "market", "sell", "0.01"))["status"] == "closed"
        whole = await binance.create_order("ETH/USDT", "limit", "buy", "0.01", above, {"timeInForce": "FOK"})
        assert whole["status"] == "closed"
        part = await binance.create_order("ETH/USDT", "limit", "buy", "5", ask, {"timeInForce": "IOC"})
        assert part["status"] == "expired"

        name = f"rests{id(binance)}"
        params = {"newClientOrderId": name, "postOnly": True}
        resting = await binance.create_order("ETH/USDT", "limit", "buy", "0.01", "2500", params)
        assert (resting["status"], resting["clientOrderId"]) == ("open", name)
        for found in (
            await binance.fetch_order(resting["id"], "ETH/USDT"),
            await binance.fetch_order(None, "ETH/USDT", {"origClientOrderId": name}),
            *[order for order in await binance.fetch_open_orders("ETH/USDT") if order["id"] == resting["id"]],
            *[order for order in await binance.fetch_open_orders() if order["clientOrderId"] == name],
        ):
            assert (found["id"], found["clientOrderId"], found["status"]) == (resting["id"], name, "open")
        locked = (await binance.fetch_balance())["used"]["USDT"]
        assert float(locked) >= 25
        assert (await binance.cancel_order(resting["id"], "ETH/USDT"))["status"] == "canceled"
        assert (await binance.fetch_order(resting["id"], "ETH/USDT"))["status"] == "canceled"
        trades = await binance.fetch_my_trades("ETH/USDT", None, 1000, {"orderId": taken["id"]})
        assert sum(float(row["amount"]) for row in trades) == pytest.approx(0.01)
        assert resting["id"] in {order["id"] for order in await binance.fetch_orders("ETH/USDT")}


def test_an_answer_carries_its_trades_with_ids_and_fees(venue: Venue) -> None:
    """Placing, and myTrades afterwards, tell the same ids, amounts and fees, as exact texts."""

    async def ask() -> tuple[Any, Any]:
        async with connected(venue.base_url) as binance:
            await binance.load_markets()
            order = await binance.create_order("BTC/USDT", "market", "buy", "0.08")
            return order, await binance.fetch_my_trades("BTC/USDT", None, 1000, {"orderId": order["id"]})

    order, trades = asyncio.run(ask())
    assert len(trades) > 1
    for name in ("id", "price", "amount", "fee"):
        assert [trade[name] for trade in order["trades"]] == [trade[name] for trade in trades]
    assert all(isinstance(trade[name], str) for trade in trades for name in ("price", "amount", "cost"))
    assert all(Decimal(trade["fee"]["cost"]) > 0 for trade in trades)
    assert sum(Decimal(trade["amount"]) for trade in trades) == Decimal(order["filled"]) == Decimal("0.08")


def test_no_number_is_a_float(venue: Venue) -> None:
    """Markets, balances, tickers, orders and trades hold texts and whole numbers only."""

    async def ask() -> list[Any]:
        async with connected(venue.base_url) as binance:
            markets = await binance.load_markets()
            return [
                {name: market[name] for market in markets.values() for name in ("precision", "limits")},
                await binance.fetch_balance(),
                await binance.fetch_bids_asks(),
                await binance.create_order("ETH/USDT", "market", "buy", "0.01"),
                await binance.fetch_orders("ETH/USDT"),
                await binance.fetch_my_trades("ETH/USDT"),
            ]

    assert list(floats(asyncio.run(ask()))) == []


def floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from floats(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from floats(entry)


# ── traces ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_exchange_is_traced_without_secrets(venue: Venue) -> None:
    """Method, path, parameters, latency, status, headers and size; no key, secret or signature."""
    records, ticks = [], iter(range(1_000, 9_000, 7))

    async def ask() -> None:
        async with connected(venue.base_url, on_exchange=records.append, clock_ns=lambda: next(ticks)) as binance:
            await binance.load_markets()
            await binance.create_order("BTC/USDT", "market", "buy", "0.001", None, {"newClientOrderId": "traced"})
            with pytest.raises(ccxt.OrderNotFound):
                await binance.fetch_order("999999", "BTC/USDT")

    asyncio.run(ask())
    assert [(record.method, record.path, record.status, record.error) for record in records] == [
        ("GET", "/api/v3/exchangeInfo", 200, ""),
        ("POST", "/api/v3/order", 200, ""),
        ("GET", "/api/v3/order", 400, "OrderNotFound"),
    ]
    placement = records[1]
    assert "newClientOrderId=traced" in placement.params
    assert (placement.at_ns, placement.latency_ns) == (1_014, 7)
    assert (placement.order_count or 0) > 0
    assert (placement.used_weight or 0) > 0
    assert placement.size > 300
    everything = repr(records)
    assert "signature" not in everything
    assert SIM_API_KEY not in everything
    assert SIM_API_SECRET not in everything


def test_a_failure_without_an_answer_is_traced() -> None:
    """The exception's class stands in for the status."""
    records: list[TraceRecord] = []

    async def ask() -> None:
        async with connected(NOWHERE, on_exchange=records.append) as binance:
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await binance.fetch_time()

    asyncio.run(ask())
    assert [(record.status, record.error, record.path) for record in records] == [
        (None, "ExchangeNotAvailable", "/api/v3/time")
    ]


def test_retry_after_is_traced(venue: Venue) -> None:
    """A 429 says how long to wait."""
    records: list[TraceRecord] = []
    venue.set_faults({"reject": {"codes": [-1015]}})

    async def ask() -> None:
        async with connected(venue.base_url, on_exchange=records.append) as binance:
            await binance.load_markets()
            with pytest.raises(ccxt.DDoSProtection):
                await binance.create_order("BTC/USDT", "market", "buy", "0.001")

    asyncio.run(ask())
    assert (records[-1].status, records[-1].retry_after_s) == (429, 1)
