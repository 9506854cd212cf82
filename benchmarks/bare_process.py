"""The baseline: ccxt's async client as `exchange/` makes it, and nothing around it. `benchmarks.bare` starts it.

It reads one batch of orders per line and answers with one line of figures. Without a window the orders go one after the
other; with one, so many are under way at a time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from benchmarks.errors import BenchmarkFailed
from benchmarks.flow import Flow
from benchmarks.venue import Order
from core.settings import ExchangeSettings
from exchange.binance import make_binance
from exchange.credentials import simulator_credentials


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    orders: list[Order]
    window: int = 1


class Trader:
    """One ccxt client."""

    def __init__(self, base_url: str) -> None:
        keys, usual = simulator_credentials(os.environ), ExchangeSettings()
        self.client = make_binance(
            api_key=keys.api_key,
            api_secret=keys.api_secret,
            base_url=base_url,
            timeout_ms=usual.timeout_ms,
            recv_window_ms=usual.recv_window_ms,
            rate_limit=False,
        )
        self.latencies_ns: list[int] = []

    async def carry_out(self, batch: Batch) -> Flow:
        self.latencies_ns = []
        left = iter(batch.orders)
        began_ns = time.monotonic_ns()
        await asyncio.gather(*(self._work(left) for _ in range(batch.window)))
        return Flow(elapsed_ns=time.monotonic_ns() - began_ns, latencies_ns=self.latencies_ns)

    async def _work(self, left: Iterator[Order]) -> None:
        for order in left:
            began_ns = time.monotonic_ns()
            answer: dict[str, Any] = await self.client.create_order(order.symbol, "market", order.side, order.qty)
            self.latencies_ns.append(time.monotonic_ns() - began_ns)
            if Decimal(answer["filled"]) != Decimal(order.qty):
                raise BenchmarkFailed(f"the bare client's order was not filled: {answer['info']}")


async def main(base_url: str) -> None:
    trader = Trader(base_url)
    loop = asyncio.get_running_loop()
    try:
        await trader.client.load_markets()
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            flow = await trader.carry_out(msgspec.json.decode(line, type=Batch))
            print(msgspec.json.encode(flow).decode(), flush=True)
    finally:
        await trader.client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
