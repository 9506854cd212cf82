"""What the story consists of: the typed events that leave the book through its outbox.

Each event is written in the same transaction as the change it tells of, so the streams have no gap and no double,
whatever crashes. `core/event_streams.py` says which of them goes to which stream. Events are past facts; `at_ns` is ns
UTC.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, TradeId
from core.intent import Intent, Side, TimeInForce
from core.lifecycle import Cause, State
from core.records import BreakerState, Posting, PrivateDataState, RiskCheck, TradingState
from core.reports import AbsenceProof, OrderStatus
from core.stopping import StopReport


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=_snake):
    """Base of all: when it happened and, mostly, for which intent (`order_req_id` in the streams)."""

    at_ns: int
    intent_id: IntentId | None = None


class OrderIntent(Event, frozen=True, kw_only=True):
    """An intent was accepted."""

    intent: Intent
    qty: Decimal
    worst_price: Decimal
    reserved_amount: Decimal
    reserved_currency: str


class IntentRefused(Event, frozen=True, kw_only=True):
    """A wish was refused before anything was held. `intent_id` is what it would have become, if it got so far."""

    symbol: str
    idempotency_key: IdempotencyKey | None
    code: str
    reason: str


class RiskLimitsEval(Event, frozen=True, kw_only=True):
    """The risk limits were looked at for a wish (K1), inside the transaction that accepted or refused it."""

    symbol: str
    side: Side
    idempotency_key: IdempotencyKey
    checks: tuple[RiskCheck, ...]


class DuplicateOrderBlocked(Event, frozen=True, kw_only=True):
    """The same wish came again; the existing intent was the answer."""

    idempotency_key: IdempotencyKey


class IdempotencyConflicted(Event, frozen=True, kw_only=True):
    """A known key came with a different wish; nothing was done."""

    idempotency_key: IdempotencyKey


class SlippageGuardApplied(Event, frozen=True, kw_only=True):
    """The price was capped at the collar."""

    asked: Decimal | None
    """None for a market intent."""
    reference: Decimal
    capped: Decimal
    slippage_bps: Decimal


class QuantityReduced(Event, frozen=True, kw_only=True):
    """A sell was accepted for less than was asked."""

    asked_qty: Decimal
    qty: Decimal
    reason: str


class StateChanged(Event, frozen=True, kw_only=True):
    """One transition of an intent (F6)."""

    from_state: State
    to_state: State
    cause: Cause
    attempt: int
    filled_qty: Decimal
    remaining_qty: Decimal
    note: str = ""


class OrderAttempt(Event, frozen=True, kw_only=True):
    """An attempt is on disk and goes out next."""

    attempt: int
    client_order_id: ClientOrderId
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    tif: TimeInForce


class OrderAck(Event, frozen=True, kw_only=True):
    """The venue has the order."""

    attempt: int
    client_order_id: ClientOrderId
    exchange_order_id: ExchangeOrderId
    venue_status: str
    source: str = "placement"
    """How it was learned: `placement`, `lookup`, `orders` or `trades`."""


class OrderSeen(Event, frozen=True, kw_only=True):
    """Somebody asked the venue, and it showed something about the order that the book did not know: the evidence."""

    attempt: int
    client_order_id: ClientOrderId
    exchange_order_id: ExchangeOrderId
    status: OrderStatus
    venue_status: str
    filled_qty: Decimal
    """Cumulative, base, as the order says."""
    source: str
    """`lookup`, `orders` or `trades`."""


class AbsenceProven(Event, frozen=True, kw_only=True):
    """The evidence that the attempt is nowhere; `order_not_placed` follows from it in the same transaction."""

    attempt: int
    client_order_id: ClientOrderId
    proof: AbsenceProof


class OrderNotPlaced(Event, frozen=True, kw_only=True):
    """The attempt is proven not to be at the venue."""

    attempt: int
    client_order_id: ClientOrderId
    code: str
    reason: str
    never_left: bool = False
    """It was not even sent, for a reason of our own."""


class OrderOutcomeUnknown(Event, frozen=True, kw_only=True):
    """Nobody can tell yet whether the attempt is at the venue."""

    attempt: int
    client_order_id: ClientOrderId
    reason: str


class OrderFill(Event, frozen=True, kw_only=True):
    """A trade was booked."""

    attempt: int
    symbol: str
    side: Side
    exchange_order_id: ExchangeOrderId
    trade_id: TradeId
    qty: Decimal
    price: Decimal
    quote_qty: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    source: str
    late: bool
    """It came after the attempt or the intent was already over."""


class RetryAttempt(Event, frozen=True, kw_only=True):
    """The next attempt is scheduled."""

    attempt: int
    """The one that ended."""
    retry_at_ns: int
    remaining_qty: Decimal


class OrderCancel(Event, frozen=True, kw_only=True):
    """A cancel was asked for."""

    reason: str
    filled_qty: Decimal
    age_ns: int


class OrderReplace(Event, frozen=True, kw_only=True):
    """Another price or quantity was asked for, and the worst case of both is held."""

    reason: str
    qty: Decimal
    """Wanted in all, base."""
    price: Decimal
    from_qty: Decimal
    from_price: Decimal
    filled_qty: Decimal
    reserved_amount: Decimal
    """Held from now on, in the reservation's currency."""
    asked_ns: int
    """By the clock of whoever asked."""


class OrderReplaced(Event, frozen=True, kw_only=True):
    """The new terms are in force: nothing of the intent is at the venue, what is left goes out at them."""

    qty: Decimal
    """In all, base: as it was asked for, or what was filled by then if that is more."""
    price: Decimal
    filled_qty: Decimal
    reserved_amount: Decimal
    """Held from now on, in the reservation's currency."""


class ReplaceLapsed(Event, frozen=True, kw_only=True):
    """The intent ended before the new terms came into force."""

    qty: Decimal
    price: Decimal
    reason: str


class ReplaceRefused(Event, frozen=True, kw_only=True):
    """Other terms were asked for and refused; the intent goes on as it was."""

    code: str
    reason: str


class OrderDone(Event, frozen=True, kw_only=True):
    """The intent is terminal."""

    state: State
    symbol: str
    side: Side
    filled_qty: Decimal
    avg_price: Decimal | None
    fees: dict[str, Decimal]
    released: Decimal
    """What went back to free, in the reservation's currency."""
    dust_qty: Decimal
    reason: str
    latency_ns: dict[str, int]
    """`total`, `reserve`, `placement`, `fill`; stages that did not happen are missing."""


class LedgerEntry(Event, frozen=True, kw_only=True):
    """A ledger transaction was posted."""

    kind: str
    postings: tuple[Posting, ...]


class PositionUpdated(Event, frozen=True, kw_only=True):
    """A fill changed a position."""

    symbol: str
    state: str
    qty: Decimal
    cost: Decimal
    realized_pnl: Decimal


class ReconciliationResult(Event, frozen=True, kw_only=True):
    """A finished order was compared with the venue's own trades (C6)."""

    symbol: str
    code: str
    """`RECONCILED`, or `MISMATCH` when the venue's trades still differ after every look."""
    qty_delta: Decimal
    """Venue minus book before the comparison, base."""
    notional: Decimal
    fees: dict[str, Decimal]
    state: State


class BalancesCompared(Event, frozen=True, kw_only=True):
    """Balances of the venue were compared with the book while nothing was in flight."""

    drift: dict[str, Decimal]
    """Venue minus book; only currencies that differ."""
    external: dict[str, Decimal] = {}
    """How much of it external trades explain."""


class ExternalOrderSeen(Event, frozen=True, kw_only=True):
    """The account has an order that is not ours (C4). Told once; it is never touched."""

    symbol: str
    exchange_order_id: ExchangeOrderId
    client_order_id: ClientOrderId


class StartReconciled(Event, frozen=True, kw_only=True):
    """Before trading began, the venue was compared with the book (C1)."""

    symbols: tuple[str, ...]
    """Those with open intents or unfinished comparisons."""
    open_orders: int
    """Orders that the venue listed as open, on the whole account."""
    trades: int
    """Own trades looked at."""
    booked_trades: int
    """Of them, those that the book lacked."""
    external_orders: int
    """Orders that are not ours and were seen for the first time."""
    resolved: int
    """Intents whose unknown outcome was found out."""
    unresolved: int
    """Intents that are still unknown: they are looked for, and keep their money."""
    drift: dict[str, Decimal]
    """Venue minus book, without what is explained; only what differs."""
    not_compared: tuple[str, ...]
    """Questions that the venue did not answer in time, with the reason; they are asked again while trading."""
    elapsed_ns: int


class StopReconciled(Event, frozen=True, kw_only=True):
    """The engine stops: how it leaves the book, and how that compares with the venue (E6)."""

    reason: str
    report: StopReport


class AlertFired(Event, frozen=True, kw_only=True):
    """Something an operator should look at."""

    code: str
    text: str


class SymbolQuarantined(Event, frozen=True, kw_only=True):
    symbol: str
    reason: str


class QuarantineLifted(Event, frozen=True, kw_only=True):
    symbol: str
    reason: str


class TradingStateChanged(Event, frozen=True, kw_only=True):
    """Trading was stopped, narrowed or allowed again (E2); or somebody else, or with other words, wants it as it is."""

    from_state: TradingState
    to_state: TradingState
    reason: str
    by: str


class TradingArmed(Event, frozen=True, kw_only=True):
    """An operator lets orders leave for the live account, until then (E3)."""

    account: str
    """Its fingerprint."""
    until_ns: int
    reason: str
    by: str


class TradingDisarmed(Event, frozen=True, kw_only=True):
    """Somebody lets none leave for it any more."""

    reason: str
    by: str


class BreakerChanged(Event, frozen=True, kw_only=True):
    """The circuit breaker has changed its state (`core/breaker.py`)."""

    from_state: BreakerState
    to_state: BreakerState
    failures: int
    """Of `samples`, when it changed."""
    samples: int
    cool_off_ns: int
    """Of the present, or the last, time that it was open."""
    opens_total: int


class RateLimitHit(Event, frozen=True, kw_only=True):
    """The venue has said that there were too many requests; nothing is sent in these lanes until then."""

    status: int
    """429 or 418."""
    lanes: tuple[str, ...]
    until_ns: int
    reason: str


class PrivateDataChanged(Event, frozen=True, kw_only=True):
    """The account's data cannot be read any more, so nothing is bought; or it can be read again (E5)."""

    from_state: PrivateDataState
    to_state: PrivateDataState
    since_ns: int
    """When what was read last was asked for."""
    reason: str
    """Why it cannot be read."""


class StaleIntentCleanup(Event, frozen=True, kw_only=True, tag="STALE_INTENT_CLEANUP"):
    """An intent was too old and provably never at the venue (I6): it has expired, and its money is free again."""

    symbol: str
    age_ns: int
    attempts: int
    """Each of them is proven not to have been placed."""
    released: Decimal
    """What went back to free, in `currency`."""
    currency: str


AnyEvent = (
    OrderIntent
    | IntentRefused
    | RiskLimitsEval
    | DuplicateOrderBlocked
    | IdempotencyConflicted
    | SlippageGuardApplied
    | QuantityReduced
    | StateChanged
    | OrderAttempt
    | OrderAck
    | OrderSeen
    | AbsenceProven
    | OrderNotPlaced
    | OrderOutcomeUnknown
    | OrderFill
    | RetryAttempt
    | OrderCancel
    | OrderReplace
    | OrderReplaced
    | ReplaceLapsed
    | ReplaceRefused
    | OrderDone
    | LedgerEntry
    | PositionUpdated
    | ReconciliationResult
    | BalancesCompared
    | ExternalOrderSeen
    | StartReconciled
    | StopReconciled
    | AlertFired
    | SymbolQuarantined
    | QuarantineLifted
    | TradingStateChanged
    | TradingArmed
    | TradingDisarmed
    | BreakerChanged
    | RateLimitHit
    | PrivateDataChanged
    | StaleIntentCleanup
)
