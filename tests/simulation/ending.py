"""How a run ends: what must come about in the calm, one thing after the other, each within its time.

1. Everything is settled (`settled.py`).
2. If balances have changed without a trade: trading is REDUCING and then HALTED, within so many looks at the balances
   (C5). Open intents end all the same; what is given up is liveness of new ones, and nothing else.
3. The daemon's own comparison (`verify`) finds that difference, exactly, and nothing else.
4. The operator accepts it and lets trading go on.
5. For some looks at the balances more nothing happens: trading stays ACTIVE, and `verify` finds nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from core import trading
from core.records import TradingState
from core.settings import Settings
from tests.simulation.operator import Operator
from tests.simulation.safety import Safety
from tests.simulation.scheduler import NS_PER_S, Scheduler
from tests.simulation.shared_book import SharedBook

LOOKS_SPARE: Final = 3
"""So many looks at the balances may come to nothing, or find something else, before the first that counts."""
SETTLING_NS: Final = 60 * NS_PER_S
"""Balances are looked at when nothing is in flight any more, which takes so long at most."""
WEIGHT_WINDOW_NS: Final = 60 * NS_PER_S
"""For so long a venue that allows little may leave no room for any look."""
LOOKS_AFTER: Final = 2
"""Looks at the balances after all is settled."""


class Ending:
    """Asked for its next step now and then; over when `waits_for` is empty."""

    def __init__(
        self,
        scheduler: Scheduler,
        book: SharedBook,
        safety: Safety,
        operator: Operator,
        settings: Settings,
        unsettled: Callable[[], list[str]],
        drift: dict[str, Decimal],
        *,
        is_tight: bool,
    ) -> None:
        """`unsettled` says what is not as it must be; `drift` is filled when balances change without a trade.

        `is_tight`: the venue allows little weight.
        """
        self.waits_for = "the calm"
        self._scheduler = scheduler
        self._book = book
        self._safety = safety
        self._operator = operator
        self._settings = settings.reconciler
        self._unsettled = unsettled
        self._drift = drift
        self._patience_ns = SETTLING_NS + (WEIGHT_WINDOW_NS if is_tight else 0)
        self._began_ns = scheduler.now_ns
        self._course = self._steps()

    def go_on(self) -> None:
        self.waits_for = next(self._course, "")

    def _steps(self) -> Iterator[str]:
        while left := self._unsettled():
            yield "; ".join(left[:5])
        if self._drift:
            yield from self._until_halted()
        yield from self._verify(self._drift)
        if self._drift:
            self._operator.resume()
            while not self._operator.has_resumed:
                yield "trading is not resumed"
        until_ns = self._scheduler.now_ns + LOOKS_AFTER * self._settings.balance_interval
        while self._scheduler.now_ns < until_ns:
            yield "time passes"
        yield from self._verify({})
        if self._standing() is not TradingState.ACTIVE:
            self._safety.broken(f"in the end trading is {self._standing()}")

    def _until_halted(self) -> Iterator[str]:
        looks = self._settings.drift_looks_max + LOOKS_SPARE
        latest_ns = self._began_ns + self._patience_ns + looks * self._settings.balance_interval
        while self._standing() is not TradingState.HALTED:
            if self._scheduler.now_ns > latest_ns:
                self._safety.broken(f"balances differ by {self._drift}, and trading is still {self._standing()}")
            yield "trading is not halted"

    def _verify(self, drift: dict[str, Decimal]) -> Iterator[str]:
        """The daemon's own comparison must find this difference, and nothing else."""
        self._operator.verify()
        while self._operator.verdict is None or self._operator.verdict.not_compared:
            if not self._operator.is_waiting:
                self._operator.verify()
            yield "verify has not answered"
        self._operator.judge(drift)

    def _standing(self) -> TradingState:
        with self._book.view() as view:
            return trading.standing(view).state
