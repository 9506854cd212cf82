"""Faults of what is shown: old, out of order, twice, or not at all. `/_sim/…` tells the truth meanwhile."""

from __future__ import annotations

from typing import ClassVar, Final

from exchange.simulator.plan import Fault, Kind, Milliseconds, Plan, TimedFault

_READS: Final = (Kind.ORDER, Kind.OPEN_ORDERS, Kind.ALL_ORDERS, Kind.TRADES, Kind.ACCOUNT)
_ORDER_LISTS: Final = (Kind.OPEN_ORDERS, Kind.ALL_ORDERS)


class LaggingReads(TimedFault, frozen=True, kw_only=True):
    """A read shows orders, trades and balances as they were a while ago."""

    kinds: ClassVar[tuple[Kind, ...]] = _READS
    on: tuple[Kind, ...] = _READS
    min: Milliseconds = 1_000
    max: Milliseconds = 1_000

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.lag_ms = max(plan.lag_ms, self.length_ms(drawn))


class HiddenOrder(Fault, frozen=True, kw_only=True):
    """A list of orders misses one that is there."""

    kinds: ClassVar[tuple[Kind, ...]] = _ORDER_LISTS
    on: tuple[Kind, ...] = _ORDER_LISTS

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.hide_row = drawn


class DuplicateTrades(Fault, frozen=True, kw_only=True):
    """A list of trades has at least one of them twice; for `place` it is the list of fills."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.TRADES, Kind.PLACE)
    on: tuple[Kind, ...] = (Kind.TRADES,)

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.repeat_rows = drawn


class ReorderedTrades(Fault, frozen=True, kw_only=True):
    """A list of trades is out of order; for `place` it is the list of fills."""

    kinds: ClassVar[tuple[Kind, ...]] = (Kind.TRADES, Kind.PLACE)
    on: tuple[Kind, ...] = (Kind.TRADES,)

    def apply(self, plan: Plan, drawn: int) -> None:
        plan.shuffle_rows = drawn
