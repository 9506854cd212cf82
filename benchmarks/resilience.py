"""`resilience`: the crash promise in seconds. After a kill of one part under load trading goes on within 2 s; an engine
with 100 open intents is ready within 5 s of its start.

Real processes, a real kill -9 and a venue without faults. `benchmarks.kills` and `benchmarks.resting` measure, each
against a baseline of the same run: the stream without a kill, the start with nothing open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks import kills, limits, resting
from benchmarks.kills import Outage
from benchmarks.quantiles import median, ratio, rounded
from benchmarks.resting import Starts
from benchmarks.session import Session
from benchmarks.table import Table
from core.ids import NS_PER_S

NAME = "resilience"
OPEN = 100
"""Intents of the second promise."""

RATE_MAX = 500
"""Beyond that the engine is busy with the stream itself, and not the kill is measured."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    kills: int = 5
    """Of each part."""
    rate: int = 100
    """Intents a second while parts are killed: far from what the engine can do, so what piles up is the kill's."""
    starts: int = 5
    """With nothing open, and as many with `OPEN` intents."""


QUICK = Plan(kills=1, starts=2)


def run(session: Session, plan: Plan) -> dict[str, Any]:
    outages = kills.measure(session, plan.kills, NS_PER_S // plan.rate)
    starts = resting.measure(session, plan.starts, OPEN)
    return {"rate": plan.rate, "starts": plan.starts, **figures_of(outages, starts)}


def figures_of(outages: Sequence[Outage], starts: Starts) -> dict[str, Any]:
    """Every part is killed alike, so the promise is about the worst of all."""
    by_kind = {kind: [one for one in outages if one.kind == kind] for kind in (*kills.KINDS, kills.NOBODY)}
    baseline = _of_kind(by_kind.pop(kills.NOBODY))
    each = {kind: _of_kind(found) for kind, found in by_kind.items()}
    empty_s, open_s = _seconds(median(starts.empty_ns)), _seconds(median(starts.open_ns))
    figures = {
        "kills": each,
        "kill_worst_s": max(row["worst_s"] for row in each.values()),
        "baseline_s": baseline["median_s"],
        "baseline": baseline,
        "ready_empty_s": empty_s,
        "ready_100_open_s": open_s,
        "ready_ratio": ratio(open_s, empty_s),
        "starts_s": {"empty": [*map(_seconds, starts.empty_ns)], "100_open": [*map(_seconds, starts.open_ns)]},
    }
    return figures | {"limits": limits.verdicts(NAME, figures)}


def _of_kind(outages: Sequence[Outage]) -> dict[str, Any]:
    """`median_s` and `worst_s` are until both were there, the answer and the order."""
    answered, at_venue = [one.answered_ns for one in outages], [one.at_venue_ns for one in outages]
    lasted = [one.lasted_ns for one in outages]
    return {
        "n": len(outages),
        "median_s": _seconds(median(lasted)),
        "worst_s": _seconds(max(lasted)),
        "answered_median_s": _seconds(median(answered)),
        "answered_worst_s": _seconds(max(answered)),
        "at_venue_median_s": _seconds(median(at_venue)),
        "at_venue_worst_s": _seconds(max(at_venue)),
    }


def _seconds(duration_ns: float) -> float:
    return rounded(duration_ns / NS_PER_S)


COLUMNS = ("answered_median_s", "answered_worst_s", "at_venue_median_s", "at_venue_worst_s", "median_s", "worst_s")


def tables(figures: dict[str, Any]) -> list[Table]:
    rows = {"no kill": figures["baseline"], **figures["kills"]}
    names = (name.removesuffix("_s").replace("_", " ") for name in COLUMNS)
    starts = [(0, figures["ready_empty_s"], 1.0), (OPEN, figures["ready_100_open_s"], figures["ready_ratio"])]
    return [
        Table(
            "Kill -9 of one part under load (s)",
            ("part", "kills", *names),
            [(kind, row["n"], *(row[name] for name in COLUMNS)) for kind, row in rows.items()],
            f"{figures['rate']} intents a second over {kills.SYMBOLS} symbols. From the kill until the first intent "
            "submitted after it is answered, and until the first order of an intent submitted after it is at the "
            "venue, by the venue's own clock; a router's order is of its own symbol. The last two columns: until both.",
        ),
        Table(
            "Start to ready with open intents",
            ("open intents", "seconds", "ratio to 0"),
            starts,
            "`run.py up`, process start to ready, after a kill -9 of everything; medians of "
            f"{figures['starts']} of each, in turn. The orders rest at the venue, {OPEN // resting.SYMBOLS} in each of "
            f"{resting.SYMBOLS} symbols; each of these needs a router, a process of its own, before all is ready.",
        ),
    ]
