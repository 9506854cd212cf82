"""The simulator of a trial, out of reach of its kills, and the truth about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self
from urllib.request import urlopen

import msgspec

from exchange.simulator.process import SimulatorProcess

UNLIMITED: Final = ("--order-limit", "1000000", "--weight-limit", "10000000")
OPEN: Final = ("NEW", "PARTIALLY_FILLED")
TIMEOUT_S: Final = 30.0


class Truth(msgspec.Struct, frozen=True):
    """What really happened, whatever any answer said."""

    client_ids: list[str]
    """Of every order."""
    executed: dict[str, Decimal]
    """Base, by client id; of all orders of that name."""
    live: list[str]
    """Client ids of those that are open."""
    fills: list[tuple[str, str]]
    """(venue's symbol, trade id) of every trade."""
    balances: dict[str, Decimal]
    """Free and locked together."""
    arrived: list[tuple[str, int]] = []
    """Client id of every order and when it came, ms UTC."""


class Venue:
    """A context: the simulator is stopped at the end."""

    def __init__(self, seed: int, options: Sequence[str] = UNLIMITED) -> None:
        """`options` are the simulator's."""
        self._process = SimulatorProcess.start(seed=seed, arguments=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    @property
    def base_url(self) -> str:
        return self._process.base_url

    def misbehave(self, rules: Mapping[str, Any]) -> None:
        self._process.misbehave(rules)

    def transfer(self, asset: str, amount: Decimal) -> None:
        """Somebody deposits or, if negative, withdraws."""
        self._process.transfer(asset, amount)

    def move(self, symbol: str, mid: Decimal) -> None:
        """The market goes there; resting orders that it crosses trade."""
        self._process.move(symbol.replace("/", ""), mid)

    def behave(self) -> None:
        self._process.misbehave({})

    def truth(self) -> Truth:
        orders, trades, balances = (self.ask(what) for what in ("orders", "trades", "balances"))
        executed: dict[str, Decimal] = defaultdict(Decimal)
        for order in orders:
            executed[order["clientOrderId"]] += Decimal(order["executedQty"])
        return Truth(
            executed=dict(executed),
            live=[order["clientOrderId"] for order in orders if order["status"] in OPEN],
            client_ids=[order["clientOrderId"] for order in orders],
            arrived=[(order["clientOrderId"], int(order["time"])) for order in orders],
            fills=[(trade["symbol"], str(trade["id"])) for trade in trades],
            balances={name: Decimal(row["free"]) + Decimal(row["locked"]) for name, row in balances.items()},
        )

    def ask(self, what: str) -> Any:
        """What `/_sim/WHAT` tells."""
        with urlopen(f"{self.base_url}/_sim/{what}", timeout=TIMEOUT_S) as answer:  # noqa: S310  (http on loopback)
            return msgspec.json.decode(answer.read())
