"""Faults of what is executed: refusals without a reason, a clock that is wrong, fills at the worst moment."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from exchange.simulator.errors import BANNED, INJECTABLE, WEIGHT_EXCEEDED, VenueError
from exchange.simulator.limits import NS_PER_S, WEIGHT_LIMIT_DEFAULT
from exchange.simulator.plan import REQUESTS, Fault, Kind, LateFill, Milliseconds, Plan, Share

PositiveShare = Annotated[float, Meta(gt=0, le=1)]
Skew = Annotated[int, Meta(ge=-600_000, le=600_000)]
RetryAfter = Annotated[int, Meta(ge=1, le=86_400)]

_TOO_MANY = 429
_NS_PER_MS = 1_000_000


class Reject(Fault, frozen=True, kw_only=True):
    """Refuse a new order with one of these codes; it is definitely not placed."""

    on: tuple[Kind, ...] = (Kind.PLACE,)
    codes: tuple[int, ...] = (-2010,)

    def __post_init__(self) -> None:
        unknown = [code for code in self.codes if code not in INJECTABLE]
        if unknown or not self.codes:
            raise ValueError(f"codes {unknown} are none of {', '.join(map(str, sorted(INJECTABLE)))}")

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.refusal = INJECTABLE[self.codes[drawn % len(self.codes)]]


class RateLimited(Fault, frozen=True, kw_only=True):
    """Refuse with -1003: 429, or 418 for a ban, and `Retry-After`. The next request is judged anew."""

    status: Literal[429, 418] = 429
    retry_after_s: RetryAfter = 1

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        if self.status == _TOO_MANY:
            plan.refusal = VenueError(WEIGHT_EXCEEDED, WEIGHT_LIMIT_DEFAULT, retry_after_s=self.retry_after_s)
        else:
            until_ms = (plan.received_ns + self.retry_after_s * NS_PER_S) // _NS_PER_MS
            plan.refusal = VenueError(BANNED, until_ms, retry_after_s=self.retry_after_s)


class ClockSkew(Fault, frozen=True, kw_only=True):
    """The venue's clock is `ms` ahead, or behind if negative, where it tells the time and where it checks ours."""

    kinds: ClassVar[tuple[Kind, ...]] = (*REQUESTS, Kind.STREAM)
    shorthand: ClassVar[str] = "ms"
    ms: Skew = 10_000

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.skew_ms = self.ms


class PartialFill(Fault, frozen=True, kw_only=True):
    """An aggressive order fills a seeded share, between `min` and `max`, of what it could."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.PLACE,)
    on: tuple[Kind, ...] = (Kind.PLACE,)
    min: Share = 0.1
    max: Share = 0.9

    def __post_init__(self) -> None:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")

    def apply(self, plan: Plan, drawn: int) -> None:
        low, high = round(self.min * 1_000), round(self.max * 1_000)
        plan.fill_share = Decimal(low + drawn % (high - low + 1)) / 1_000


class CancelCrossesFill(Fault, frozen=True, kw_only=True):
    """A `share` of what the order has left fills just before its cancel: -2011 if that was all."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.CANCEL,)
    on: tuple[Kind, ...] = (Kind.CANCEL,)
    share: PositiveShare = 1.0

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.crossing_share = Decimal(str(self.share))


class FillAfterCancel(Fault, frozen=True, kw_only=True):
    """A `share` fills just before the cancel, whose answer knows nothing of it; reads show it `ms` later."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.CANCEL,)
    on: tuple[Kind, ...] = (Kind.CANCEL,)
    share: PositiveShare = 0.5
    ms: Milliseconds = 1_000

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        plan.late_fill = LateFill(Decimal(str(self.share)), self.ms)
