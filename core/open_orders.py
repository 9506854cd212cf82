"""Does the venue have the orders open that the book believes in, and no others of ours?

| | in the book | what is done |
|---|---|---|
| listed | working | nothing: its router follows it |
| listed | over, or proven not placed | looked up; what that shows is booked; if it stays open, an alert and a cancel |
| listed | working, and its intent is over or has gone on | the same, and it is canceled (`core/leftovers.py`) |
| listed | unknown to the book by name | external: noted once, never touched (C4) |
| not listed, twice in a row | working | looked up; what that shows is booked; if the venue does not know it, an alert |

A list proves nothing by itself, so whatever differs is looked up first. The account's list is one question for all
symbols. At a start everything that differs is looked up at once, since nobody else has looked yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec

from core import wants
from core.events import AlertFired
from core.ids import ClientOrderId
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.leftovers import is_unwanted
from core.lifecycle import State
from core.records import AttemptRecord, AttemptStatus, ExternalOrder
from core.reports import OpenOrder, OrderSnapshot, OrderStatus
from core.settings import Settings
from core.settling import Settlement, external_order
from core.unit_of_work import BookReader

FOLLOWED: Final = frozenset({State.SENT, State.PARTIAL, State.CANCELING})
STILL_OPEN: Final = "ORDER_STILL_OPEN"
OVER: Final = frozenset({AttemptStatus.CLOSED, AttemptStatus.NOT_PLACED})


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look has found."""

    open_orders: int = 0
    """Listed, ours and others'."""
    external_orders: int = 0
    """Seen for the first time."""
    failed: tuple[str, ...] = ()
    """What was not answered, with the reason."""


Then = Callable[[Looked, Moment], Effects]


class OpenOrders:
    def __init__(self, settings: Settings, inquiries: Inquiries) -> None:
        self._settings = settings
        self._inquiries = inquiries
        self._is_running = False
        self._missed: set[ClientOrderId] = set()
        """Working in the book and not in the last list."""
        self._odd: dict[ClientOrderId, int] = {}
        """Those that differed at the last look even after they were looked up, and since when, ns UTC."""
        self._alarmed: set[ClientOrderId] = set()
        """Those of them that were told of."""

    def go_on(self, at: Moment) -> Effects:
        """The regular look, unless the last one still runs."""
        return [] if self._is_running else self.begin(at, self._told)

    def _told(self, looked: Looked, _at: Moment) -> Effects:
        return [wants.Say("orders_not_listed", {"reasons": looked.failed})] if looked.failed else []

    def begin(self, at: Moment, then: Then, *, at_once: bool = False) -> Effects:
        """Look; `then` is told what was found. `at_once`: everything that differs is looked up."""
        self._is_running = True
        look = _Look(then, at_once=at_once)
        inquiry = self._inquiries.begin(at, lambda over, later: self._answered(look, over, later))
        return [inquiry.ask_open_orders(None)]

    def _answered(self, look: _Look, inquiry: Inquiry, at: Moment) -> Effects:
        listed = inquiry.open_orders.get(None)
        if listed is not None and not look.has_asked:
            look.has_asked = True
            effects = self._note_external(look, listed, at)
            wanted = self._to_look_up(look, listed, inquiry.asked_ns, at.book)
            if wanted:
                return effects + [inquiry.ask_order(attempt) for attempt in wanted]
        else:
            effects = []
        self._is_running = False
        effects += self._conclude(inquiry, at)
        failed = tuple(f"{name}: {reason}" for name, reason in inquiry.failed.items())
        return effects + look.then(
            Looked(open_orders=len(listed or ()), external_orders=look.external_orders, failed=failed), at
        )

    def _note_external(self, look: _Look, listed: tuple[OpenOrder, ...], at: Moment) -> Effects:
        """Those that the book has no name of and has not noted yet."""
        found: dict[str, list[ExternalOrder]] = defaultdict(list)
        for order in listed:
            if is_external(at.book, order) and at.book.external_order(order.symbol, order.exchange_order_id) is None:
                found[order.symbol].append(external_order(order, order.symbol, at.now_ns))
        look.external_orders = sum(map(len, found.values()))
        return [
            wants.Settle(Settlement(symbol=symbol, external_orders=tuple(orders))) for symbol, orders in found.items()
        ]

    def _to_look_up(
        self, look: _Look, listed: tuple[OpenOrder, ...], asked_ns: int, book: BookReader
    ) -> list[AttemptRecord]:
        """Whatever differs, unless somebody else is sure to look."""
        by_name = {order.client_order_id: order for order in listed}
        attempts = (book.attempt_by_client_id(name) for name in by_name if name)
        wanted = [
            attempt
            for attempt in attempts
            if attempt is not None and (attempt.status in OVER or is_unwanted(book, attempt))
        ]
        missing = [
            attempt
            for attempt in followed(book)
            if attempt.client_order_id not in by_name
            and attempt.created_ns < asked_ns - self._settings.exchange.read_lag
        ]
        if look.at_once:
            wanted += [
                attempt
                for attempt in followed(book)
                if (order := by_name.get(attempt.client_order_id)) is None or order.filled_qty != attempt.filled_qty
            ]
        else:
            wanted += [attempt for attempt in missing if attempt.client_order_id in self._missed]
        self._missed = {attempt.client_order_id for attempt in missing}
        return wanted

    def _conclude(self, inquiry: Inquiry, at: Moment) -> Effects:
        """Look-ups go to the book; what is odd even then, longer than reads lag, is told, once."""
        effects: Effects = []
        odd: dict[ClientOrderId, AlertFired] = {}
        for name, report in inquiry.reports.items():
            attempt = at.book.attempt_by_client_id(name)
            if attempt is None:
                continue
            if not isinstance(report, OrderSnapshot):
                if attempt.status is AttemptStatus.WORKING:
                    what = f"{name} of {attempt.intent_id} is working in the book, and the venue does not know it"
                    odd[name] = _alert("ORDER_MISSING", attempt, what, at.now_ns)
                continue
            effects.append(wants.Apply(report))
            if report.status is OrderStatus.OPEN and attempt.status is AttemptStatus.CLOSED:
                what = f"{name} of {attempt.intent_id} is over in the book, and still open at the venue"
                odd[name] = _alert(STILL_OPEN, attempt, what, at.now_ns)
        self._odd = {name: self._odd.get(name, inquiry.asked_ns) for name in odd}
        lag_ns = self._settings.exchange.read_lag
        lasting = {name for name, since_ns in self._odd.items() if inquiry.asked_ns - since_ns > lag_ns}
        told = tuple(odd[name] for name in sorted(lasting - self._alarmed))
        self._alarmed = lasting
        open_ones = (at.book.attempt_by_client_id(name) for name in sorted(lasting) if odd[name].code == STILL_OPEN)
        effects += [wants.Cancel(attempt) for attempt in open_ones if attempt is not None]
        return [*effects, wants.Record(told)] if told else effects


class _Look:
    def __init__(self, then: Then, *, at_once: bool) -> None:
        self.then = then
        self.at_once = at_once
        self.has_asked = False
        """What differs is being looked up."""
        self.external_orders = 0


def is_external(book: BookReader, order: OpenOrder) -> bool:
    """An attempt is in the book before it leaves, so an order whose name the book does not have is not ours."""
    if not order.client_order_id or book.attempt_by_client_id(order.client_order_id) is not None:
        return False
    return book.order(order.symbol, order.exchange_order_id) is None


def followed(book: BookReader) -> list[AttemptRecord]:
    """The orders that the book believes to be working."""
    found = (
        book.attempt(record.intent.intent_id, record.attempts)
        for record in book.open_intents()
        if record.state in FOLLOWED
    )
    return [attempt for attempt in found if attempt is not None and attempt.status is AttemptStatus.WORKING]


def _alert(code: str, attempt: AttemptRecord, what: str, now_ns: int) -> AlertFired:
    return AlertFired(at_ns=now_ns, intent_id=attempt.intent_id, code=code, text=what)
