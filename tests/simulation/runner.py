"""Many runs, on every core. Which process runs which seed changes nothing: a run knows of its seed alone."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

import msgspec

from tests.simulation import planted
from tests.simulation.weather import Mood
from tests.simulation.world import Outcome, run_seed

SEEDS_AT_ONCE: Final = 4
"""That a process takes."""
REPLAY: Final = "python -m tests.simulation --seed {} --trace"


class Task(NamedTuple):
    """One run."""

    seed: int
    bug: str | None = None
    """One that is planted."""
    mood: Mood = Mood.USUAL


class Summary(msgspec.Struct, kw_only=True):
    """Of many runs; what `--json` prints."""

    seeds: int = 0
    violations: int = 0
    crashes: int = 0
    faults: int = 0
    steps: int = 0
    intents: int = 0
    fills: int = 0
    external: int = 0
    replacements: int = 0
    stops: int = 0
    drifts: int = 0
    elapsed_s: float = 0.0
    mood: Mood = Mood.USUAL
    failing: list[dict[str, str | int | float]] = []

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.crashes += outcome.crashes
        self.faults += outcome.faults
        self.steps += outcome.steps
        self.intents += outcome.intents
        self.fills += outcome.fills
        self.external += outcome.external
        self.replacements += outcome.replacements
        self.stops += outcome.stops
        self.drifts += outcome.drifts
        if outcome.violation:
            self.violations += 1
            self.failing.append(
                {
                    "seed": outcome.seed,
                    "violation": outcome.violation,
                    "at_s": outcome.at_s,
                    "replay": REPLAY.format(outcome.seed) + ("" if self.mood is Mood.USUAL else f" --mood {self.mood}"),
                }
            )


def run_many(
    seeds: Iterable[int], workers: int, on_progress: Callable[[Summary], None], mood: Mood = Mood.USUAL
) -> Summary:
    """All of them; `on_progress` hears after each run how it stands."""
    began_s, summary = time.monotonic(), Summary(mood=mood)
    for outcome in outcomes([Task(seed, mood=mood) for seed in seeds], workers):
        summary.add(outcome)
        summary.elapsed_s = round(time.monotonic() - began_s, 1)
        on_progress(summary)
    summary.failing.sort(key=lambda failure: failure["seed"])
    return summary


def outcomes(tasks: list[Task], workers: int) -> Iterator[Outcome]:
    """One for each, in no order."""
    if workers == 1:
        yield from map(run_task, tasks)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(run_task, tasks, chunksize=SEEDS_AT_ONCE)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def run_task(task: Task) -> Outcome:
    seed, bug, mood = task
    with ExitStack() as stack:
        if bug is not None:
            stack.enter_context(planted.BUGS[bug].planted())
        try:
            return run_seed(seed, mood=mood)
        except Exception:  # noqa: BLE001  (the others go on)
            return Outcome(seed=seed, violation=traceback.format_exc(), failed_itself=True)
