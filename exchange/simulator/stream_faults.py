"""Faults of the user data stream: refused, cut, silent; events that are lost, late, or told twice.

What happened has happened: the reads show it, whatever the stream tells.
"""

from __future__ import annotations

from typing import ClassVar, Final

from exchange.simulator.answer_faults import page
from exchange.simulator.plan import Breakage, Fault, Kind, Milliseconds, Plan, Point, ServerStatus, TimedFault

_STREAM: Final = (Kind.STREAM,)
_EVENT: Final = (Kind.EVENT,)


class StreamRefused(Fault, frozen=True, kw_only=True):
    """A new connection ends without an answer, or is answered with a page of 5xx."""

    kinds: ClassVar[tuple[Kind, ...]] = _STREAM
    on: tuple[Kind, ...] = _STREAM
    status: ServerStatus | None = None
    """None: the connection is closed."""

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(Point.BEFORE, Breakage(closed=True) if self.status is None else page(self.status))


class StreamCut(Fault, frozen=True, kw_only=True):
    """The connection ends, just before an event or just after it."""

    kinds: ClassVar[tuple[Kind, ...]] = _EVENT
    on: tuple[Kind, ...] = _EVENT
    point: Point = Point.AFTER

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.cut = self.point


class StreamSilent(TimedFault, frozen=True, kw_only=True):
    """From a new connection or an event on, nothing arrives and no ping is answered; then the connection ends."""

    kinds: ClassVar[tuple[Kind, ...]] = (*_STREAM, *_EVENT)
    on: tuple[Kind, ...] = _EVENT
    min: Milliseconds = 60_000
    max: Milliseconds = 60_000

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.silent_ms = max(1, self.length_ms(drawn))


class EventLost(Fault, frozen=True, kw_only=True):
    """An event is never told, and nothing shows that it is missing."""

    kinds: ClassVar[tuple[Kind, ...]] = _EVENT
    on: tuple[Kind, ...] = _EVENT

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.copies = 0


class EventTwice(Fault, frozen=True, kw_only=True):
    """An event is told twice."""

    kinds: ClassVar[tuple[Kind, ...]] = _EVENT
    on: tuple[Kind, ...] = _EVENT

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.copies = 2


class EventLate(TimedFault, frozen=True, kw_only=True):
    """An event leaves late, and those behind it with it, unless they overtake it."""

    kinds: ClassVar[tuple[Kind, ...]] = _EVENT
    on: tuple[Kind, ...] = _EVENT
    min: Milliseconds = 1_000
    max: Milliseconds = 1_000
    overtaken: bool = False

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.late_ms += self.length_ms(drawn)
        plan.overtaken = self.overtaken
