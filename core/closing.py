"""The last comparison before a stop: open orders, trades from the cursors on, balances; within a given time.

Less than `verifying`, which reads everything since the book began and takes as long as that takes. Everything is asked
at once. What differs may be on its way into the book, or the venue's reads may lag; so whoever finds a difference looks
again, as long as there is time, and tells only what two looks in a row have found. What one look alone has found is no
proof: it is told as not compared, like what was not answered, or not asked for lack of room in the account's budget
(nothing is placed any more, so the questions have the room of placements). A venue that is silent costs the comparison,
never the stop. Trades that the book lacks are booked (`sweeping`); nothing else is changed, and nobody is alarmed: the
next start looks again, and the checks while trading know what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from core import differences, wants
from core.balances import suspects, why_busy
from core.ids import NS_PER_S
from core.inquiry import Effects, Inquiries, Inquiry, Moment, name_of
from core.stopping import Compared
from core.sweeping import Sweeps, Swept
from core.verdict import Difference

AGAIN_NS: Final = 1 * NS_PER_S
"""Between two looks."""
FAILED_LOOKS_MAX: Final = 3
"""So often a venue that says that it cannot answer is asked."""
TRADES, BALANCES = "trades", "balances"
BALANCE: Final = "balance"
"""Kind of a difference."""


class _Look:
    """One look. It is over when both its halves are."""

    def __init__(self, ledger: int) -> None:
        self.ledger = ledger
        """Its length when the look began: what is booked meanwhile is in the balances, or is not."""
        self.inquiry: Inquiry | None = None
        self.swept: Swept | None = None
        self.is_answered = False
        self.differences: list[Difference] = []
        self.orders = self.balances = 0
        self.failed: list[str] = []
        self.is_worth_another = False
        """Something was in the way that passes."""

    @property
    def is_over(self) -> bool:
        return self.is_answered and self.swept is not None


class Closing:
    """At most one."""

    def __init__(self, inquiries: Inquiries, sweeps: Sweeps) -> None:
        self._inquiries = inquiries
        self._sweeps = sweeps
        self._due_ns = 0
        self._again_ns = 0
        self._look: _Look | None = None
        self._done: list[_Look] = []
        """Those that are over."""
        self._looked_into: dict[str, Decimal] = {}
        """By how much balances differed when the trades that may explain it were read."""
        self._is_running = False

    def begin(self, within_ns: int, at: Moment) -> Effects:
        """Compare, and tell what was found within this time."""
        if self._is_running:
            return []
        self._is_running, self._due_ns = True, at.now_ns + within_ns
        self._done, self._looked_into = [], {}
        return self._look_once(at)

    def go_on(self, at: Moment) -> Effects:
        """Time has passed."""
        if not self._is_running:
            return []
        if at.now_ns >= self._due_ns:
            return self._finish(at)
        return self._look_once(at) if self._look is None and at.now_ns >= self._again_ns else []

    # ── one look ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_once(self, at: Moment) -> Effects:
        self._look = look = _Look(at.book.last_sequence("ledger"))
        look.inquiry = self._inquiries.begin(at, lambda over, later: self._answered(look, over, later))
        questions: Effects = [look.inquiry.ask_open_orders(None), look.inquiry.ask_balances()]
        symbols = self._sweeps.active(at.book) | self._suspects(at)
        return questions + self._sweeps.begin(symbols, at, lambda swept, later: self._swept(look, swept, later))

    def _suspects(self, at: Moment) -> set[str]:
        """Where trades may explain by how much balances differed the last time; once for the same amounts, for they
        are many, and each costs weight."""
        drift = _drift(self._done[-1].differences) if self._done else {}
        if not drift or drift == self._looked_into:
            return set()
        self._looked_into = drift
        return suspects(at.book, drift)

    def _swept(self, look: _Look, swept: Swept, at: Moment) -> Effects:
        look.swept = swept
        return self._maybe_over(look, at)

    def _answered(self, look: _Look, inquiry: Inquiry, at: Moment) -> Effects:
        look.is_answered = True
        look.is_worth_another = bool(inquiry.failed)
        self._compare(look, inquiry, at)
        return self._maybe_over(look, at)

    def _compare(self, look: _Look, inquiry: Inquiry, at: Moment) -> None:
        """What was answered."""
        look.failed += [f"{name}: {reason}" for name, reason in inquiry.failed.items()]
        listed = inquiry.open_orders.get(None)
        if listed is not None:
            look.orders = len(listed)
            look.differences += differences.of_orders(at.book, listed)
        if inquiry.balances is not None:
            self._compare_balances(look, inquiry.balances, at)

    def _compare_balances(self, look: _Look, venue: dict[str, Decimal], at: Moment) -> None:
        busy, moved = why_busy(at.book), at.book.last_sequence("ledger") != look.ledger
        if busy or moved:
            look.is_worth_another |= moved and not busy  # only time, maybe much of it, ends what is unknown
            look.failed.append(f"{BALANCES}: {busy or 'something was booked meanwhile'}")
            return
        look.balances = len(venue)
        external = {total.currency: total.amount for total in at.book.external_totals()}
        look.differences += differences.of_balances(at.book, venue, external)

    def _maybe_over(self, look: _Look, at: Moment) -> Effects:
        if look is not self._look or not look.is_over:
            return []
        assert look.swept is not None
        look.failed += look.swept.failed
        look.is_worth_another |= bool(look.swept.failed or look.differences or look.swept.booked)
        self._look = None
        self._done.append(look)
        self._again_ns = at.now_ns + AGAIN_NS
        given_up = bool(look.failed) and not look.differences and len(self._done) >= FAILED_LOOKS_MAX
        is_last = given_up or not look.is_worth_another or self._again_ns >= self._due_ns
        return self._finish(at) if is_last else []

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, at: Moment) -> Effects:
        self._is_running = False
        unfinished, self._look = self._look, None
        if not self._done:
            return [wants.Closed(self._as_far_as_it_came(unfinished, at))]
        last, before = self._done[-1], self._done[-2:-1]
        known = {_mark(each) for look in before for each in look.differences}
        is_clean = last.swept is not None and last.swept.is_clean
        if not is_clean or _drift(last.differences) != self._looked_into:  # trades may be the whole difference
            known = {mark for mark in known if mark[0] != BALANCE}
        once = [each for each in last.differences if _mark(each) not in known]
        compared = Compared(
            orders=last.orders,
            trades=last.swept.trades if last.swept else 0,
            balances=last.balances,
            differences=tuple(each for each in last.differences if _mark(each) in known),
            not_compared=(*last.failed, *map(_seen_once, once)),
        )
        return [wants.Closed(compared)]

    def _as_far_as_it_came(self, look: _Look | None, at: Moment) -> Compared:
        """The only look, when the time is over: what was answered is compared, and what was not is told."""
        if look is None or look.inquiry is None:
            return Compared(not_compared=("everything: no time was left",))
        if not look.is_answered:
            self._compare(look, look.inquiry, at)
        waiting: Iterable[str] = map(name_of, look.inquiry.pending.values())
        names = [*waiting, *([TRADES] if look.swept is None else [])]
        failed = [*look.failed, *(look.swept.failed if look.swept else ())]
        return Compared(
            orders=look.orders,
            trades=look.swept.trades if look.swept else 0,
            balances=look.balances,
            not_compared=(*(f"{name}: no answer" for name in names), *failed, *map(_seen_once, look.differences)),
        )


def _seen_once(each: Difference) -> str:
    return f"{each.kind} {each.subject}: it was seen by one look alone (book {each.book}, venue {each.venue})"


def _drift(found: Iterable[Difference]) -> dict[str, Decimal]:
    """Of the balances, by currency."""
    return {each.subject: each.amount for each in found if each.kind == BALANCE}


def _mark(each: Difference) -> tuple[str, str, str, Decimal]:
    """What is the same at both looks if the difference is."""
    return each.kind, each.symbol, each.subject, each.amount
