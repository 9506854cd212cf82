"""The simulation must be able to fail: each planted bug is looked for, seed by seed, until a promise is broken.

The seed that is named is the first of all that finds it, however many processes search. A bug counts as found by what
it does to the world, not by an exception that its patch may raise.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from tests.simulation import (  # noqa: F401  (their bugs join the others)
    planted_brakes,
    planted_replacing,
    planted_stops,
)
from tests.simulation.planted import BUGS
from tests.simulation.runner import Task, run_task
from tests.simulation.world import Outcome

SEEDS_MAX: Final = 300


class Found(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    seed: int
    violation: str


class Hunt(msgspec.Struct, frozen=True, kw_only=True):
    """What `--planted --json` prints."""

    planted: int
    found: list[Found]
    missed: list[str]


def hunt(workers: int, say: Callable[[str], None], names: Iterable[str] = tuple(BUGS)) -> Hunt:
    """Look for each of these bugs. `say` gets a line for each."""
    found, missed = [], []
    for name in names:
        outcome = find(name, range(SEEDS_MAX), workers)
        if outcome is None:
            missed.append(name)
            say(f"{name}: missed by {SEEDS_MAX} seeds")
        else:
            found.append(Found(name=name, seed=outcome.seed, violation=outcome.violation))
            say(f"{name}: seed {outcome.seed}")
    return Hunt(planted=len(found) + len(missed), found=found, missed=missed)


def find(name: str, seeds: Iterable[int], workers: int) -> Outcome | None:
    """The first run that the bug breaks."""
    tasks = [Task(seed, name, BUGS[name].mood) for seed in seeds]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return next((outcome for outcome in pool.imap(run_task, tasks) if is_broken(outcome)), None)


def is_broken(outcome: Outcome) -> bool:
    assert not outcome.failed_itself, outcome.violation
    return bool(outcome.violation)
