"""Misbehaviour on demand: which fault hits which request, as data.

A fault is a struct in `FAULTS`: its fields are its parameters and their rules, `apply` writes into the request's `Plan`
what shall happen, and the plan is carried out at the three points below. To add a fault, add a struct to the module of
its theme (`answer_faults`, `trading_faults`, `reading_faults`, `stream_faults`), a row to the table, and a field to the
plan if it needs a new kind of effect.

    before     the request has come in; nothing has been checked but its signature
    matching   the engine executes it, and what a read shows is put together
    after      it is executed and saved; the answer is about to leave

An event of the user data stream has a plan like a request, and so has a new connection to it.

Every rule has `on` (kinds of requests), `probability` and `nth` (which of these requests, counted from 1 since the
rules were set). It hits a request when all three hold. Chances and amounts are seeded, so the same rules and the same
sequence of requests misbehave identically. Faults are not saved: a restarted simulator behaves well.

An outage comes before everything: what it swallows is not seen, or counted, by any rule.
"""

from __future__ import annotations

import difflib
from typing import Any, Final

import msgspec

from exchange.simulator.answer_faults import (
    AnswerLost,
    BackendTimeout,
    CloseConnection,
    EmptyBody,
    GarbledBody,
    HtmlBody,
    LateAnswer,
    Latency,
    Outage,
    ServerError,
    TruncatedBody,
)
from exchange.simulator.dice import chance, key_of, roll
from exchange.simulator.plan import Breakage, Downtime, Fault, Kind, Plan
from exchange.simulator.reading_faults import DuplicateTrades, HiddenOrder, LaggingReads, ReorderedTrades
from exchange.simulator.stream_faults import EventLate, EventLost, EventTwice, StreamCut, StreamRefused, StreamSilent
from exchange.simulator.trading_faults import (
    CancelCrossesFill,
    ClockSkew,
    FillAfterCancel,
    PartialFill,
    RateLimited,
    Reject,
)

FAULTS: Final[dict[str, type[Fault]]] = {
    "answer_lost": AnswerLost,
    "backend_timeout": BackendTimeout,
    "cancel_crosses_fill": CancelCrossesFill,
    "clock_skew": ClockSkew,
    "close_connection": CloseConnection,
    "duplicate_trades": DuplicateTrades,
    "empty_body": EmptyBody,
    "event_late": EventLate,
    "event_lost": EventLost,
    "event_twice": EventTwice,
    "fill_after_cancel": FillAfterCancel,
    "garbled_body": GarbledBody,
    "hidden_order": HiddenOrder,
    "html_body": HtmlBody,
    "lagging_reads": LaggingReads,
    "late_answer": LateAnswer,
    "latency_ms": Latency,
    "outage": Outage,
    "partial_fill": PartialFill,
    "rate_limited": RateLimited,
    "reject": Reject,
    "reordered_trades": ReorderedTrades,
    "server_error": ServerError,
    "stream_cut": StreamCut,
    "stream_refused": StreamRefused,
    "stream_silent": StreamSilent,
    "truncated_body": TruncatedBody,
}
"""By the name in the rules."""


class FaultError(ValueError):
    """The rules are wrong; the text says where and what would be right."""


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
        self._outage: Downtime | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """As they were set."""
        return self._rules

    def set(self, rules: object) -> None:
        """Replace all rules: a mapping of a fault's name to its parameters, or to a list of them, and `seed`.

        Counting starts anew, and an outage ends. Raises `FaultError`; the rules before then stay in force.
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
        self._active, self._rules, self._outage = active, rules, None

    def clear(self) -> None:
        self._active, self._rules, self._outage = [], {}, None

    def outage(self, now_ns: int) -> Breakage | None:
        """How every request ends at this moment; None: the venue is up."""
        return self._outage.breakage if self._outage is not None and now_ns < self._outage.until_ns else None

    def plan(self, kind: Kind, now_ns: int) -> Plan:
        """What shall happen to the next request of this kind, which came in now."""
        plan = Plan(received_ns=now_ns)
        for rule in self._active:
            rule.apply(kind, plan)
        if plan.outage is not None:
            self._outage, plan.before = plan.outage, plan.outage.breakage
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
        fault = msgspec.convert(parameters, type=known)
    except msgspec.ValidationError as error:
        raise FaultError(f"{name}: {error}; its parameters are {', '.join(known.__struct_fields__)}") from None
    idle = [kind for kind in fault.on if kind not in known.kinds]
    if idle:
        raise FaultError(f"{name} does nothing on {', '.join(idle)}; it is for {', '.join(known.kinds)}")
    return fault
