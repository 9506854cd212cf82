"""Do the balances agree: the venue's with the book's, and the book's with its own ledger?

A look at the venue's balances counts only when it was *quiet*: no placement or cancel was in flight and nothing was
booked between question and answer. A difference that is left when external trades and what people know are taken out
is followed by sweeps of every symbol that may explain it, as soon as the venue's reads must have caught up. When one of
them has read everything and found nothing that the book lacks, and the same difference is there at the next look, it
was seen twice (`core/drift.py`). A resting order may fill at any moment, but those sweeps find what it has filled.

The ledger is read on as it grows, a bounded part at a time; it explains every balance, and every transaction balances.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from core import holdings, reconcile, wants
from core.concern import Concern, Premise
from core.drift import Alarm, known, unexplained
from core.events import BalancesCompared
from core.inquiry import Effects, Inquiries, Inquiry, Moment
from core.lifecycle import State
from core.money import ZERO, text
from core.sweeping import Sweeps, Swept
from core.unit_of_work import BookReader

IN_FLIGHT: Final = frozenset({State.SENDING, State.UNKNOWN, State.CANCELING})
PAIRS_MAX: Final = 30
"""So many markets that the book has never traded are asked about to explain one difference."""
SWEEPS_MAX: Final = 10
"""So often trades that may explain a difference are asked for. What cannot be read then, as those of a market that the
book has traded and that is no more, keeps nobody from being told. A pair that never was a market explains nothing."""
LEDGER_ROWS_MAX: Final = 5_000
"""So many transactions are read in one go."""


class Balances:
    """The comparison with the venue."""

    def __init__(self, inquiries: Inquiries, sweeps: Sweeps, alarm: Alarm, read_lag_ns: int) -> None:
        """`read_lag_ns`: so long after it may be seen, the venue's reads show a trade."""
        self._inquiries = inquiries
        self._read_lag_ns = read_lag_ns
        self._sweeps = sweeps
        self._alarm = alarm
        self._is_asking = False
        self._ledger = 0
        self._seen: dict[str, Decimal] = {}
        """Venue minus book at the last quiet look, all of it."""
        self.unexplained: dict[str, Decimal] = {}
        """What of it nothing explains."""
        self._looks = 0
        self._is_sweeping = self._is_swept = False
        """Every trade that could explain it was read, late enough, and all of them stand in the book."""
        self._sweep_due_ns = 0
        self._sweeps_failed = 0
        self._unread: tuple[str, ...] = ()
        """What the last sweep could not read."""

    def go_on(self, at: Moment, then: Callable[[str, Moment], Effects] | None = None) -> Effects:
        """Look, if it is quiet. `then` is told why nothing was compared, or nothing."""
        busy = "a look is on its way" if self._is_asking else why_busy(at.book)
        if busy:
            return then(busy, at) if then is not None else []
        self._is_asking = True
        self._ledger = at.book.last_sequence("ledger")
        inquiry = self._inquiries.begin(at, lambda over, later: self._answered(over, later, then))
        return [inquiry.ask_balances()]

    def _answered(self, inquiry: Inquiry, at: Moment, then: Callable[[str, Moment], Effects] | None) -> Effects:
        self._is_asking = False
        busy = "something was booked meanwhile" if at.book.last_sequence("ledger") != self._ledger else ""
        busy = busy or why_busy(at.book)
        if inquiry.balances is None:
            busy = "; ".join(inquiry.failed.values())
            effects: Effects = [wants.Say("balances_not_fetched", {"reason": busy})]
        else:
            effects = [] if busy else self._compare(inquiry.balances, at)
        return effects + (then(busy, at) if then is not None else [])

    def _compare(self, venue: Mapping[str, Decimal], at: Moment) -> Effects:
        totals = {balance.currency: balance.total for balance in at.book.balances()}
        external = {total.currency: total.amount for total in at.book.external_totals()}
        drift = reconcile.balance_drift(totals, venue)
        effects: Effects = []
        if not drift or drift == self._seen:  # a fill that the venue has and the book has not yet is gone next time
            effects.append(wants.Record((BalancesCompared(at_ns=at.now_ns, drift=drift, external=external),)))
        self._seen = drift
        return effects + self._judge(unexplained(drift, external, known(at.book)), at)

    def _judge(self, left: dict[str, Decimal], at: Moment) -> Effects:
        is_same, self.unexplained = left == self.unexplained, left
        if not left:
            self._looks = 0
            return []
        if not is_same:
            self._looks, self._is_swept, self._sweeps_failed = 1, False, 0
            self._sweep_due_ns = at.now_ns + self._read_lag_ns
        if not self._is_swept and self._sweeps_failed < SWEEPS_MAX:
            return []
        self._looks += 1
        but = "" if self._is_swept else f", and not everything could be read: {'; '.join(self._unread)}"
        concern = Concern(
            code="BALANCE_DRIFT",
            text=f"venue minus book is {told(left)}{but}",
            drift=left,
            premise=Premise(ledger=self._ledger),
        )
        return self._alarm.raised(concern, self._looks)

    def look_for_reasons(self, at: Moment) -> Effects:
        """Read the trades that could explain what is unexplained, if it is time."""
        is_wanted = self.unexplained and not self._is_swept and self._sweeps_failed < SWEEPS_MAX
        if not is_wanted or self._is_sweeping or at.now_ns < self._sweep_due_ns:
            return []
        self._is_sweeping = True
        amounts = dict(self.unexplained)
        return self._sweeps.begin(suspects(at.book, amounts), at, lambda swept, then: self._swept(amounts, swept, then))

    def _swept(self, amounts: dict[str, Decimal], swept: Swept, at: Moment) -> Effects:
        self._is_sweeping = False
        if amounts == self.unexplained:  # what was found is on its way into the book, so it is not over yet
            self._is_swept, self._unread = swept.is_clean, swept.failed
            self._sweeps_failed += bool(swept.failed) and not swept.has_unasked  # it passes when there is room again
            self._sweep_due_ns = at.now_ns + self._read_lag_ns
        return []


def why_busy(book: BookReader) -> str:
    """Why balances cannot be compared now; empty if they can."""
    flying = next((record for record in book.open_intents() if record.state in IN_FLIGHT), None)
    return "" if flying is None else f"{flying.intent.intent_id} is {flying.state}"


def suspects(book: BookReader, drift: Mapping[str, Decimal]) -> set[str]:
    """Symbols whose trades may explain a difference: all that the book has traded, and others of these currencies."""
    pairs = sorted(itertools.permutations(sorted(drift), 2), key=lambda pair: drift[pair[0]] * drift[pair[1]] > 0)
    others = (f"{base}/{quote}" for base, quote in pairs)  # those that went opposite ways first
    return {rules.symbol for rules in book.markets()} | set(itertools.islice(others, PAIRS_MAX))


def told(amounts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{text(amount)} {currency}" for currency, amount in sorted(amounts.items()))


class Ledger:
    """The comparison of the book with itself."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._read = 0
        self._sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
        """Of everything, by currency: zero if it balances."""
        self._assets: dict[str, Decimal] = defaultdict(lambda: ZERO)
        self._looks = 0

    def go_on(self, at: Moment) -> Effects:
        """Read on; compare when everything is read."""
        rows = list(itertools.islice(at.book.ledger(after=self._read), LEDGER_ROWS_MAX))
        self._read += len(rows)
        for posting in (posting for row in rows for posting in row.postings):
            self._sums[posting.currency] += posting.amount
            if posting.account.startswith("Assets:"):
                self._assets[posting.currency] += posting.amount
        if len(rows) == LEDGER_ROWS_MAX:
            return []
        wrong = contradictions(at.book, self._sums, self._assets)
        self._looks = self._looks + 1 if wrong else 0
        return self._alarm.raised(Concern(code="LEDGER_DRIFT", text="; ".join(wrong[:5])), self._looks)


def contradictions(book: BookReader, sums: Mapping[str, Decimal], assets: Mapping[str, Decimal]) -> list[str]:
    """What the book says against itself, one line each; `sums` of all postings and of those on assets, by currency."""
    found = [f"the ledger does not balance in {currency}: {text(total)}" for currency, total in sums.items() if total]
    found += [
        f"the book has {text(balance.total)} {balance.currency}, its ledger {text(assets.get(balance.currency, ZERO))}"
        for balance in book.balances()
        if balance.total != assets.get(balance.currency, ZERO)
    ]
    return found + holdings.violations(book)
