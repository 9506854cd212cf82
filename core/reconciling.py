"""The reconciler's brain: told what happened and when, answers with what to do. It does nothing itself.

| part | asks |
|---|---|
| `starting` | before trading: does the venue agree with the book? (C1) |
| `searching` | what became of an order whose outcome is unknown? (C3) |
| `comparing` | does an ended intent agree with the venue's trades? (C6) |
| `sweeping` | is there a trade of ours that the book lacks? (C2) |
| `open_orders` | are the orders open that should be, and no others of ours? (C2, C4) |
| `leftovers` | is an order gone that no intent wants any more? |
| `balances` | do the balances agree, and the ledger with itself? (C2, C5) |
| `account_watch` | can the account's data be read at all? (E5) |
| `verifying` | everything, on demand |
| `closing` | before a stop: how do they stand? |

Each runs on its own interval (`[reconciler]` in the settings; 0 turns one off, except the search). All of them ask
through `inquiry`, which keeps an answer, an empty answer and no answer apart. Nothing here is a truth of its own: after
a restart everything begins from the book.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from core import wants
from core.account_watch import AccountWatch
from core.balances import Balances, Ledger
from core.book import is_stale
from core.closing import Closing
from core.comparing import Comparisons
from core.drift import Alarm
from core.ids import NS_PER_S, ClientOrderId
from core.inquiry import Effects, Inquiries, Moment
from core.leftovers import Leftovers
from core.lifecycle import State
from core.news import says_nothing_new
from core.open_orders import OpenOrders
from core.records import AttemptRecord
from core.reports import OpenOrder, OrderAbsent, OrderSnapshot, OutcomeUnknown, QueryFailed, Report, Trade
from core.searching import Searches
from core.settings import Settings
from core.starting import Start
from core.sweeping import Sweeps
from core.verifying import Verifying

SEARCH: Final = "search"
SEARCH_INTERVAL_MAX_NS: Final = NS_PER_S // 2
"""Whatever waits for time to pass, the end of a start too, is looked at so often at least."""
IN_FLIGHT, ENDED, TRADES, ORDERS, BALANCES = "in flight", "ended", "trades", "orders", "balances"


class Reconciliation:
    """Every method takes the moment: the book as it is, and the time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        own = settings.reconciler
        self._inquiries = Inquiries(settings.engine.request_timeout)
        alarm = Alarm(own.drift_looks_max)
        self._searches = Searches(settings, self._inquiries)
        self._comparisons = Comparisons(settings, self._inquiries, alarm)
        self._sweeps = Sweeps(settings, self._inquiries, self._comparisons)
        self._orders = OpenOrders(settings, self._inquiries)
        self._leftovers = Leftovers(self._inquiries)
        self._balances = Balances(self._inquiries, self._sweeps, alarm, settings.exchange.read_lag)
        self._ledger = Ledger(alarm)
        self._account = AccountWatch(self._inquiries, own.private_data_max_age)
        self._verifying = Verifying(self._inquiries, settings.exchange.read_lag)
        self._closing = Closing(self._inquiries, self._sweeps)
        self._start = Start(settings, self._searches, self._comparisons, self._sweeps, self._orders, self._balances)
        self.intervals = {
            SEARCH: min(own.lookup_interval or SEARCH_INTERVAL_MAX_NS, SEARCH_INTERVAL_MAX_NS),
            IN_FLIGHT: own.in_flight_interval,
            ENDED: own.order_interval,
            TRADES: own.trades_interval,
            ORDERS: own.open_orders_interval,
            BALANCES: own.balance_interval,
        }
        """Of the checks by name, ns; 0: off."""
        self._checks: dict[str, Callable[[Moment], Effects]] = {
            IN_FLIGHT: self._look_for_lost,
            ENDED: self._comparisons.go_on,
            TRADES: self._sweeps.go_on,
            ORDERS: self._orders.go_on,
            BALANCES: self._balances.go_on,
        }

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, at: Moment) -> Effects:
        """The part is there; nobody trades yet."""
        return self._start.begin(at) + self._start.go_on(at)

    def tick(self, name: str, at: Moment) -> Effects:
        """It is time for this check."""
        if name == SEARCH:
            effects = self._inquiries.overdue(at) + self._searches.go_on(at) + self._verifying.go_on(at)
            effects += self._leftovers.go_on(at) + self._account.go_on(at) + self._closing.go_on(at)
            return effects + self._balances.look_for_reasons(at) + self._start.go_on(at)
        return self._checks[name](at) if self._start.is_over else []

    def _look_for_lost(self, at: Moment) -> Effects:
        """Attempts that nobody follows: too long on their way, or unknown without anybody asking; intents that are
        too old and never left; and the ledger."""
        effects: Effects = []
        longest_ns = self._settings.reconciler.in_flight_max
        for record in at.book.open_intents():
            attempt = at.book.attempt(record.intent.intent_id, record.attempts)
            if record.state is State.SENDING and attempt and at.now_ns - attempt.created_ns > longest_ns:
                reason = f"no answer for {longest_ns // NS_PER_S} s"
                effects.append(wants.Apply(OutcomeUnknown(client_order_id=attempt.client_order_id, reason=reason)))
        self._searches.take_up(at)
        return effects + self.expire_stale(at) + self._searches.go_on(at) + self._ledger.go_on(at)

    def expire_stale(self, at: Moment) -> Effects:
        """End what is too old and provably never was at the venue; the portfolio looks once more itself (I6, B8)."""
        threshold_ns = self._settings.router.intent_stale_threshold
        stale = (record for record in at.book.open_intents() if is_stale(at.book, record, threshold_ns, at.now_ns))
        return [wants.Expire(record.intent.intent_id) for record in stale]

    def stream_live(self, at: Moment) -> Effects:
        """The user stream tells what happens from now on; what happened before may never have been told."""
        return self.tick(ORDERS, at) + (self._sweeps.anew(at) if self._start.is_over else [])

    # ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────

    def resolve(self, attempt: AttemptRecord, at: Moment) -> Effects:
        """A router wants to know what became of this attempt."""
        return self._searches.resolve(attempt, at)

    def verify(self, request_id: str, at: Moment) -> Effects:
        """Somebody wants everything compared."""
        return self._verifying.verify(request_id, at)

    def close(self, within_ns: int, at: Moment) -> Effects:
        """The engine stops, and has so much time to hear how book and venue compare."""
        return self._closing.begin(within_ns, at)

    def again(self, at: Moment) -> Effects:
        """The gateway was replaced: whatever it was asked, the new one is asked."""
        return self._inquiries.again(at)

    # ── what the venue answers ────────────────────────────────────────────────────────────────────────────────────

    def order_reported(
        self, purpose: str, client_order_id: ClientOrderId, report: Report | OrderAbsent | QueryFailed, at: Moment
    ) -> Effects:
        effects: Effects = []
        if isinstance(report, OrderSnapshot):  # a fact, whoever asked, and however late it comes
            effects += self._searches.sighted(report) or _if_news(report, client_order_id, at)
        return effects + self._answered(purpose, report, at)

    def orders_listed(
        self, purpose: str, orders: tuple[OpenOrder, ...] | QueryFailed, at: Moment, *, complete: bool = True
    ) -> Effects:
        if not isinstance(orders, QueryFailed):
            self._searches.listed(orders, at)
        return self._answered(purpose, orders, at, complete=complete)

    def trades_listed(
        self, purpose: str, trades: tuple[Trade, ...] | QueryFailed, at: Moment, *, complete: bool
    ) -> Effects:
        return self._answered(purpose, trades, at, complete=complete)

    def balances_told(self, purpose: str, totals: dict[str, Decimal] | QueryFailed, at: Moment) -> Effects:
        asked_ns = self._inquiries.asked_ns(purpose)
        effects = [] if asked_ns is None else self._account.told(asked_ns, totals, at)
        return effects + self._answered(purpose, totals, at)

    def _answered(self, purpose: str, answer: Any, at: Moment, *, complete: bool = True) -> Effects:
        return self._inquiries.answered(purpose, answer, at, complete=complete) + self._start.go_on(at)


def _if_news(report: OrderSnapshot, client_order_id: ClientOrderId, at: Moment) -> Effects:
    """A look-up that nobody searches for any more goes to the book if it tells something new."""
    attempt = at.book.attempt_by_client_id(client_order_id)
    return [] if attempt is None or says_nothing_new(attempt, report) else [wants.Apply(report)]
