"""What tests are arranged with: markets, quotes, wishes, facts of the venue, and a desk that carries them into a book.

Every builder has defaults that make a sound thing; a test names only what it is about. Amounts are given as text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from core import book as rules_of_book
from core import ids
from core.book import Opening, OpeningOutcome, OpeningResult
from core.intent import Intent, IntentRequest, Kind, MarketSnapshot, Side, TimeInForce, idempotency_key, payload
from core.lifecycle import State
from core.market import MarketRules, Quote
from core.outcomes import apply_report
from core.planning import OrderPlan, plan_first, plan_retry
from core.records import AttemptRecord, FillRecord, IntentRecord
from core.reports import NotPlaced, OrderSnapshot, OrderStatus, OutcomeUnknown, Report, Trade
from core.settings import UNLIMITED, RiskSettings, RouterSettings
from tests.fakes import MemoryBook

T0 = 1_697_123_460 * ids.NS_PER_S
"""A time at the start of a content bucket."""
SECOND = ids.NS_PER_S
SYMBOL = "BTC/USDT"


def dec(value: str | int | Decimal) -> Decimal:
    return Decimal(value)


def rules(**changes: Any) -> MarketRules:
    """BTC/USDT much as Binance has it, with a fee of 0.1 %."""
    plain = MarketRules(
        symbol=SYMBOL,
        base="BTC",
        quote="USDT",
        tick=dec("0.01"),
        step=dec("0.00001"),
        min_qty=dec("0.00001"),
        max_qty=dec("9000"),
        min_price=dec("0.01"),
        max_price=dec("1000000"),
        min_notional=dec("5"),
        max_notional=dec("9000000"),
        taker_fee=dec("0.001"),
    )
    return replace(plain, **_decimals(changes))


def quote(bid: str = "49990", ask: str = "50000", observed_ns: int = T0) -> Quote:
    return Quote(dec(bid), dec(ask), observed_ns)


def request(**changes: Any) -> IntentRequest:
    """Buy 0.01 BTC at most at 50 000, immediate or cancel."""
    fields: dict[str, Any] = {
        "symbol": SYMBOL,
        "side": Side.BUY,
        "kind": Kind.LIMIT,
        "qty": dec("0.01"),
        "limit_price": dec("50000"),
    }
    return IntentRequest(**(fields | _decimals(changes)))


def sell(**changes: Any) -> IntentRequest:
    """Sell 0.01 BTC at least at 49 990, immediate or cancel."""
    return request(**({"side": Side.SELL, "limit_price": dec("49990")} | changes))


def intent(wish: IntentRequest | None = None, at_ns: int = T0, top: Quote | None = None) -> Intent:
    wish, top = wish or request(), top or quote(observed_ns=at_ns)
    content = payload(wish)
    key = idempotency_key(wish, content, at_ns)
    return Intent(
        intent_id=ids.intent_id(at_ns, wish.symbol, key, content),
        idempotency_key=key,
        decision_id=wish.decision_id,
        symbol=wish.symbol,
        side=wish.side,
        kind=wish.kind,
        qty=wish.qty,
        quote_budget=wish.quote_budget,
        limit_price=wish.limit_price,
        tif=wish.tif,
        max_slippage_bps=wish.max_slippage_bps,
        reduce_only=wish.reduce_only,
        reason=wish.reason,
        source=wish.source,
        created_ns=at_ns,
        market_snapshot=MarketSnapshot(top.bid, top.ask, top.observed_ns),
    )


def opening(
    wish: IntentRequest | None = None,
    *,
    at_ns: int = T0,
    market: MarketRules | None = None,
    top: Quote | None = None,
    settings: RouterSettings | None = None,
) -> Opening:
    """The accepting transaction's input, planned as the router would."""
    wish, market, settings = wish or request(), market or rules(), settings or RouterSettings()
    plan = plan_first(wish, market, top or quote(observed_ns=at_ns), settings)
    assert isinstance(plan, OrderPlan), plan
    content = payload(wish)
    own_key = bool(wish.key or wish.signal_id)
    return Opening(
        intent=intent(wish, at_ns, top),
        payload_hash=content,
        alternate_key=None if own_key else ids.previous_content_key(content, at_ns),
        plan=plan,
        rules=market,
        min_notional=settings.min_notional,
        retries_max=settings.max_retries,
        backoff_ms=settings.backoff_ms,
    )


def trade(trade_id: str, qty: str, price: str = "50000", **changes: Any) -> Trade:
    """One execution; the fee is nothing unless the test is about it."""
    quantity, at = dec(qty), dec(price)
    plain = Trade(
        trade_id=ids.TradeId(trade_id),
        exchange_order_id=ids.ExchangeOrderId("X1"),
        qty=quantity,
        price=at,
        quote_qty=quantity * at,
        fee=dec(0),
        fee_currency="USDT",
        maker=False,
        venue_ns=T0,
    )
    return replace(plain, **_decimals(changes))


def snapshot(
    attempt: AttemptRecord,
    status: OrderStatus = OrderStatus.OPEN,
    trades: Iterable[Trade] = (),
    *,
    filled: str | Decimal | None = None,
    order_id: str | None = None,
    source: str = "placement",
) -> OrderSnapshot:
    """The venue has the order. Its own filled quantity is the sum of the trades unless the test says otherwise."""
    known_as = order_id or f"X-{attempt.client_order_id}"
    own = tuple(replace(each, exchange_order_id=ids.ExchangeOrderId(known_as)) for each in trades)
    total = sum((each.qty for each in own), Decimal(0))
    return OrderSnapshot(
        client_order_id=attempt.client_order_id,
        exchange_order_id=ids.ExchangeOrderId(known_as),
        status=status,
        venue_status=status.upper(),
        filled_qty=total if filled is None else dec(filled),
        trades=own,
        source=source,
    )


def not_placed(attempt: AttemptRecord, *, retryable: bool = False, retry_after_ns: int = 0) -> NotPlaced:
    return NotPlaced(
        client_order_id=attempt.client_order_id,
        code="InsufficientFunds",
        reason="Account has insufficient balance",
        retryable=retryable,
        retry_after_ns=retry_after_ns,
    )


def unknown(attempt: AttemptRecord) -> OutcomeUnknown:
    return OutcomeUnknown(client_order_id=attempt.client_order_id, reason="RequestTimeout")


def fill(trade_id: str = "t1", **changes: Any) -> FillRecord:
    """A trade as the book keeps it."""
    fields: dict[str, Any] = {
        "symbol": SYMBOL,
        "trade_id": ids.TradeId(trade_id),
        "exchange_order_id": ids.ExchangeOrderId("X1"),
        "intent_id": ids.IntentId("i1"),
        "attempt": 1,
        "side": Side.BUY,
        "qty": dec("0.01"),
        "price": dec("50000"),
        "fee": dec(0),
        "fee_currency": "USDT",
        "maker": False,
        "venue_ns": T0,
        "booked_ns": T0,
        "source": "placement",
    }
    fields |= _decimals(changes)
    fields.setdefault("quote_qty", fields["qty"] * fields["price"])
    return FillRecord(**fields)


class Desk:
    """A book with money in it, and the steps of an intent's life as one call each, every one a transaction."""

    def __init__(
        self,
        *,
        market: MarketRules | None = None,
        settings: RouterSettings | None = None,
        limits: RiskSettings = UNLIMITED,
        **totals: str,
    ) -> None:
        self.limits = limits
        self.book = MemoryBook()
        self.market = market or rules()
        self.settings = settings or RouterSettings()
        self.now_ns = T0
        self.trade_numbers = itertools.count(1)
        with self.book.transaction():
            money = {currency: dec(total) for currency, total in (totals or {"USDT": "10000", "BTC": "1"}).items()}
            rules_of_book.record_opening_balances(self.book, money, T0)

    def later(self, seconds: float = 1) -> None:
        self.now_ns += int(seconds * SECOND)

    def submit(self, wish: IntentRequest | None = None, top: Quote | None = None) -> OpeningResult:
        wanted = opening(wish, at_ns=self.now_ns, market=self.market, top=top, settings=self.settings)
        with self.book.transaction():
            return rules_of_book.open_intent(self.book, wanted, self.limits, self.now_ns)

    def accept(self, wish: IntentRequest | None = None, top: Quote | None = None) -> AttemptRecord:
        """The first attempt of a wish that must be accepted."""
        result = self.submit(wish, top)
        assert result.outcome is OpeningOutcome.ACCEPTED, result
        assert result.attempt is not None
        return result.attempt

    def apply(self, report: Report) -> IntentRecord:
        with self.book.transaction():
            return apply_report(self.book, report, self.settings, self.now_ns)[0]

    def trade(self, qty: str, price: str = "50000", **changes: Any) -> Trade:
        """An execution with the next free trade id."""
        return trade(f"t{next(self.trade_numbers):04d}", qty, price, **changes)

    def filled(self, wish: IntentRequest | None = None, top: Quote | None = None, **changes: Any) -> IntentRecord:
        """A wish that is accepted and filled at once, at its limit price."""
        wish = wish or request()
        attempt = self.accept(wish, top)
        done = self.trade(str(attempt.qty), str(attempt.price), **changes)
        return self.apply(snapshot(attempt, OrderStatus.FILLED, [done]))

    def begin(self, intent_id: ids.IntentId, top: Quote | None = None) -> AttemptRecord:
        """The next attempt of an intent in RETRY, planned as the router would."""
        record = self.record(intent_id)
        plan = plan_retry(record, self.market, top or quote(observed_ns=self.now_ns), self.settings)
        assert isinstance(plan, OrderPlan), plan
        with self.book.transaction():
            begun = rules_of_book.begin_attempt(self.book, intent_id, record.attempts + 1, plan, self.now_ns)
        return self.attempt(intent_id, begun.attempts)

    def cancel(self, intent_id: ids.IntentId, reason: str = "enough") -> IntentRecord | None:
        with self.book.transaction():
            return rules_of_book.request_cancel(self.book, intent_id, reason, self.now_ns)

    def record(self, intent_id: ids.IntentId) -> IntentRecord:
        found = self.book.intent(intent_id)
        assert found is not None
        return found

    def attempt(self, intent_id: ids.IntentId, number: int = 1) -> AttemptRecord:
        found = self.book.attempt(intent_id, number)
        assert found is not None
        return found

    def state(self, attempt: AttemptRecord) -> State:
        return self.record(attempt.intent_id).state

    def free(self, currency: str) -> Decimal:
        balance = self.book.balance(currency)
        return balance.free if balance else Decimal(0)

    def events(self, kind: type[Any]) -> list[Any]:
        return [event for _, event in self.book.events() if isinstance(event, kind)]


def in_state(desk: Desk, state: State, tif: TimeInForce = TimeInForce.IOC) -> AttemptRecord:
    """The latest attempt of a new intent (0.01 BTC) that stands in `state`; `desk` must have the money."""
    if state is State.EXPIRED:
        tif = TimeInForce.FOK  # an IOC order that expires is tried again
    attempt = desk.accept(request(tif=tif, key=f"to-{state}-{next(desk.trade_numbers)}"))
    half = [desk.trade("0.004")]
    steps: dict[State, list[Report | str]] = {
        State.SENDING: [],
        State.SENT: [snapshot(attempt)],
        State.PARTIAL: [snapshot(attempt, trades=half)],
        State.UNKNOWN: [unknown(attempt)],
        State.RETRY: [not_placed(attempt, retryable=True)],
        State.CANCELING: [snapshot(attempt), "cancel"],
        State.FILLED: [snapshot(attempt, OrderStatus.FILLED, [desk.trade("0.01")])],
        State.PARTIAL_SUCCESS: [snapshot(attempt, OrderStatus.CANCELED, half)],
        State.CANCELED: [snapshot(attempt, OrderStatus.CANCELED)],
        State.REJECTED: [not_placed(attempt)],
        State.EXPIRED: [snapshot(attempt, OrderStatus.EXPIRED)],
    }
    for step in steps[state]:
        if isinstance(step, str):
            desk.cancel(attempt.intent_id)
        else:
            desk.apply(step)
    assert desk.state(attempt) is state, desk.state(attempt)
    return desk.attempt(attempt.intent_id)


def _decimals(fields: dict[str, Any]) -> dict[str, Any]:
    """Amounts may be written as text; what is text by nature stays so."""
    amounts = {
        "qty", "price", "quote_qty", "fee", "limit_price", "quote_budget", "max_slippage_bps", "tick", "step",
        "min_qty", "max_qty", "min_price", "max_price", "min_notional", "max_notional", "taker_fee",
    }  # fmt: skip
    return {
        name: Decimal(value) if name in amounts and isinstance(value, str) else value for name, value in fields.items()
    }
