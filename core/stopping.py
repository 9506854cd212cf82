"""What a graceful stop leaves behind, for whoever reads it: the operator, the audit stream, the next start.

A stop goes through four phases (`actors/stopping.py`). Each gets the time that is left of `engine.stop_timeout`, and
what it could not do is said here, never guessed.

| phase | is over when |
|---|---|
| settling | every router has heard of what it had on the wire; what is in doubt had a moment to show |
| canceling | every intent is over, if `engine.on_stop` wants that |
| comparing | book and venue were compared (`core/closing.py`) |
| flushing | each part has written what it had |

Where everything is to be canceled, settling takes a third of the time at most; what is on the wire then is waited for
with the cancels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from core.ids import NS_PER_S, IntentId
from core.lifecycle import State
from core.records import IntentRecord
from core.settings import OnStop
from core.verdict import Difference

FLUSH_SHARE: Final = 5
"""A fifth of the time is kept for the last phase, and the start of none of the others touches it."""
FLUSH_MAX_NS: Final = 1 * NS_PER_S
DOUBT_PATIENCE_NS: Final = 2 * NS_PER_S
"""An order whose answer was lost is found by the first look as a rule; the proof of its absence takes too long."""
SETTLE_SHARE: Final = 3
"""Where orders are to be canceled, one that is not answered may hold up all others for a third of the time."""
AT_VENUE: Final = frozenset({State.SENT, State.PARTIAL, State.CANCELING})


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison of the book with the venue."""

    orders: int = 0
    """Open orders compared."""
    trades: int = 0
    """Own trades looked at, from the cursors on."""
    balances: int = 0
    """Currencies compared."""
    differences: tuple[Difference, ...] = ()
    """Seen by two looks, one after the other."""
    not_compared: tuple[str, ...] = ()
    """What could not be compared, or proven, with the reason."""

    @property
    def agrees(self) -> bool:
        return not self.differences and not self.not_compared


class StopReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a graceful stop went."""

    on_stop: OnStop
    """What was wanted of working orders."""
    open: dict[str, int]
    """Intents that are not over, by state; the next start takes them up."""
    working: int
    """Of them, those whose order the book has at the venue."""
    canceled: int
    """Where it cancels: intents that were open then and are over, canceled or filled."""
    uncanceled: int
    """Intents that should be over then and are not, also one that came into the book after the cancels had been noted.
    What was noted of it is durable, and the next start goes on."""
    compared: Compared
    not_done: tuple[str, ...]
    """What was cut short, with the reason."""
    elapsed_ns: int

    @property
    def is_clean(self) -> bool:
        """Nothing for the operator to look at: what was wanted is done, and nothing was found to differ."""
        return not (self.compared.differences or self.not_done or self.uncanceled)


class Phase(StrEnum):
    SETTLING = "settling"
    CANCELING = "canceling"
    COMPARING = "comparing"
    FLUSHING = "flushing"


class Stop:
    """One graceful stop, as far as it has come."""

    def __init__(self, on_stop: OnStop, began_ns: int, timeout_ns: int) -> None:
        """`began_ns` is monotonic."""
        self.on_stop = on_stop
        self.began_ns = began_ns
        self.ends_ns = began_ns + timeout_ns
        self.flush_ns = self.ends_ns - flush_time_ns(timeout_ns)
        """When whatever comes before the last phase is cut short."""
        self.settled_ns = self.ends_ns
        """When orders are canceled, whatever is still on the wire; it is canceled, too, as soon as it is answered."""
        if on_stop is OnStop.CANCEL:
            self.settled_ns = began_ns + (self.flush_ns - began_ns) // SETTLE_SHARE
        self.phase = Phase.SETTLING
        self.step = 0
        """Counts phases, and parts in the last one; tells a timer that is stale."""
        self.step_began_ns = began_ns
        self.looks = 0
        self.to_cancel: frozenset[IntentId] = frozenset()
        """Intents that were open while it cancels."""
        self.compared: Compared | None = None
        self.flushed: list[str] = []
        """Parts that were asked to write what they have."""
        self.not_done: list[str] = []
        self.report: StopReport | None = None


def flush_time_ns(stop_timeout_ns: int) -> int:
    """So much of it belongs to the last phase."""
    return min(FLUSH_MAX_NS, stop_timeout_ns // FLUSH_SHARE)


def by_state(records: Iterable[IntentRecord]) -> dict[str, int]:
    return dict(sorted(Counter(str(record.state) for record in records).items()))


def working(records: Iterable[IntentRecord]) -> int:
    """One that is being replaced is none: its order is canceled, and the next one is not there yet."""
    return sum(record.state in AT_VENUE and record.amendment is None for record in records)


def is_in_doubt(records: Iterable[IntentRecord]) -> bool:
    """Whether a look at the venue may end what is under way: an outcome that is not known, a cancel."""
    return any(record.state in {State.UNKNOWN, State.CANCELING} for record in records)
