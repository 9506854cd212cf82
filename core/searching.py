"""What became of an order whose outcome is unknown?

Theory of operation
-------------------
Whatever the book has as UNKNOWN is looked for, whether a router asked or not. A *round* asks the venue about every
attempt of a symbol whose time has come: each is looked up; those that may already be proven absent are also looked for
in three lists, which all of a symbol share. When many of a symbol are unknown at once, as after a restart, the lists
are asked first, which cost as much as a few look-ups, and then only what they do not show is looked up, or everything
if a list fails. What a round proves, `core/evidence.py` says:

| the round shows | next |
|---|---|
| the order | whoever waits is told, at once |
| its absence, proven | the same, with the proof |
| neither | another round, after a wait that doubles up to sixteen times the first |

A sighting counts whenever it comes, however late: it is a fact. A search ends with a proof, or when the book has one
from somebody else; never otherwise. All of this is memory only: after a restart it begins anew from the book.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from msgspec.structs import replace

from core import fencing, timestamps, wants
from core.evidence import Case, Testimony, Undecided, open_case, sightings, weigh
from core.ids import ClientOrderId, ExchangeOrderId
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.lifecycle import State
from core.records import AttemptRecord, AttemptStatus
from core.reports import NotPlaced, OpenOrder, OrderSnapshot, OutcomeUnknown
from core.settings import Settings
from core.unit_of_work import BookReader

WAIT_DOUBLINGS_MAX: Final = 4
LISTS_INSTEAD_OF: Final = 5
"""So many look-ups (weight 4 each) are replaced by lists of orders and trades (20 each)."""


class Search:
    """An attempt that is looked for."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.is_awaited = False
        """A router waits for the answer."""
        self.rounds = 0
        """Those that were over without a result."""
        self.due_ns = 0
        self.sighted_ns = 0
        """When somebody has seen it last."""

    @property
    def attempt(self) -> AttemptRecord:
        return self.case.attempt

    def mind_the_clock(self, book: BookReader) -> None:
        """It may have left after the search began, with a time that the book has covered meanwhile; and the venue's
        clock may have fallen back since, or ours been set forward."""
        self.case = replace(self.case, clock_span_ns=timestamps.span(book).width_ns)


class Round:
    """The searches of a symbol that are asked about together."""

    def __init__(self, searches: list[Search]) -> None:
        self.left = searches
        """Those that the round has not decided about yet."""
        self.lists_first = len(searches) >= LISTS_INSTEAD_OF


class Searches:
    """All of them, by client order id."""

    def __init__(self, settings: Settings, inquiries: Inquiries) -> None:
        self._settings = settings
        self._inquiries = inquiries
        self._open: dict[ClientOrderId, Search] = {}
        self._running: set[str] = set()
        """Symbols that have a round."""
        self.resolved = 0
        """So many were found out."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def has_news(self) -> bool:
        """Whether each was looked for at least once."""
        return all(search.rounds for search in self._open.values())

    def resolve(self, attempt: AttemptRecord, at: Moment) -> Effects:
        """A router wants to know. If the book knows more than it does, it shall look there."""
        if not is_unresolved(at.book, attempt):
            return [_told(attempt, "the book knows its outcome")]
        self._begin(attempt, at).is_awaited = True
        return self.go_on(at)

    def take_up(self, at: Moment) -> None:
        """Begin a search for everything that the book has as unknown."""
        for record in at.book.open_intents():
            if record.state is State.UNKNOWN:
                attempt = at.book.attempt(record.intent.intent_id, record.attempts)
                if attempt is not None:
                    self._begin(attempt, at)

    def _begin(self, attempt: AttemptRecord, at: Moment) -> Search:
        known = self._open.get(attempt.client_order_id)
        if known is not None:
            return known
        venue, epoch = self._settings.exchange, fencing.current(at.book).number
        case = open_case(attempt, at.now_ns, epoch, venue.recv_window_ms, venue.read_lag)
        return self._open.setdefault(attempt.client_order_id, Search(case))

    # ── rounds ────────────────────────────────────────────────────────────────────────────────────────────────────

    def go_on(self, at: Moment) -> Effects:
        """Begin a round for each symbol that has something due."""
        effects: Effects = []
        due: dict[str, list[Search]] = defaultdict(list)
        for search in list(self._open.values()):
            search.mind_the_clock(at.book)
            if not is_unresolved(at.book, search.attempt):
                effects += self._end(search, "the book has learned its outcome")
            elif search.due_ns <= at.now_ns and search.attempt.symbol not in self._running:
                due[search.attempt.symbol].append(search)
        for symbol, searches in due.items():
            effects += self._begin_round(symbol, searches, at)
        return effects

    def _begin_round(self, symbol: str, searches: list[Search], at: Moment) -> Effects:
        self._running.add(symbol)
        each = Round(searches)
        inquiry = self._inquiries.begin(at, lambda over, then: self._round_over(symbol, each, over, then))
        effects: Effects = [] if each.lists_first else [inquiry.ask_order(search.attempt) for search in searches]
        is_ripe = any(search.case.not_before_ns <= at.now_ns for search in searches)
        if not is_ripe and not each.lists_first:
            return effects
        since_ns = min(search.attempt.created_ns for search in searches) - timestamps.slack_ns(at.book)
        cursor = at.book.trade_cursor(symbol)
        effects.append(inquiry.ask_orders(symbol, None, since_ns))
        effects.append(inquiry.ask_trades(symbol, cursor.trade_id if cursor else None, since_ns))
        if is_ripe:
            effects.append(inquiry.ask_open_orders(symbol))
        return effects

    def _round_over(self, symbol: str, each: Round, inquiry: Inquiry, at: Moment) -> Effects:
        effects: Effects = []
        unseen: list[Search] = []
        for search in each.left:
            if self._open.get(search.attempt.client_order_id) is not search:
                continue  # decided meanwhile
            search.mind_the_clock(at.book)
            said = self._testimony(search, inquiry, at.book)
            is_ripe = search.case.not_before_ns <= inquiry.asked_ns
            if each.lists_first and (is_ripe or inquiry.failed) and not sightings(search.attempt, said):
                unseen.append(search)
            else:
                effects += self._conclude(search, said, at)
        if unseen:
            each.left, each.lists_first = unseen, False
            return effects + [inquiry.ask_order(search.attempt) for search in unseen]
        self._running.discard(symbol)
        return effects

    def _testimony(self, search: Search, inquiry: Inquiry, book: BookReader) -> Testimony:
        attempt, symbol = search.attempt, search.attempt.symbol
        working = [
            other
            for record in book.open_intents(symbol)
            if (other := book.attempt(record.intent.intent_id, record.attempts)) is not None
            and other.status is AttemptStatus.WORKING
            and other.created_ns <= inquiry.asked_ns - self._settings.exchange.read_lag
        ]
        trades, slack_ns = inquiry.trades_of(symbol), timestamps.slack_ns(book)
        others = {order_id for trade in trades if is_other(book, order_id := trade.exchange_order_id, attempt)}
        return Testimony(
            asked_ns=inquiry.asked_ns,
            order=inquiry.reports.get(attempt.client_order_id),
            open_orders=inquiry.open_orders.get(symbol),
            recent_orders=tuple(inquiry.orders[symbol].values()) if inquiry.has_orders(symbol) else None,
            trades=trades if inquiry.has_trades(symbol) else None,
            working=frozenset(other.client_order_id for other in working),
            recent=frozenset(o.client_order_id for o in working if o.created_ns >= attempt.created_ns + slack_ns),
            others=frozenset(others),
        )

    def _conclude(self, search: Search, said: Testimony, at: Moment) -> Effects:
        verdict = weigh(search.case, said)
        if isinstance(verdict, NotPlaced) and search.sighted_ns >= said.asked_ns:
            verdict = Undecided("somebody has seen it meanwhile")
        if isinstance(verdict, NotPlaced):
            proven = wants.Say("absence_proven", {"client_order_id": search.attempt.client_order_id})
            return [proven, *self._resolved(search, verdict)]
        if not isinstance(verdict, Undecided):
            return self._seen(search, verdict)
        wait_ns = self._settings.reconciler.lookup_interval << min(search.rounds, WAIT_DOUBLINGS_MAX)
        search.rounds += 1
        search.due_ns = at.now_ns + wait_ns
        if search.case.not_before_ns > at.now_ns:  # then the round that may prove it comes no later than it can
            search.due_ns = min(search.due_ns, search.case.not_before_ns)
        return []

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def sighted(self, report: OrderSnapshot) -> Effects:
        """A look-up has shown an order; whoever asked for it, and whenever."""
        search = self._open.get(report.client_order_id)
        return [] if search is None else self._seen(search, (report,))

    def listed(self, orders: tuple[OpenOrder, ...], at: Moment) -> None:
        """A list of orders was answered, maybe long after it was asked for. What it shows is there."""
        for order in orders:
            search = self._open.get(order.client_order_id)
            if search is not None:
                search.sighted_ns = at.now_ns
                search.due_ns = 0

    def _seen(self, search: Search, reports: tuple[OrderSnapshot, ...]) -> Effects:
        first, *twins = reports
        return [*self._resolved(search, first), *(wants.Apply(twin) for twin in twins)]

    def _resolved(self, search: Search, report: OrderSnapshot | NotPlaced) -> Effects:
        self._open.pop(search.attempt.client_order_id, None)
        self.resolved += 1
        if not search.is_awaited:
            return [wants.Apply(report)]
        return [wants.TellRouter(search.attempt.symbol, search.attempt.client_order_id, report)]

    def _end(self, search: Search, why: str) -> Effects:
        self._open.pop(search.attempt.client_order_id, None)
        self.resolved += 1
        return [_told(search.attempt, why)] if search.is_awaited else []


def is_unresolved(book: BookReader, attempt: AttemptRecord) -> bool:
    """Whether the book still has this attempt as on its way, or unknown."""
    record = book.intent(attempt.intent_id)
    if record is None or record.attempts != attempt.attempt:
        return False
    return record.state in {State.SENDING, State.UNKNOWN}


def is_other(book: BookReader, order_id: ExchangeOrderId, attempt: AttemptRecord) -> bool:
    """Whether the book knows the order, and as another one than this attempt's."""
    known = book.order(attempt.symbol, order_id)
    if known is not None:
        return (known.intent_id, known.attempt) != (attempt.intent_id, attempt.attempt)
    return book.external_order(attempt.symbol, order_id) is not None


def _told(attempt: AttemptRecord, why: str) -> wants.TellRouter:
    """The book's answer to this report, which changes nothing there, is the record as it stands."""
    report = OutcomeUnknown(client_order_id=attempt.client_order_id, reason=why)
    return wants.TellRouter(attempt.symbol, attempt.client_order_id, report)
