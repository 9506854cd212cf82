"""The durable records of the book: what is on disk about each thing, one struct per table row.

All are frozen; a change is `msgspec.structs.replace` and a write. Amounts are Decimal: `qty` in base currency, `cost`,
`notional` and `quote_qty` in quote currency. Times are ns UTC.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, PayloadHash, TradeId, is_our_name
from core.intent import Intent, Side, TimeInForce
from core.lifecycle import State
from core.money import ZERO
from core.reports import OrderStatus


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """Other terms for a working intent, in force as soon as its present order is proven over (`core/replacing.py`)."""

    qty: Decimal
    """What shall be filled in all, base; what was filled already counts."""
    price: Decimal
    """The new worst price, quote per base."""
    over_ns: int = 0
    """When the order that is replaced was first seen to be over, with all that it has filled booked; 0: not yet."""


class IntentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted intent and how far it has come."""

    intent: Intent
    payload_hash: PayloadHash
    state: State
    qty: Decimal
    """What shall be filled, base: the intent's quantity on the venue's grid. Only a replacement changes it."""
    worst_price: Decimal
    """No attempt may be priced worse than this, and the reservation assumes it. Only a replacement changes it."""
    retries_max: int
    """Attempts allowed after the first."""
    backoff_ms: int
    """Wait before the first retry."""
    revision: int = 0
    """Rises with every change, so that a receiver knows which of two copies is the newer one."""
    attempts: int = 0
    """Attempts begun so far."""
    uncounted: int = 0
    """Of these, the ones that use up no retry: they never left for a reason of our own, or were replaced, or the venue
    refused the time that they claimed."""
    clock_refusals: int = 0
    """How many of those the venue refused for their time."""
    filled_qty: Decimal = ZERO
    """Base, cumulative over all attempts."""
    filled_notional: Decimal = ZERO
    """Quote, cumulative; divided by `filled_qty` it is the average price."""
    fees: dict[str, Decimal] = {}
    """By the currency they were charged in."""
    retry_at_ns: int = 0
    """When the next attempt is due; 0 when none is."""
    cancel_requested: bool = False
    amendment: Amendment | None = None
    """Other terms that wait for the present order to be over."""
    amendments: int = 0
    """How often other terms have come into force; a plan that was made before the last time is out of date."""
    amended_ns: int = 0
    """When the newest replacement was asked for, by its client's clock; what was asked before it comes too late."""
    refused_terms_ns: int = 0
    """When the replacement was asked for that was refused last."""
    refused_terms: str = ""
    """Why, a code and the reason."""
    end_reason: str = ""
    """Why it ended, or what the last failure was: a code and the venue's words."""
    dust_qty: Decimal = ZERO
    """Base that could not be filled because it is below the venue's minimum."""
    marks: dict[str, int] = {}
    """When it first reached each stage (`reserved`, `sent`, `acked`, `filled`, `done`), for the latency breakdown."""

    @property
    def remaining_qty(self) -> Decimal:
        return self.qty - self.filled_qty

    @property
    def reach_qty(self) -> Decimal:
        """What may still be filled, at these terms or at those that wait."""
        later = self.amendment.qty - self.filled_qty if self.amendment is not None else ZERO
        return max(self.remaining_qty, later)

    @property
    def place(self) -> tuple[State, int, int]:
        """Whoever comes to another one has something to do. At other terms it is another one: what was planned for
        those before comes to nothing."""
        return self.state, self.attempts, self.amendments

    @property
    def real_attempts(self) -> int:
        """Attempts that may have left, which `retries_max` bounds."""
        return self.attempts - self.uncounted

    @property
    def avg_price(self) -> Decimal | None:
        return self.filled_notional / self.filled_qty if self.filled_qty else None


class AttemptStatus(StrEnum):
    SENDING = "sending"
    UNKNOWN = "unknown"
    NOT_PLACED = "not_placed"
    WORKING = "working"
    CLOSED = "closed"


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One order sent for an intent, exactly as it was meant to leave the machine."""

    intent_id: IntentId
    attempt: int
    """1 for the first."""
    client_order_id: ClientOrderId
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    tif: TimeInForce
    status: AttemptStatus
    created_ns: int
    epoch: int = 0
    """In which it was made durable; only then may it be sent."""
    exchange_order_id: ExchangeOrderId | None = None
    filled_qty: Decimal = ZERO
    """Booked from trades of this order."""
    venue_filled_qty: Decimal = ZERO
    """What the venue's order says is filled; trades may lag behind it."""
    less_since_ns: int = 0
    """Since then look-ups of the order, which is over, say less, and show trades for all of it; 0: they do not."""
    order_status: OrderStatus | None = None
    """Whether the order can still fill, by the last word of the venue; None before the first."""
    venue_status: str = ""
    """The venue's own word for it."""
    end_reason: str = ""


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Finds the attempt behind an order of the venue."""

    exchange_order_id: ExchangeOrderId
    symbol: str
    intent_id: IntentId
    attempt: int


class IdempotencyRecord(msgspec.Struct, frozen=True):
    key: IdempotencyKey
    payload_hash: PayloadHash
    intent_id: IntentId
    created_ns: int


class FillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One trade of the venue, booked once; identified by (symbol, trade_id)."""

    symbol: str
    trade_id: TradeId
    exchange_order_id: ExchangeOrderId
    intent_id: IntentId
    attempt: int
    side: Side
    qty: Decimal
    price: Decimal
    quote_qty: Decimal
    """As the venue states it: it truncates price × qty to its own precision."""
    fee: Decimal
    fee_currency: str
    maker: bool
    venue_ns: int
    """The venue's time of the trade."""
    booked_ns: int
    source: str
    """How we learned of it: `placement`, `lookup`, `orders`, `trades`, `stream`."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Money (buy) or base quantity (sell) held for an intent that is not terminal."""

    intent_id: IntentId
    currency: str
    amount: Decimal
    """Still held."""
    created_ns: int


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Of one currency. `total - reserved` is free; it can be negative only if a fee ate into held money."""

    currency: str
    total: Decimal
    reserved: Decimal = ZERO

    @property
    def free(self) -> Decimal:
        return self.total - self.reserved


class PositionState(StrEnum):
    NEW = "NEW"
    OPEN = "OPEN"
    PARTIAL_EXIT = "PARTIAL_EXIT"
    CLOSED = "CLOSED"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What intentd bought of a symbol and has not sold, at weighted average cost."""

    symbol: str
    state: PositionState = PositionState.NEW
    qty: Decimal = ZERO
    """Base, net of fees that were charged in base."""
    cost: Decimal = ZERO
    """Quote paid for `qty`, without fees in quote; `cost / qty` is the average cost."""
    realized_pnl: Decimal = ZERO
    """Quote, net of fees charged in base and quote; fees in a third currency stand in `fees` alone."""
    fees: dict[str, Decimal] = {}
    eaten_qty: Decimal = ZERO
    """Base that fees have taken since the position was opened: by so much less can be sold than was bought."""
    dust_qty: Decimal = ZERO
    """The part of `qty` that the venue will not trade because it is too small."""
    inventory_sold_qty: Decimal = ZERO
    """Base sold that intentd had not bought: it was in the account from the start, its cost is unknown."""
    last_price: Decimal = ZERO
    """The latest known, quote per base: of a fill, or of the quote that a wish for the symbol was planned against."""
    opened_ns: int = 0
    updated_ns: int = 0

    @property
    def average_cost(self) -> Decimal | None:
        return self.cost / self.qty if self.qty else None

    @property
    def value(self) -> Decimal:
        return self.qty * self.last_price

    @property
    def unrealized_pnl(self) -> Decimal:
        return self.value - self.cost if self.last_price else ZERO


class QuoteFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one quote currency, in it."""

    positions_value: Decimal = ZERO
    """Of all positions that were paid for in it, at their latest prices."""
    opening_equity: Decimal = ZERO
    """When the first thing of the day happened."""


class RiskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the risk limits are measured by (`core/risk_figures.py`)."""

    day: int = 0
    """UTC, counted from 1970-01-01; `trades` and every `opening_equity` are of this day."""
    trades: int = 0
    """Intents accepted on it that have filled something, or still may."""
    holding: int = 0
    """Symbols with a position that is more than dust."""
    buying: dict[str, int] = {}
    """By symbol: open intents that buy it."""
    quotes: dict[str, QuoteFigures] = {}
    """By quote currency."""


class RiskCheck(msgspec.Struct, frozen=True):
    """One risk limit, looked at for one wish."""

    limit: str
    """The setting's name."""
    value: Decimal
    """What it would be if the wish were accepted."""
    threshold: Decimal
    """The setting; a duration in seconds."""
    hit: bool
    """It blocks."""


class Posting(msgspec.Struct, frozen=True):
    """One line of a ledger transaction; positive adds to the account."""

    account: str
    currency: str
    amount: Decimal


class LedgerTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """Postings that sum to zero in every currency."""

    at_ns: int
    kind: str
    """`opening`, `fill`, `dust`."""
    text: str
    postings: tuple[Posting, ...]
    intent_id: IntentId | None = None
    trade_id: TradeId | None = None


class Quarantine(msgspec.Struct, frozen=True):
    """A symbol that takes no new intents, and begins no attempts, until an operator has looked."""

    symbol: str
    reason: str
    since_ns: int


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """An order of ours that may be alive at the venue and that no intent wants any more (`core/leftovers.py`)."""

    client_order_id: ClientOrderId
    symbol: str
    since_ns: int
    is_told: bool
    """The venue itself has said that it is open, and an alert was fired. Else it follows from a trade of it."""


class TradeCursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far the own trades of a symbol are accounted for: up to and with this one each is booked, or external."""

    symbol: str
    trade_id: TradeId
    venue_ns: int
    """The venue's time of that trade."""


class ExternalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the account that is not ours."""

    symbol: str
    exchange_order_id: ExchangeOrderId
    client_order_id: ClientOrderId
    """As the venue has it; empty if it has none."""
    seen_ns: int
    """When it was seen first."""

    @property
    def is_stray(self) -> bool:
        """It is named as ours are, and the book has no such attempt: another intentd, or an older copy of the book."""
        return is_our_name(self.client_order_id)


class ExternalTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade of an external order."""

    symbol: str
    trade_id: TradeId
    exchange_order_id: ExchangeOrderId
    changes: dict[str, Decimal]
    """What it did to the account's balances, by currency."""


class ExternalTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What all external trades since the book's opening have done to a currency."""

    currency: str
    amount: Decimal


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What of the difference between venue and book was looked at by people."""

    alarmed: dict[str, Decimal] = {}
    """Unexplained amounts, venue minus book, that have narrowed or stopped trading."""
    known: dict[str, Decimal] = {}
    """Those that were there when an operator let trading go on; they alarm nobody again."""
    alarmed_fills: dict[IntentId, str] = {}
    """The same of ended intents whose fills differ: the figures at the venue and in the book."""
    known_fills: dict[IntentId, str] = {}


class TradingState(StrEnum):
    """May new orders leave? `core/trading.py` says what each allows."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The trading state in force, who set it and why."""

    state: TradingState
    reason: str
    by: str
    """`operator`, or the part that did it."""
    since_ns: int
    asked_ns: int = 0
    """When the operator asked for it, by his clock; 0: nobody knows, or nobody asked."""


class Arming(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's last word on live trading (`core/arming.py`)."""

    account: str
    """Fingerprint of the account that orders may leave for; empty: live trading was disarmed."""
    since_ns: int
    until_ns: int
    """From then on it is over; `since_ns` of one that was disarmed."""
    by: str
    reason: str
    asked_ns: int
    """When it was asked for."""
    is_expiry_told: bool = False
    """An alert has said that it is over."""


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """Which generation of parts may write and send (`core/fencing.py`)."""

    number: int
    since_ns: int
    """ns UTC."""


class PrivateDataState(StrEnum):
    OK = "ok"
    GONE = "gone"


class PrivateData(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the account's data can be read, since its last change (`core/private_data.py`)."""

    state: PrivateDataState = PrivateDataState.OK
    since_ns: int = 0
    """When what was read last was asked for: gone since then, or there again since then."""
    reason: str = ""
    """Why it cannot be read."""
    revision: int = 0
    """Rises with each change."""

    @property
    def is_gone(self) -> bool:
        return self.state is PrivateDataState.GONE


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands since its last change of state; in the book."""

    state: BreakerState = BreakerState.CLOSED
    revision: int = 0
    """Rises with each change."""
    since_ns: int = 0
    cool_off_ns: int = 0
    """Of the present, or the last, time that it was open."""
    failures: int = 0
    """Of `samples`, when it changed."""
    samples: int = 0
    """Placements in the window, when it changed."""
    opens_total: int = 0
    doublings: int = 0
    """How often in a row the probes have failed."""

    @property
    def probe_ns(self) -> int:
        """When an open one lets the first probe pass."""
        return self.since_ns + self.cool_off_ns


class ClockSpan(msgspec.Struct, frozen=True, kw_only=True):
    """How far the venue's clock was ever taken to be from ours (`core/timestamps.py`); neither figure falls."""

    ahead_ns: int = 0
    """No order has claimed a time that was later than ours by more."""
    behind_ns: int = 0
    """What the venue tells may carry a time that is earlier than ours by so much."""

    @property
    def width_ns(self) -> int:
        """By so much longer than the receive window an order may be executed, by our clock: it may have claimed the
        latest time, and the venue's clock may have fallen back, or ours been set forward, since."""
        return self.ahead_ns + self.behind_ns
