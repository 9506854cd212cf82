"""A book of made-up intents, written by the real rules through the real store: every record is what the engine writes.

Only the transactions are larger than the engine's, except where one intent's own cost is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Self

import msgspec

from benchmarks.errors import BenchmarkFailed
from benchmarks.wishes import Wishes
from core import book
from core.book import Opening
from core.lifecycle import is_terminal
from core.outcomes import apply_report
from core.records import AttemptRecord
from core.reports import OrderSnapshot
from core.settings import UNLIMITED, Settings
from exchange.simulator.opening import open_market
from storage.book_store import GIB, BookStore
from storage.layout import StateFolder
from storage.writer import Writer

BATCH = 1_000
"""Intents of one transaction, where only the result counts."""
LIFELIKE_BATCH = 5
"""Where the book's speed counts. LMDB keeps the pages that a transaction has freed in a list, and rewrites what is left
of the list with each commit: after transactions of 1 000 intents each later one costs 40 % more."""
TOLD_EVERY = 1_000
RICH = Decimal(1_000_000_000)
"""Of the quote currency, so that the money lasts."""


class Cost(msgspec.Struct, frozen=True):
    """Of one intent's two transactions, to the end of their commits."""

    elapsed_ns: int
    cpu_ns: int


class _Stopwatch:
    def __init__(self) -> None:
        self._cpu_ns, self._began_ns = time.process_time_ns(), time.monotonic_ns()

    def stop(self) -> Cost:
        return Cost(time.monotonic_ns() - self._began_ns, time.process_time_ns() - self._cpu_ns)


class MadeBook:
    """The writer of one. Nobody else may have the folder's book open for writing; close it in the end."""

    def __init__(self, folder: StateFolder, symbols: int, intents_max: int, until_ns: int) -> None:
        """A new book that can take `intents_max` intents, with the simulator's usual opening balances."""
        settings = Settings()
        venue = f"{settings.exchange.id}/{settings.engine.mode}"
        self._map_bytes = settings.storage.map_size_gib * GIB
        self._router = settings.router
        self._store = BookStore.open_writer(folder.create(), settings.storage.map_size_gib, venue)
        self._wishes = Wishes(symbols, intents_max, until_ns)
        self.intents = 0
        began_ns = self._wishes.at_ns(0)
        opened = open_market(now_ns=began_ns, symbols=symbols, balances={"USDT": RICH})
        totals = {row.asset: row.free + row.locked for row in opened.balances(began_ns)}
        with self._store.transaction() as unit:
            book.record_opening_balances(unit, totals, began_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def grow_to(self, intents: int, batch: int, done: Callable[[], None] = lambda: None) -> None:
        """Add intents until there are so many, `batch` in a transaction; `done` is called about every `TOLD_EVERY`."""
        told = self.intents
        while self.intents < intents:
            with self._store.transaction() as unit:
                for _ in range(min(batch, intents - self.intents)):
                    attempt = self._open(unit, self._wishes.opening(self.intents))
                    self._apply(unit, self._wishes.fill(self.intents, attempt))
            if self.intents - told >= TOLD_EVERY:
                told = self.intents
                done()

    def note_compared(self) -> None:
        """As the reconciler of a running engine does in time: all that has ended agrees with the venue."""
        with self._store.transaction() as unit:
            unit.put_compared(unit.last_sequence("audit"))

    def add_one(self) -> Cost:
        """Add an intent as the engine does: each of its two transactions is made durable."""
        opening = self._wishes.opening(self.intents)
        first = _Stopwatch()
        with self._store.transaction() as unit:
            attempt = self._open(unit, opening)
        opened = first.stop()
        report = self._wishes.fill(self.intents, attempt)
        second = _Stopwatch()
        with self._store.transaction() as unit:
            self._apply(unit, report)
        applied = second.stop()
        return Cost(opened.elapsed_ns + applied.elapsed_ns, opened.cpu_ns + applied.cpu_ns)

    def _open(self, unit: Writer, opening: Opening) -> AttemptRecord:
        result = book.open_intent(unit, opening, UNLIMITED, opening.intent.created_ns)
        if result.attempt is None:
            raise BenchmarkFailed(f"intent {self.intents} of the made-up book: {result}")
        return result.attempt

    def _apply(self, unit: Writer, report: OrderSnapshot) -> None:
        record, _ = apply_report(unit, report, self._router, report.trades[0].venue_ns)
        if not is_terminal(record.state):
            raise BenchmarkFailed(f"intent {self.intents} of the made-up book has not ended: {record}")
        self.intents += 1

    def used_bytes(self) -> int:
        """On disk."""
        return round(self._store.used_share() * self._map_bytes)

    def totals(self) -> dict[str, Decimal]:
        """What a venue must hold to agree with the book, by currency."""
        with self._store.snapshot() as view:
            return {balance.currency: balance.total for balance in view.balances()}
