"""Before trading: the venue's orders, trades and balances against the book (C1).

Asked all together: the account's open orders in one list, the trades of every symbol with open intents or unfinished
comparisons from its cursor on, and whatever the book has as unknown. What differs is looked up and handed to the book;
then balances are compared; again, if what was found was booked meanwhile. A question that fails is put again, until
`reconciler.start_timeout` is over; then the start goes on, says what was not compared, and the running checks ask
again. An intent whose outcome can be proven only later is looked for once, and stays unknown: that keeps its money, and
keeps nobody else from trading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core import wants
from core.balances import Balances, why_busy
from core.comparing import Comparisons
from core.events import StartReconciled
from core.ids import NS_PER_S
from core.inquiry import Effects, Moment
from core.open_orders import Looked, OpenOrders
from core.searching import Searches
from core.settings import Settings
from core.sweeping import Sweeps, Swept

AGAIN_NS: Final = 1 * NS_PER_S
"""Between two attempts at what failed."""
ORDERS, TRADES, BALANCES = "open orders", "trades", "balances"


class Start:
    """One start. It is over when `found` is there."""

    def __init__(
        self,
        settings: Settings,
        searches: Searches,
        comparisons: Comparisons,
        sweeps: Sweeps,
        orders: OpenOrders,
        balances: Balances,
    ) -> None:
        self._settings = settings
        self._searches = searches
        self._comparisons = comparisons
        self._sweeps = sweeps
        self._orders = orders
        self._balances = balances
        self._began_ns = 0
        self._symbols: tuple[str, ...] = ()
        self._looked: Looked | None = None
        self._swept: Swept | None = None
        self._balanced: str | None = None
        """Why balances were not compared; empty when they were."""
        self._asking: set[str] = set()
        """What is on its way."""
        self._again_ns: dict[Callable[[Moment], Effects], int] = {}
        self.is_over = False

    def begin(self, at: Moment) -> Effects:
        self._began_ns = at.now_ns
        self._comparisons.catch_up(at)
        self._searches.take_up(at)
        self._symbols = tuple(sorted(self._sweeps.active(at.book)))
        return [*self._ask_orders(at), *self._ask_trades(at), *self._searches.go_on(at)]

    def go_on(self, at: Moment) -> Effects:
        """Time has passed, or something was answered."""
        if self.is_over:
            return []
        effects: Effects = []
        for ask in [ask for ask, due_ns in self._again_ns.items() if due_ns <= at.now_ns]:
            del self._again_ns[ask]
            effects += ask(at)
        is_late = at.now_ns - self._began_ns >= self._settings.reconciler.start_timeout
        return effects + (self._finish(at) if is_late or self._is_done else [])

    @property
    def _is_done(self) -> bool:
        return self._balanced is not None and not self._asking and not self._again_ns and self._searches.has_news

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask_orders(self, at: Moment) -> Effects:
        self._asking.add(ORDERS)
        return self._orders.begin(at, self._have_looked, at_once=True)

    def _have_looked(self, looked: Looked, at: Moment) -> Effects:
        self._asking.discard(ORDERS)
        before = self._looked or Looked()
        self._looked = msgspec.structs.replace(looked, external_orders=before.external_orders + looked.external_orders)
        if looked.failed:
            self._again_ns[self._ask_orders] = at.now_ns + AGAIN_NS
        return self._then_balances(at)

    def _ask_trades(self, at: Moment) -> Effects:
        self._asking.add(TRADES)
        return self._sweeps.begin(self._symbols, at, self._have_swept)

    def _have_swept(self, swept: Swept, at: Moment) -> Effects:
        self._asking.discard(TRADES)
        before = self._swept or Swept()
        self._swept = msgspec.structs.replace(
            swept,
            booked=before.booked + swept.booked,
            external_orders=before.external_orders + swept.external_orders,
        )
        if swept.failed:
            self._again_ns[self._ask_trades] = at.now_ns + AGAIN_NS
        return self._then_balances(at)

    def _then_balances(self, at: Moment) -> Effects:
        """When all else is answered: what was found is on its way into the book."""
        return [] if self._asking or self._again_ns or self._balanced is not None else self._ask_balances(at)

    def _ask_balances(self, at: Moment) -> Effects:
        self._asking.add(BALANCES)
        return self._balances.go_on(at, self._have_balanced)

    def _have_balanced(self, why_not: str, at: Moment) -> Effects:
        self._asking.discard(BALANCES)
        self._balanced = why_not
        if why_not and not why_busy(at.book):  # else only time, maybe much of it, will make it quiet
            self._again_ns[self._ask_balances] = at.now_ns + AGAIN_NS
        return []

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, at: Moment) -> Effects:
        self.is_over = True
        looked, swept = self._looked, self._swept
        not_compared = [*(looked.failed if looked else (f"{ORDERS}: no answer",))]
        not_compared += swept.failed if swept else (f"{TRADES}: no answer",)
        if self._balanced != "":
            not_compared.append(f"{BALANCES}: {self._balanced or 'no answer'}")
        found = StartReconciled(
            at_ns=at.now_ns,
            symbols=self._symbols,
            open_orders=looked.open_orders if looked else 0,
            trades=swept.trades if swept else 0,
            booked_trades=swept.booked if swept else 0,
            external_orders=(looked.external_orders if looked else 0) + (swept.external_orders if swept else 0),
            resolved=self._searches.resolved,
            unresolved=len(self._searches),
            drift=self._balances.unexplained,
            not_compared=tuple(not_compared),
            elapsed_ns=at.now_ns - self._began_ns,
        )
        return [wants.Record((found,)), wants.Started(found)]
