"""Questions to the venue that belong together, and what was answered.

An *inquiry* is one look at the venue: some questions, put at one time. It is over when each of them was answered, has
failed, or is too late. Three things are kept apart, whatever happens: an answer, an answer that is empty, and no answer
at all (G3). A list that does not show what it must begin with is no answer.

Every question carries a word of its own, so that an answer that comes twice, too late, or to somebody else's question
counts for nothing here; not to a question of this actor before its restart, either, so the word tells the time, too.
Lists that the venue cuts into pages are asked for page by page. Pure: the clock comes in.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from core.ids import NS_PER_S, ClientOrderId, ExchangeOrderId, TradeId
from core.records import AttemptRecord
from core.reports import OpenOrder, OrderAbsent, OrderSnapshot, QueryFailed, Trade
from core.unit_of_work import BookReader

PAGES_MAX: Final = 200
"""Of one list; whatever needs more is not answered."""
BY_TIME_MAX_NS: Final = 20 * 3_600 * NS_PER_S
"""Binance answers questions by time for one day at most (myTrades, allOrders); what is older is read by its ids."""
FIRST: Final = "0"
"""Asked for when everything is wanted; no trade and no order has this id."""


class AskOrder(msgspec.Struct, frozen=True):
    """How does this order stand, with its trades?"""

    purpose: str
    attempt: AttemptRecord


class AskOpenOrders(msgspec.Struct, frozen=True):
    """Which orders are open? Of a symbol, or of the whole account."""

    purpose: str
    symbol: str | None
    on_demand: bool = False


class AskOrders(msgspec.Struct, frozen=True):
    """Which orders of a symbol are there, open or not, from an order on (inclusive) or since a time, ns UTC?"""

    purpose: str
    symbol: str
    from_order_id: ExchangeOrderId | None
    since_ns: int
    on_demand: bool = False


class AskTrades(msgspec.Struct, frozen=True):
    """Which own trades of a symbol are there, from a trade on (inclusive) or since a time, ns UTC?"""

    purpose: str
    symbol: str
    from_trade_id: TradeId | None
    since_ns: int
    on_demand: bool = False


class AskBalances(msgspec.Struct, frozen=True):
    """What does the account hold?"""

    purpose: str
    on_demand: bool = False


Question = AskOrder | AskOpenOrders | AskOrders | AskTrades | AskBalances


class Inquiry:
    """One look at the venue. Made by `Inquiries.begin`."""

    def __init__(self, numbers: Iterator[int], asked_ns: int, due_ns: int, *, on_demand: bool = False) -> None:
        self.asked_ns = asked_ns
        """Every question was put then or later."""
        self.due_ns = due_ns
        """When it ends without the answers that are missing; every answer puts it off."""
        self.pending: dict[str, Question] = {}
        self.failed: dict[str, str] = {}
        """What was not answered, and why."""
        self.has_unasked = False
        """Some of it never left, for lack of room in the account's budget."""
        self.no_markets: set[str] = set()
        """Symbols that the venue has no market of; questions about them have failed."""
        self.reports: dict[ClientOrderId, OrderSnapshot | OrderAbsent] = {}
        self.open_orders: dict[str | None, tuple[OpenOrder, ...]] = {}
        """By symbol; None for the whole account."""
        self.orders: dict[str, dict[ExchangeOrderId, OpenOrder]] = {}
        self.trades: dict[str, dict[TradeId, Trade]] = {}
        """By symbol, oldest first."""
        self.balances: dict[str, Decimal] | None = None
        self._numbers = numbers
        self._on_demand = on_demand
        """Its lists wait behind those of the regular checks."""
        self._pages: Counter[str] = Counter()

    # ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────

    def ask_order(self, attempt: AttemptRecord) -> Question:
        return self._put(AskOrder(self._word(), attempt))

    def ask_open_orders(self, symbol: str | None) -> Question:
        return self._put(AskOpenOrders(self._word(), symbol, self._on_demand))

    def ask_orders(self, symbol: str, from_order_id: ExchangeOrderId | None, since_ns: int = 0) -> Question:
        self.orders.setdefault(symbol, {})
        if from_order_id is None and self.asked_ns - since_ns > BY_TIME_MAX_NS:
            from_order_id = ExchangeOrderId(FIRST)
        return self._put(AskOrders(self._word(), symbol, from_order_id, since_ns, self._on_demand))

    def ask_trades(self, symbol: str, from_trade_id: TradeId | None, since_ns: int) -> Question:
        self.trades.setdefault(symbol, {})
        if from_trade_id is None and self.asked_ns - since_ns > BY_TIME_MAX_NS:
            from_trade_id = TradeId(FIRST)
        return self._put(AskTrades(self._word(), symbol, from_trade_id, since_ns, self._on_demand))

    def ask_balances(self) -> Question:
        return self._put(AskBalances(self._word(), self._on_demand))

    def _word(self) -> str:
        return f"{self.asked_ns}/{next(self._numbers)}"

    def _put(self, question: Question) -> Question:
        self.pending[question.purpose] = question
        return question

    # ── what is known ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_over(self) -> bool:
        return not self.pending

    def has_trades(self, symbol: str) -> bool:
        """Whether all own trades were listed."""
        return symbol in self.trades and f"trades {symbol}" not in self.failed

    def has_orders(self, symbol: str) -> bool:
        """Whether all orders were listed."""
        return symbol in self.orders and f"orders {symbol}" not in self.failed

    def may_ask_orders(self, symbol: str) -> bool:
        """Whether no question about its orders has failed."""
        return f"orders {symbol}" not in self.failed

    def trades_of(self, symbol: str) -> list[Trade]:
        """Oldest first."""
        return list(self.trades.get(symbol, {}).values())

    # ── what is answered ──────────────────────────────────────────────────────────────────────────────────────────

    def answered(self, purpose: str, answer: Any, *, complete: bool = True) -> list[Question]:
        """An answer to one of the questions; the next page's question, if there is one."""
        question = self.pending.pop(purpose)
        if isinstance(answer, QueryFailed):
            self.failed[name_of(question)] = answer.reason
            self.has_unasked |= answer.never_left
            if answer.is_no_market and isinstance(question, AskTrades):
                self.no_markets.add(question.symbol)
            return []
        match question:
            case AskOrder(attempt=attempt):
                self.reports[attempt.client_order_id] = answer
            case AskOpenOrders(symbol=symbol):
                self.open_orders[symbol] = answer
            case AskBalances():
                self.balances = answer
            case AskOrders(symbol=symbol, from_order_id=first):
                ids = [order.exchange_order_id for order in answer]
                self.orders[symbol].update(zip(ids, answer, strict=True))
                following = self._next_page(question, first, ids, complete=complete)
                return [] if following is None else [self.ask_orders(symbol, following)]
            case AskTrades(symbol=symbol, from_trade_id=begin, since_ns=since_ns):
                self.trades[symbol].update((trade.trade_id, trade) for trade in answer if trade.venue_ns >= since_ns)
                trade_ids = [trade.trade_id for trade in answer]
                after = self._next_page(question, begin, trade_ids, complete=complete)
                return [] if after is None else [self.ask_trades(symbol, after, since_ns)]
        return []

    def _next_page(self, question: Question, first: Any, ids: list[Any], *, complete: bool) -> Any:
        """Where the next page begins; None when this was the last one, or the list cannot be trusted."""
        name = name_of(question)
        if first not in {None, FIRST} and first not in ids:
            self.failed[name] = f"the list does not show {first}, which it must begin with"
        elif complete:
            return None
        elif not ids or ids[-1] == first or self._pages[name] >= PAGES_MAX:
            self.failed[name] = f"the list does not end within {PAGES_MAX} pages"
        else:
            self._pages[name] += 1
            return ids[-1]
        return None

    def give_up(self, reason: str) -> None:
        """Whatever was not answered will not be waited for any longer."""
        for question in self.pending.values():
            self.failed[name_of(question)] = reason
        self.pending.clear()


def name_of(question: Question) -> str:
    """What a question was about, for people and for keys."""
    match question:
        case AskOrder(attempt=attempt):
            return f"order {attempt.client_order_id}"
        case AskOpenOrders(symbol=symbol):
            return f"open orders {symbol or 'of the account'}"
        case AskOrders(symbol=symbol):
            return f"orders {symbol}"
        case AskTrades(symbol=symbol):
            return f"trades {symbol}"
        case AskBalances():
            return "balances"


class Moment(NamedTuple):
    """When something happens."""

    book: BookReader
    """As it is then."""
    now_ns: int
    """UTC."""


Effects = list[Any]
WhenOver = Callable[[Inquiry, Moment], Effects]
"""Told when an inquiry is over. It may put further questions; then the inquiry goes on."""


class Inquiries:
    """All that run, with what is to be done when each is over."""

    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._numbers = itertools.count(1)
        self._running: list[tuple[Inquiry, WhenOver]] = []

    def begin(self, at: Moment, when_over: WhenOver, *, on_demand: bool = False) -> Inquiry:
        """A new one; put its questions at once. `on_demand`: somebody wants it, who may come as often as he likes."""
        inquiry = Inquiry(self._numbers, at.now_ns, at.now_ns + self._patience_ns, on_demand=on_demand)
        self._running.append((inquiry, when_over))
        return inquiry

    def asked_ns(self, purpose: str) -> int | None:
        """When the inquiry began whose question waits for this answer; None: nobody waits for it."""
        return next((inquiry.asked_ns for inquiry, _ in self._running if purpose in inquiry.pending), None)

    def answered(self, purpose: str, answer: Any, at: Moment, *, complete: bool = True) -> Effects:
        """What to do next. Nothing for an answer that nobody waits for."""
        for entry in self._running:
            if purpose in entry[0].pending:
                following = entry[0].answered(purpose, answer, complete=complete)
                entry[0].due_ns = at.now_ns + self._patience_ns
                return following + self._finish(entry, at)
        return []

    def overdue(self, at: Moment) -> Effects:
        """End those that have waited too long for any answer."""
        effects: Effects = []
        for entry in list(self._running):
            if entry[0].due_ns <= at.now_ns:
                entry[0].give_up("no answer")
                effects += self._finish(entry, at)
        return effects

    def again(self, at: Moment) -> Effects:
        """Whoever was asked is gone: every question that waits, once more. Answers to the first asking count, too."""
        for inquiry, _ in self._running:
            inquiry.due_ns = at.now_ns + self._patience_ns
        return [question for inquiry, _ in self._running for question in inquiry.pending.values()]

    def _finish(self, entry: tuple[Inquiry, WhenOver], at: Moment) -> Effects:
        inquiry, when_over = entry
        if not inquiry.is_over:
            return []
        inquiry.due_ns = at.now_ns + self._patience_ns  # of what it may ask now
        effects = when_over(inquiry, at)
        if inquiry.is_over:
            self._running.remove(entry)
        return effects
