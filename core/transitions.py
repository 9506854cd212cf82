"""Moving an intent record along the table, and what goes with every move: the event, the time marks, the end.

The one place where `IntentRecord.state` changes. A move to a terminal state releases the reservation and tells the
whole story of the intent in `order_done`.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from core import events, holdings, risk_figures
from core.lifecycle import Cause, State, after, is_terminal
from core.records import IntentRecord
from core.unit_of_work import UnitOfWork

MARKS: Final = {
    State.RESERVED: "reserved",
    State.SENDING: "sent",
    State.SENT: "acked",
    State.PARTIAL: "acked",
    State.FILLED: "filled",
}
"""The mark that reaching a state sets, if it is not set yet."""


def advance(book: UnitOfWork, record: IntentRecord, cause: Cause, now_ns: int, note: str = "") -> IntentRecord:
    """Move the record by `cause` and write it. Raises `IllegalTransition`, and then nothing has changed."""
    follower = after(record.state, cause)
    moved = _mark(replace(record, state=follower), MARKS.get(follower), now_ns)
    if follower is not State.RETRY:
        moved = replace(moved, retry_at_ns=0)
    book.append_event(
        events.StateChanged(
            at_ns=now_ns,
            intent_id=record.intent.intent_id,
            from_state=record.state,
            to_state=follower,
            cause=cause,
            attempt=record.attempts,
            filled_qty=record.filled_qty,
            remaining_qty=record.remaining_qty,
            note=note,
        )
    )
    if is_terminal(follower) and not is_terminal(record.state):
        moved = _end(book, moved, now_ns, note)
    return save(book, moved)


def save(book: UnitOfWork, record: IntentRecord) -> IntentRecord:
    """Write the record as its next revision."""
    newer = replace(record, revision=record.revision + 1)
    book.put_intent(newer)
    return newer


def end_by_quantity(book: UnitOfWork, record: IntentRecord, unfilled: Cause, now_ns: int, note: str) -> IntentRecord:
    """End the intent; what was filled decides, and only with nothing filled does `unfilled` name the end (F5)."""
    if record.filled_qty >= record.qty:
        return advance(book, record, Cause.FILL_ALL, now_ns, note)
    return advance(book, record, Cause.END_PARTIAL if record.filled_qty > 0 else unfilled, now_ns, note)


def _mark(record: IntentRecord, name: str | None, now_ns: int) -> IntentRecord:
    if name is None or name in record.marks:
        return record
    return replace(record, marks=record.marks | {name: now_ns})


def _end(book: UnitOfWork, record: IntentRecord, now_ns: int, note: str) -> IntentRecord:
    earlier = "" if record.state is State.FILLED else record.end_reason  # what once stood in the way of a fill is over
    ended = _mark(replace(record, end_reason=note or earlier, amendment=None), "done", now_ns)
    if record.amendment is not None:
        lapsed = record.amendment
        book.append_event(
            events.ReplaceLapsed(
                at_ns=now_ns,
                intent_id=ended.intent.intent_id,
                qty=lapsed.qty,
                price=lapsed.price,
                reason=f"the intent ended {ended.state} before its order could be replaced",
            )
        )
    released = holdings.release(book, record.intent.intent_id)
    risk_figures.ended(book, ended, now_ns)
    book.append_event(
        events.OrderDone(
            at_ns=now_ns,
            intent_id=ended.intent.intent_id,
            state=ended.state,
            symbol=ended.intent.symbol,
            side=ended.intent.side,
            filled_qty=ended.filled_qty,
            avg_price=ended.avg_price,
            fees=ended.fees,
            released=released,
            dust_qty=ended.dust_qty,
            reason=ended.end_reason,
            latency_ns=latency_ns(ended),
        )
    )
    return ended


def latency_ns(record: IntentRecord) -> dict[str, int]:
    """The breakdown of an ended intent's time; stages that did not happen are missing.

    `total` acceptance → done, `reserve` creation → money held, `placement` on disk → the venue's first answer,
    `fill` the venue's first answer → all filled.
    """
    marks = record.marks
    created = record.intent.created_ns
    answered = marks.get("acked", marks.get("filled"))
    stages = {
        "total": (created, marks.get("done")),
        "reserve": (created, marks.get("reserved")),
        "placement": (marks.get("sent"), answered),
        "fill": (answered, marks.get("filled")),
    }
    return {name: end - start for name, (start, end) in stages.items() if start is not None and end is not None}
