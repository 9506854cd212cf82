"""The simulator that both sides of a benchmark trade on, and the orders that both place.

Limits of rate are off: what is measured is how fast one can be, not how fast an account may be.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple
from urllib.request import urlopen

import msgspec

from benchmarks.processes import Processes
from core.intent import Side
from core.money import ceil_to, text
from exchange.simulator.process import SimulatorProcess
from exchange.simulator.symbols import Market, markets

SEED = 7
NOTIONAL = Decimal(20)
"""Of each order, quote currency: small enough that the first levels fill it."""
RICH = "USDT=1000000000"
UNLIMITED = ("--weight-limit", "0", "--order-limit", "0")
TRUTH_TIMEOUT_S: Final = 30.0


class Order(NamedTuple):
    """What both sides send: a market buy."""

    symbol: str
    """`BASE/QUOTE`."""
    qty: str
    """Base, on the venue's step."""
    side: str = str(Side.BUY)


class Arrived(msgspec.Struct, frozen=True, rename={"client_order_id": "clientOrderId", "at_ms": "time"}):
    """An order as the venue has it, whatever anybody was told about it."""

    client_order_id: str
    symbol: str
    """The venue's name, like BTCUSDT."""
    status: str
    """The venue's word."""
    at_ms: int
    """When it came there, ms UTC."""


def start_venue(processes: Processes, symbols: int, balances: tuple[str, ...] = (RICH,)) -> SimulatorProcess:
    """A simulator with this many markets, which keeps nothing. Stop it, or use it as a context."""
    return SimulatorProcess.start(
        seed=SEED,
        arguments=("--symbols", str(symbols), *UNLIMITED, "--balance", *balances),
        environment=processes.environment(),
    )


def set_latency(venue: SimulatorProcess, latency_ms: int) -> None:
    """Every request waits this long at the venue; 0 ends it."""
    faults: Mapping[str, object] = {"latency_ms": {"ms": latency_ms}} if latency_ms else {}
    venue.misbehave(faults)


def arrived(venue: SimulatorProcess) -> list[Arrived]:
    """Every order that ever came to the venue. It stands still while it tells, so do not ask during a measurement."""
    with urlopen(f"{venue.base_url}/_sim/orders", timeout=TRUTH_TIMEOUT_S) as answer:  # noqa: S310  (http on loopback)
        return msgspec.json.decode(answer.read(), type=list[Arrived])


def symbol_of(market: Market) -> str:
    return f"{market.base}/{market.quote}"


def orders(symbols: int, count: int) -> list[Order]:
    """`count` market buys, one symbol after the other."""
    each = [Order(symbol_of(market), text(_qty(market))) for market in markets(symbols).values()]
    return list(itertools.islice(itertools.cycle(each), count))


def _qty(market: Market) -> Decimal:
    return max(ceil_to(NOTIONAL / market.price, market.step), market.min_qty)
