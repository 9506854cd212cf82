"""Looks after the account's data: is it still read, and if not, since when?

Every answer about balances counts, whoever asked: each look at them comes here, too. Where nobody has read them for a
while (`balance_interval` is long or 0, or something is always in flight), it asks itself; after a failure every few
seconds, one question at a time. Data is as old as the question that brought it. What is older than
`reconciler.private_data_max_age`, and was asked for in vain meanwhile, is *gone*; the first answer brings it back.

The book is told of a change until it shows it, so the message may be lost, late or repeated; a reconciler that starts
takes up what the book says. Whoever has slept, or whose clock was moved, has not asked in vain all the while.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from core import private_data, wants
from core.ids import NS_PER_S
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.records import PrivateData, PrivateDataState
from core.reports import QueryFailed

SLEPT_NS: Final = 2 * NS_PER_S
"""It is woken twice a second. Who hears of time passing after so long, or longer, was asleep."""
PARTS: Final = 4
"""For the last quarter of the age that is allowed, at least, it was asked in vain before it is gone."""
OFTEN_NS: Final = NS_PER_S
"""It asks no oftener than that, whatever age is allowed: each look costs as much as twenty others."""


class AccountWatch:
    def __init__(self, inquiries: Inquiries, max_age_ns: int) -> None:
        self._inquiries = inquiries
        self._max_age_ns = max_age_ns
        self._quarter_ns = max_age_ns // PARTS
        self._again_ns = min(private_data.LOOK_AGAIN_NS, max(self._quarter_ns, OFTEN_NS))
        self._read_ns = 0
        """When what was read last was asked for."""
        self._in_vain_ns = 0
        """When the first question since then was put; 0: none."""
        self._asked_ns = 0
        self._is_asking = False
        self._because = ""
        self._looked_ns = 0
        self._is_gone: bool | None = None
        """None: as the book says."""

    def told(self, asked_ns: int, totals: dict[str, Decimal] | QueryFailed, at: Moment) -> Effects:
        """An answer to anybody's question about balances, which was put at `asked_ns`."""
        if isinstance(totals, QueryFailed):
            self._because = totals.reason
            self._in_vain_ns = self._in_vain_ns or asked_ns
        elif at.now_ns - asked_ns <= self._max_age_ns and asked_ns > self._read_ns:
            self._read_ns, self._in_vain_ns, self._is_gone = asked_ns, 0, False
        return self._tell(at)

    def go_on(self, at: Moment) -> Effects:
        """Time has passed."""
        self._mind_the_clock(at)
        effects = self._ask(at) if self._is_due(at.now_ns) else []
        is_old = at.now_ns - self._read_ns > self._max_age_ns
        if is_old and self._in_vain_ns and at.now_ns - self._in_vain_ns >= self._quarter_ns:
            self._is_gone = True
        return effects + self._tell(at)

    def _mind_the_clock(self, at: Moment) -> None:
        now_ns = at.now_ns
        if not self._looked_ns:  # the first look of all: what was before is not known, but for what the book says
            self._read_ns = self._read_ns or now_ns
            self._in_vain_ns = now_ns if private_data.standing(at.book).is_gone else 0
        elif not 0 <= now_ns - self._looked_ns <= max(SLEPT_NS, self._quarter_ns):
            self._read_ns, self._asked_ns = min(self._read_ns, now_ns), min(self._asked_ns, now_ns)
            self._in_vain_ns = now_ns if self._in_vain_ns else 0
        self._looked_ns = now_ns

    def _is_due(self, now_ns: int) -> bool:
        if self._is_asking:
            return False
        if self._in_vain_ns:
            return now_ns - self._asked_ns >= self._again_ns
        return now_ns - self._read_ns >= max(self._again_ns, self._max_age_ns - self._quarter_ns - self._again_ns)

    def _ask(self, at: Moment) -> Effects:
        self._is_asking, self._asked_ns = True, at.now_ns
        self._in_vain_ns = self._in_vain_ns or at.now_ns
        return [self._inquiries.begin(at, self._answered).ask_balances()]

    def _answered(self, inquiry: Inquiry, _at: Moment) -> Effects:
        self._is_asking = False
        self._because = "; ".join(inquiry.failed.values()) or self._because
        return []

    def _tell(self, at: Moment) -> Effects:
        """What the book does not show yet."""
        known = private_data.standing(at.book)
        if self._is_gone is None or self._is_gone is known.is_gone:
            return []
        record = PrivateData(
            state=PrivateDataState.GONE if self._is_gone else PrivateDataState.OK,
            since_ns=self._read_ns,
            reason=(self._because or "no answer") if self._is_gone else "",
            revision=known.revision + 1,
        )
        return [wants.NotePrivateData(record)]
