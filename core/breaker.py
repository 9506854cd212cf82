"""The circuit breaker: a venue that fails at placing orders gets no new ones for a while (G5).

| state | new orders | becomes |
|---|---|---|
| closed | leave | open, when `failure_rate` of at least `min_samples` within `window` failed |
| open | wait in RETRY | half-open, when the cool-off is over and an order comes |
| half-open | `probes` at once leave, as a test | closed, when all succeed; open, twice as long, when one fails |

Cancels and questions always leave. What counts is what became of *placements*: an outcome that nobody knows (time-out,
broken connection, server error, an answer that names nothing) is a failure; an order, or a definite refusal of it, is
none, since a venue that refuses works. What never left, and "too many requests", say nothing. Questions do not count:
reads may work while matching is down, and a hundred of them a minute would hide ten placements that fail.

Each change of state is a record for the book, so that a restart forgets nothing. Pure: the clock comes in, ns UTC. A
clock that was set back makes no wait longer than the cool-off.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from core import events
from core.records import BreakerRecord, BreakerState
from core.reports import NotPlaced, OrderSnapshot, Report
from core.settings import BreakerSettings
from core.unit_of_work import UnitOfWork

BUCKETS: Final = 10
"""Parts of the window; it slides by one of them."""
DOUBLINGS_MAX: Final = 4
"""The cool-off grows to sixteen times the setting."""


SAY_NOTHING: Final = frozenset({"DDoSProtection", "RateLimitExceeded", "InvalidNonce"})
"""Refusals that say nothing about whether the venue can place orders: too many requests, a clock or a way too slow."""


class BreakerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The live ones, for reports."""

    record: BreakerRecord
    failures: int
    """Of `samples`, in the window now."""
    samples: int
    probes_in_flight: int
    probes_succeeded: int


class Permit(NamedTuple):
    """An order was let through."""

    revision: int
    """Of the record then: what an order tells that left before a change does not count after it."""


class Breaker:
    def __init__(self, settings: BreakerSettings, record: BreakerRecord | None) -> None:
        """`record` is the book's; None: it never changed."""
        self._settings = settings
        self.record = record or BreakerRecord()
        if self.record.state is BreakerState.HALF_OPEN:  # nobody will tell what became of the probes
            self.record = replace(self.record, state=BreakerState.OPEN, cool_off_ns=0)
        self._buckets: deque[list[int]] = deque()
        """Number, failures, samples; the newest last."""
        self._failures = self._samples = 0
        self._probing = self._succeeded = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long no order may leave; 0: one may."""
        record = self.record
        if record.state is BreakerState.CLOSED:
            return 0
        if record.state is BreakerState.HALF_OPEN:
            is_full = self._probing + self._succeeded >= self._settings.probes
            return self._settings.cool_off if is_full else 0
        if now_ns < record.since_ns:  # the clock was set back
            record = self.record = replace(record, since_ns=now_ns)
        return max(0, record.probe_ns - now_ns)

    def admit(self, now_ns: int) -> Permit | None:
        """In the last moment before an order leaves. None: it may not."""
        if self.wait_ns(now_ns):
            return None
        if self.record.state is BreakerState.OPEN:
            self._become(BreakerState.HALF_OPEN, now_ns)
        if self.record.state is BreakerState.HALF_OPEN:
            self._probing += 1
        return Permit(self.record.revision)

    def settle(self, permit: Permit, has_failed: bool | None, now_ns: int) -> None:  # noqa: FBT001
        """What became of an order that was let through; None: nothing that says how the venue is."""
        if permit.revision != self.record.revision:
            return
        if self.record.state is BreakerState.HALF_OPEN:
            self._settle_probe(has_failed, now_ns)
        elif has_failed is not None:
            self._count(has_failed, now_ns)

    def figures(self, now_ns: int) -> BreakerFigures:
        self._slide(now_ns)
        return BreakerFigures(
            record=self.record,
            failures=self._failures,
            samples=self._samples,
            probes_in_flight=self._probing,
            probes_succeeded=self._succeeded,
        )

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle_probe(self, has_failed: bool | None, now_ns: int) -> None:  # noqa: FBT001
        self._probing -= 1
        if has_failed:
            self._open(min(self.record.doublings + 1, DOUBLINGS_MAX), 1, self._succeeded + 1, now_ns)
        elif has_failed is False:
            self._succeeded += 1
            if self._succeeded >= self._settings.probes:
                self._become(BreakerState.CLOSED, now_ns, doublings=0, failures=0, samples=self._succeeded)

    def _count(self, has_failed: bool, now_ns: int) -> None:  # noqa: FBT001
        self._slide(now_ns)
        number = self._bucket(now_ns)
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0, 0])
        self._buckets[-1][1] += has_failed
        self._buckets[-1][2] += 1
        self._failures += has_failed
        self._samples += 1
        settings = self._settings
        is_enough = self._samples >= settings.min_samples
        if has_failed and is_enough and self._failures >= settings.failure_rate * self._samples:
            self._open(0, self._failures, self._samples, now_ns)

    def _open(self, doublings: int, failures: int, samples: int, now_ns: int) -> None:
        self._become(
            BreakerState.OPEN,
            now_ns,
            cool_off_ns=self._settings.cool_off << doublings,
            doublings=doublings,
            failures=failures,
            samples=samples,
            opens_total=self.record.opens_total + 1,
        )

    def _become(self, state: BreakerState, now_ns: int, **changes: int) -> None:
        self.record = replace(self.record, state=state, since_ns=now_ns, revision=self.record.revision + 1, **changes)
        self._buckets.clear()
        self._failures = self._samples = 0
        self._probing = self._succeeded = 0

    def _slide(self, now_ns: int) -> None:
        present = self._bucket(now_ns)
        if self._buckets and self._buckets[-1][0] > present:  # the clock was set back
            self._buckets.clear()
            self._failures = self._samples = 0
        while self._buckets and self._buckets[0][0] <= present - BUCKETS:
            _, failures, samples = self._buckets.popleft()
            self._failures -= failures
            self._samples -= samples

    def _bucket(self, now_ns: int) -> int:
        return now_ns * BUCKETS // self._settings.window


def failed(report: Report) -> bool | None:
    """Whether what became of a placement says that the venue is sick; None: it says nothing."""
    if isinstance(report, NotPlaced):
        return None if report.never_left or report.code in SAY_NOTHING else False
    return not isinstance(report, OrderSnapshot)


def note(book: UnitOfWork, record: BreakerRecord, now_ns: int) -> None:
    """Keep a change of state in the book; one that is known, or older, changes nothing."""
    before = book.breaker() or BreakerRecord()
    if record.revision <= before.revision:
        return
    book.put_breaker(record)
    book.append_event(
        events.BreakerChanged(
            at_ns=now_ns,
            from_state=before.state,
            to_state=record.state,
            failures=record.failures,
            samples=record.samples,
            cool_off_ns=record.cool_off_ns,
            opens_total=record.opens_total,
        )
    )
