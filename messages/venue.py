"""Anyone ↔ gateway, the only place that talks to the venue. Answers hold `core.reports` types, never an exception."""

from __future__ import annotations

from decimal import Decimal

from core.account import Account
from core.breaker import BreakerFigures
from core.health import StreamHealth
from core.ids import ClientOrderId, ExchangeOrderId, TradeId
from core.market import MarketRules, Quote
from core.rates import RateFigures
from core.records import AttemptRecord
from core.reports import OpenOrder, OrderAbsent, QueryFailed, Report, Trade
from messages import Message


class FetchQuote(Message, frozen=True, kw_only=True):
    """Top of the book. Answer: `QuoteFetched`."""

    symbol: str


class QuoteFetched(Message, frozen=True, kw_only=True):
    symbol: str
    quote: Quote | QueryFailed


class PlaceOrder(Message, frozen=True, kw_only=True):
    """Send this order, once. Never repeated by anyone. What becomes of it goes to the book, as `ApplyReport`."""

    attempt: AttemptRecord


class FetchOrder(Message, frozen=True, kw_only=True):
    """How does this order stand, with its trades? Answer: `OrderReported`."""

    purpose: str = ""
    """The asker's own word; comes back with the answer."""
    attempt: AttemptRecord


class OrderReported(Message, frozen=True, kw_only=True):
    purpose: str = ""
    """Of the question."""
    client_order_id: ClientOrderId
    report: Report | OrderAbsent | QueryFailed


class CancelOrder(Message, frozen=True, kw_only=True):
    """Cancel this order. Answer: `CancelAttempted`."""

    attempt: AttemptRecord


class CancelAttempted(Message, frozen=True, kw_only=True):
    """The request is over. It proves nothing about the order; look it up."""

    client_order_id: ClientOrderId
    note: str
    """The venue's words, for the log."""


class FetchOpenOrders(Message, frozen=True, kw_only=True):
    """Open orders. Answer: `OpenOrdersFetched`."""

    purpose: str = ""
    """The asker's own word; comes back with the answer."""
    symbol: str | None
    """None: of the whole account, which costs as much at the venue as thirteen symbols."""
    on_demand: bool = False
    """Somebody has asked for everything to be compared; it waits behind what is looked at anyway."""


class OpenOrdersFetched(Message, frozen=True, kw_only=True):
    purpose: str = ""
    """Of the question."""
    symbol: str | None
    """None: of the whole account."""
    orders: tuple[OpenOrder, ...] | QueryFailed
    """Ours and others'."""


class FetchRecentOrders(Message, frozen=True, kw_only=True):
    """All orders of a symbol, open or not, from an id (inclusive), or from a time. Answer: `RecentOrdersFetched`."""

    purpose: str = ""
    """The asker's own word; comes back with the answer."""
    symbol: str
    from_order_id: ExchangeOrderId | None
    """Oldest order wanted; None: by time."""
    since_ns: int
    """ns UTC; used when there is no order id."""
    on_demand: bool = False
    """Somebody has asked for everything to be compared; it waits behind what is looked at anyway."""


class RecentOrdersFetched(Message, frozen=True, kw_only=True):
    purpose: str = ""
    """Of the question."""
    symbol: str
    orders: tuple[OpenOrder, ...] | QueryFailed
    """Ours and others', oldest first."""
    complete: bool
    """False: the venue has more after these."""


class FetchTrades(Message, frozen=True, kw_only=True):
    """Own trades of a symbol from a trade id (inclusive), or from a time. Answer: `TradesFetched`."""

    purpose: str = ""
    """The asker's own word; comes back with the answer."""
    symbol: str
    from_trade_id: TradeId | None
    """Oldest trade wanted; None: by time."""
    since_ns: int
    """ns UTC; used when there is no trade id."""
    on_demand: bool = False
    """Somebody has asked for everything to be compared; it waits behind what is looked at anyway."""


class TradesFetched(Message, frozen=True, kw_only=True):
    purpose: str = ""
    """Of the question."""
    symbol: str
    trades: tuple[Trade, ...] | QueryFailed
    """Oldest first."""
    complete: bool
    """False: the venue has more after these."""


class FetchBalances(Message, frozen=True, kw_only=True):
    """All balances. Answer: `BalancesFetched`."""

    purpose: str = ""
    """The asker's own word; comes back with the answer."""
    on_demand: bool = False
    """Somebody has asked for everything to be compared; it waits behind what is looked at anyway."""


class BalancesFetched(Message, frozen=True, kw_only=True):
    purpose: str = ""
    """Of the question."""
    totals: dict[str, Decimal] | QueryFailed
    """By currency, free and locked together; zero balances are left out."""


class AwaitQuiet(Message, frozen=True, kw_only=True):
    """Engine → gateway: tell when no order that was sent before this can reach the venue any more.

    Answer: `WireQuiet`.
    """

    request_id: str


class WireQuiet(Message, frozen=True, kw_only=True):
    request_id: str


class EndPlacing(Message, frozen=True, kw_only=True):
    """Reconciler → gateway, before its last questions of a stop: no order leaves any more. No answer.

    What is kept for placements is for questions then, and none waits for room for longer than there is time.
    """

    wait_max_ns: int
    """The longest wait of a question that comes after this."""


class GatewayReady(Message, frozen=True, kw_only=True):
    """The gateway has loaded the markets and the account."""

    markets: dict[str, MarketRules]
    """By symbol; the spot markets that can be traded."""
    totals: dict[str, Decimal]
    """Balances by currency."""
    account: Account
    """Whose they are."""


class GatewayHealth(Message, frozen=True, kw_only=True):
    """Gateway → engine, every second in which something has changed: kept for `intentctl status`."""

    at_ns: int
    """ns UTC."""
    in_flight: int
    """Requests on the wire."""
    rates: RateFigures
    """The budget of requests."""
    breaker: BreakerFigures
    """The circuit breaker, live."""
    stream: StreamHealth | None
    """None: there is none by the settings, or it has not said anything yet."""
