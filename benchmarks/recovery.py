"""`recovery`: how long `run.py up` takes to be ready, with an empty book and with large ones.

The books are written first. Each is opened once by an engine without being timed, which lets the scribe write the
streams of all that happened, as it would have done while it happened. Then every book is started in turn, several
times, each time in a fresh process against a fresh venue that holds what the book says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.daemon import Daemon
from benchmarks.made_book import BATCH, TOLD_EVERY, MadeBook
from benchmarks.quantiles import median, ratio, rounded
from benchmarks.session import Session
from benchmarks.table import Table
from benchmarks.venue import start_venue
from core.ids import NS_PER_S
from core.money import text
from storage.layout import StateFolder

NAME = "recovery"
SYMBOLS = 20
AGO_NS = 3_600 * NS_PER_S
"""How long ago the last intent of a book was: nothing of it is in question any more."""
FIRST_START_TIMEOUT_S = 900
START_TIMEOUT_S = 300


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    sizes: tuple[int, ...] = (0, 10_000, 100_000)
    """Terminal intents; the first is what the others are compared with."""
    starts: int = 5
    """Of each size."""


QUICK = Plan(sizes=(0, 2_000), starts=2)


class Book(msgspec.Struct, frozen=True):
    """One that is ready to be started on."""

    intents: int
    state: Path
    balances: tuple[str, ...]
    """What the venue must hold, as the simulator's options."""


def run(session: Session, plan: Plan) -> dict[str, Any]:
    books = [_make(session, intents) for intents in plan.sizes]
    for book in books:
        if book.intents:
            session.progress.step(f"the streams of {book.intents} intents")
        _start(session, book, FIRST_START_TIMEOUT_S)
    ready_s: dict[int, list[float]] = {book.intents: [] for book in books}
    session.progress.step("starts, in turn", plan.starts * len(books))
    for _ in range(plan.starts):
        for book in books:
            ready_s[book.intents].append(_start(session, book, START_TIMEOUT_S))
            session.progress.advance()
    return figures_of(ready_s)


def figures_of(ready_s: dict[int, list[float]]) -> dict[str, Any]:
    sizes: list[dict[str, Any]] = [
        {"intents": intents, "ready_s": rounded(median(taken)), "starts_s": [rounded(value) for value in taken]}
        for intents, taken in ready_s.items()
    ]
    return {"sizes": sizes, "ratio": ratio(sizes[-1]["ready_s"], sizes[0]["ready_s"])}


def _make(session: Session, intents: int) -> Book:
    session.progress.step(f"a book of {intents} intents", intents // TOLD_EVERY)
    state = session.folder() / "state"
    with MadeBook(StateFolder(state), SYMBOLS, intents, time.time_ns() - AGO_NS) as book:
        book.grow_to(intents, BATCH, session.progress.advance)
        book.note_compared()
        return Book(intents, state, _as_options(book.totals()))


def _as_options(totals: dict[str, Decimal]) -> tuple[str, ...]:
    return tuple(f"{currency}={text(total)}" for currency, total in totals.items())


def _start(session: Session, book: Book, timeout_s: int) -> float:
    """Seconds until it was ready. It is stopped in order again."""
    with start_venue(session.processes, SYMBOLS, book.balances) as venue:
        root = session.folder()
        with Daemon(session.processes, root, venue.base_url, start_timeout_s=timeout_s, state=book.state) as daemon:
            return daemon.ready_ns / NS_PER_S


def tables(figures: dict[str, Any]) -> list[Table]:
    sizes: Sequence[dict[str, Any]] = figures["sizes"]
    empty = sizes[0]["ready_s"]
    rows = [(size["intents"], size["ready_s"], ratio(size["ready_s"], empty)) for size in sizes]
    note = f"`run.py up`, process start to ready; medians of {len(sizes[0]['starts_s'])} starts of each book, in turn."
    return [
        Table("Start to ready", ("ended intents in the book", "seconds", f"ratio to {sizes[0]['intents']}"), rows, note)
    ]
