"""A running simulator for the tests of a module, and the ways to talk to it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

import ccxt.async_support
import pytest

from exchange.binance import Binance, make_binance
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.simulator.process import SimulatorProcess

UNLIMITED = ("--weight-limit", "0", "--order-limit", "0")


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any
    """Of its JSON; the text where it is none."""


class Venue:
    """A running simulator, its levers and its truth."""

    def __init__(self, process: SimulatorProcess, timeout_s: float = 30) -> None:
        self.process = process
        self.timeout_s = timeout_s
        self.base_url = process.base_url

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, _parsed(answer.read()))
        finally:
            connection.close()

    def ask_signed(
        self, method: str, path: str, params: Mapping[str, Any], *, key: str = SIM_API_KEY, secret: str = SIM_API_SECRET
    ) -> Answer:
        """With the present time, unless `params` have a `timestamp`."""
        text = urlencode({"timestamp": time.time_ns() // 1_000_000, **params})
        text += "&signature=" + hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if method == "POST":
            return self.ask(method, path, text.encode(), {"X-MBX-APIKEY": key})
        return self.ask(method, f"{path}?{text}", headers={"X-MBX-APIKEY": key})

    def place(self, name: str, **changes: Any) -> Answer:
        """A buy of 0.001 BTC that rests far below the market."""
        usual = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "50000"}
        return self.ask_signed(
            "POST", "/api/v3/order", {**usual, "quantity": "0.001", "newClientOrderId": name, **changes}
        )

    def cancel(self, name: str) -> Answer:
        return self.ask_signed("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": name})

    def look_up(self, name: str) -> Answer:
        return self.ask_signed("GET", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": name})

    def read(self, path: str, **params: Any) -> Any:
        """What a list or the account of Bitcoin shows."""
        symbol = {} if path == "account" else {"symbol": "BTCUSDT"}
        return self.ask_signed("GET", f"/api/v3/{path}", {**symbol, **params}).body

    def set_faults(self, rules: Mapping[str, Any]) -> Answer:
        return self.ask("PUT", "/_sim/faults", json.dumps(rules).encode())

    def move(self, symbol: str, mid: str) -> None:
        assert self.ask("PUT", "/_sim/price", json.dumps({"symbol": symbol, "mid": mid}).encode()).status == 200

    def orders(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/_sim/orders").body)

    def trades(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/_sim/trades").body)

    def balances(self) -> dict[str, dict[str, str]]:
        return dict(self.ask("GET", "/_sim/balances").body)

    def order(self, client_order_id: str) -> dict[str, Any] | None:
        return next((order for order in self.orders() if order["clientOrderId"] == client_order_id), None)

    def best(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Bid and ask."""
        ticker = self.ask("GET", f"/api/v3/ticker/bookTicker?symbol={symbol}").body
        return Decimal(ticker["bidPrice"]), Decimal(ticker["askPrice"])


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """One simulator for the module, without limits."""
    state = tmp_path_factory.mktemp("venue") / "venue.journal"
    with SimulatorProcess.start(state=state, seed=7, arguments=UNLIMITED) as process:
        yield Venue(process)


@pytest.fixture
def venue(running: Venue) -> Iterator[Venue]:
    """The module's simulator, well-behaved before and after the test."""
    running.ask("DELETE", "/_sim/faults")
    yield running
    running.ask("DELETE", "/_sim/faults")


@asynccontextmanager
async def connected(base_url: str, **changes: Any) -> AsyncIterator[Binance]:
    """Our client, connected to a simulator; `changes` replace arguments of `make_binance`."""
    usual: dict[str, Any] = {
        "api_key": SIM_API_KEY,
        "api_secret": SIM_API_SECRET,
        "base_url": base_url,
        "timeout_ms": 30_000,
        "recv_window_ms": 5_000,
        "rate_limit": False,
    }
    client = make_binance(**{**usual, **changes})
    client.timeout_on_exit = 0
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def plainly_connected(base_url: str) -> AsyncIterator[Any]:
    """ccxt's own class, of which nothing but addresses and options is changed."""
    client = ccxt.async_support.binance(
        {
            "apiKey": SIM_API_KEY,
            "secret": SIM_API_SECRET,
            "enableRateLimit": False,
            "options": {
                "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False,
                "fetchMargins": False,
                "warnOnFetchOpenOrdersWithoutSymbol": False,
            },
        }
    )
    client.urls["api"] = dict.fromkeys(client.urls["api"], f"{base_url}/api/v3")
    client.timeout_on_exit = 0
    try:
        yield client
    finally:
        await client.close()
