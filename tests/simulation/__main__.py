"""The command line of the simulation; `--help` says what it does."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final, TextIO

import msgspec

from tests.simulation import planted
from tests.simulation.hunt import hunt
from tests.simulation.runner import Summary, cores, run_many
from tests.simulation.weather import Mood
from tests.simulation.world import run_seed

SEEDS_DEFAULT: Final = 300
PROGRESS_S: Final = 1.0
BROKEN: Final = 1
DESCRIPTION: Final = """\
Runs the real daemon (its actors, its book on LMDB, ccxt) against the simulator's matching engine under one seeded
scheduler and a virtual clock: messages are lost, repeated, late and out of order, the venue misbehaves, any process is
killed at any moment, and whoever was killed starts again from the book. After every step it is checked that no promise
is broken, and at the end, in calm, that book and venue agree to the last digit.

One seed is one run, the same every time and on every machine. What does not hold ends it and is printed with the seed.
"""
EXAMPLES: Final = """\
  python -m tests.simulation --seeds 2000               seeds 0 to 1999 on every core
  python -m tests.simulation --seeds 500 --seed-from 2000
  python -m tests.simulation --seeds 500 --restless     orders are replaced while they fill and processes die
  python -m tests.simulation --seeds 300 --mood stopping
                                                        graceful stops; see --mood for others
  python -m tests.simulation --seed 42 --trace          one run, step by step: when, who, what came in, what it made
  python -m tests.simulation --planted                  can it fail? each planted bug must be found

Exit code: 0 all held, 1 something was broken (or a planted bug was missed), 2 wrong arguments.
docs/simulation.md says how to read a trace.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.planted:
        return _hunt(asked)
    if asked.seed is not None:
        return _replay(asked)
    seeds = range(asked.seed_from, asked.seed_from + asked.seeds)
    summary = run_many(seeds, asked.workers, _Progress(sys.stderr, asked.seeds), asked.mood)
    _say(summary, as_json=asked.json)
    return BROKEN if summary.violations else 0


def _replay(asked: argparse.Namespace) -> int:
    outcome = run_seed(asked.seed, print if asked.trace else None, asked.mood)
    if asked.json:
        print(msgspec.json.encode(outcome).decode())
    else:
        print(f"seed {outcome.seed}: {outcome.violation or 'everything held'}")
        print(
            f"{outcome.at_s:.1f} s virtual, {outcome.steps} steps, {outcome.crashes} crashes, {outcome.faults} faults"
        )
    return BROKEN if outcome.violation else 0


def _hunt(asked: argparse.Namespace) -> int:
    found = hunt(asked.workers, lambda line: print(line, file=sys.stderr))
    if asked.json:
        print(msgspec.json.encode(found).decode())
    else:
        for bug in found.found:
            print(f"{bug.name}: seed {bug.seed}: {bug.violation}")
        print(f"missed: {', '.join(found.missed) or 'none'}")
    return BROKEN if found.missed else 0


def _say(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(summary).decode())
        return
    for failure in summary.failing:
        print(f"seed {failure['seed']} at {failure['at_s']:.3f} s: {failure['violation']}")
        print(f"  {failure['replay']}")
    print(
        f"{summary.seeds} seeds, {summary.violations} violations, {summary.crashes} crashes, {summary.faults} faults, "
        f"{summary.steps} steps, {summary.intents} intents, {summary.fills} fills, "
        f"{summary.external} external orders, {summary.replacements} replacements, {summary.stops} stops, "
        f"{summary.drifts} drifts, {summary.elapsed_s} s"
    )


class _Progress:
    """A line on the terminal now and then."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream
        self._total = total
        self._told_s = time.monotonic()

    def __call__(self, summary: Summary) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < PROGRESS_S and summary.seeds < self._total:
            return
        self._told_s = now_s
        end = "\r" if self._stream.isatty() and summary.seeds < self._total else "\n"
        self._stream.write(
            f"{summary.seeds} of {self._total} seeds, {summary.violations} violations, {summary.elapsed_s:.0f} s{end}"
        )
        self._stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=_count, default=SEEDS_DEFAULT, help="how many runs (default: %(default)s)")
    add("--seed-from", type=_seed, default=0, metavar="K", help="the first of them (default: %(default)s)")
    add("--seed", type=_seed, metavar="K", help="this one run alone")
    add(
        "--mood",
        type=Mood,
        choices=list(Mood),
        default=Mood.USUAL,
        metavar="NAME",
        help=f"what every run is full of: {', '.join(Mood)}",
    )
    add(
        "--restless",
        dest="mood",
        action="store_const",
        const=Mood.RESTLESS,
        help="the same as --mood restless: clients replace what rests, again and again",
    )
    add("--trace", action="store_true", help="with --seed: print every step")
    add("--planted", action="store_true", help=f"find each of the {len(planted.BUGS)} planted bugs")
    add("--json", action="store_true", help="print the result as one line of JSON")
    add("--workers", type=_count, default=cores(), help="processes; changes nothing but the time (default: all cores)")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; give 1 or more")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is no seed; give 0 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
