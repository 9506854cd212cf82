"""The life of an intent.

Theory of operation
-------------------
An intent is born in one transaction (NEW → RESERVED → SENDING): its money is held and its first order is on disk
before anything leaves the machine. From SENDING on, only *facts* move it, each named by a `Cause`:

* the venue has the order (ACK, FILL_PART, FILL_ALL), or provably has not (REFUSE), or nobody knows (LOSE_TRACK);
* after a proven end of the attempt, the rest is tried again (SCHEDULE_RETRY, SEND) or the intent ends (END_*);
* somebody wants it gone (REQUEST_CANCEL), which ends it by quantity like everything else;
* somebody wants another price or quantity (REQUEST_REPLACE): its order is canceled, and only when that is proven over
  does the rest go out at the new terms (REPLACE, SEND).

Rule 1: everything about which state may follow which lives in `TRANSITIONS`. Code elsewhere decides *what happened*;
this table alone decides what that makes of the intent, and anything not in it raises `IllegalTransition`.

Rule 2: a terminal state means "we send nothing more". It does not mean "the venue reports nothing more": fills are
accepted there too (F4), so terminal states have rows as well, and only the FILL_* causes may use them.

UNKNOWN keeps its reservation for as long as it takes. There is no row from UNKNOWN to a new attempt: it must first be
proven placed (ACK, FILL_*) or proven not placed (REFUSE).

docs/states.md is generated from this file: `python -m tools.states > docs/states.md`.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from core.errors import IllegalTransition


class State(StrEnum):
    NEW = "NEW"
    """Accepted, nothing held yet; never seen outside the accepting transaction."""
    RESERVED = "RESERVED"
    """Its money is held, nothing was sent."""
    SENDING = "SENDING"
    """The attempt is on disk and may be on the wire."""
    SENT = "SENT"
    """The venue has the order, nothing is filled in this attempt."""
    PARTIAL = "PARTIAL"
    """The order of this attempt is filled in part."""
    UNKNOWN = "UNKNOWN"
    """The outcome of the last request is not proven; the money stays held."""
    ERROR = "ERROR"
    """The attempt provably failed; what follows is decided in the same transaction."""
    RETRY = "RETRY"
    """Nothing is at the venue; the next attempt waits for its time."""
    CANCELING = "CANCELING"
    """A cancel was asked for, for good or to replace the order, and its result is not proven."""
    FILLED = "FILLED"
    """All of the quantity was filled."""
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    """Some of it was filled and nothing more will be sent."""
    CANCELED = "CANCELED"
    """Nothing was filled; canceled on request or at the venue."""
    REJECTED = "REJECTED"
    """Nothing was filled; the venue refused it for good."""
    EXPIRED = "EXPIRED"
    """Nothing was filled; its time in force ran out, or it grew stale unsent."""
    FAILED_FINAL = "FAILED_FINAL"
    """Nothing was filled; every allowed attempt failed."""


TERMINAL: Final = frozenset(
    {
        State.FILLED,
        State.PARTIAL_SUCCESS,
        State.CANCELED,
        State.REJECTED,
        State.EXPIRED,
        State.FAILED_FINAL,
    }
)

MAYBE_AT_VENUE: Final = frozenset({State.SENDING, State.SENT, State.PARTIAL, State.UNKNOWN, State.CANCELING})
"""States in which an order of the intent may be alive at the venue."""


class Cause(StrEnum):
    RESERVE = "RESERVE"
    """Checks passed and the worst case is held."""
    SEND = "SEND"
    """An attempt was written and goes out after the commit."""
    ACK = "ACK"
    """The venue has the order of this attempt."""
    FILL_PART = "FILL_PART"
    """Some of the quantity is filled."""
    FILL_ALL = "FILL_ALL"
    """The cumulative filled quantity reached the intent's quantity."""
    LOSE_TRACK = "LOSE_TRACK"
    """The outcome of the request cannot be told."""
    REFUSE = "REFUSE"
    """The attempt is proven not to be at the venue."""
    SCHEDULE_RETRY = "SCHEDULE_RETRY"
    """The attempt is over and the rest shall be tried again."""
    REQUEST_CANCEL = "REQUEST_CANCEL"
    """Somebody asked for the cancel of a working order."""
    REQUEST_REPLACE = "REQUEST_REPLACE"
    """Somebody asked for another price or quantity of a working order, which is canceled first."""
    REPLACE = "REPLACE"
    """The order that was to be replaced is proven over; what is left goes out at the new terms."""
    END_PARTIAL = "END_PARTIAL"
    """Over with part of the quantity filled."""
    END_CANCELED = "END_CANCELED"
    """Over by cancel, nothing filled."""
    END_REJECTED = "END_REJECTED"
    """Over by the venue's refusal, nothing filled."""
    END_EXPIRED = "END_EXPIRED"
    """Over by time in force or age, nothing filled."""
    END_FAILED = "END_FAILED"
    """Over because the attempts are used up, nothing filled."""


_ENDS_WITHOUT_FILL = {
    Cause.END_CANCELED: State.CANCELED,
    Cause.END_REJECTED: State.REJECTED,
    Cause.END_EXPIRED: State.EXPIRED,
    Cause.END_FAILED: State.FAILED_FINAL,
}
_ENDS = _ENDS_WITHOUT_FILL | {Cause.END_PARTIAL: State.PARTIAL_SUCCESS}
_LATE_FILLS = {Cause.FILL_PART: State.PARTIAL_SUCCESS, Cause.FILL_ALL: State.FILLED}

TRANSITIONS: Final = MappingProxyType(
    {
        State.NEW: {Cause.RESERVE: State.RESERVED},
        State.RESERVED: {
            Cause.SEND: State.SENDING,
            Cause.END_CANCELED: State.CANCELED,
            Cause.END_EXPIRED: State.EXPIRED,
        },
        State.SENDING: {
            Cause.ACK: State.SENT,
            Cause.FILL_PART: State.PARTIAL,
            Cause.FILL_ALL: State.FILLED,
            Cause.LOSE_TRACK: State.UNKNOWN,
            Cause.REFUSE: State.ERROR,
        },
        State.SENT: {
            Cause.FILL_PART: State.PARTIAL,
            Cause.FILL_ALL: State.FILLED,
            Cause.REQUEST_CANCEL: State.CANCELING,
            Cause.REQUEST_REPLACE: State.CANCELING,
            Cause.SCHEDULE_RETRY: State.RETRY,
            **_ENDS,  # END_PARTIAL: this attempt filled nothing, an earlier one did
        },
        State.PARTIAL: {
            Cause.FILL_PART: State.PARTIAL,
            Cause.FILL_ALL: State.FILLED,
            Cause.REQUEST_CANCEL: State.CANCELING,
            Cause.REQUEST_REPLACE: State.CANCELING,
            Cause.SCHEDULE_RETRY: State.RETRY,
            Cause.END_PARTIAL: State.PARTIAL_SUCCESS,
        },
        State.UNKNOWN: {
            Cause.ACK: State.SENT,
            Cause.FILL_PART: State.PARTIAL,
            Cause.FILL_ALL: State.FILLED,
            Cause.REFUSE: State.ERROR,
        },
        State.ERROR: {Cause.SCHEDULE_RETRY: State.RETRY, Cause.FILL_ALL: State.FILLED, **_ENDS},
        State.RETRY: {
            Cause.SEND: State.SENDING,
            Cause.ACK: State.SENT,  # an order that was proven not placed appears after all: follow it, send nothing
            Cause.FILL_PART: State.PARTIAL,
            Cause.FILL_ALL: State.FILLED,
            **_ENDS,
        },
        State.CANCELING: {
            Cause.FILL_PART: State.CANCELING,  # the cancel crossed a fill
            Cause.FILL_ALL: State.FILLED,
            Cause.REPLACE: State.RETRY,
            **_ENDS,
        },
        State.FILLED: {},
        State.PARTIAL_SUCCESS: _LATE_FILLS,
        State.CANCELED: _LATE_FILLS,  # venues do report fills after a cancel
        State.REJECTED: _LATE_FILLS,
        State.EXPIRED: _LATE_FILLS,
        State.FAILED_FINAL: _LATE_FILLS,
    }
)


def after(state: State, cause: Cause) -> State:
    """The state that `cause` leads to from `state`. Raises `IllegalTransition` when the table has no such row."""
    follower = TRANSITIONS[state].get(cause)
    if follower is None:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        raise IllegalTransition(f"{cause} is not possible in state {state} (possible: {allowed})")
    return follower


def is_terminal(state: State) -> bool:
    return state in TERMINAL
