"""What happened in a run, one line per step: virtual time, who, what came in, and what it made of it.

Two runs of one seed write the same lines to the byte, so nothing may get in that the seed does not determine: no
process id, no wall clock, no address of an object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, Final

from core.records import AttemptRecord, IntentRecord
from core.reports import NotPlaced, OpenOrder, OrderSnapshot, OutcomeUnknown, QueryFailed
from tests.simulation.scheduler import Scheduler

WORTH_SHOWING: Final = (
    "name", "symbol", "request_id", "client_order_id", "intent_id", "record", "attempt", "report", "result", "answer",
    "quote", "orders", "trades", "totals", "replaced", "reason", "first", "lifted", "note", "purpose", "generation",
    "payload", "refusal", "request", "state", "opening",
)  # fmt: skip
TEXT_LENGTH_MAX: Final = 110


class Trace:
    """Collects what happens within a step and writes one line when it is over. Without `write` it does nothing."""

    def __init__(self, scheduler: Scheduler, write: Callable[[str], None] | None) -> None:
        self._scheduler = scheduler
        self._write = write
        self._parts: list[str] = []
        self.on = write is not None

    def note(self, who: str, what: str) -> None:
        """Something that happened in this step. Callers look at `on` before they make the text."""
        if self._write is not None:
            self._parts.append(f"{who}: {what}" if who else what)

    def close_step(self) -> None:
        """The step is over."""
        if self._write is not None and self._parts:
            self._write(f"{self._scheduler.elapsed_s:13.6f} #{self._scheduler.steps:<6} {' | '.join(self._parts)}")
            self._parts.clear()


@singledispatch
def shown(value: Any) -> str:
    """A message, record or report in a few words."""
    fields = [
        f"{name}={shown(content)}"
        for name in WORTH_SHOWING
        if (content := getattr(value, name, None)) is not None and not callable(content)
    ]
    return f"{type(value).__name__}({', '.join(fields)})" if fields else type(value).__name__


@shown.register
def _(value: IntentRecord) -> str:
    return f"{value.intent.intent_id} {value.state} r{value.revision} {value.filled_qty}/{value.qty}"


@shown.register
def _(value: AttemptRecord) -> str:
    return f"{value.client_order_id} #{value.attempt} {value.status} e{value.epoch}"


@shown.register
def _(value: OrderSnapshot) -> str:
    return f"{value.client_order_id} {value.venue_status} {value.filled_qty} ({len(value.trades)} trades)"


@shown.register
def _(value: NotPlaced) -> str:
    return f"{value.client_order_id} not placed: {value.code}"


@shown.register
def _(value: OutcomeUnknown) -> str:
    return f"{value.client_order_id} unknown: {_short(value.reason)}"


@shown.register
def _(value: QueryFailed) -> str:
    return f"failed: {_short(value.reason)}"


@shown.register
def _(value: OpenOrder) -> str:
    return f"{value.client_order_id} {value.filled_qty}"


@shown.register
def _(value: tuple) -> str:  # type: ignore[type-arg]
    return f"{len(value)} of them" if len(value) > 3 else f"[{', '.join(map(shown, value))}]"


@shown.register(str)
@shown.register(int)
def _(value: Any) -> str:
    return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"
