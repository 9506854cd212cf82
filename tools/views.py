"""What a report shows of a record: flat dictionaries, the same for tables and JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from core.account import Account, warnings
from core.arming import is_in_force
from core.book import OpeningOutcome
from core.breaker import BreakerFigures
from core.effects import SubmitAnswer
from core.health import StreamHealth
from core.ids import NS_PER_MS, NS_PER_S
from core.rates import RateFigures
from core.records import (
    Amendment,
    Arming,
    AttemptRecord,
    BreakerRecord,
    BreakerState,
    IntentRecord,
    Position,
    PrivateData,
    Standing,
)
from core.settings import Mode
from core.transitions import latency_ns
from core.verdict import Verdict


def time_text(at_ns: int) -> str | None:
    """ISO 8601, UTC, milliseconds; None for 0."""
    if not at_ns:
        return None
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")


def milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / NS_PER_MS, 3)


def submitted(answer: SubmitAnswer) -> dict[str, Any]:
    """The one object that `submit --json` prints."""
    record = answer.record if answer.refusal is None else None
    return {
        "intent_id": record.intent.intent_id if record else None,
        "state": str(record.state) if record else None,
        "duplicate": answer.outcome is OpeningOutcome.DUPLICATE,
        "refusal": {"code": answer.refusal.code, "reason": answer.refusal.reason} if answer.refusal else None,
        "filled_qty": record.filled_qty if record else Decimal(0),
        "avg_price": record.avg_price if record else None,
        "fees": record.fees if record else {},
        "latency_ms": milliseconds(latency_ns(record).get("total")) if record else None,
    }


def intent(record: IntentRecord) -> dict[str, Any]:
    wish = record.intent
    return {
        "intent_id": wish.intent_id,
        "state": str(record.state),
        "symbol": wish.symbol,
        "side": str(wish.side),
        "kind": str(wish.kind),
        "tif": str(wish.tif),
        "qty": record.qty,
        "quote_budget": wish.quote_budget,
        "limit_price": wish.limit_price,
        "worst_price": record.worst_price,
        "replaced": record.amendments,
        "replacing": amendment(record.amendment),
        "filled_qty": record.filled_qty,
        "avg_price": record.avg_price,
        "fees": record.fees,
        "attempts": record.attempts,
        "reason": record.end_reason,
        "key": wish.idempotency_key,
        "created": time_text(wish.created_ns),
        "latency_ms": milliseconds(latency_ns(record).get("total")),
    }


def amendment(waiting: Amendment | None) -> dict[str, Any] | None:
    """The terms that wait for the present order to be over."""
    return None if waiting is None else {"qty": waiting.qty, "price": waiting.price}


def order(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "client_order_id": attempt.client_order_id,
        "exchange_order_id": attempt.exchange_order_id,
        "intent_id": attempt.intent_id,
        "attempt": attempt.attempt,
        "symbol": attempt.symbol,
        "side": str(attempt.side),
        "qty": attempt.qty,
        "price": attempt.price,
        "tif": str(attempt.tif),
        "status": str(attempt.status),
        "venue_status": attempt.venue_status or None,
        "filled_qty": attempt.filled_qty,
        "reason": attempt.end_reason,
        "created": time_text(attempt.created_ns),
    }


def position(record: Position) -> dict[str, Any]:
    return {
        "symbol": record.symbol,
        "state": str(record.state),
        "qty": record.qty,
        "average_cost": record.average_cost,
        "cost": record.cost,
        "last_price": record.last_price,
        "realized_pnl": record.realized_pnl,
        "unrealized_pnl": record.unrealized_pnl,
        "fees": record.fees,
        "dust_qty": record.dust_qty,
        "inventory_sold_qty": record.inventory_sold_qty,
        "updated": time_text(record.updated_ns),
    }


def trading(standing: Standing) -> dict[str, Any]:
    return {
        "state": str(standing.state),
        "reason": standing.reason,
        "by": standing.by,
        "since": time_text(standing.since_ns),
    }


def arming(record: Arming | None, mode: str | None, account: Account | None, now_ns: int) -> dict[str, Any]:
    """`account` is the connected one; None while no engine answers: then it is the one that was armed."""
    fingerprint = account.fingerprint if account is not None else (record.account or None) if record else None
    is_live = mode in {None, Mode.LIVE}
    rights = account.rights if account is not None else None
    return {
        "mode": mode,
        "fingerprint": fingerprint,
        "armed": is_live and is_in_force(record, fingerprint or "", now_ns),
        "since": time_text(record.since_ns) if record else None,
        "until": time_text(record.until_ns) if record and record.account else None,
        "by": record.by if record else None,
        "reason": record.reason if record else None,
        "venue": account.address if account is not None else None,
        "key": None if rights is None else {"may_withdraw": False, **msgspec.to_builtins(rights)},
        "warnings": [warning.text for warning in warnings(account)] if account is not None else [],
    }


def arming_rows(shown: dict[str, Any]) -> list[tuple[str, Any]]:
    """Of what `arming` gives, for a table."""
    key = shown["key"]
    said = "the venue does not tell" if key is None else ", ".join(name for name, is_so in key.items() if is_so)
    texts = {"key": said or "nothing", "warnings": "; ".join(shown["warnings"]) or None}
    return [(name, texts.get(name, value)) for name, value in shown.items() if name != "command"]


def private_data(record: PrivateData) -> dict[str, Any]:
    return {
        "state": str(record.state),
        "since": time_text(record.since_ns),
        "since_ns": record.since_ns,
        "reason": record.reason,
    }


def rate_limits(figures: RateFigures) -> dict[str, Any]:
    return {
        "limits": {
            row.name: {"used": row.used, "in_flight": row.in_flight, "limit": row.limit or None}
            for row in figures.limits
        },
        "stopped": {stop.lane: {"until": time_text(stop.until_ns), "reason": stop.reason} for stop in figures.stopped},
        "waiting": figures.waiting,
        "refused_by_venue": figures.refused_by_venue,
        "placements_held": figures.placements_held,
    }


def stream(told: StreamHealth | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {"is_live": told.is_live, "since": time_text(told.since_ns), "because": told.because}


def breaker(record: BreakerRecord, live: BreakerFigures | None) -> dict[str, Any]:
    """`record` is the book's; `live` the gateway's window, None while no engine answers."""
    failures, samples = (record.failures, record.samples) if live is None else (live.failures, live.samples)
    is_open = record.state is BreakerState.OPEN
    return {
        "state": str(record.state),
        "since": time_text(record.since_ns),
        "since_ns": record.since_ns,
        "probe": time_text(record.probe_ns) if is_open else None,
        "failures": failures,
        "samples": samples,
        "failure_rate": round(failures / samples, 3) if samples else 0.0,
        "opens_total": record.opens_total,
        "cool_off_ms": milliseconds(record.cool_off_ns),
        "at_last_change": {"failures": record.failures, "samples": record.samples},
        "probes_in_flight": live.probes_in_flight if live else None,
        "probes_succeeded": live.probes_succeeded if live else None,
    }


def verdict(found: Verdict) -> dict[str, Any]:
    """The one object that `verify --json` prints."""
    return {
        "agrees": not found.differences and not found.not_compared,
        "differences": [msgspec.to_builtins(difference) for difference in found.differences],
        "not_compared": list(found.not_compared),
        "fills": found.fills,
        "orders": found.orders,
        "balances": found.balances,
        "unresolved": found.unresolved,
        "external": [
            {
                "symbol": order.symbol,
                "exchange_order_id": order.exchange_order_id,
                "client_order_id": order.client_order_id,
                "seen": time_text(order.seen_ns),
            }
            for order in found.external
        ],
        "at": time_text(found.at_ns),
    }
