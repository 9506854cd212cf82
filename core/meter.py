"""How much of one limit is used in the venue's present window, as far as anybody here can tell: never less than it is.

Theory of operation
-------------------
The venue counts in fixed windows that begin with each full minute, or ten seconds, of *its* clock, and shows the count
with its answers. What is known here is put together from three things:

* `seen`: the largest count that an answer of this window has shown. Others on the account are in it.
* `blind`: own requests that are over and that no shown count is known to contain. An answer to a request that was sent
  after them contains them.
* `in_flight`: own requests that are on their way. Whether they count in this window or in the next one, nobody knows.

A window turns when our clock, corrected by the venue's, says so; and when a count falls: a request that was sent after
a larger count was read shows a smaller one, which no reordering explains. `VenueClock` knows how wrong it may be, and
so far around the edge a request is counted on both sides of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from core.ids import NS_PER_MS, NS_PER_S

ERROR_AT_FIRST_NS: Final = NS_PER_S
"""How far the venue's clock may be from ours before it was ever read: beyond that it refuses our timestamps."""
ERROR_MIN_NS: Final = 20 * NS_PER_MS
ERROR_TRUSTED_NS: Final = 500 * NS_PER_MS
"""A reading that is at least as good as this replaces every earlier one: clocks drift, and are set."""


class VenueClock:
    """The venue's clock, read from times in its answers."""

    def __init__(self) -> None:
        self.offset_ns = 0
        """Venue minus ours."""
        self.error_ns = ERROR_AT_FIRST_NS
        """The offset is wrong by this much at most."""

    def read(self, venue_ns: int, sent_ns: int, answered_ns: int) -> None:
        """An answer to a request that left and came back at these times of ours told the venue's time (ms grid)."""
        error_ns = max(ERROR_MIN_NS, (answered_ns - sent_ns) // 2 + NS_PER_MS)
        if answered_ns - sent_ns >= 0 and (error_ns <= ERROR_TRUSTED_NS or error_ns < self.error_ns):
            self.offset_ns = venue_ns + NS_PER_MS // 2 - (sent_ns + answered_ns) // 2
            self.error_ns = error_ns


class Mark(NamedTuple):
    """What a meter knew when a request was sent."""

    amount: int
    turn: int
    seen: int
    blind: int


class Earlier(NamedTuple):
    """One order that somebody before may have sent; ns UTC of ours."""

    begun_ns: int
    """It left no earlier."""
    over_ns: int | None
    """The venue had counted it by then, if ever; None: nobody knows."""


class Meter:
    """One limit: so much within each window."""

    def __init__(self, name: str, limit: int, length_ns: int, clock: VenueClock) -> None:
        """`name` as in reports, e.g. `weight_1m`."""
        self.name, self.limit, self.length_ns = name, limit, length_ns
        self.in_flight = 0
        self.turn = 0
        """Rises with each turn of the window."""
        self._clock = clock
        self._window = -1
        """Number of the window that our clock says it is."""
        self._seen = 0
        self._blind = 0
        self._contained = 0
        """Of `blind`, what `seen` is known to contain."""
        self._before = 0
        """What may be used of the window before, which may not be over yet at the venue."""
        self._carried = 0
        """Was answered so close to the turn that it may count in the next window."""
        self._fell_ns = 0
        """The present window began no earlier than this, since a count fell; ns of ours."""

    def used(self, now_ns: int) -> int:
        """Without what is on its way."""
        self._roll(now_ns)
        return self._seen + self._blind - self._contained

    def taken(self, now_ns: int) -> int:
        """The most that the venue may have counted when a request that leaves now arrives, without that one."""
        used = self.used(now_ns) + self.in_flight
        into_ns = self._into(now_ns)
        if into_ns < self._clock.error_ns:
            used = max(used, self._before)
        if into_ns >= self.length_ns - self._clock.error_ns:
            used = max(used, self._carried + self.in_flight)
        return used

    def turns_at(self, now_ns: int) -> int:
        """When the next window has begun for certain; ns of ours."""
        into_ns, error_ns = self._into(now_ns), self._clock.error_ns
        if into_ns < error_ns:  # the one before may last until then
            return now_ns + error_ns - into_ns
        return now_ns + self.length_ns - into_ns + error_ns

    def window_at(self, at_ns: int) -> int:
        """Number of the window in which this moment of ours lies."""
        return (at_ns + self._clock.offset_ns) // self.length_ns

    def begins_at(self, window: int) -> int:
        """When a window has begun for certain; ns of ours."""
        return window * self.length_ns - self._clock.offset_ns + self._clock.error_ns

    def take(self, amount: int, now_ns: int) -> Mark:
        """A request leaves."""
        self._roll(now_ns)
        self.in_flight += amount
        self._before += amount
        return Mark(amount, self.turn, self._seen, self._blind)

    def recall(self, earlier: Iterable[Earlier], now_ns: int) -> None:
        """Count what was sent before this meter was there, as if it had been: for one that has counted nothing yet.
        What nobody knows to be over counts now."""
        steps: list[tuple[int, bool, int]] = []
        for number, each in enumerate(earlier):
            over_ns = now_ns if each.over_ns is None else min(each.over_ns, now_ns)
            steps += [(min(each.begun_ns, over_ns), False, number), (over_ns, True, number)]
        marks: dict[int, Mark] = {}
        for at_ns, is_over, number in sorted(steps):
            if is_over:
                self.settle(marks.pop(number), None, at_ns, at_ns)
            else:
                marks[number] = self.take(1, at_ns)

    def give_back(self, mark: Mark) -> None:
        """It did not leave."""
        self.in_flight -= mark.amount
        if mark.turn == self.turn:
            self._before -= mark.amount

    def settle(self, mark: Mark, shown: int | None, sent_ns: int, now_ns: int) -> None:
        """It is over; `shown` is the count that its answer showed."""
        self._roll(now_ns)
        self.in_flight -= mark.amount
        if self._into(now_ns) >= self.length_ns - self._clock.error_ns:
            self._carried += mark.amount
        if shown is None:
            self._blind += mark.amount
        elif mark.turn != self.turn:
            if shown < mark.seen:  # it was counted in this window, as the fall shows
                self._seen = max(self._seen, shown)
            else:
                self._before = max(self._before, shown)
                self._blind += mark.amount  # in which of the two, nobody knows
        elif shown < mark.seen:
            self._fall(mark, shown, sent_ns)
        else:
            self._seen = max(self._seen, shown)
            self._contained = max(self._contained, mark.blind)

    def _fall(self, mark: Mark, shown: int, sent_ns: int) -> None:
        self._before = self._seen + self._blind - self._contained + self.in_flight
        self.turn += 1
        self._seen, self._blind, self._contained = shown, self._blind - mark.blind, 0
        self._fell_ns = sent_ns

    def _roll(self, now_ns: int) -> None:
        window = self.window_at(now_ns)
        if window == self._window:
            return
        passed = window - self._window
        if passed == -1:
            return  # the venue's clock was read anew, right at the edge
        self._window = window
        edge_ns = window * self.length_ns - self._clock.offset_ns
        if passed < 0 or edge_ns - self._fell_ns < self.length_ns - 2 * self._clock.error_ns:
            return  # a clock was set back, or the venue's own count says that its window began elsewhere
        if passed > 1:
            self._seen, self._blind, self._contained, self._carried = 0, 0, 0, 0
        self._before = self._seen + self._blind - self._contained + self.in_flight
        self.turn += 1
        self._seen, self._blind, self._contained, self._carried = 0, self._carried, 0, 0

    def _into(self, now_ns: int) -> int:
        return (now_ns + self._clock.offset_ns) % self.length_ns
