"""`throughput`: intents per second at many in flight, against bare ccxt with as many, and where the time goes.

A closed loop over 20 symbols: whenever one order is done the next one leaves. Both sides take turns on one simulator.
CPU time is counted per process. That of the engine's parts is counted over the whole run, since the scribe and the
reconciler do part of an intent's work after its end; that of the client and of the simulator in the side's own turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks import cpu
from benchmarks.bare import Bare
from benchmarks.daemon import Daemon
from benchmarks.quantiles import median, milliseconds, p50, p99, per_second, ratio, rounded
from benchmarks.session import Session
from benchmarks.strategy import Ended, Strategy
from benchmarks.table import Table
from benchmarks.venue import orders, start_venue
from core.transitions import latency_ns

NAME = "throughput"
SYMBOLS = 20
STATUS_TIMEOUT_S = 10.0
SIMULATOR, CLIENT, BARE = "simulator", "client", "bare ccxt"
PER_TURN = (SIMULATOR, CLIENT)
MS_PER_S = 1_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    turns: int = 5
    orders: int = 1_000
    """Of each side in each turn."""
    window: int = 320
    """In flight at a time on either side: sixteen a symbol."""
    """In flight at a time."""


QUICK = Plan(turns=2, orders=400)

STAGES: dict[str, Callable[[Ended], int | None]] = {
    "client to router": lambda one: one.record.intent.created_ns - one.sent_ns,
    "quote, plan, hold the money": lambda one: latency_ns(one.record).get("reserve"),
    "commit, place, venue, book": lambda one: latency_ns(one.record).get("placement"),
    "until all is filled": lambda one: latency_ns(one.record).get("fill"),
    "commit, to the client": lambda one: one.done_ns - one.record.marks["done"] if "done" in one.record.marks else None,
}
"""What an intent waits for, by the marks in its record (`core/transitions.py`) and the client's own clock."""


def run(session: Session, plan: Plan) -> dict[str, Any]:
    with (
        start_venue(session.processes, SYMBOLS) as venue,
        Daemon(session.processes, session.folder(), venue.base_url) as daemon,
        Bare(session.processes, venue.base_url) as bare,
    ):
        client = daemon.connect()
        try:
            strategy = Strategy(client)
            session.progress.step("warming up")
            warm_up = orders(SYMBOLS, plan.window + SYMBOLS)
            bare.trade(warm_up, plan.window)
            strategy.trade(warm_up, plan.window)
            others = {SIMULATOR: venue.pid, BARE: bare.pid, CLIENT: os.getpid()}
            parts = cpu.parts_of(session.processes, client.status(STATUS_TIMEOUT_S), others)
            return _measure(session, plan, bare, strategy, parts)
        finally:
            client.close()


def _measure(
    session: Session, plan: Plan, bare: Bare, strategy: Strategy, parts: dict[str, list[int]]
) -> dict[str, Any]:
    whole = cpu.Meter(parts)
    bare_turns, engine_turns = (cpu.Meter({name: parts[name] for name in PER_TURN}) for _ in range(2))
    bare_rates: list[float] = []
    engine_rates: list[float] = []
    latencies_ns: list[int] = []
    ended: list[Ended] = []
    wanted = orders(SYMBOLS, plan.orders)
    session.progress.step(f"{plan.window} in flight, in turn", plan.turns)
    whole.begin()
    for _ in range(plan.turns):
        bare_turns.begin()
        bare_rates.append(per_second(plan.orders, bare.trade(wanted, plan.window).elapsed_ns))
        bare_turns.end()
        engine_turns.begin()
        flow = strategy.trade(wanted, plan.window)
        engine_turns.end()
        engine_rates.append(per_second(plan.orders, flow.elapsed_ns))
        latencies_ns += flow.latencies_ns
        ended += strategy.ended
        session.progress.advance()
    whole.end()
    engine_per_s, bare_per_s = rounded(median(engine_rates)), rounded(median(bare_rates))
    placed = plan.turns * plan.orders
    return {
        "engine_per_s": engine_per_s,
        "bare_per_s": bare_per_s,
        "ratio": ratio(engine_per_s, bare_per_s),
        "symbols": SYMBOLS,
        "window": plan.window,
        "intents": placed,
        "turns": {"engine_per_s": engine_rates, "bare_per_s": bare_rates},
        "engine_p50_ms": milliseconds(p50(latencies_ns)),
        "engine_p99_ms": milliseconds(p99(latencies_ns)),
        "cpu_ms_per_intent": _per_order(_engine_parts(whole.seconds) | engine_turns.seconds, placed),
        "bare_cpu_ms_per_order": _per_order(
            {BARE: whole.seconds[BARE], SIMULATOR: bare_turns.seconds[SIMULATOR]}, placed
        ),
        "stages_ms": stages_ms(ended),
        "attempts_per_intent": rounded(sum(one.record.attempts for one in ended) / len(ended)),
    }


def _engine_parts(seconds: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in seconds.items() if name not in {*PER_TURN, BARE}}


def _per_order(seconds: dict[str, float], count: int) -> dict[str, float]:
    """Milliseconds of CPU by part, the most expensive first, and their sum."""
    each = {name: rounded(value * MS_PER_S / count) for name, value in seconds.items()}
    ordered = dict(sorted(each.items(), key=lambda part: -part[1]))
    return ordered | {"total": rounded(sum(each.values()))}


def stages_ms(ended: Sequence[Ended]) -> dict[str, dict[str, float]]:
    """p50 and p99 of each stage that the records know; the rest of an intent's time is between them."""
    found: dict[str, dict[str, float]] = {}
    for name, measure in STAGES.items():
        taken = [value for one in ended if (value := measure(one)) is not None]
        if taken:
            found[name] = {"p50": milliseconds(p50(taken)), "p99": milliseconds(p99(taken))}
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    window, symbols = figures["window"], figures["symbols"]
    rates = [("intentd", figures["engine_per_s"]), ("bare ccxt", figures["bare_per_s"]), ("ratio", figures["ratio"])]
    engine, bare = figures["cpu_ms_per_intent"], figures["bare_cpu_ms_per_order"]
    names = [*engine, *(name for name in bare if name not in engine)]
    return [
        Table(
            "Throughput",
            ("", "orders a second"),
            rates,
            f"{symbols} symbols, {window} in flight, {figures['intents']} orders a side; medians of the turns.",
        ),
        Table(
            "CPU of one order (ms)",
            ("part", "intentd", "bare ccxt"),
            [(name, engine.get(name), bare.get(name)) for name in sorted(names, key=lambda name: name == "total")],
        ),
        Table(
            "Where an intent's time goes (ms)",
            ("stage", "p50", "p99"),
            [
                *((name, stage["p50"], stage["p99"]) for name, stage in figures["stages_ms"].items()),
                ("submit to done", figures["engine_p50_ms"], figures["engine_p99_ms"]),
            ],
            f"With {window} in flight, so most of it is waiting for the others.",
        ),
    ]
