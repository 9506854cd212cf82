"""Bugs of replacing a working order (`core/replacing.py`): what others do who cancel and send anew."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from msgspec.structs import replace

import core.book
import core.outcomes
from core import replacing
from core.lifecycle import Cause, State
from core.money import ZERO
from core.transitions import advance
from tests.simulation.planted import bug, swap
from tests.simulation.weather import Mood


@bug("the new order leaves when the cancel of the old one is sent, not when the old one is over", Mood.RESTLESS)
def new_order_beside_the_old_one(stack: ExitStack) -> None:
    really = replacing._note

    def note_and_send(book: Any, record: Any, terms: Any, wanted: Any, now_ns: int) -> Any:
        noted = really(book, record, terms, wanted, now_ns)
        if noted.state is not State.CANCELING or noted.amendment is None:
            return noted
        at_once = replace(replacing.take_effect(book, noted, now_ns), retry_at_ns=now_ns)
        return advance(book, at_once, Cause.REPLACE, now_ns)

    swap(stack, replacing, "_note", note_and_send)


@bug("a replacement that may cost more holds no more", Mood.RESTLESS)
def replacement_holds_no_more(stack: ExitStack) -> None:
    swap(stack, replacing, "worst_case", lambda *_: ZERO)


@bug("a quantity that is taken back counts before the old order is over", Mood.RESTLESS)
def less_counts_at_once(stack: ExitStack) -> None:
    really = replacing._note

    def note_less(book: Any, record: Any, terms: Any, wanted: Any, now_ns: int) -> Any:
        return really(book, replace(record, qty=min(record.qty, terms.qty)), terms, wanted, now_ns)

    swap(stack, replacing, "_note", note_less)


@bug("an intent whose quantity was raised ends when its old order is filled", Mood.RESTLESS)
def raised_quantity_is_forgotten(stack: ExitStack) -> None:
    swap(stack, replacing, "goes_on", lambda _record: False)


@bug("an older replacement that comes late takes the place of a newer one", Mood.RESTLESS)
def older_terms_win(stack: ExitStack) -> None:
    really = replacing.request

    def forget_when(book: Any, intent_id: Any, wanted: Any, *rest: Any) -> Any:
        record = book.intent(intent_id)
        if record is not None:
            book.put_intent(replace(record, amended_ns=0))
        return really(book, intent_id, wanted, *rest)

    swap(stack, replacing, "request", forget_when)


@bug("the new order leaves when the old one is first seen to be over, and fills are reported later", Mood.RESTLESS)
def no_second_look(stack: ExitStack) -> None:
    really = replacing.order_over

    def at_once(book: Any, record: Any, limits: Any, now_ns: int, **_: Any) -> Any:
        return really(book, record, replace(limits, replace_wait=0), now_ns, is_look=True, has_filled=False)

    swap(stack, replacing, "order_over", at_once)


@bug("what was filled before is ordered once more at the new terms", Mood.RESTLESS)
def filled_is_ordered_again(stack: ExitStack) -> None:
    really = replacing.take_effect

    def whole_again(book: Any, record: Any, now_ns: int) -> Any:
        changed = really(book, record, now_ns)
        return replace(changed, qty=changed.qty + record.filled_qty)

    swap(stack, replacing, "take_effect", whole_again)


@bug("a canceled intent goes on at the terms that it was to get", Mood.RESTLESS)
def canceled_and_replaced(stack: ExitStack) -> None:
    really = core.book.request_cancel

    def only_note(book: Any, intent_id: Any, reason: str, now_ns: int) -> Any:
        record = book.intent(intent_id)
        if record is not None and record.amendment is not None:
            return record
        return really(book, intent_id, reason, now_ns)

    swap(stack, core.book, "request_cancel", only_note)
