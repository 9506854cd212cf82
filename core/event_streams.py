"""Which event stands in which of the streams that the scribe writes (O1)."""

from __future__ import annotations

from typing import Final

from core.events import (
    AlertFired,
    AnyEvent,
    BalancesCompared,
    BreakerChanged,
    ExternalOrderSeen,
    LedgerEntry,
    PrivateDataChanged,
    QuarantineLifted,
    RateLimitHit,
    ReconciliationResult,
    RiskLimitsEval,
    StaleIntentCleanup,
    StartReconciled,
    StateChanged,
    StopReconciled,
    SymbolQuarantined,
    TradingArmed,
    TradingDisarmed,
    TradingStateChanged,
)

ORDER_STREAM: Final = "order"
AUDIT_STREAM: Final = "audit"
AUDIT_EVENTS: Final = (
    RiskLimitsEval,
    StateChanged,
    LedgerEntry,
    ReconciliationResult,
    BalancesCompared,
    ExternalOrderSeen,
    StartReconciled,
    StopReconciled,
    AlertFired,
    SymbolQuarantined,
    QuarantineLifted,
    TradingStateChanged,
    TradingArmed,
    TradingDisarmed,
    BreakerChanged,
    RateLimitHit,
    PrivateDataChanged,
    StaleIntentCleanup,
)
HEALTH_STREAM: Final = "health"
HEALTH_EVENTS: Final = (AlertFired, BreakerChanged, RateLimitHit, PrivateDataChanged, StaleIntentCleanup)
"""Those that stand in the health stream, too."""


def stream_of(event: AnyEvent) -> str:
    """The stream that tells of it; each event has one."""
    return AUDIT_STREAM if isinstance(event, AUDIT_EVENTS) else ORDER_STREAM


def streams_of(event: AnyEvent) -> tuple[str, ...]:
    """Every stream that it is written to."""
    return (stream_of(event), HEALTH_STREAM) if isinstance(event, HEALTH_EVENTS) else (stream_of(event),)
