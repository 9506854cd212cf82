"""`orders`: what one intent costs on top of a bare `create_order`, one after the other on the same simulator.

Bare ccxt and intentd take turns in blocks. Both know the order's way already (connections open, routers started,
markets loaded); intentd accepts, writes and syncs to disk, places, books, syncs again and reports the end. Each turn
begins with a lap over the symbols that is not measured: while the other side had its turn, quotes grew older than
`router.quote_max_age`, and a strategy that trades all the time does not pay for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.bare import Bare
from benchmarks.daemon import Daemon
from benchmarks.quantiles import milliseconds, p50, p99, ratio, rounded
from benchmarks.session import Session
from benchmarks.strategy import Strategy
from benchmarks.table import Table
from benchmarks.venue import orders, set_latency, start_venue

NAME = "orders"
SYMBOLS = (1, 20)
LATENCIES_MS = (0, 20)
WARM_UP_MIN = 20


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    orders: int = 300
    """Of each side, in each of the four runs."""
    block: int = 25
    """Orders of one side before it is the other one's turn."""


QUICK = Plan(orders=60, block=20)


def run(session: Session, plan: Plan) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    for symbols in SYMBOLS:
        with (
            start_venue(session.processes, symbols) as venue,
            Daemon(session.processes, session.folder(), venue.base_url) as daemon,
            Bare(session.processes, venue.base_url) as bare,
        ):
            client = daemon.connect()
            try:
                for latency_ms in LATENCIES_MS:
                    set_latency(venue, latency_ms)
                    told = f"{latency_ms} ms, {symbols} symbol{'s' * (symbols > 1)}"
                    session.progress.step(told, -(-plan.orders // plan.block))
                    measured = _take_turns(session, plan, bare, Strategy(client), symbols)
                    runs.append({"latency_ms": latency_ms, "symbols": symbols, **measured})
            finally:
                client.close()
    return {"orders": plan.orders, "block": plan.block, "runs": sorted(runs, key=_by_latency)}


def _by_latency(run: dict[str, Any]) -> tuple[int, int]:
    return run["latency_ms"], run["symbols"]


def _take_turns(session: Session, plan: Plan, bare: Bare, strategy: Strategy, symbols: int) -> dict[str, float]:
    warm_up = orders(symbols, max(WARM_UP_MIN, 2 * symbols))
    bare.trade(warm_up)
    strategy.trade_one_by_one(warm_up)
    wanted, lap = orders(symbols, plan.orders), orders(symbols, symbols)
    bare_ns: list[int] = []
    engine_ns: list[int] = []
    for start in range(0, plan.orders, plan.block):
        block = wanted[start : start + plan.block]
        bare.trade(lap)
        bare_ns += bare.trade(block).latencies_ns
        strategy.trade_one_by_one(lap)
        engine_ns += strategy.trade_one_by_one(block).latencies_ns
        session.progress.advance()
    return compare(bare_ns, engine_ns)


def compare(bare_ns: Sequence[int], engine_ns: Sequence[int]) -> dict[str, float]:
    """The figures of one run."""
    bare_p50, bare_p99 = milliseconds(p50(bare_ns)), milliseconds(p99(bare_ns))
    engine_p50, engine_p99 = milliseconds(p50(engine_ns)), milliseconds(p99(engine_ns))
    return {
        "bare_p50_ms": bare_p50,
        "bare_p99_ms": bare_p99,
        "engine_p50_ms": engine_p50,
        "engine_p99_ms": engine_p99,
        "overhead_p50_ms": rounded(engine_p50 - bare_p50),
        "overhead_p99_ms": rounded(engine_p99 - bare_p99),
        "ratio_p50": ratio(engine_p50, bare_p50),
    }


COLUMNS = ("bare_p50_ms", "bare_p99_ms", "engine_p50_ms", "engine_p99_ms", "overhead_p50_ms", "overhead_p99_ms")


def tables(figures: dict[str, Any]) -> list[Table]:
    rows = [
        (run["latency_ms"], run["symbols"], *(run[name] for name in COLUMNS), run["ratio_p50"])
        for run in figures["runs"]
    ]
    names = (name.removesuffix("_ms").replace("_", " ") for name in COLUMNS)
    note = (
        f"{figures['orders']} market buys a side, one after the other, in turn by {figures['block']}; in ms. "
        "bare: ccxt's create_order; engine: submit to IntentDone, two durable commits each. An order for a symbol "
        "whose quote is older than router.quote_max_age takes one more round trip to the venue."
    )
    return [Table("One order", ("venue latency", "symbols", *names, "engine / bare"), rows, note)]
