"""What shall happen to one request, or event: a `Plan`, and `Fault`, the base of everything that writes into one.

The simulator carries a plan out without knowing which fault wrote it. An effect that no field of the plan describes
needs a new field, and the place that carries it out.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Meta

from exchange.simulator.errors import VenueError

Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Ordinal = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
ServerStatus = Annotated[int, Meta(ge=500, le=599)]

JSON: Final = "application/json"
HTML: Final = "text/html"


class Kind(StrEnum):
    """What a request is about."""

    MARKET = "market"
    PLACE = "place"
    TEST = "test"
    CANCEL = "cancel"
    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    ALL_ORDERS = "all_orders"
    TRADES = "trades"
    ACCOUNT = "account"
    STREAM = "stream"
    """A new connection to the WebSocket API."""
    EVENT = "event"
    """No request, but what the venue tells whoever has subscribed."""


EVERY_KIND: Final = tuple(Kind)
REQUESTS: Final = tuple(kind for kind in Kind if kind not in {Kind.STREAM, Kind.EVENT})
"""On HTTP."""


class Point(StrEnum):
    BEFORE = "before"
    AFTER = "after"


class Shape(StrEnum):
    """What is wrong with JSON that is well-formed."""

    CONTAINER = "container"
    """A list where an object belongs, or an object where a list does."""
    FIELDS = "fields"
    """Objects miss some of their fields."""
    AMOUNTS = "amounts"
    """What should be an amount is not a number."""
    NULL = "null"


class Breakage(msgspec.Struct, frozen=True):
    """How the answer is spoiled."""

    closed: bool = False
    """The connection ends without an answer."""
    status: int = 0
    """An answer of this HTTP status instead; 0: the true one."""
    body: str = ""
    """With `status`."""
    content_type: str = HTML
    """With `status`."""
    shape: Shape | None = None
    """The true status and JSON that is wrong in this way."""
    drawn: int = 0
    """With `shape`: a random number that settles the details."""
    cut: bool = False
    """Half of the body, well-formed as far as HTTP goes."""


class Downtime(NamedTuple):
    """Nothing is executed until a time, ns UTC, and every request ends like this."""

    until_ns: int
    breakage: Breakage


class LateFill(NamedTuple):
    """A cancel is overtaken by a fill that is shown later."""

    share: Decimal
    """Of what the order has left."""
    hidden_ms: int


class Plan(msgspec.Struct):
    """What shall happen to one request, or event. Empty: nothing out of the ordinary."""

    received_ns: int = 0
    """When the request came in, ns UTC."""
    delay_ms: int = 0
    """Before."""
    outage: Downtime | None = None
    """Before; it begins with this request."""
    before: Breakage | None = None
    skew_ms: int = 0
    """How far the venue's clock is ahead of the true one."""
    refusal: VenueError | None = None
    """Matching: instead of it."""
    fill_share: Decimal | None = None
    """Matching: an aggressive order fills only this part of what it could."""
    crossing_share: Decimal | None = None
    """Matching: this part of what an order has left fills just before its cancel."""
    late_fill: LateFill | None = None
    """Matching: the cancel is answered as if it had come before that fill."""
    lag_ms: int = 0
    """Matching: a read shows the state of so long ago."""
    hide_row: int | None = None
    """Matching: a random number that chooses the row which a list misses."""
    repeat_rows: int | None = None
    """Matching: a random number that chooses the rows which a list has twice."""
    shuffle_rows: int | None = None
    """Matching: a random number that chooses the order of a list."""
    late_ms: int = 0
    """After."""
    after: Breakage | None = None
    copies: int = 1
    """Event: how often it is told."""
    overtaken: bool = False
    """Event: those behind it do not wait for it when it is late."""
    cut: Point | None = None
    """Event: the connection ends, before or after it."""
    silent_ms: int = 0
    """Stream, event: from then on nothing moves on the connection for so long, and then it ends."""

    def spoil(self, point: Point, breakage: Breakage) -> None:
        if point is Point.BEFORE:
            self.before = breakage
        else:
            self.after = breakage


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all faults have in common."""

    shorthand: ClassVar[str] = "probability"
    """The field that a bare number stands for."""
    kinds: ClassVar[tuple[Kind, ...]] = REQUESTS
    """What it can do anything to."""
    on: tuple[Kind, ...] = REQUESTS
    probability: Probability = 1.0
    nth: tuple[Ordinal, ...] = ()
    """Empty: any."""

    def apply(self, plan: Plan, drawn: int) -> None:
        """Write the effect into the plan. `drawn` is a random number of 64 bits."""
        raise NotImplementedError


class TimedFault(Fault, frozen=True, kw_only=True):
    """A fault that lasts `ms`, or a seeded time between `min` and `max`."""

    shorthand: ClassVar[str] = "ms"
    ms: Milliseconds | None = None
    min: Milliseconds = 0
    max: Milliseconds = 0

    def __post_init__(self) -> None:
        if self.ms is None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")

    def length_ms(self, drawn: int) -> int:
        return self.ms if self.ms is not None else self.min + drawn % (self.max - self.min + 1)
