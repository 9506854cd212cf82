"""One account at one venue, through one ccxt client: place, cancel, look up, read.

Each order function of ccxt is called exactly once per request; nothing here repeats a request, and each enters through
the account's lanes (`exchange/lanes.py`), which keep to the venue's limits. No method raises for
what the venue does: it returns a type that says what the caller must do (`core/reports.py`).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from core.account import Account, KeyRights, fingerprint
from core.errors import StartupFailed, VenueSilent
from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId, TradeId
from core.intent import TimeInForce
from core.market import Quote
from core.meter import Earlier
from core.money import text
from core.predecessor import Left
from core.rates import Held, Lane, RateFigures, Rates, Stop, limits_of
from core.records import AttemptRecord
from core.reports import (
    NotPlaced,
    OpenOrder,
    OrderAbsent,
    OrderSnapshot,
    OutcomeUnknown,
    QueryFailed,
    Report,
    Trade,
)
from core.settings import Mode, Settings
from core.timestamps import Timestamps
from exchange import credentials, outcomes, parsing, weights
from exchange.binance import TraceRecord, make_binance, stream_address
from exchange.clock_reading import ClockReading
from exchange.filters import market_rules
from exchange.lanes import Lanes, NoRoom
from exchange.masking import mask
from exchange.pages import AtStart, OrdersPage, RawOrdersPage, TimeTold, TradesPage
from exchange.stream import OnReport, OnState, UserStream
from exchange.words import amount

SERVER_ERRORS_FROM = 500
WRONG_TIME = -1021
KEY_IS_CHECKED = frozenset({Mode.LIVE, Mode.OBSERVE})
"""Modes on the exchange itself, which tells what a key may do; the testnet does not."""
TRADES_PAGE = 1000
NO_MARKETS = "the venue's markets have not been read yet"
ORDERS_PAGE = 1000


class _Heard:
    """What the running request has brought so far."""

    trace: TraceRecord | None = None
    """Its last HTTP exchange; None: nothing has left yet."""
    turn = 0
    """Of `Timestamps`, when it was signed."""


_heard: ContextVar[_Heard] = ContextVar("heard")
"""Of the running request, which is a task of its own; ccxt loads markets in one more, which shares it."""


Read = TypeVar("Read")


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
        self._keys = credentials.load(settings, environment, credentials.simulator_credentials(environment))
        self._settings = settings
        self._now_ns = now_ns
        self._rates = Rates(ahead_ns=settings.router.intent_stale_threshold)
        self._lanes = Lanes(self._rates, now_ns, settings.engine.request_timeout // 2, self._hit)
        self._placed_before: tuple[Earlier, ...] = ()
        self._was_reached = False
        self.on_rate_limit_hit: Callable[[int, Stop], None] = lambda _status, _stop: None
        """Told when the venue says that there were too many requests, with its HTTP status."""
        self.timestamps = Timestamps()
        """An order leaves with its correction only when the book covers that; `blocked` of `place` has to see to it."""
        self.on_clock_read: Callable[[], None] = lambda: None
        """Told when the venue's clock was read, or could not be."""
        self._clock_reading = ClockReading(self.timestamps, self._ask_time, self._explain, self._time_told)
        self._write_trace = write_trace
        mode = settings.engine.mode
        self._sandbox = mode is Mode.TESTNET and not settings.exchange.base_url
        self._ccxt = make_binance(
            api_key=self._keys.api_key,
            api_secret=self._keys.api_secret,
            base_url=settings.exchange.base_url or None,
            timeout_ms=settings.exchange.timeout_ms,
            recv_window_ms=settings.exchange.recv_window_ms,
            sandbox=self._sandbox,
            rate_limit=False,  # the lanes keep to the limits
            clock_ns=now_ns,
            on_exchange=self._trace,
        )

    async def start(self, known_taker: Decimal | None = None) -> AtStart:
        """Load markets and the account. Raises `StartupFailed` with what is wrong; `VenueSilent` if it may pass.

        `known_taker` is the account's fee as it was, where the account is known to be unreadable for a while: then its
        failure is no reason not to start; the totals are empty, and nobody knows whose account it is.
        """
        try:
            await self._ask(Lane.LOOK_UP, weights.EXCHANGE_INFO, {}, lambda _: self._ccxt.load_markets())
            self._take_in_limits()
            taker, totals, account = await self._read_account(known_taker)
            found = (market_rules(market, taker) for market in self._ccxt.markets.values())
            markets = {rules.symbol: rules for rules in found if rules is not None}
        except StartupFailed:
            raise
        except NoRoom as error:  # the venue wants no questions at the moment
            raise VenueSilent(f"the venue cannot be asked ({error})") from None
        except Exception as error:
            if self._may_pass(error):
                why = outcomes.why_silent(error, self._explain(error), self.timestamps.problem)
                raise VenueSilent(why) from None
            raise StartupFailed(f"the venue cannot be used: {self._explain(error)}; check address and keys") from None
        if not markets:
            raise StartupFailed("the venue lists no market that can be traded; check exchange.base_url")
        return AtStart(markets, totals, account)

    async def _read_account(self, known_taker: Decimal | None) -> tuple[Decimal, dict[str, Decimal], Account]:
        """Taker fee, totals, and whose they are."""
        address = self._ccxt.account_address
        try:
            told = await self._ask(Lane.LOOK_UP, weights.ACCOUNT, {}, self._ccxt.fetch_balance)
            rights = await self._key_rights() if self._settings.engine.mode in KEY_IS_CHECKED else None
        except Exception as error:
            if known_taker is None or not (isinstance(error, NoRoom) or self._may_pass(error)):
                raise
            return known_taker, {}, Account(fingerprint="", address=address, rights=None)
        account = Account(fingerprint=self._fingerprint(parsing.uid(told)), address=address, rights=rights)
        return parsing.commission(told), parsing.totals(told, self._ccxt.safe_currency_code), account

    def _may_pass(self, error: Exception) -> bool:
        is_doubtful = bool(self._settings.exchange.base_url) and not self._was_reached
        return outcomes.may_pass(error, address_is_doubtful=is_doubtful)

    def _take_in_limits(self) -> None:
        """As `exchangeInfo` has stated them, and the venue's clock. A second start changes nothing."""
        told, self._ccxt.announced = self._ccxt.announced, None
        if told is not None:
            self._rates.announce(limits_of(told.rate_limits))
            if told.venue_ns:
                self._rates.clock.read(told.venue_ns, told.sent_ns, told.answered_ns)
            self._rates.recall(self._placed_before, self._now_ns())

    def _fingerprint(self, uid: str) -> str:
        settings = self._settings
        return fingerprint(settings.exchange.id, settings.engine.mode, uid, self._keys.api_key)

    async def _key_rights(self) -> KeyRights:
        """S2: a key that can take money out has no place on a machine that only trades."""
        ask = self._ccxt.sapi_get_account_apirestrictions
        told = await self._ask(Lane.LOOK_UP, weights.KEY_RIGHTS, {}, ask)
        if parsing.may_withdraw(told):
            raise StartupFailed("this API key may withdraw; make one that may only read and trade, and delete this one")
        return parsing.key_rights(told)

    async def close(self) -> None:
        await self._clock_reading.close()
        await self._ccxt.close()

    def user_stream(
        self, on_report: OnReport, on_state: OnState, jitter: Callable[[], float] = random.random
    ) -> UserStream:
        """What the venue tells by itself of the account's orders; to be run and closed by whoever asked for it.

        `jitter` gives numbers from 0 to 1, exclusive, for the waits between two connections.
        """
        return UserStream(
            address=stream_address(self._settings.exchange.base_url or None, sandbox=self._sandbox),
            cafile=self._ccxt.cafile,
            keys=self._keys,
            recv_window_ms=self._settings.exchange.recv_window_ms,
            now_ns=self._now_ns,
            claimed_ns=lambda: self._now_ns() + self.timestamps.correction_ns,
            jitter=jitter,
            symbol=self._ccxt.safe_symbol,
            currency=self._ccxt.safe_currency_code,
            on_report=on_report,
            on_state=on_state,
            write_trace=self._write_trace,
        )

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def place(self, attempt: AttemptRecord, blocked: Callable[[], NotPlaced | None]) -> Report:
        """Send the order, once, unless `blocked` says in the last moment why not.

        The time that the request claims for itself is taken before `blocked` is asked. However long this process is
        stopped after that: what leaves too late is refused by the venue.
        """
        _heard.set(heard := _Heard())
        try:
            passed = await self._lanes.enter_to_place(attempt.intent_id, weights.weight_of(weights.PLACE))
        except NoRoom:
            reason = "too many requests are on the wire; nothing was sent"
            return outcomes.not_sent(attempt, "STALE", reason, 0)
        if isinstance(passed, Held):
            return outcomes.not_sent(attempt, "RATE_LIMITED", passed.reason, max(0, passed.until_ns - self._now_ns()))
        try:
            report = await self._send(attempt, blocked)
        finally:
            self._lanes.leave(passed, heard.trace)
        if isinstance(report, OrderSnapshot) and self._settings.router.fetch_order_on_fill and report.filled_qty > 0:
            again = await self.look_up(attempt)
            return again if isinstance(again, OrderSnapshot) else report
        return report

    def come_again(self, attempt: AttemptRecord, code: str, reason: str, wait_ns: int) -> NotPlaced:
        """The answer to an order that may not leave for so long: when its turn is, so that not all come at once."""
        now_ns = self._now_ns()
        held = self._rates.come_again(attempt.intent_id, now_ns + wait_ns, reason, now_ns)
        return outcomes.not_sent(attempt, code, held.reason, held.until_ns - now_ns)

    async def _send(self, attempt: AttemptRecord, blocked: Callable[[], NotPlaced | None]) -> Report:
        try:
            _heard.get().turn = self.timestamps.turn
            order = self._order_of(attempt) | {"timestamp": self._ccxt.nonce()}
            refused = blocked()
            if refused is not None:
                return refused
            answer = await self._ccxt.private_post_order(order)
        except Exception as error:
            return self._placement_failure(error, attempt.client_order_id)
        try:
            report = parsing.placed(answer, attempt.client_order_id, self._ccxt.safe_currency_code)
            self._read_clock(answer)
        except Exception as error:  # the venue answered, with something nobody has foreseen
            return OutcomeUnknown(client_order_id=attempt.client_order_id, reason=self._explain(error))
        if report is None:
            return OutcomeUnknown(
                client_order_id=attempt.client_order_id, reason="the answer names neither the order nor our id"
            )
        return report

    def _read_clock(self, placed: Mapping[str, Any]) -> None:
        trace = _heard.get().trace
        if trace is not None:
            venue_ns = int(placed["transactTime"]) * NS_PER_MS
            self._rates.clock.read(venue_ns, trace.at_ns, trace.at_ns + trace.latency_ns)

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
            wanted = {"origClientOrderId": attempt.client_order_id}
            cancel = self._ccxt.cancel_order
            await self._ask(Lane.CANCEL, weights.CANCEL, wanted, lambda named: cancel(None, attempt.symbol, named))
        except Exception as error:
            return self._explain(error)
        return "accepted"

    async def look_up(self, attempt: AttemptRecord) -> OrderSnapshot | OrderAbsent | QueryFailed:
        """How the order stands, with its trades if it has any."""
        if not self._ccxt.markets:
            return QueryFailed(reason=NO_MARKETS, never_left=True)
        try:
            wanted = {"symbol": self._ccxt.market_id(attempt.symbol), "origClientOrderId": attempt.client_order_id}
            asked_ns = 0

            async def ask(params: Any) -> Any:  # it may have waited for its turn: what it shows is no older than this
                nonlocal asked_ns
                asked_ns = self._now_ns()
                return await self._ccxt.private_get_order(params)

            order = await self._ask(Lane.LOOK_UP, weights.ORDER, wanted, ask)
            report = parsing.looked_up(order, attempt.client_order_id)
            if report is None:
                return QueryFailed(reason="the answer names neither the order nor our id")
            report = msgspec.structs.replace(report, asked_ns=asked_ns)
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
            page = await self._list_trades(Lane.LOOK_UP, symbol, params)
            found += page
            if len(page) < TRADES_PAGE:
                return tuple(found)
            params["fromId"] = int(found[-1].trade_id) + 1

    async def _list_trades(self, lane: Lane, symbol: str, params: dict[str, Any]) -> tuple[Trade, ...]:
        """One page in the venue's own words: ccxt's form of a thousand takes 30 ms, and everybody waits meanwhile."""
        asked = {"symbol": self._ccxt.market_id(symbol), "limit": TRADES_PAGE} | params
        rows = parsing.rows(await self._ask(lane, weights.MY_TRADES, asked, self._ccxt.private_get_mytrades))
        return tuple(parsing.listed(row, self._ccxt.safe_currency_code) for row in rows)

    async def _list_orders(self, lane: Lane, symbol: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """One page, open or not, in the venue's own words: ccxt leaves out what it cannot place in time."""
        asked = {"symbol": self._ccxt.market_id(symbol), "limit": ORDERS_PAGE} | params
        return parsing.rows(await self._ask(lane, weights.ALL_ORDERS, asked, self._ccxt.private_get_allorders))

    # ── reads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def quote(self, symbol: str) -> Quote | QueryFailed:
        """Best bid and ask."""

        async def ask() -> Any:
            named = {"symbol": self._ccxt.market_id(symbol)}
            return await self._ask(Lane.LOOK_UP, weights.BOOK_TICKER, named, self._ccxt.public_get_ticker_bookticker)

        def parse(entry: Any) -> Quote | QueryFailed:
            bid, ask = amount(entry["bidPrice"]), amount(entry["askPrice"])
            if bid <= 0 or ask <= 0:
                return QueryFailed(reason=f"the venue has no bid and ask for {symbol}")
            return Quote(bid, ask, self._now_ns())

        return await self._read(ask, parse)

    async def open_orders(self, symbol: str | None, lane: Lane = Lane.SWEEP) -> tuple[OpenOrder, ...] | QueryFailed:
        """Every open order of the symbol or, without one, of the account; ours or not."""

        async def ask() -> Any:
            named = {"symbol": self._ccxt.market_id(symbol)} if symbol else {}
            return await self._ask(lane, weights.OPEN_ORDERS, named, self._ccxt.private_get_openorders)

        return await self._read(ask, lambda found: tuple(map(self._line, parsing.rows(found))))

    async def trades(
        self, symbol: str, from_trade_id: TradeId | None, since_ns: int, lane: Lane = Lane.SWEEP
    ) -> TradesPage:
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

        page = await self._read(lambda: self._list_trades(lane, symbol, params), parse)
        return TradesPage(page, complete=False) if isinstance(page, QueryFailed) else page

    async def all_orders(self, symbol: str, from_id: int) -> RawOrdersPage | QueryFailed:
        """The venue's own records of every order of the symbol from an order id on, oldest first, one page."""

        def parse(records: list[dict[str, Any]]) -> RawOrdersPage:
            full = len(records) == ORDERS_PAGE
            return RawOrdersPage(records, max(int(record["orderId"]) for record in records) + 1 if full else None)

        return await self._read(lambda: self._list_orders(Lane.SWEEP, symbol, {"orderId": from_id}), parse)

    async def orders(
        self, symbol: str, from_order_id: ExchangeOrderId | None, since_ns: int, lane: Lane = Lane.SWEEP
    ) -> OrdersPage:
        """Every order of the symbol from an id (inclusive) or a time, whatever became of it; oldest first, one page."""
        params = {"orderId": from_order_id} if from_order_id else {"startTime": since_ns // NS_PER_MS}

        def parse(found: list[dict[str, Any]]) -> OrdersPage:
            by_id = {int(row["orderId"]): self._line(row) for row in found}
            return OrdersPage(tuple(by_id[key] for key in sorted(by_id)), complete=len(found) < ORDERS_PAGE)

        page = await self._read(lambda: self._list_orders(lane, symbol, params), parse)
        return OrdersPage(page, complete=False) if isinstance(page, QueryFailed) else page

    async def balances(self, lane: Lane = Lane.SWEEP) -> dict[str, Decimal] | QueryFailed:
        """Totals by currency, free and locked together; zeros are left out."""

        async def ask() -> Any:
            return await self._ask(lane, weights.ACCOUNT, {}, self._ccxt.fetch_balance)

        return await self._read(ask, lambda account: parsing.totals(account, self._ccxt.safe_currency_code))

    def go_on_with(self, left: Left, *, was_reached: bool = False) -> None:
        """Before the start: what a gateway before this one has sent counts, and if it was told that there were too many
        requests, nothing is sent before that is over. `was_reached`: it has found the venue at this address."""
        self._placed_before, self._was_reached = left.placed, was_reached
        if left.hit is not None:
            self._rates.go_on_with(left.hit, self._now_ns())

    async def end_placing(self, wait_max_ns: int) -> None:
        """The caller places no more; a question waits for room no longer than this from now on.

        Within the loop: whoever waits may have room now, or has to be woken when there is.
        """
        self._lanes.end_placing(wait_max_ns)

    # ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """Requests on the wire."""
        return self._lanes.in_flight

    def rate_figures(self) -> RateFigures:
        return self._rates.figures(self._lanes.queued, self._now_ns())

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(
        self, question: Callable[[], Awaitable[Any]], parse: Callable[[Any], Read | QueryFailed]
    ) -> Read | QueryFailed:
        """The parsed answer. One that cannot be parsed is none, and neither is one whose symbols nobody knows yet."""
        if not self._ccxt.markets:
            return QueryFailed(reason=NO_MARKETS, never_left=True)
        try:
            return parse(await question())
        except Exception as error:
            return QueryFailed(reason=self._explain(error), never_left=isinstance(error, NoRoom))

    async def _ask(
        self, lane: Lane, endpoint: weights.Endpoint, params: dict[str, Any], send: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """One request, when it is its turn. Raises `NoRoom`, and what ccxt raises."""
        passed = await self._lanes.enter(lane, weights.weight_of(endpoint, params))
        _heard.set(heard := _Heard())
        heard.turn = self.timestamps.turn
        try:
            return await send(params)
        finally:
            self._lanes.leave(passed, heard.trace)

    def _hit(self, status: int, stop: Stop) -> None:
        self.on_rate_limit_hit(status, stop)

    def _line(self, row: Mapping[str, Any]) -> OpenOrder:
        return parsing.open_order(row, self._ccxt.safe_symbol)

    def _placement_failure(self, error: Exception, client_order_id: ClientOrderId) -> NotPlaced | OutcomeUnknown:
        trace = _heard.get().trace
        if trace is not None and trace.status is not None and trace.status >= SERVER_ERRORS_FROM:
            # whatever code the body holds: "execution status is UNKNOWN" is what a 5xx means at the venue
            return OutcomeUnknown(client_order_id=client_order_id, reason=self._explain(error))
        report = outcomes.placement_failure(
            error, client_order_id, self._explain(error), trace.retry_after_s if trace is not None else 0
        )
        if isinstance(report, NotPlaced) and trace is not None and trace.code == WRONG_TIME:
            return outcomes.wrong_time(report, self.timestamps.problem)
        return report

    # ── the venue's clock ─────────────────────────────────────────────────────────────────────────────────────────

    async def _ask_time(self) -> TimeTold:
        """It is answered without a time of ours. Raises what ccxt raises, and more."""
        answer = await self._ask(Lane.LOOK_UP, weights.TIME, {}, self._ccxt.public_get_time)
        trace = _heard.get().trace
        assert trace is not None
        return TimeTold(int(answer["serverTime"]) * NS_PER_MS, trace.at_ns, trace.at_ns + trace.latency_ns)

    def _time_told(self, told: TimeTold | None) -> None:
        if told is not None:
            self._rates.clock.read(*told)
        self._ccxt.correct_time(self.timestamps.correction_ns)
        self.on_clock_read()

    def _explain(self, error: BaseException) -> str:
        """The error's class and words, without secrets: ccxt's texts carry the full signed address."""
        return outcomes.shorten(mask(f"{type(error).__name__}: {error}", self._keys.secrets))

    def _trace(self, record: TraceRecord) -> None:
        if (heard := _heard.get(None)) is not None:
            heard.trace = record
            if record.code == WRONG_TIME:
                self._clock_reading.refused(heard.turn)
        self._write_trace(mask(msgspec.json.encode(record).decode(), self._keys.secrets))
