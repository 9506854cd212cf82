"""Misbehaviour on demand: which fault hits which request, as data.

A fault is a struct in `FAULTS`: its fields are its parameters and their rules, `apply` writes into the request's `Plan`
what shall happen, and the server carries the plan out at the three points below. To add a fault, add a struct, and a
field to the plan if it needs a new kind of effect.

    before     the request has come in; nothing has been checked but its signature
    matching   the engine executes it
    after      it is executed and saved; the answer is about to leave

Every rule has `on` (kinds of requests), `probability` and `nth` (which of these requests, counted from 1 since the
rules were set). It hits a request when all three hold. Chances and amounts are seeded, so the same rules and the same
sequence of requests misbehave identically. Faults are not saved: a restarted simulator behaves well.
"""

from __future__ import annotations

import difflib
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from exchange.simulator.dice import chance, key_of, roll
from exchange.simulator.errors import INJECTABLE, TIMEOUT, VenueError

Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Ordinal = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


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


EVERY_KIND: Final = tuple(Kind)


class Point(StrEnum):
    BEFORE = "before"
    AFTER = "after"


class Breakage(msgspec.Struct, frozen=True):
    """How the answer is spoiled."""

    closed: bool = False
    """The connection ends without an answer."""
    status: int = 0
    """An answer of this HTTP status instead; 0: the true one."""
    body: str = ""
    """With `status`."""
    cut: bool = False
    """Half of the body, well-formed as far as HTTP goes."""


class Plan(msgspec.Struct):
    """What shall happen to one request. Empty: nothing out of the ordinary."""

    delay_ms: int = 0
    """Before."""
    refusal: VenueError | None = None
    """Before."""
    before: Breakage | None = None
    fill_share: Decimal | None = None
    """Matching: an aggressive order fills only this part of what it could."""
    late_ms: int = 0
    """After."""
    after: Breakage | None = None


class FaultError(ValueError):
    """The rules are wrong; the text says where and what would be right."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all faults have in common. `shorthand` is the field that a bare number stands for."""

    shorthand: ClassVar[str] = "probability"
    on: tuple[Kind, ...] = EVERY_KIND
    probability: Probability = 1.0
    nth: tuple[Ordinal, ...] = ()
    """Empty: any."""

    def apply(self, plan: Plan, drawn: int) -> None:
        """Write the effect into the plan. `drawn` is a random number of 64 bits."""
        raise NotImplementedError


class Latency(Fault, frozen=True, kw_only=True):
    """Wait before the request is looked at. Its timestamp is checked after the wait, as at Binance."""

    shorthand: ClassVar[str] = "ms"
    ms: Milliseconds | None = None
    min: Milliseconds = 0
    max: Milliseconds = 0

    def __post_init__(self) -> None:
        if self.ms is None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.delay_ms += self.ms if self.ms is not None else self.min + drawn % (self.max - self.min + 1)


class LateAnswer(Latency, frozen=True, kw_only=True):
    """Execute at once, answer late."""

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.late_ms += self.ms if self.ms is not None else self.min + drawn % (self.max - self.min + 1)


class PartialFill(Fault, frozen=True, kw_only=True):
    """An aggressive order fills a seeded share, between `min` and `max`, of what it could."""

    on: tuple[Kind, ...] = (Kind.PLACE,)
    min: Share = 0.1
    max: Share = 0.9

    def __post_init__(self) -> None:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")

    def apply(self, plan: Plan, drawn: int) -> None:
        low, high = round(self.min * 1_000), round(self.max * 1_000)
        plan.fill_share = Decimal(low + drawn % (high - low + 1)) / 1_000


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


class CloseConnection(Fault, frozen=True, kw_only=True):
    """End the connection instead of answering, before or after the request is executed."""

    point: Point = Point.AFTER

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        _spoil(plan, self.point, Breakage(closed=True))


class AnswerLost(Fault, frozen=True, kw_only=True):
    """Execute, then end the connection without an answer. What hurts most: an order nobody knows of."""

    on: tuple[Kind, ...] = (Kind.PLACE,)

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        _spoil(plan, Point.AFTER, Breakage(closed=True))


class ServerError(Fault, frozen=True, kw_only=True):
    """An answer of 5xx with a page of HTML, before or after the request is executed."""

    point: Point = Point.AFTER
    status: Annotated[int, Meta(ge=500, le=599)] = 503

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        page = f"<html><head><title>{self.status}</title></head><body><h1>{self.status}</h1></body></html>"
        _spoil(plan, self.point, Breakage(status=self.status, body=page))


class BackendTimeout(Fault, frozen=True, kw_only=True):
    """-1007, "execution status unknown", before or after the request is executed."""

    point: Point = Point.AFTER

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        body = msgspec.json.encode({"code": TIMEOUT.code, "msg": TIMEOUT.text}).decode()
        _spoil(plan, self.point, Breakage(status=TIMEOUT.status, body=body))


class TruncatedBody(Fault, frozen=True, kw_only=True):
    """Execute and answer with the first half of the JSON."""

    def apply(self, plan: Plan, drawn: int) -> None:  # noqa: ARG002
        _spoil(plan, Point.AFTER, Breakage(cut=True))


def _spoil(plan: Plan, point: Point, breakage: Breakage) -> None:
    if point is Point.BEFORE:
        plan.before = breakage
    else:
        plan.after = breakage


FAULTS: Final[dict[str, type[Fault]]] = {
    "answer_lost": AnswerLost,
    "backend_timeout": BackendTimeout,
    "close_connection": CloseConnection,
    "late_answer": LateAnswer,
    "latency_ms": Latency,
    "partial_fill": PartialFill,
    "reject": Reject,
    "server_error": ServerError,
    "truncated_body": TruncatedBody,
}
"""By the name in the rules."""


class _Active:
    """A rule and how many requests of its kinds it has seen."""

    def __init__(self, fault: Fault, key: int) -> None:
        self._fault = fault
        self._key = key
        self._seen = 0

    def apply(self, kind: Kind, plan: Plan) -> None:
        if kind not in self._fault.on:
            return
        self._seen += 1
        if self._fault.nth and self._seen not in self._fault.nth:
            return
        if chance(roll(self._key, 2 * self._seen), self._fault.probability):
            self._fault.apply(plan, roll(self._key, 2 * self._seen + 1))


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self._rules: dict[str, Any] = {}

    @property
    def rules(self) -> dict[str, Any]:
        """As they were set."""
        return self._rules

    def set(self, rules: object) -> None:
        """Replace all rules: a mapping of a fault's name to its parameters, or to a list of them, and `seed`.

        Counting starts anew. Raises `FaultError`; the rules before then stay in force.
        """
        if not isinstance(rules, dict):
            raise FaultError('rules are an object, e.g. {"latency_ms": {"min": 5, "max": 20}, "seed": 7}')
        seed = rules.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise FaultError(f"seed is {seed!r}; it must be a whole number")
        active = []
        for name in sorted(rules.keys() - {"seed"}):
            listed = rules[name] if isinstance(rules[name], list) else [rules[name]]
            for number, parameters in enumerate(listed):
                active.append(_Active(_fault(name, parameters), key_of(seed, f"{name}/{number}")))
        self._active, self._rules = active, rules

    def clear(self) -> None:
        self._active, self._rules = [], {}

    def plan(self, kind: Kind) -> Plan:
        """What shall happen to the next request of this kind."""
        plan = Plan()
        for rule in self._active:
            rule.apply(kind, plan)
        return plan


def _fault(name: str, parameters: object) -> Fault:
    known = FAULTS.get(name)
    if known is None:
        near = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FAULTS)}"
        raise FaultError(f"there is no fault {name}; {hint}")
    if isinstance(parameters, int | float) and not isinstance(parameters, bool):
        parameters = {known.shorthand: parameters}
    try:
        return msgspec.convert(parameters, type=known)
    except msgspec.ValidationError as error:
        raise FaultError(f"{name}: {error}; its parameters are {', '.join(known.__struct_fields__)}") from None
