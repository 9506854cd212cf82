"""The heartbeat (E7): what is written down every `engine.heartbeat` about how everything is.

The engine tells what only it knows (`EngineHealth`: its parts, what the gateway has said); everything else is read in
the book, in one snapshot. A beat is one `heartbeat` and one `BUDGET_HEALTH_CHECK` for each currency in which something
is paid or held. It changes nothing: what is stale is expired by the portfolio, with proof, and told by an event of its
own (`STALE_INTENT_CLEANUP`); a beat names what was cleaned up since the one before.

Pure: the book, what was told and the clock come in. The scribe writes it (`actors/scribe.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from core import private_data, trading
from core.book import is_stale
from core.breaker import BreakerFigures
from core.budget import Budget, budgets_of, is_old
from core.events import BalancesCompared, StaleIntentCleanup
from core.ids import IntentId
from core.lifecycle import State
from core.rates import RateFigures
from core.records import BreakerRecord, PrivateData, Standing
from core.unit_of_work import BookReader

NAMED_MAX: Final = 100
"""So many intents are named in one beat; more are only counted."""


class StreamHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Of the user stream."""

    is_live: bool
    """It tells what happens to orders."""
    since_ns: int
    """ns UTC."""
    because: str
    """Why it does not; empty while it does."""


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows, and nobody else."""

    state: str
    """`starting`, `running`, `halted`, `stopping`, `failed`; `stopped`: all parts have written what they had."""
    reason: str
    """Why it is halted, stopping, stopped or failed."""
    mode: str
    started_ns: int
    restarts: int
    """Parts that were replaced since the start."""
    parts: dict[str, str]
    """State by name; the engine itself first."""
    quotes: tuple[str, ...]
    """Currencies in which the venue's markets are paid for."""
    gateway_told_ns: int
    """When the gateway has said what follows; 0: it has not, or there is none."""
    rates: RateFigures | None
    breaker: BreakerFigures | None
    stream: StreamHealth | None
    """None: there is none by the settings, or nobody has told of it yet."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="heartbeat"):
    """How everything is, at one moment."""

    at_ns: int
    engine: EngineHealth
    trading: Standing
    private_data: PrivateData
    breaker: BreakerRecord
    """As the book has it; the live figures are the engine's."""
    open_intents: dict[str, int]
    """How many are open, by state."""
    oldest_open_ns: int
    """Age of the oldest of them; 0: none is open."""
    unknown: int
    """Of them, those of which nobody knows what became of their last request."""
    active_reservations_count: int
    old_reservations: int
    """Held for more than five minutes; a resting order may well be so old."""
    stale_count: int
    """Intents that are too old and provably never left, and that the portfolio has not come to yet."""
    stale: tuple[IntentId, ...]
    """Some of them."""
    cleaned_count: int
    """Those that were expired since the beat before."""
    cleaned: tuple[IntentId, ...]
    """Some of them; what came back is in their `STALE_INTENT_CLEANUP`."""
    cleaned_total: int
    """Those since the first beat of all."""
    compared_ns: int
    """When balances were last compared with the venue, on which the budgets rest; 0: never."""
    book_used_share: float
    """Of the book's largest size, 0 to 1."""
    events: int
    """Last event of the outbox that it has seen."""


class BudgetHealthCheck(Budget, frozen=True, kw_only=True, tag_field="event", tag="BUDGET_HEALTH_CHECK"):
    """The budget of one currency (`core/budget.py`) at a beat."""

    at_ns: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """All of one beat."""

    heartbeat: Heartbeat
    budgets: tuple[BudgetHealthCheck, ...]


def beat(
    book: BookReader,
    engine: EngineHealth,
    before: Health | None,
    *,
    used_share: float,
    stale_after_ns: int,
    now_ns: int,
) -> Health:
    """`before` is the last one, of this engine or an earlier one; `stale_after_ns` is `intent_stale_threshold`."""
    records = list(book.open_intents())
    stale = [record.intent.intent_id for record in records if is_stale(book, record, stale_after_ns, now_ns)]
    cleaned = _cleaned(book, before)
    reservations = list(book.reservations())
    compared = book.last_event(BalancesCompared)
    heartbeat = Heartbeat(
        at_ns=now_ns,
        engine=engine,
        trading=trading.standing(book),
        private_data=private_data.standing(book),
        breaker=book.breaker() or BreakerRecord(),
        open_intents=dict(sorted(Counter(str(record.state) for record in records).items())),
        oldest_open_ns=max((0, *(now_ns - record.intent.created_ns for record in records))),
        unknown=sum(record.state is State.UNKNOWN for record in records),
        active_reservations_count=len(reservations),
        old_reservations=sum(is_old(reservation, now_ns) for reservation in reservations),
        stale_count=len(stale),
        stale=tuple(stale[:NAMED_MAX]),
        cleaned_count=len(cleaned),
        cleaned=tuple(cleaned[:NAMED_MAX]),
        cleaned_total=len(cleaned) + (before.heartbeat.cleaned_total if before is not None else 0),
        compared_ns=compared.at_ns if compared is not None else 0,
        book_used_share=used_share,
        events=book.last_sequence("audit"),
    )
    wanted = _currencies(book, engine.quotes, (reservation.currency for reservation in reservations))
    budgets = (budget for budget in budgets_of(book, now_ns) if budget.currency in wanted)
    return Health(heartbeat=heartbeat, budgets=tuple(_check(budget, now_ns) for budget in budgets))


def _cleaned(book: BookReader, before: Health | None) -> list[IntentId]:
    """Expired as stale since the beat before; without one nobody knows since when, and the stream has them all."""
    if before is None:
        return []
    found = book.events_of((StaleIntentCleanup,), before.heartbeat.events, book.last_sequence("audit"))
    return [event.intent_id for _, event in found if event.intent_id is not None]


def _currencies(book: BookReader, quotes: Iterable[str], held: Iterable[str]) -> set[str]:
    """Those in which something is paid or held: a venue has hundreds of others."""
    owned = {balance.currency for balance in book.balances() if balance.total or balance.reserved}
    return (set(quotes) & owned) | {rules.quote for rules in book.markets()} | set(held)


def _check(budget: Budget, now_ns: int) -> BudgetHealthCheck:
    return BudgetHealthCheck(at_ns=now_ns, **msgspec.structs.asdict(budget))
