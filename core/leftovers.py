"""Orders of ours that are alive at the venue, and that no intent wants any more: canceled until they are gone.

One comes about when an order that was proven absent appears after all, and its intent has ended or sent another attempt
meanwhile; or when the venue has a second order under one of our names. The portfolio notes it in the book in the
transaction that hears of it (`core/outcomes.py`), so a restart forgets none. Each is canceled and looked up, at once
and then with waits that double, until a look-up has shown that it is over; what it filled is booked as a late fill.
"""

from __future__ import annotations

from typing import Final

from core import wants
from core.ids import NS_PER_S, ClientOrderId
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.lifecycle import is_terminal
from core.records import AttemptRecord, IntentRecord
from core.reports import OrderSnapshot
from core.unit_of_work import BookReader

WAIT_NS: Final = 1 * NS_PER_S
WAIT_DOUBLINGS_MAX: Final = 6


class Leftovers:
    def __init__(self, inquiries: Inquiries) -> None:
        self._inquiries = inquiries
        self._running: set[ClientOrderId] = set()
        self._tried: dict[ClientOrderId, int] = {}
        """So often each was canceled."""
        self._due_ns: dict[ClientOrderId, int] = {}

    def go_on(self, at: Moment) -> Effects:
        """Cancel and look up each one whose time has come."""
        names = [leftover.client_order_id for leftover in at.book.leftovers()]
        for gone in self._tried.keys() - set(names):
            del self._tried[gone], self._due_ns[gone]
        effects: Effects = []
        for name in names:
            attempt = at.book.attempt_by_client_id(name)
            if attempt is None or name in self._running or self._due_ns.get(name, 0) > at.now_ns:
                continue
            effects += self._cancel(attempt, at)
        return effects

    def _cancel(self, attempt: AttemptRecord, at: Moment) -> Effects:
        name = attempt.client_order_id
        self._running.add(name)
        inquiry = self._inquiries.begin(at, lambda over, then: self._looked_up(name, over, then))
        return [wants.Cancel(attempt), inquiry.ask_order(attempt)]

    def _looked_up(self, name: ClientOrderId, inquiry: Inquiry, at: Moment) -> Effects:
        """Whatever it shows is booked; the book forgets the order when it is over."""
        self._running.discard(name)
        tried = self._tried.get(name, 0)
        self._tried[name] = tried + 1
        self._due_ns[name] = at.now_ns + (WAIT_NS << min(tried, WAIT_DOUBLINGS_MAX))
        report = inquiry.reports.get(name)
        return [wants.Apply(report)] if isinstance(report, OrderSnapshot) else []


def is_unwanted(book: BookReader, attempt: AttemptRecord) -> bool:
    """Whether its intent has ended, or gone on to another attempt."""
    record = book.intent(attempt.intent_id)
    return record is not None and has_gone_on(record, attempt)


def has_gone_on(record: IntentRecord, attempt: AttemptRecord) -> bool:
    return is_terminal(record.state) or record.attempts != attempt.attempt
