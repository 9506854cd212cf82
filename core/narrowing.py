"""What a narrower trading state does to orders that are working already, and what a stop does.

REDUCING cancels every intent that buys; HALTED leaves what works at the venue, unless the operator wants it canceled,
too. A graceful stop cancels everything, if that is wanted. Each cancel is a wish like that of a client: durable at
once, and the intent ends by what was filled.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from core import book as rules_of_book
from core import trading
from core.intent import Side
from core.records import IntentRecord, TradingState
from core.unit_of_work import UnitOfWork

BUYS: Final = frozenset({Side.BUY})
EVERYTHING: Final = frozenset(Side)


def after_change(book: UnitOfWork, *, cancel_open: bool, now_ns: int) -> list[IntentRecord]:
    """To be called whenever the trading state was set or made stricter; calling it again changes nothing.

    Returns the intents that are to be canceled from now on, as they stand, some of them ended already.
    """
    standing = trading.standing(book)
    if cancel_open:
        sides: Collection[Side] = EVERYTHING
    elif standing.state is TradingState.REDUCING:
        sides = BUYS
    else:
        return []
    return _cancel(book, sides, f"TRADING_{standing.state}: {standing.reason}", now_ns)


def at_stop(book: UnitOfWork, reason: str, now_ns: int) -> list[IntentRecord]:
    """The engine stops, and nothing shall work on without it. Calling it again changes nothing; returns the same."""
    return _cancel(book, EVERYTHING, f"ENGINE_STOPS: {reason}", now_ns)


def _cancel(book: UnitOfWork, sides: Collection[Side], reason: str, now_ns: int) -> list[IntentRecord]:
    changed = []
    for record in list(book.open_intents()):
        if record.intent.side not in sides or record.cancel_requested:
            continue
        after = rules_of_book.request_cancel(book, record.intent.intent_id, reason, now_ns)
        assert after is not None
        changed.append(after)
    return changed
