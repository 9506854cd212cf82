"""A fresh process that lets a book grow and measures, at each size, what one more intent costs. `growth` calls it.

Beside the growing book stands a small one in the same process; intents are added to both in turn, so that a slow disk
slows both. It tells its progress line by line on standard output.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from benchmarks import memory
from benchmarks.made_book import LIFELIKE_BATCH, TOLD_EVERY, Cost, MadeBook
from benchmarks.processes import answer_with, options_of
from storage.layout import StateFolder

SYMBOLS = 20


class Task(msgspec.Struct, frozen=True, kw_only=True):
    folder: str
    """An empty one."""
    sizes: list[int]
    """Rising; the first is the small book's."""
    samples: int
    """Intents measured at each size, in each of the two books."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """At one size."""

    intents: int
    cost: list[Cost]
    small_cost: list[Cost]
    bytes: int
    memory_mb: dict[str, float]


def measure(task: Task) -> list[Measured]:
    folder, room, now_ns = Path(task.folder), task.samples * len(task.sizes), time.time_ns()
    with (
        MadeBook(StateFolder(folder / "small"), SYMBOLS, task.sizes[0] + room, now_ns) as small,
        MadeBook(StateFolder(folder / "large"), SYMBOLS, task.sizes[-1] + room, now_ns) as large,
    ):
        small.grow_to(task.sizes[0], LIFELIKE_BATCH)
        return [_measure_at(size, large, small, task.samples) for size in task.sizes]


def _measure_at(size: int, large: MadeBook, small: MadeBook, samples: int) -> Measured:
    large.grow_to(size, LIFELIKE_BATCH, _tell)
    used = large.used_bytes()
    cost: list[Cost] = []
    small_cost: list[Cost] = []
    for _ in range(samples):
        small_cost.append(small.add_one())
        cost.append(large.add_one())
    return Measured(intents=size, cost=cost, small_cost=small_cost, bytes=used, memory_mb=memory.own_mb())


def _tell() -> None:
    print(TOLD_EVERY, flush=True)


if __name__ == "__main__":
    answer_with(measure(options_of(Task, sys.argv[1:])), sys.argv[1:])
