"""One account at one venue, through one ccxt client: place, cancel, look up, read.

Each order function of ccxt is called exactly once per request; nothing here repeats a request. No method raises for
what the venue does: it returns a type that says what the caller must do (`core/reports.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec

from core.errors import StartupFailed, VenueSilent
from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId, TradeId
from core.intent import Side, TimeInForce
from core.market import MarketRules, Quote
from core.money import ZERO, floor_to, text
from core.records import AttemptRecord
from core.reports import (
    NotPlaced,
    OpenOrder,
    OrderAbsent,
    OrderSnapshot,
    OrderStatus,
    OutcomeUnknown,
    QueryFailed,
    Report,
    Trade,
)
from core.settings import Mode, Settings
from exchange import credentials, outcomes
from exchange.binance import TraceRecord, make_binance
from exchange.filters import market_rules
from exchange.masking import mask

SERVER_ERRORS_FROM = 500
KEY_IS_CHECKED = frozenset({Mode.LIVE, Mode.OBSERVE})
"""Modes on the exchange itself, which tells what a key may do; the testnet does not."""
TRADES_PAGE = 1000
ORDERS_PAGE = 1000
SLOT_TIMEOUT_S = 4.0
"""The longest wait of an order for its turn."""
TAKER_FEE_USUAL = Decimal("0.001")
IN_FLIGHT_MAX = 32
"""Requests on the wire at one time, for orders and for questions each. What waits here has not been sent, so its
time-out has not begun, and no number of questions holds an order or a cancel up."""
QUOTE_GRID = Decimal("1e-8")
"""Binance states quote amounts with 8 decimals, truncated."""

STATUSES: dict[str, OrderStatus] = {
    "NEW": OrderStatus.OPEN,
    "PENDING_NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "PENDING_CANCEL": OrderStatus.OPEN,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
"""Binance's words."""

_last_trace: ContextVar[TraceRecord | None] = ContextVar("last_trace", default=None)
"""The HTTP exchange that belongs to the running request; each request is a task of its own."""


Read = TypeVar("Read")


class TradesPage(NamedTuple):
    trades: tuple[Trade, ...] | QueryFailed
    complete: bool


class OrdersPage(NamedTuple):
    orders: tuple[OpenOrder, ...] | QueryFailed
    complete: bool


class RawOrdersPage(NamedTuple):
    orders: list[dict[str, Any]]
    next_id: int | None
    """Where the next page begins; None after the last."""


class Account(NamedTuple):
    """What a start needs to know."""

    markets: dict[str, MarketRules]
    """By symbol; the spot markets that can be traded."""
    totals: dict[str, Decimal]
    """By currency, free and locked together."""


class VenueClient:
    """Bound to the event loop that first awaits it."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        write_trace: Callable[[str], None],
        now_ns: Callable[[], int],
    ) -> None:
        """`write_trace` gets one JSON line per HTTP request; `now_ns` is the clock, ns UTC. Raises `SettingsError`."""
        keys = credentials.load(settings, environment, credentials.simulator_credentials(environment))
        self._secrets = (keys.api_key, keys.api_secret)
        self._settings = settings
        self._now_ns = now_ns
        self._order_slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._read_slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._write_trace = write_trace
        mode = settings.engine.mode
        self._ccxt = make_binance(
            api_key=keys.api_key,
            api_secret=keys.api_secret,
            base_url=settings.exchange.base_url or None,
            timeout_ms=settings.exchange.timeout_ms,
            recv_window_ms=settings.exchange.recv_window_ms,
            sandbox=mode is Mode.TESTNET and not settings.exchange.base_url,
            rate_limit=mode is not Mode.SIM,
            clock_ns=now_ns,
            on_exchange=self._trace,
        )

    async def start(self) -> Account:
        """Load markets and the account. Raises `StartupFailed` with what is wrong; `VenueSilent` if it may pass."""
        try:
            await self._ccxt.load_markets()
            account = await self._ccxt.fetch_balance()
            if self._settings.engine.mode in KEY_IS_CHECKED:
                await self._refuse_withdrawing_key()
            taker = _commission(account)
            found = (market_rules(market, taker) for market in self._ccxt.markets.values())
            markets = {rules.symbol: rules for rules in found if rules is not None}
            totals = _totals(account, self._ccxt.safe_currency_code)
        except StartupFailed:
            raise
        except Exception as error:
            if outcomes.may_pass(error, address_is_given=bool(self._settings.exchange.base_url)):
                raise VenueSilent(f"the venue does not answer ({self._explain(error)})") from None
            raise StartupFailed(f"the venue cannot be used: {self._explain(error)}; check address and keys") from None
        if not markets:
            raise StartupFailed("the venue lists no market that can be traded; check exchange.base_url")
        return Account(markets, totals)

    async def _refuse_withdrawing_key(self) -> None:
        """S2: a key that can take money out has no place on a machine that only trades."""
        allowed = await self._ccxt.sapi_get_account_apirestrictions()
        if str(allowed.get("enableWithdrawals")).lower() != "false":
            raise StartupFailed("this API key may withdraw; make one that may only read and trade, and delete this one")

    async def close(self) -> None:
        await self._ccxt.close()

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def place(self, attempt: AttemptRecord, blocked: Callable[[], NotPlaced | None]) -> Report:
        """Send the order, once, unless `blocked` says in the last moment why not.

        The time that the request claims for itself is taken before `blocked` is asked. However long this process is
        stopped after that: what leaves too late is refused by the venue.
        """
        _last_trace.set(None)
        try:
            if self._order_slots.locked():
                await asyncio.wait_for(self._order_slots.acquire(), SLOT_TIMEOUT_S)
            else:  # does not wait, and needs no task and timer for it
                await self._order_slots.acquire()
        except TimeoutError:
            return NotPlaced(
                client_order_id=attempt.client_order_id,
                code="STALE",
                reason="too many requests are on the wire; nothing was sent",
                retryable=True,
            )
        try:
            return await self._send(attempt, blocked)
        finally:
            self._order_slots.release()

    async def _send(self, attempt: AttemptRecord, blocked: Callable[[], NotPlaced | None]) -> Report:
        try:
            order = self._order_of(attempt) | {"timestamp": self._ccxt.nonce()}
            refused = blocked()
            if refused is not None:
                return refused
            answer = await self._ccxt.private_post_order(order)
        except Exception as error:
            return self._placement_failure(error, attempt.client_order_id)
        try:
            report = _placed(answer, attempt.client_order_id, self._ccxt.safe_currency_code)
        except Exception as error:  # the venue answered, with something nobody has foreseen
            return OutcomeUnknown(client_order_id=attempt.client_order_id, reason=self._explain(error))
        if report is None:
            return OutcomeUnknown(
                client_order_id=attempt.client_order_id, reason="the answer names neither the order nor our id"
            )
        if self._settings.router.fetch_order_on_fill and report.filled_qty > 0:
            again = await self.look_up(attempt)
            return again if isinstance(again, OrderSnapshot) else report
        return report

    def _order_of(self, attempt: AttemptRecord) -> dict[str, Any]:
        """The order in the venue's own words, exactly as it is on disk: nothing in between rounds or adds to it."""
        order = {
            "symbol": str(self._ccxt.market_id(attempt.symbol)),
            "side": str(attempt.side).upper(),
            "quantity": text(attempt.qty),
            "price": text(attempt.price),
            "newClientOrderId": attempt.client_order_id,
            "newOrderRespType": "FULL",  # the answer then carries the trades
        }
        if attempt.tif is TimeInForce.PO:
            return order | {"type": "LIMIT_MAKER"}
        return order | {"type": "LIMIT", "timeInForce": str(attempt.tif)}

    async def cancel(self, attempt: AttemptRecord) -> str:
        """Ask for the cancel and return the venue's words. They prove nothing: look the order up."""
        try:
            async with self._order_slots:
                await self._ccxt.cancel_order(None, attempt.symbol, {"origClientOrderId": attempt.client_order_id})
        except Exception as error:
            return self._explain(error)
        return "accepted"

    async def look_up(self, attempt: AttemptRecord) -> OrderSnapshot | OrderAbsent | QueryFailed:
        """How the order stands, with its trades if it has any."""
        try:
            wanted = {"symbol": self._ccxt.market_id(attempt.symbol), "origClientOrderId": attempt.client_order_id}
            async with self._read_slots:
                order = await self._ccxt.private_get_order(wanted)
            report = _looked_up(order, attempt.client_order_id)
            if report is None:
                return QueryFailed(reason="the answer names neither the order nor our id")
            if report.filled_qty == 0:
                return report
            return msgspec.structs.replace(report, trades=await self._trades_of(report, attempt.symbol))
        except Exception as error:
            return outcomes.lookup_failure(error, attempt.client_order_id, self._explain(error))

    async def _trades_of(self, report: OrderSnapshot, symbol: str) -> tuple[Trade, ...]:
        """Every trade of an order, page by page. Raises what ccxt raises."""
        found: list[Trade] = []
        params: dict[str, Any] = {"orderId": report.exchange_order_id}
        while True:
            async with self._read_slots:
                page = await self._list_trades(symbol, params)
            found += page
            if len(page) < TRADES_PAGE:
                return tuple(found)
            params["fromId"] = int(found[-1].trade_id) + 1

    async def _list_trades(self, symbol: str, params: dict[str, Any]) -> tuple[Trade, ...]:
        """One page in the venue's own words: ccxt's form of a thousand takes 30 ms, and everybody waits meanwhile."""
        asked = {"symbol": self._ccxt.market_id(symbol), "limit": TRADES_PAGE} | params
        rows = _rows(await self._ccxt.private_get_mytrades(asked))
        return tuple(_listed(row, self._ccxt.safe_currency_code) for row in rows)

    async def _list_orders(self, symbol: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """One page, open or not, in the venue's own words: ccxt leaves out what it cannot place in time."""
        asked = {"symbol": self._ccxt.market_id(symbol), "limit": ORDERS_PAGE} | params
        return _rows(await self._ccxt.private_get_allorders(asked))

    # ── reads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def quote(self, symbol: str) -> Quote | QueryFailed:
        """Best bid and ask."""

        def parse(tickers: Any) -> Quote | QueryFailed:
            entry = tickers.get(symbol) or {}
            bid, ask = _amount(entry.get("bid") or ZERO), _amount(entry.get("ask") or ZERO)
            if bid <= 0 or ask <= 0:
                return QueryFailed(reason=f"the venue has no bid and ask for {symbol}")
            return Quote(bid, ask, self._now_ns())

        return await self._read(lambda: self._ccxt.fetch_bids_asks([symbol]), parse)

    async def open_orders(self, symbol: str | None) -> tuple[OpenOrder, ...] | QueryFailed:
        """Every open order of the symbol or, without one, of the account; ours or not."""

        async def ask() -> Any:
            return await self._ccxt.private_get_openorders({"symbol": self._ccxt.market_id(symbol)} if symbol else {})

        return await self._read(ask, lambda found: tuple(map(self._line, _rows(found))))

    async def trades(self, symbol: str, from_trade_id: TradeId | None, since_ns: int) -> TradesPage:
        """Own trades from an id (inclusive) or a time, oldest first, one page.

        About what is no market nothing can be asked, and that is no answer: it may have been one, with trades.
        """
        if self._ccxt.markets is not None and symbol not in self._ccxt.markets:
            failed = QueryFailed(reason=f"{symbol} is no market of the venue", is_no_market=True)
            return TradesPage(failed, complete=False)
        params = {"fromId": from_trade_id} if from_trade_id else {"startTime": since_ns // NS_PER_MS}

        def parse(found: Any) -> TradesPage:
            by_id = {int(trade.trade_id): trade for trade in found}
            return TradesPage(tuple(by_id[key] for key in sorted(by_id)), complete=len(found) < TRADES_PAGE)

        page = await self._read(lambda: self._list_trades(symbol, params), parse)
        return TradesPage(page, complete=False) if isinstance(page, QueryFailed) else page

    async def all_orders(self, symbol: str, from_id: int) -> RawOrdersPage | QueryFailed:
        """The venue's own records of every order of the symbol from an order id on, oldest first, one page."""

        def parse(records: list[dict[str, Any]]) -> RawOrdersPage:
            full = len(records) == ORDERS_PAGE
            return RawOrdersPage(records, max(int(record["orderId"]) for record in records) + 1 if full else None)

        return await self._read(lambda: self._list_orders(symbol, {"orderId": from_id}), parse)

    async def orders(self, symbol: str, from_order_id: ExchangeOrderId | None, since_ns: int) -> OrdersPage:
        """Every order of the symbol from an id (inclusive) or a time, whatever became of it; oldest first, one page."""
        params = {"orderId": from_order_id} if from_order_id else {"startTime": since_ns // NS_PER_MS}

        def parse(found: list[dict[str, Any]]) -> OrdersPage:
            by_id = {int(row["orderId"]): self._line(row) for row in found}
            return OrdersPage(tuple(by_id[key] for key in sorted(by_id)), complete=len(found) < ORDERS_PAGE)

        page = await self._read(lambda: self._list_orders(symbol, params), parse)
        return OrdersPage(page, complete=False) if isinstance(page, QueryFailed) else page

    async def balances(self) -> dict[str, Decimal] | QueryFailed:
        """Totals by currency, free and locked together; zeros are left out."""
        return await self._read(
            self._ccxt.fetch_balance, lambda account: _totals(account, self._ccxt.safe_currency_code)
        )

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(
        self, question: Callable[[], Awaitable[Any]], parse: Callable[[Any], Read | QueryFailed]
    ) -> Read | QueryFailed:
        """The parsed answer. An answer that cannot be parsed is none."""
        try:
            async with self._read_slots:
                return parse(await question())
        except Exception as error:
            return QueryFailed(reason=self._explain(error))

    def _line(self, row: Mapping[str, Any]) -> OpenOrder:
        return _open(row, self._ccxt.safe_symbol)

    def _placement_failure(self, error: Exception, client_order_id: ClientOrderId) -> NotPlaced | OutcomeUnknown:
        trace = _last_trace.get()
        if trace is not None and trace.status is not None and trace.status >= SERVER_ERRORS_FROM:
            # whatever code the body holds: "execution status is UNKNOWN" is what a 5xx means at the venue
            return OutcomeUnknown(client_order_id=client_order_id, reason=self._explain(error))
        return outcomes.placement_failure(
            error, client_order_id, self._explain(error), trace.retry_after_s if trace is not None else 0
        )

    def _explain(self, error: BaseException) -> str:
        """The error's class and words, without secrets: ccxt's texts carry the full signed address."""
        return outcomes.shorten(mask(f"{type(error).__name__}: {error}", self._secrets))

    def _trace(self, record: TraceRecord) -> None:
        _last_trace.set(record)
        self._write_trace(mask(msgspec.json.encode(record).decode(), self._secrets))


def _placed(answer: Any, client_order_id: ClientOrderId, currency: Callable[[str], str]) -> OrderSnapshot | None:
    """From the venue's answer to a placement. None when it does not prove to be about our order."""
    if not isinstance(answer, Mapping) or answer.get("clientOrderId") != client_order_id or not answer.get("orderId"):
        return None
    status = STATUSES.get(str(answer.get("status")))
    if status is None:
        return None
    order_id = ExchangeOrderId(str(answer["orderId"]))
    venue_ns = int(answer["transactTime"]) * NS_PER_MS
    return OrderSnapshot(
        client_order_id=client_order_id,
        exchange_order_id=order_id,
        status=status,
        venue_status=str(answer["status"]),
        filled_qty=_amount(answer["executedQty"]),
        trades=tuple(_fill(fill, order_id, venue_ns, currency) for fill in answer.get("fills") or ()),
        source="placement",
    )


def _looked_up(order: Any, client_order_id: ClientOrderId) -> OrderSnapshot | None:
    """From the venue's own record, which carries no trades. None when it does not prove to be about our order.

    Not from ccxt's form of it: where the record lacks how much is filled, ccxt says nothing is.
    """
    if not isinstance(order, Mapping) or order.get("clientOrderId") != client_order_id or not order.get("orderId"):
        return None
    status = STATUSES.get(str(order.get("status")))
    if status is None:
        return None
    return OrderSnapshot(
        client_order_id=client_order_id,
        exchange_order_id=ExchangeOrderId(str(order["orderId"])),
        status=status,
        venue_status=str(order["status"]),
        filled_qty=_amount(order["executedQty"]),
        trades=(),
        source="lookup",
    )


def _rows(answer: Any) -> list[dict[str, Any]]:
    """A list of the venue. Raises for anything else: an empty body is no empty list."""
    if not isinstance(answer, list):
        raise TypeError("the answer is no list")
    return answer


def _open(row: Mapping[str, Any], symbol: Callable[[str], str]) -> OpenOrder:
    """A line of the venue's own list of orders. Raises for a status that we do not know."""
    return OpenOrder(
        client_order_id=ClientOrderId(str(row["clientOrderId"])),
        exchange_order_id=ExchangeOrderId(str(row["orderId"])),
        symbol=symbol(str(row["symbol"])),
        filled_qty=_amount(row["executedQty"]),
        status=STATUSES[str(row["status"])],
        venue_status=str(row["status"]),
    )


def _fill(fill: Mapping[str, Any], order_id: ExchangeOrderId, venue_ns: int, currency: Callable[[str], str]) -> Trade:
    """A trade within the answer to a placement, which states neither its quote amount nor its own time.

    It is a taker's: a maker's comes later, when the order rests.
    """
    qty, price = _amount(fill["qty"]), _amount(fill["price"])
    return Trade(
        trade_id=TradeId(str(fill["tradeId"])),
        exchange_order_id=order_id,
        qty=qty,
        price=price,
        quote_qty=floor_to(qty * price, QUOTE_GRID),
        fee=_amount(fill["commission"]),
        fee_currency=currency(fill["commissionAsset"]),
        maker=False,
        venue_ns=venue_ns,
    )


def _listed(trade: Mapping[str, Any], currency: Callable[[str], str]) -> Trade:
    """A line of the venue's own list of trades."""
    return Trade(
        trade_id=TradeId(str(trade["id"])),
        exchange_order_id=ExchangeOrderId(str(trade["orderId"])),
        qty=_amount(trade["qty"]),
        price=_amount(trade["price"]),
        quote_qty=_amount(trade["quoteQty"]),
        fee=_amount(trade["commission"]),
        fee_currency=currency(trade["commissionAsset"]),
        maker=bool(trade["isMaker"]),
        venue_ns=int(trade["time"]) * NS_PER_MS,
        side=Side.BUY if trade["isBuyer"] else Side.SELL,
    )


def _totals(account: Mapping[str, Any], currency: Callable[[str], str]) -> dict[str, Decimal]:
    """From the venue's own list: ccxt makes an empty account of an answer that has none."""
    rows = account["info"]["balances"]
    totals = {currency(row["asset"]): _amount(row["free"]) + _amount(row["locked"]) for row in rows}
    return {name: total for name, total in totals.items() if total != 0}


def _commission(account: Mapping[str, Any]) -> Decimal:
    """The account's own taker fee, a fraction; the usual one where the venue does not tell."""
    rates = (account.get("info") or {}).get("commissionRates") or {}
    return _amount(rates.get("taker", TAKER_FEE_USUAL))


def _amount(value: Any) -> Decimal:
    """A number of the venue. Raises for anything else: what is missing is not nothing, and NaN is a Decimal, too."""
    amount = Decimal(str(value))
    if not amount.is_finite():
        raise ValueError(f"{value!r} is no amount")
    return amount
