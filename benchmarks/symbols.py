"""The memory of one more symbol: a running engine, its routers started a few at a time, each with an order behind it.

The second half of `growth`.
"""

from __future__ import annotations

from typing import Any

from benchmarks import memory
from benchmarks.daemon import Daemon
from benchmarks.errors import BenchmarkFailed
from benchmarks.quantiles import rounded
from benchmarks.session import Session
from benchmarks.strategy import Strategy
from benchmarks.venue import orders, start_venue

STEPS = 4


def run(session: Session, symbols: int) -> dict[str, Any]:
    """PSS of the engine with everything it started, without the venue, at rising numbers of symbols."""
    session.progress.step(f"memory up to {symbols} symbols", symbols)
    with (
        start_venue(session.processes, symbols) as venue,
        Daemon(session.processes, session.folder(), venue.base_url) as daemon,
    ):
        client = daemon.connect()
        try:
            strategy, wanted = Strategy(client), orders(symbols, symbols)
            measured: list[dict[str, Any]] = []
            traded = 0
            for size in steps(symbols):
                for order in wanted[traded:size]:
                    strategy.trade_one_by_one([order])
                    session.progress.advance()
                traded = size
                engine = [process for process in session.processes.alive() if process.pid != venue.pid]
                measured.append({"symbols": size, "processes": len(engine), "pss_mb": round(memory.pss_mb(engine), 1)})
        finally:
            client.close()
    return {"pss_per_symbol_mb": per_symbol_mb(measured), "pss": measured}


def steps(symbols: int) -> list[int]:
    """Where to measure: from one to all."""
    return sorted({1, *(max(symbols * step // STEPS, 1) for step in range(1, STEPS + 1))})


def per_symbol_mb(measured: list[dict[str, Any]]) -> float:
    """Between the fewest and the most. Raises `BenchmarkFailed` when that is one and the same."""
    first, last = measured[0], measured[-1]
    if first["symbols"] == last["symbols"]:
        raise BenchmarkFailed("the memory of a symbol cannot be told from one symbol; ask for more with --symbols")
    return rounded((last["pss_mb"] - first["pss_mb"]) / (last["symbols"] - first["symbols"]))
