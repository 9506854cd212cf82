"""May new orders leave? The durable answer, and what each answer allows.

| state | new intents | next attempts | cancels, queries |
|---|---|---|---|
| ACTIVE | all | all | yes |
| REDUCING | sells that shrink a position | of sells | yes |
| HALTED | none | none | yes |

Anybody inside may make it stricter: drift, a storm of restarts. Only an operator makes it looser (E2).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from core import events
from core.intent import Side
from core.planning import Refusal
from core.records import Standing, TradingState
from core.unit_of_work import BookReader, UnitOfWork

STRICTNESS: Final = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


AT_FIRST: Final = Standing(state=TradingState.ACTIVE, reason="", by="", since_ns=0)


def is_looser(after: Standing, before: Standing) -> bool:
    """Whether somebody has loosened it since."""
    return STRICTNESS[after.state] < STRICTNESS[before.state] and after.since_ns >= before.since_ns


def standing(book: BookReader) -> Standing:
    return book.standing() or AT_FIRST


def tighten(book: UnitOfWork, state: TradingState, reason: str, by: str, now_ns: int) -> Standing:
    """Make it stricter; a state that is not stricter than the one in force changes nothing."""
    now = standing(book)
    return now if STRICTNESS[state] <= STRICTNESS[now.state] else put(book, state, reason, by, now_ns)


def put(book: UnitOfWork, state: TradingState, reason: str, by: str, now_ns: int, *, asked_ns: int = 0) -> Standing:
    """Set it, to whatever. Saying the same again changes nothing; other words for the same state, or somebody else who
    says it, are kept: who looks later must see that it is an operator who holds it, and why.

    `asked_ns`: when an operator asked for it, by his clock; 0: nobody knows, or nobody asked.
    """
    before = standing(book)
    if (before.state, before.reason, before.by) == (state, reason, by):
        if asked_ns > before.asked_ns or before.asked_ns > now_ns:
            before = replace(before, asked_ns=asked_ns)
            book.put_standing(before)
        return before
    asked_ns = _asked(before, state, asked_ns, now_ns)
    after = Standing(state=state, reason=reason, by=by, since_ns=now_ns, asked_ns=asked_ns)
    book.put_standing(after)
    book.append_event(
        events.TradingStateChanged(at_ns=now_ns, from_state=before.state, to_state=state, reason=reason, by=by)
    )
    return after


def _asked(before: Standing, state: TradingState, asked_ns: int, now_ns: int) -> int:
    """As new as what was in force, if that was a stop, too: somebody who asks again and again for an older one must not
    make it older than it is, or a "resume" from between the two lifts both."""
    is_stop_before = before.state is not TradingState.ACTIVE and STRICTNESS[state] >= STRICTNESS[before.state]
    is_older = 0 < asked_ns < _known_ns(before) <= now_ns
    return _known_ns(before) if is_stop_before and is_older else asked_ns


def _known_ns(now: Standing) -> int:
    """Who asked before that cannot have known of it."""
    return now.asked_ns or now.since_ns


def is_overtaken(book: BookReader, state: TradingState, asked_ns: int, now_ns: int) -> bool:
    """Whether somebody wants it looser who asked before the state in force was asked for, or, if nobody has asked for
    it, before it came about: he cannot have known of it.

    Messages may come late, and twice: an old "resume" must not lift a halt that was told since; one that was told after
    a halt lifts it, however late both come. 0: nobody knows when. A time that is still to come is of a clock that was
    set back since, and says nothing.
    """
    now = standing(book)
    return 0 < asked_ns < _known_ns(now) <= now_ns and STRICTNESS[state] < STRICTNESS[now.state]


def refusal(book: BookReader, side: Side) -> Refusal | None:
    """Why an order of this side may not leave now."""
    now = standing(book)
    if now.state is TradingState.ACTIVE or (now.state is TradingState.REDUCING and side is Side.SELL):
        return None
    return Refusal(f"TRADING_{now.state}", f"trading is {now.state} ({now.reason}); see `intentctl resume`")
