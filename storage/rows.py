"""How each kind of row is written: one codec for each record type of the book."""

from __future__ import annotations

from core.events import AnyEvent
from core.market import MarketRules
from core.records import (
    Arming,
    AttemptRecord,
    Balance,
    BreakerRecord,
    ClockSpan,
    Drift,
    Epoch,
    ExternalOrder,
    ExternalTotal,
    ExternalTrade,
    FillRecord,
    IdempotencyRecord,
    IntentRecord,
    LedgerTransaction,
    Leftover,
    OrderRecord,
    Position,
    PrivateData,
    Quarantine,
    Reservation,
    RiskFigures,
    Standing,
    TradeCursor,
)
from storage.schema import Codec, Plain

intents: Codec[IntentRecord] = Codec(IntentRecord)
idempotency: Codec[IdempotencyRecord] = Codec(IdempotencyRecord)
attempts: Codec[AttemptRecord] = Codec(AttemptRecord)
orders: Codec[OrderRecord] = Codec(OrderRecord)
fills: Codec[FillRecord] = Codec(FillRecord)
reservations: Codec[Reservation] = Codec(Reservation)
positions: Codec[Position] = Codec(Position)
balances: Codec[Balance] = Codec(Balance)
ledger: Codec[LedgerTransaction] = Codec(LedgerTransaction)
audit: Codec[AnyEvent] = Codec(AnyEvent)
markets: Codec[MarketRules] = Codec(MarketRules)
quarantines: Codec[Quarantine] = Codec(Quarantine)
standing: Codec[Standing] = Codec(Standing)
arming: Codec[Arming] = Codec(Arming)
epoch: Codec[Epoch] = Codec(Epoch)
breaker: Codec[BreakerRecord] = Codec(BreakerRecord)
private_data: Codec[PrivateData] = Codec(PrivateData)
clock_span: Codec[ClockSpan] = Codec(ClockSpan)
risk_figures: Codec[RiskFigures] = Codec(RiskFigures)
drift: Codec[Drift] = Codec(Drift)
leftovers: Codec[Leftover] = Codec(Leftover)
trade_cursors: Codec[TradeCursor] = Codec(TradeCursor)
external_orders: Codec[ExternalOrder] = Codec(ExternalOrder)
external_trades: Codec[ExternalTrade] = Codec(ExternalTrade)
external_totals: Codec[ExternalTotal] = Codec(ExternalTotal)
plain: Codec[bytes] = Plain()
