"""`hops`: what a message between two actors costs, on our Unix datagrams and on thespian's own TCP base, in turn.

One hop is half a round trip. Every round starts each road in a fresh process of its own; a figure is the median over
the rounds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.hop_process import OURS, STOCK_TCP, Game, Played
from benchmarks.quantiles import median, microseconds, p50, p99, per_second, ratio, rounded
from benchmarks.session import Session
from benchmarks.table import Table

NAME = "hops"
ROADS = (OURS, STOCK_TCP)
ADDRESSES = {STOCK_TCP: {"THESPIAN_BASE_IPADDR": "127.0.0.1"}}
"""What the baseline announces as its own address."""
SINGLE, WIDEST = "1", "100"
WARM_UP = 50
WINDOW_TIMEOUT_S = 60.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    rounds: int = 5
    single: int = 2_000
    """Round trips of a round, one after the other."""
    pipelined: int = 3_000
    """Round trips of a round for each wider window."""

    @property
    def counts(self) -> dict[str, int]:
        """Round trips by window."""
        return {SINGLE: self.single, "10": self.pipelined, WIDEST: self.pipelined}


QUICK = Plan(rounds=2, single=400, pipelined=600)


def run(session: Session, plan: Plan) -> dict[str, Any]:
    session.progress.step("ours and TCP in turn", plan.rounds * len(ROADS))
    rounds: dict[str, list[list[Played]]] = {road: [] for road in ROADS}
    for _ in range(plan.rounds):
        for road in ROADS:
            rounds[road].append(_play(session, road, plan))
            session.progress.advance()
    ours, tcp = (_figures(rounds[road], plan) for road in ROADS)
    return {
        "hop_ratio_p50": ratio(ours["hop_p50_us"], tcp["hop_p50_us"]),
        "throughput_ratio_w100": ratio(ours["per_s"][WIDEST], tcp["per_s"][WIDEST]),
        "rounds": plan.rounds,
        "round_trips": plan.counts,
        OURS: ours,
        STOCK_TCP: tcp,
    }


def _play(session: Session, road: str, plan: Plan) -> list[Played]:
    game = Game(
        road=road,
        folder=str(session.folder()),
        counts=plan.counts,
        warm_up=WARM_UP,
        timeout_s=WINDOW_TIMEOUT_S,
    )
    limit_s = WINDOW_TIMEOUT_S * (len(plan.counts) + 1)
    answer = session.processes.call("benchmarks.hop_process", game, limit_s, extra=ADDRESSES.get(road))
    session.processes.end_all()  # thespian's admin may take its time
    return msgspec.convert(answer, list[Played])


def _figures(rounds: list[list[Played]], plan: Plan) -> dict[str, Any]:
    windows = {
        window: [played for games in rounds for played in games if str(played.window) == window]
        for window in plan.counts
    }
    hops = [[trip // 2 for trip in played.round_trips_ns] for played in windows[SINGLE]]
    return {
        "hop_p50_us": microseconds(median([p50(trips) for trips in hops])),
        "hop_p99_us": microseconds(median([p99(trips) for trips in hops])),
        "per_s": {
            window: rounded(median([per_second(len(played.round_trips_ns), played.elapsed_ns) for played in games]))
            for window, games in windows.items()
        },
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    ours, tcp = figures[OURS], figures[STOCK_TCP]
    rows: list[tuple[Any, ...]] = [
        (
            f"one hop, {share} (µs)",
            ours[f"hop_{share}_us"],
            tcp[f"hop_{share}_us"],
            ratio(ours[f"hop_{share}_us"], tcp[f"hop_{share}_us"]),
        )
        for share in ("p50", "p99")
    ]
    rows += [
        (
            f"round trips a second, {window} under way",
            ours["per_s"][window],
            tcp["per_s"][window],
            ratio(ours["per_s"][window], tcp["per_s"][window]),
        )
        for window in ours["per_s"]
    ]
    note = f"Two actors in two processes, 256 bytes; medians of {figures['rounds']} rounds in turn."
    return [Table("Hops between actors", ("", "ours", "thespian's TCP", "ours / TCP"), rows, note)]
