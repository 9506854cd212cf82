"""Unexplained differences between book and venue: from which on do they narrow trading, and from which on stop it?

| seen | what happens (C5) |
|---|---|
| once | nothing: two looks at two places are never of exactly the same moment |
| twice, the same | an alert, and trading is REDUCING |
| `reconciler.drift_looks_max` times | an alert, and trading is HALTED |

A look counts only when it was quiet: nothing in flight, nothing booked between question and answer, and every trade
that could explain the difference was read afterwards. What is gone at the next look is forgotten.

Nothing here makes trading looser. When an operator does (`intentctl resume`), the amounts that were the reason become
*known*: the same difference alarms nobody again, another one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from core import events, trading, wants
from core.concern import Concern
from core.inquiry import Effects
from core.records import Drift, TradingState
from core.unit_of_work import BookReader, UnitOfWork

NARROWS_AT = 2
"""So many looks at the same difference narrow trading."""


class Alarm:
    """Turns a difference that stays into what must be done."""

    def __init__(self, looks_max: int) -> None:
        self._looks_max = max(looks_max, NARROWS_AT)

    def raised(self, concern: Concern, looks: int) -> Effects:
        """The same difference was seen for the `looks`-th time. Wanted at every look, since messages can be lost."""
        if looks < NARROWS_AT:
            return []
        return [wants.Tighten(TradingState.HALTED if self.is_final(looks) else TradingState.REDUCING, concern)]

    def is_final(self, looks: int) -> bool:
        """Whether nothing more can follow."""
        return looks >= self._looks_max


def unexplained(
    drift: Mapping[str, Decimal], external: Mapping[str, Decimal], known: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """What is left of a difference (venue minus book) when external trades and what people know are taken out."""
    left = {currency: amount - external.get(currency, Decimal(0)) for currency, amount in drift.items()}
    left |= {currency: -amount for currency, amount in external.items() if currency not in drift}
    return {currency: amount for currency, amount in left.items() if amount not in {0, known.get(currency)}}


# ── inside the portfolio's transaction ────────────────────────────────────────────────────────────────────────────────


def act_on(book: UnitOfWork, concern: Concern, state: TradingState, by: str, now_ns: int) -> None:
    """Narrow or stop trading, with an alert if that is news; nothing if the concern is out of date."""
    before, known_before = trading.standing(book).state, book.drift() or Drift()
    is_known = bool(concern.drift) and concern.drift.items() <= known_before.known.items()
    if is_known or not concern.premise.holds(book):  # an operator may have looked while this was on its way
        return
    after = trading.tighten(book, state, concern.reason, by, now_ns).state
    is_new_amount = bool(concern.drift) and known_before.alarmed != concern.drift
    if is_new_amount:
        book.put_drift(Drift(alarmed=dict(concern.drift), known=known_before.known))
    if after is not before or is_new_amount:
        text = f"{concern.text}; trading is {after}"
        book.append_event(events.AlertFired(at_ns=now_ns, code=concern.code, text=text))


def accept(book: UnitOfWork) -> None:
    """An operator lets trading go on: what alarmed is known from now on."""
    before = book.drift()
    if before is not None and before.alarmed:
        book.put_drift(Drift(known=before.known | before.alarmed))


def known(book: BookReader) -> dict[str, Decimal]:
    found = book.drift()
    return {} if found is None else found.known
