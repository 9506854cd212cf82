"""`growth`: does an intent cost more in a large book than in a small one, and how much memory does a symbol take?

The cost of an intent is that of the book's own two transactions (open, apply), each made durable, in the process that
writes. A large book and one of 1 000 intents stand side by side and get intents in turn.
"""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks import symbols
from benchmarks.growth_process import Measured, Task
from benchmarks.made_book import TOLD_EVERY
from benchmarks.quantiles import median, milliseconds, ratio
from benchmarks.session import Session
from benchmarks.table import Table

NAME = "growth"
SMALLEST = 1_000
STEP = 10
"""Each size is so many times the one before."""
TIMEOUT_S = 1_800.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    intents: int = 100_000
    """The largest book."""
    samples: int = 300
    """Intents measured at each size."""
    symbols: int = 200


QUICK = Plan(intents=5_000, samples=60, symbols=12)


def sizes(largest: int) -> list[int]:
    """1 000, 10 000, … and the largest."""
    found = [SMALLEST]
    while found[-1] * STEP < largest:
        found.append(found[-1] * STEP)
    return [*found, largest] if largest > SMALLEST else found


def run(session: Session, plan: Plan) -> dict[str, Any]:
    task = Task(folder=str(session.folder()), sizes=sizes(plan.intents), samples=plan.samples)
    session.progress.step(f"a book of {plan.intents} intents grows", plan.intents // TOLD_EVERY)
    answer = session.processes.call("benchmarks.growth_process", task, TIMEOUT_S, heard=session.progress.advance)
    books = [_figures(measured) for measured in msgspec.convert(answer, list[Measured])]
    last = books[-1]
    return {
        "cost_ratio": last["cost_ratio"],
        "cpu_ratio": last["cpu_ratio"],
        "bytes_per_intent": last["bytes_per_intent"],
        **symbols.run(session, plan.symbols),
        "samples": plan.samples,
        "books": books,
    }


def _figures(measured: Measured) -> dict[str, Any]:
    cost = median([one.elapsed_ns for one in measured.cost])
    small_cost = median([one.elapsed_ns for one in measured.small_cost])
    cpu = median([one.cpu_ns for one in measured.cost])
    small_cpu = median([one.cpu_ns for one in measured.small_cost])
    return {
        "intents": measured.intents,
        "cost_ms": milliseconds(cost),
        "small_cost_ms": milliseconds(small_cost),
        "cost_ratio": ratio(cost, small_cost),
        "cpu_ms": milliseconds(cpu),
        "small_cpu_ms": milliseconds(small_cpu),
        "cpu_ratio": ratio(cpu, small_cpu),
        "bytes_per_intent": measured.bytes // measured.intents,
        "memory_mb": measured.memory_mb,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    books = [
        (
            book["intents"],
            book["cost_ms"],
            book["small_cost_ms"],
            book["cost_ratio"],
            book["cpu_ratio"],
            book["bytes_per_intent"],
            book["memory_mb"]["anon"],
            book["memory_mb"]["file"],
        )
        for book in figures["books"]
    ]
    columns = (
        "intents in the book",
        "one more (ms)",
        "in a book of 1 000 (ms)",
        "ratio",
        "ratio of CPU",
        "bytes per intent",
        "writer's own memory (MiB)",
        "mapped (MiB)",
    )
    note = (
        f"Medians of {figures['samples']} intents, each book in turn; open and apply, each with its fsync. "
        "Mapped pages are the system's cache of both books."
    )
    memory = [(row["symbols"], row["processes"], row["pss_mb"]) for row in figures["pss"]]
    return [
        Table("A growing book", columns, books, note),
        Table(
            "Memory of symbols",
            ("symbols", "processes", "PSS (MiB)"),
            memory,
            f"{figures['pss_per_symbol_mb']} MiB for one more symbol, all processes of the engine together.",
        ),
    ]
