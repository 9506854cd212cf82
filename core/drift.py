"""Unexplained differences between book and venue: from which on do they narrow trading, and from which on stop it?

| seen | what happens (C5) |
|---|---|
| once | nothing: two looks at two places are never of exactly the same moment |
| twice, the same | an alert, and trading is REDUCING |
| `reconciler.drift_looks_max` times | an alert, and trading is HALTED |

A look counts only when it was quiet: nothing in flight, nothing booked between question and answer, and every trade
that could explain the difference was read afterwards. What is gone at the next look is forgotten.

Nothing here makes trading looser. When an operator does (`intentctl resume`), the amounts that were the reason, and the
figures of ended intents whose fills differ, become *known*: the same difference alarms nobody again, another one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

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
    before, noted = trading.standing(book).state, book.drift() or Drift()
    if _is_known(concern, noted) or not concern.premise.holds(book):  # an operator may have looked meanwhile
        return
    after = trading.tighten(book, state, concern.reason, by, now_ns).state
    now_noted = replace(
        noted,
        alarmed=dict(concern.drift) or noted.alarmed,
        alarmed_fills=noted.alarmed_fills | concern.fills,
    )
    if now_noted != noted:
        book.put_drift(now_noted)
    if after is not before or now_noted != noted:
        text = f"{concern.text}; trading is {after}"
        book.append_event(events.AlertFired(at_ns=now_ns, code=concern.code, text=text))


def _is_known(concern: Concern, noted: Drift) -> bool:
    """Whether it is about nothing but what an operator has accepted."""
    if not (concern.drift or concern.fills):
        return False
    return concern.drift.items() <= noted.known.items() and concern.fills.items() <= noted.known_fills.items()


def accept(book: UnitOfWork) -> None:
    """An operator lets trading go on: what alarmed is known from now on."""
    before = book.drift()
    if before is not None and (before.alarmed or before.alarmed_fills):
        fills = before.known_fills | before.alarmed_fills
        book.put_drift(Drift(known=before.known | before.alarmed, known_fills=fills))


def known(book: BookReader) -> dict[str, Decimal]:
    found = book.drift()
    return {} if found is None else found.known
