"""The whole comparison on demand: everything since the book began, against everything that the venue shows.

Theory of operation
-------------------
One symbol after the other is read from the beginning, so memory is bounded by the largest; then the open orders and the
balances. While the engine trades, two looks are never of the same moment. So when something differs, everything is
looked at once more a little later, and only what differs both times is told: the same trade, order or intent, the same
amount of a currency. A look that could not read everything may have missed what the next one finds, so then there is a
third one. What the book says against itself is of one moment, and told at once. Nothing is booked here: what the book
lacks is brought by the regular sweeps. Its questions are on demand: however often it is wanted, the regular checks keep
their part of the account's budget.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Final

from core import differences, timestamps, wants
from core.ids import NS_PER_S, ExchangeOrderId
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.lifecycle import State
from core.money import ZERO
from core.records import ExternalOrder
from core.settling import external_order, external_trade, opening_ns
from core.unit_of_work import BookReader
from core.verdict import Difference, Verdict

PAUSE_MIN_NS: Final = 2 * NS_PER_S
"""Between the two looks; longer where the venue's reads lag longer."""
LOOKS_MAX: Final = 4
NAMES_ASKED_MAX: Final = 1_000
OF_ONE_MOMENT: Final = frozenset({"ledger", "reservation"})


class _Pass:
    """One look at everything."""

    def __init__(self, asked_ns: int, symbols: list[str]) -> None:
        self.asked_ns = asked_ns
        self.symbols = symbols
        """Still to be read."""
        self.differences: list[Difference] = []
        self.external: dict[tuple[str, ExchangeOrderId], ExternalOrder] = {}
        self.changes: dict[str, Decimal] = defaultdict(lambda: ZERO)
        """What external trades have done, by currency."""
        self.fills = 0
        self.orders = 0
        self.balances = 0
        self.failed: list[str] = []


class Verifying:
    """At most one comparison runs; who asks meanwhile gets its answer, too."""

    def __init__(self, inquiries: Inquiries, read_lag_ns: int) -> None:
        self._inquiries = inquiries
        self._pause_ns = max(PAUSE_MIN_NS, read_lag_ns)
        self._askers: list[str] = []
        self._pass: _Pass | None = None
        self._first: _Pass | None = None
        """The first look, when it has found something."""
        self._looks = 0
        self._again_ns = 0

    def verify(self, request_id: str, at: Moment) -> Effects:
        """Somebody wants to know."""
        if request_id not in self._askers:
            self._askers.append(request_id)
        return self._begin(at) if self._pass is None and self._first is None else []

    def go_on(self, at: Moment) -> Effects:
        """Time has passed."""
        due = self._first is not None and self._pass is None and self._again_ns <= at.now_ns
        return self._begin(at) if due else []

    def _begin(self, at: Moment) -> Effects:
        self._pass = _Pass(at.now_ns, sorted(rules.symbol for rules in at.book.markets()))
        return self._next(self._pass, at)

    # ── one look ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _next(self, now: _Pass, at: Moment) -> Effects:
        """The next symbol; after the last one the account."""
        if now.symbols:
            symbol, asked = now.symbols.pop(0), set[ExchangeOrderId]()
            inquiry = self._inquiries.begin(
                at, lambda over, then: self._symbol_read(now, symbol, asked, over, then), on_demand=True
            )
            since_ns = max(0, opening_ns(at.book) - timestamps.slack_ns(at.book))
            return [inquiry.ask_trades(symbol, None, since_ns)]
        inquiry = self._inquiries.begin(at, lambda over, then: self._account_read(now, over, then), on_demand=True)
        return [inquiry.ask_open_orders(None), inquiry.ask_balances()]

    def _symbol_read(
        self, now: _Pass, symbol: str, asked: set[ExchangeOrderId], inquiry: Inquiry, at: Moment
    ) -> Effects:
        if inquiry.has_trades(symbol):
            trades, names = inquiry.trades_of(symbol), inquiry.orders.get(symbol, {})
            orders = dict.fromkeys(trade.exchange_order_id for trade in trades)
            unnamed = (
                each for each in orders if each not in asked and differences.is_nameless(at.book, symbol, each, names)
            )
            first = next(unnamed, None)
            if first is not None and len(asked) < NAMES_ASKED_MAX and inquiry.may_ask_orders(symbol):
                asked.add(first)
                return [inquiry.ask_orders(symbol, first)]
            now.fills += len(trades)
            now.differences += differences.of_fills(at.book, symbol, trades, names)
            self._note_external(now, symbol, inquiry, at)
        now.failed += [f"{name}: {reason}" for name, reason in inquiry.failed.items()]
        return self._next(now, at)

    def _note_external(self, now: _Pass, symbol: str, inquiry: Inquiry, at: Moment) -> None:
        names, began_ns, rules = inquiry.orders.get(symbol, {}), opening_ns(at.book), at.book.market(symbol)
        for trade in inquiry.trades_of(symbol):
            order_id = trade.exchange_order_id
            is_ours = at.book.fill(symbol, trade.trade_id) or differences.owner_of(at.book, symbol, order_id, names)
            if trade.venue_ns < began_ns or is_ours or differences.is_nameless(at.book, symbol, order_id, names):
                continue
            order = at.book.external_order(symbol, order_id) or external_order(names[order_id], symbol, at.now_ns)
            now.external[symbol, order_id] = order
            if order.is_stray or at.book.external_trade(symbol, trade.trade_id) is not None:
                continue
            for currency, amount in external_trade(symbol, trade, rules, counts=True).changes.items():
                now.changes[currency] += amount

    def _account_read(self, now: _Pass, inquiry: Inquiry, at: Moment) -> Effects:
        now.failed += [f"{name}: {reason}" for name, reason in inquiry.failed.items()]
        listed = inquiry.open_orders.get(None)
        if listed is not None:
            now.orders = len(listed)
            now.differences += differences.of_orders(at.book, listed)
        now.external = differences.external_among(at.book, listed or (), at.now_ns) | now.external
        now.differences += differences.of_strays(now.external.values())
        if inquiry.balances is not None:
            external = {total.currency: total.amount for total in at.book.external_totals()}
            for currency, amount in now.changes.items():
                external[currency] = external.get(currency, ZERO) + amount
            now.balances = len(inquiry.balances)
            now.differences += differences.of_balances(at.book, inquiry.balances, external)
        now.differences += differences.of_book(at.book)
        return self._over(now, at)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _over(self, now: _Pass, at: Moment) -> Effects:
        self._pass = None
        first = self._first
        self._looks += 1
        has_found = bool(now.differences or now.failed) if first is None else _missed(first, now)
        if has_found and self._looks < LOOKS_MAX:
            self._first, self._again_ns = now, at.now_ns + self._pause_ns
            return []
        first, self._first, self._looks = first or now, None, 0
        askers, self._askers = tuple(self._askers), []
        return [wants.Verified(askers, self._verdict(first, now, at.book))]

    def _verdict(self, first: _Pass, now: _Pass, book: BookReader) -> Verdict:
        both = {_mark(each) for each in first.differences}
        return Verdict(
            at_ns=now.asked_ns,
            differences=tuple(each for each in now.differences if each.kind in OF_ONE_MOMENT or _mark(each) in both),
            orders=now.orders,
            fills=now.fills,
            balances=now.balances,
            external=tuple(now.external.values()),
            unresolved=sum(1 for record in book.open_intents() if record.state is State.UNKNOWN),
            not_compared=(*now.failed, *(first.failed if _missed(first, now) else ())),
        )


def _missed(first: _Pass, now: _Pass) -> bool:
    """Whether the earlier look could not read everything, and the later one found something that it had not."""
    both = {_mark(each) for each in first.differences}
    return bool(first.failed) and any(_mark(each) not in both for each in now.differences)


def _mark(each: Difference) -> tuple[str, str, str, Decimal]:
    """What is the same at both looks if the difference is; totals and quantities move while the engine trades."""
    return each.kind, each.symbol, each.subject, each.amount
