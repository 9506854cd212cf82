"""Reading own trades from the durable cursor on: nothing that the venue has executed for us stays out of the book.

A *sweep* reads the trades of some symbols, asks for the names of orders that nobody knows, hands to the book what it
lacks, and moves the cursors (`core/settling.py`). Symbols with open intents, or with ended ones that are not finished,
are swept on an interval; the others when they may explain a difference of balances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from core import timestamps, wants
from core.comparing import Comparisons
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.settings import Settings
from core.settling import Sorted, opening_ns, sort_out
from core.unit_of_work import BookReader

NAMES_ASKED_MAX: Final = 50
"""Questions for names in one sweep; each brings up to a thousand."""


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep has found."""

    trades: int = 0
    booked: int = 0
    """Trades that the book lacked and has been handed."""
    external_orders: int = 0
    """Seen for the first time."""
    external_trades: int = 0
    """The same."""
    failed: tuple[str, ...] = ()
    """What could not be read, with the reason."""
    has_unasked: bool = False
    """Some of it was not asked for at all, which says nothing about the venue."""

    @property
    def is_clean(self) -> bool:
        """Everything was read, and everything stood in the book already."""
        return not (self.failed or self.booked or self.external_orders or self.external_trades)


Then = Callable[[Swept, Moment], Effects]


class Sweeps:
    def __init__(self, settings: Settings, inquiries: Inquiries, comparisons: Comparisons) -> None:
        self._settings = settings
        self._inquiries = inquiries
        self._comparisons = comparisons
        self._is_running = self._is_wanted_again = False

    def active(self, book: BookReader) -> set[str]:
        """Symbols in which something of ours may be executed, or may have been just now."""
        left = {leftover.symbol for leftover in book.leftovers()}
        return {record.intent.symbol for record in book.open_intents()} | self._comparisons.symbols | left

    def go_on(self, at: Moment) -> Effects:
        """The regular sweep, unless the last one still runs."""
        symbols = self.active(at.book)
        if self._is_running or not symbols:
            return []
        self._is_running = True
        return self.begin(symbols, at, self._ended)

    def anew(self, at: Moment) -> Effects:
        """One that is asked for from now on: what still runs may have asked too early."""
        self._is_wanted_again = self._is_running
        return self.go_on(at)

    def _ended(self, swept: Swept, at: Moment) -> Effects:
        self._is_running = False
        effects: Effects = [wants.Say("trades_not_read", {"reasons": swept.failed})] if swept.failed else []
        if self._is_wanted_again:
            self._is_wanted_again = False
            effects += self.go_on(at)
        return effects

    def begin(self, symbols: Iterable[str], at: Moment, then: Then) -> Effects:
        """Sweep these; `then` is told what was found."""
        wanted, asked = sorted(symbols), set[str]()
        if not wanted:
            return then(Swept(), at)
        inquiry = self._inquiries.begin(at, lambda over, later: self._answered(over, asked, then, later))
        questions: Effects = []
        for symbol in wanted:
            cursor = at.book.trade_cursor(symbol)
            since_ns = max(0, opening_ns(at.book) - timestamps.slack_ns(at.book))
            questions.append(inquiry.ask_trades(symbol, cursor.trade_id if cursor else None, since_ns))
        return questions

    def _answered(self, inquiry: Inquiry, asked: set[str], then: Then, at: Moment) -> Effects:
        sorted_out = {
            symbol: self._sort_out(symbol, inquiry, at) for symbol in inquiry.trades if inquiry.has_trades(symbol)
        }
        questions: Effects = []
        for symbol, found in sorted_out.items():
            unasked = [order_id for order_id in found.nameless if f"{symbol} {order_id}" not in asked]
            if unasked and len(asked) < NAMES_ASKED_MAX and inquiry.may_ask_orders(symbol):
                asked.add(f"{symbol} {unasked[0]}")
                questions.append(inquiry.ask_orders(symbol, unasked[0]))
        if questions:
            return questions
        effects: Effects = []
        for symbol, found in sorted_out.items():
            effects += self._carry_out(symbol, found, inquiry, at)
        return effects + then(_summary(inquiry, sorted_out, at.book), at)

    def _sort_out(self, symbol: str, inquiry: Inquiry, at: Moment) -> Sorted:
        return sort_out(
            at.book,
            symbol,
            inquiry.trades_of(symbol),
            inquiry.orders.get(symbol, {}),
            settled_before_ns=self._settled_before_ns(inquiry, at.book),
            now_ns=at.now_ns,
        )

    def _settled_before_ns(self, inquiry: Inquiry, book: BookReader) -> int:
        """What is older is not reported late any more."""
        return inquiry.asked_ns - self._settings.reconciler.late_fill_check - timestamps.slack_ns(book)

    def _carry_out(self, symbol: str, found: Sorted, inquiry: Inquiry, at: Moment) -> Effects:
        effects: Effects = []
        for report in found.missing:
            attempt = at.book.attempt_by_client_id(report.client_order_id)
            assert attempt is not None
            effects += [wants.Say("missing_trades_found", {"intent_id": attempt.intent_id}), wants.Apply(report)]
        if not found.settlement.is_empty:
            effects.append(wants.Settle(found.settlement))
        if not found.nameless:
            self._comparisons.swept(symbol, self._settled_before_ns(inquiry, at.book))
        return effects


def _summary(inquiry: Inquiry, sorted_out: dict[str, Sorted], book: BookReader) -> Swept:
    """A pair that the book has never traded, and that is no market, was a wrong guess: it has no trades to be read."""
    guesses = {f"trades {symbol}" for symbol in inquiry.no_markets if book.market(symbol) is None}
    failed = [f"{name}: {reason}" for name, reason in inquiry.failed.items() if name not in guesses]
    failed += [
        f"order {found.nameless[0]} of {symbol} has no name" for symbol, found in sorted_out.items() if found.nameless
    ]
    return Swept(
        trades=sum(len(inquiry.trades[symbol]) for symbol in sorted_out),
        booked=sum(len(report.trades) for found in sorted_out.values() for report in found.missing),
        external_orders=sum(len(found.settlement.external_orders) for found in sorted_out.values()),
        external_trades=sum(len(found.settlement.external_trades) for found in sorted_out.values()),
        failed=tuple(failed),
        has_unasked=inquiry.has_unasked,
    )
