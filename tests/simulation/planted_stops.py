"""Bugs of the graceful stop: what it promises and does not do, and what it guesses."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from actors.stopping import Stopper
from core import holdings, narrowing
from core.lifecycle import State
from tests.simulation.planted import bug, swap
from tests.simulation.weather import Mood


@bug("a stop that is to cancel cancels nothing", Mood.STOPPING)
def stop_cancels_nothing(stack: ExitStack) -> None:
    swap(stack, narrowing, "at_stop", lambda _book, _reason, _now_ns: [])


@bug("a stop gives the money of unknown intents back", Mood.STOPPING)
def stop_guesses_what_is_unknown(stack: ExitStack) -> None:
    at_stop = narrowing.at_stop

    def hasty(book: Any, reason: str, now_ns: int) -> Any:
        changed = at_stop(book, reason, now_ns)
        for record in changed:
            if record.state is State.UNKNOWN:
                holdings.release(book, record.intent.intent_id)
        return changed

    swap(stack, narrowing, "at_stop", hasty)


@bug("a stop is not cut short when its time is over", Mood.STOPPING)
def stop_waits_for_ever(stack: ExitStack) -> None:
    swap(stack, Stopper, "on_stop_tick", lambda _engine, _tick: None)
