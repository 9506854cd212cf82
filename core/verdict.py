"""Book against venue, everything: what differs, each difference by name. Changes nothing.

| kind | means |
|---|---|
| `fill_missing` | a trade of an order of ours that the book does not have |
| `fill_unknown` | a fill in the book that the venue does not show |
| `fill_differs` | both have it, with other figures |
| `order_open` | an order of ours is open at the venue, and over in the book |
| `order_missing` | an order works in the book, and is not open at the venue |
| `order_stray` | an order at the venue is named as ours are, and the book has no such attempt |
| `order_nameless` | trades of an order whose name the venue did not tell |
| `balance` | the venue holds another amount than the book, without external trades and what an operator accepted |
| `ledger` | the ledger does not balance, or does not explain a balance |
| `reservation` | money is held for no open intent, or an open intent holds none |
| `unresolved` | the outcome of an intent's order is unknown; it is being looked for |

Orders that are not ours are listed as external; they are no difference.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.money import ZERO
from core.records import ExternalOrder


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not the same on both sides."""

    kind: str
    """As in the module's table."""
    subject: str
    """What it is about: a trade's or an order's id, a currency, an intent's id."""
    symbol: str = ""
    intent_id: str = ""
    book: str = ""
    """What the book has."""
    venue: str = ""
    """What the venue has."""
    amount: Decimal = ZERO
    """Of a balance: venue minus book, as far as nothing explains it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How book and venue compare."""

    at_ns: int
    """When it was asked, ns UTC."""
    differences: tuple[Difference, ...]
    orders: int
    """Open orders compared, at the venue and in the book."""
    fills: int
    """Trades compared."""
    balances: int
    """Currencies compared."""
    external: tuple[ExternalOrder, ...]
    """Orders of the account that are not ours, since the book began; those with trades, and those open now."""
    unresolved: int
    """Intents whose order's outcome is unknown."""
    not_compared: tuple[str, ...]
    """What the venue did not answer, with the reason."""
