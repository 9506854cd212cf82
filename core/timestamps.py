"""Which time a request claims for itself when the venue's clock is not ours, and what rests on that.

Theory of operation
-------------------
The venue takes a signed request while its own clock shows no more than the receive window after the time that the
request claims, and none that claims a time much ahead of it; else it says -1021, and that request is over. So when one
was refused for its time, the venue's clock is read anew, and requests claim our time plus a *correction* from then on.
While it is being read the clock is *doubted*, and no order leaves.

Three things rest on these times: the proof that an order is not there, what "halted" promises, and where lists that are
asked for by time begin. A correction must not weaken them, also if a clock jumps back while an order is on its way. So

* an order leaves with a correction only when the book says so: how far ahead of ours, and how far behind, the venue's
  clock has been taken to be is durable first (`ClockSpan`), and neither figure ever falls;
* no order claims a time later than ours plus `ahead_ns`, and no venue's clock that is asked whether an order is there
  shows less than ours minus `behind_ns`. So where it falls back, or ours is set forward, while an order is on the road,
  the venue takes that one longer than the receive window, but by no more than both figures together (`width_ns`): every
  wait for "it can no longer be executed" is longer by that much;
* what the venue tells may carry a time that is `behind_ns` earlier than ours, so whoever asks by time asks from that
  much earlier, and takes a trade for settled that much later.

Without a correction such a venue would answer no question, which alone would put a proof off. So "no such order" is no
answer before the book has the correction that it was asked with. One of more than `CORRECTION_MAX_NS` is not made:
every wait would be as long. Then the venue's refusals stand, and the intents end by them.

Who uses it: the venue's client keeps a `Timestamps`, the gateway's last look asks `refusal`, the portfolio `note`s.
Pure: clocks come in.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from core.events import AlertFired
from core.ids import NS_PER_MS, NS_PER_S
from core.planning import Refusal
from core.records import ClockSpan
from core.unit_of_work import BookReader, UnitOfWork

CORRECTION_MAX_NS: Final = 60 * NS_PER_S
ERROR_MAX_NS: Final = NS_PER_S
"""A reading that may be wrong by more is none: the venue takes no request from further ahead."""
NEGLIGIBLE_NS: Final = 50 * NS_PER_MS
"""Smaller than that is the road, not the clock; a request was late for another reason then."""
READ_EVERY_NS: Final = NS_PER_S
CLOCK_SLACK_NS: Final = 10 * NS_PER_S
"""Lists by time are asked for from this much earlier at least: the venue's clock is not ours."""


class Timestamps:
    """Of one client of the venue. `now_ns` is of a monotonic clock."""

    def __init__(self) -> None:
        self.correction_ns = 0
        """Added to our clock; whole milliseconds."""
        self.is_doubted = False
        """A request was refused for its time, and the venue's clock is being read."""
        self.turn = 0
        """Rises with each reading; what was signed before it says nothing about the clock after it."""
        self.problem = ""
        """Why the last reading led to no correction; empty: it did."""
        self._again_ns = 0

    def refused(self, turn: int, now_ns: int) -> bool:
        """The venue has refused the time of a request that was signed in that turn. Whether the clock is to be read:
        nobody does so yet, and nobody has within the last second. What is refused all the same was late for another
        reason, or the next refusal will tell; orders do not wait for that."""
        is_news = turn == self.turn and not self.is_doubted and now_ns >= self._again_ns
        self.is_doubted |= is_news
        return is_news

    def read(self, venue_ns: int, sent_ns: int, answered_ns: int, now_ns: int) -> None:
        """The venue has told its time (ms grid) to a question that left and came back at these times of ours, UTC."""
        error_ns = (answered_ns - sent_ns) // 2
        offset_ns = venue_ns - (sent_ns + answered_ns) // 2
        if not 0 <= error_ns <= ERROR_MAX_NS:
            self.not_read("the answer took too long to tell its time", now_ns)
        elif abs(offset_ns) > CORRECTION_MAX_NS:
            by_s, most_s = abs(offset_ns) // NS_PER_S, CORRECTION_MAX_NS // NS_PER_S
            which = "ahead of" if offset_ns > 0 else "behind"
            far = f"the venue's clock is {by_s} s {which} this machine's; more than {most_s} s is not made up for"
            self.not_read(f"{far}: set the clock", now_ns)
        else:
            self._over("", now_ns)
            is_small = abs(offset_ns) < NEGLIGIBLE_NS
            self.correction_ns = 0 if is_small else offset_ns // NS_PER_MS * NS_PER_MS

    def not_read(self, why: str, now_ns: int) -> None:
        """It could not be found out; the next refusal asks again."""
        self._over(why, now_ns)

    def _over(self, problem: str, now_ns: int) -> None:
        self.is_doubted, self.problem = False, problem
        self.turn += 1
        self._again_ns = now_ns + READ_EVERY_NS


# ── what the book knows ───────────────────────────────────────────────────────────────────────────────────────────────


def span(book: BookReader) -> ClockSpan:
    """How far the venue's clock was ever taken to be from ours."""
    return book.clock_span() or ClockSpan()


def slack_ns(book: BookReader) -> int:
    """So much before a time of ours the venue's own time of the same moment may be."""
    return CLOCK_SLACK_NS + span(book).behind_ns


def is_covered(book: BookReader, correction_ns: int) -> bool:
    """Whether an order may leave with this correction."""
    known = span(book)
    return -known.behind_ns <= correction_ns <= known.ahead_ns


def refusal(book: BookReader, correction_ns: int, *, is_doubted: bool) -> Refusal | None:
    """Why an order with this correction may not leave now. Both pass within a moment."""
    if is_doubted:
        return Refusal("CLOCK_DOUBTED", "the venue has refused the time of a request; its clock is being read")
    if not is_covered(book, correction_ns):
        return Refusal("CLOCK_NOT_RECORDED", "the venue's clock is not ours, and the book does not say so yet")
    return None


def note(book: UnitOfWork, correction_ns: int, now_ns: int) -> None:
    """Requests are to claim our time plus this. What the book covers already changes nothing."""
    assert abs(correction_ns) <= CORRECTION_MAX_NS
    if is_covered(book, correction_ns):
        return
    known = span(book)
    wider = replace(known, ahead_ns=max(known.ahead_ns, correction_ns), behind_ns=max(known.behind_ns, -correction_ns))
    book.put_clock_span(wider)
    by_ms, which = abs(correction_ns) // NS_PER_MS, "ahead of" if correction_ns > 0 else "behind"
    text = f"the venue's clock is {by_ms} ms {which} this machine's; orders go by the venue's, look at this one's"
    book.append_event(AlertFired(at_ns=now_ns, code="CLOCK_OFF", text=text))
