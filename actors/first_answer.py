"""A start waits for a venue that says nothing useful at the moment, and not for ever."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from core.errors import VenueSilent
from core.ids import NS_PER_S

if TYPE_CHECKING:
    from exchange.pages import AtStart

PATIENCE_SHARE: Final = 0.9
"""Of `engine.start_timeout`: whoever waits for the start shall hear why it failed."""
PAUSE_S_MAX: Final = 4.0
"""Between two questions; they begin with half a second."""


async def first_answer(
    ask: Callable[[], Awaitable[AtStart]],
    start_timeout_ns: int,
    monotonic_ns: Callable[[], int],
    say: Callable[[str, int, float], None],
) -> AtStart:
    """The venue is asked until it answers, or it is time to say that it does not. Raises `StartupFailed`.

    `say` is told of each failure: the reason, the how manieth, and in how many seconds it is asked again.
    """
    patience_s = start_timeout_ns * PATIENCE_SHARE / NS_PER_S
    give_up_ns = monotonic_ns() + int(patience_s * NS_PER_S)
    for attempt in itertools.count(1):
        left_s = (give_up_ns - monotonic_ns()) / NS_PER_S
        try:
            return await asyncio.wait_for(ask(), left_s)
        except VenueSilent as error:
            reason = str(error)
        except TimeoutError:
            reason = f"the venue does not answer (within {left_s:.0f} s)"
        pause_s = min(2 ** (attempt - 2), PAUSE_S_MAX)
        left_s = (give_up_ns - monotonic_ns()) / NS_PER_S
        if pause_s >= left_s:
            break
        say(reason, attempt, pause_s)
        await asyncio.sleep(pause_s)
    raise VenueSilent(f"{reason}, after {attempt} attempts in {patience_s:g} s; start again when it does")
