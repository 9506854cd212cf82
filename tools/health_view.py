"""What `intentctl status` shows of the last heartbeat: the same as JSON and as tables, with its age."""

from __future__ import annotations

from typing import Any

import msgspec

from core.health import Health
from core.ids import NS_PER_S
from tools import views
from tools.output import print_table


def health(found: Health | None, now_ns: int) -> dict[str, Any] | None:
    """None: there has been no heartbeat on this state folder."""
    if found is None:
        return None
    heartbeat, engine = found.heartbeat, found.heartbeat.engine
    return {
        "at": views.time_text(heartbeat.at_ns),
        "at_ns": heartbeat.at_ns,
        "age_s": _seconds(now_ns - heartbeat.at_ns),
        "engine": {
            "state": engine.state,
            "reason": engine.reason,
            "mode": engine.mode,
            "started": views.time_text(engine.started_ns),
            "restarts": engine.restarts,
            "parts": engine.parts,
        },
        "trading": views.trading(heartbeat.trading),
        "private_data": views.private_data(heartbeat.private_data),
        "breaker": views.breaker(heartbeat.breaker, engine.breaker),
        "stream": views.stream(engine.stream),
        "rate_limits": views.rate_limits(engine.rates) if engine.rates is not None else None,
        "gateway_told": views.time_text(engine.gateway_told_ns),
        "open_intents": heartbeat.open_intents,
        "oldest_open_s": _seconds(heartbeat.oldest_open_ns),
        "unknown": heartbeat.unknown,
        "active_reservations_count": heartbeat.active_reservations_count,
        "old_reservations": heartbeat.old_reservations,
        "stale": {"count": heartbeat.stale_count, "intents": list(heartbeat.stale)},
        "stale_cleaned_up": {
            "count": heartbeat.cleaned_count,
            "intents": list(heartbeat.cleaned),
            "total": heartbeat.cleaned_total,
        },
        "balances_compared": views.time_text(heartbeat.compared_ns),
        "balances_compared_age_s": _seconds(now_ns - heartbeat.compared_ns) if heartbeat.compared_ns else None,
        "book_used_share": heartbeat.book_used_share,
        "budgets": {budget.currency: _budget(budget) for budget in found.budgets},
    }


def print_health(shown: dict[str, Any]) -> None:
    plain = ("at", "age_s", "open_intents", "oldest_open_s", "unknown", "active_reservations_count", "old_reservations")
    rows = [(name, shown[name]) for name in plain]
    rows += [(name, _named(shown[name])) for name in ("stale", "stale_cleaned_up")]
    rows.append(("stale_cleaned_up_total", shown["stale_cleaned_up"]["total"]))
    rows += [(name, shown[name]) for name in ("balances_compared", "balances_compared_age_s", "book_used_share")]
    down = [f"{name} {state}" for name, state in shown["engine"]["parts"].items() if state not in {"ready", "running"}]
    rows.append(("parts", ", ".join(down) or f"all {len(shown['engine']['parts'])} ready"))
    print_table("Last heartbeat", ("field", "value"), rows)
    columns = ("health", "my_budget", "reserved_budget", "expected_available", "actual_available", "budget_drift",
               "old_reservations")  # fmt: skip
    budgets = [[currency, *(budget[name] for name in columns)] for currency, budget in shown["budgets"].items()]
    if budgets:
        print_table("Budget health", ("currency", *columns), budgets)


def _budget(budget: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(budget).items() if name != "at_ns"}


def _named(entry: dict[str, Any]) -> str:
    return f"{entry['count']}: {', '.join(entry['intents'])}" if entry["count"] else "none"


def _seconds(duration_ns: int) -> float:
    return round(duration_ns / NS_PER_S, 3)
