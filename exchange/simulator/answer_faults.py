"""Faults of the connection and of the answer: late, lost, cut, empty, of the wrong kind. What is executed is true."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from exchange.simulator.errors import TIMEOUT
from exchange.simulator.plan import (
    EVERY_KIND,
    JSON,
    REQUESTS,
    Breakage,
    Downtime,
    Fault,
    Kind,
    Milliseconds,
    Plan,
    Point,
    ServerStatus,
    Shape,
    TimedFault,
)

_OK: Final = 200
_NS_PER_MS: Final = 1_000_000


class Latency(TimedFault, frozen=True, kw_only=True):
    """Wait before the request is looked at. Its timestamp is checked after the wait, as at Binance.

    An event waits before it leaves, and those behind it wait for it.
    """

    kinds: ClassVar[tuple[Kind, ...]] = EVERY_KIND
    on: tuple[Kind, ...] = EVERY_KIND

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.delay_ms += self.length_ms(drawn)


class LateAnswer(TimedFault, frozen=True, kw_only=True):
    """Execute at once, answer late."""

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.late_ms += self.length_ms(drawn)


class CloseConnection(Fault, frozen=True, kw_only=True):
    """End the connection instead of answering, before or after the request is executed."""

    point: Point = Point.AFTER

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(self.point, Breakage(closed=True))


class AnswerLost(Fault, frozen=True, kw_only=True):
    """Execute, then end the connection without an answer. What hurts most: an order nobody knows of."""

    on: tuple[Kind, ...] = (Kind.PLACE,)

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(Point.AFTER, Breakage(closed=True))


class ServerError(Fault, frozen=True, kw_only=True):
    """An answer of 5xx with a page of HTML, before or after the request is executed."""

    point: Point = Point.AFTER
    status: ServerStatus = 503

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(self.point, page(self.status))


class BackendTimeout(Fault, frozen=True, kw_only=True):
    """-1007, "execution status unknown", before or after the request is executed."""

    point: Point = Point.AFTER

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        body = msgspec.json.encode({"code": TIMEOUT.code, "msg": TIMEOUT.text}).decode()
        plan.spoil(self.point, Breakage(status=TIMEOUT.status, body=body, content_type=JSON))


class Outage(TimedFault, frozen=True, kw_only=True):
    """From this request on, every request finds a closed connection, or a page of 5xx; nothing is executed.

    Streams end with it, and no new one begins.
    """

    kinds: ClassVar[tuple[Kind, ...]] = (*REQUESTS, Kind.STREAM)
    min: Milliseconds = 2_000
    max: Milliseconds = 2_000
    status: ServerStatus | None = None
    """None: the connection is closed."""

    def apply(self, plan: Plan, drawn: int) -> None:
        breakage = Breakage(closed=True) if self.status is None else page(self.status)
        plan.outage = Downtime(plan.received_ns + self.length_ms(drawn) * _NS_PER_MS, breakage)


class TruncatedBody(Fault, frozen=True, kw_only=True):
    """Execute and answer with the first half of the JSON."""

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(Point.AFTER, Breakage(cut=True))


class EmptyBody(Fault, frozen=True, kw_only=True):
    """Execute and answer 200 with nothing."""

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(Point.AFTER, Breakage(status=_OK, content_type=JSON))


class HtmlBody(Fault, frozen=True, kw_only=True):
    """Execute and answer 200 with a page of HTML, as a proxy in between does."""

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.spoil(Point.AFTER, page(_OK))


class GarbledBody(Fault, frozen=True, kw_only=True):
    """Execute and answer with JSON that is well-formed and wrong, in one of the `shapes`."""

    shapes: tuple[Shape, ...] = tuple(Shape)

    def __post_init__(self) -> None:
        if not self.shapes:
            raise ValueError(f"shapes is empty; there are {', '.join(Shape)}")

    def apply(self, plan: Plan, drawn: int) -> None:
        detail, choice = divmod(drawn, len(self.shapes))
        plan.spoil(Point.AFTER, Breakage(shape=self.shapes[choice], drawn=detail))


def page(status: int) -> Breakage:
    """An answer of this status with a page of HTML."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return Breakage(status=status, body=page)
