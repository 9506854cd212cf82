"""A fresh process that plays ping-pong on one road and answers with what it measured. `benchmarks.hops` calls it.

Ours and thespian's own never share a process: importing `actors` changes thespian, and the baseline is thespian as it
is installed. One thing of the baseline is changed all the same: it listens on 127.0.0.1 only, because the stock base
unpickles whatever reaches a port on any interface. That costs and saves no time.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from benchmarks.errors import BenchmarkFailed
from benchmarks.hop_actors import PingsPlayed, PlayPings
from benchmarks.processes import answer_with, options_of

LOOPBACK = "127.0.0.1"
OURS, STOCK_TCP = "ours", "tcp"
ACTORS = "benchmarks.hop_actors."
SILENT = {
    "version": 1,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "root": {"handlers": ["nowhere"], "level": "CRITICAL"},
}


class Game(msgspec.Struct, frozen=True, kw_only=True):
    """What is played."""

    road: str
    """`ours` or `tcp`."""
    folder: str
    """An empty, private one."""
    counts: dict[str, int]
    """By window: how many round trips."""
    warm_up: int
    timeout_s: float
    """The longest wait for one window."""


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """Of one window."""

    window: int
    elapsed_ns: int
    round_trips_ns: list[int]


class Road(Protocol):
    """What is needed of an actor system."""

    def create(self, actor: str) -> Any: ...
    def tell(self, address: Any, message: Any) -> None: ...
    def listen(self, timeout_s: float) -> Any: ...
    def close(self) -> None: ...


class OurRoad:
    def __init__(self, folder: Path) -> None:
        from actors import system  # noqa: PLC0415  (it changes thespian, so the baseline must not import it)
        from core.settings import SystemBase  # noqa: PLC0415

        self._system = system.start(SystemBase.UNIX, folder)
        self.create = self._system.create
        self.tell = self._system.tell
        self.listen = self._system.listen

    def close(self) -> None:
        self._system.shutdown()
        self._system.leave()
        self._system.remove()


class StockTcpRoad:
    def __init__(self, _folder: Path) -> None:
        from thespian.actors import ActorSystem  # noqa: PLC0415
        from thespian.system.transport.IPBase import IPActorAddress  # noqa: PLC0415

        IPActorAddress.bindArgs = property(lambda address: ((LOOPBACK, address.bindname[1]),))
        capabilities = {"Admin Port": _free_port(), "Convention Address.IPv4": "", "Process Startup Method": "fork"}
        self._system = ActorSystem("multiprocTCPBase", capabilities, logDefs=SILENT)
        self.create = self._system.createActor
        self.tell = self._system.tell
        self.listen = self._system.listen

    def close(self) -> None:
        self._system.shutdown()


ROADS: dict[str, Callable[[Path], Road]] = {OURS: OurRoad, STOCK_TCP: StockTcpRoad}


def play(game: Game) -> list[Played]:
    road = ROADS[game.road](Path(game.folder))
    try:
        pinger, ponger = road.create(f"{ACTORS}Pinger"), road.create(f"{ACTORS}Ponger")
        return [_play_window(road, pinger, ponger, int(window), count, game) for window, count in game.counts.items()]
    finally:
        road.close()


def _play_window(road: Road, pinger: Any, ponger: Any, window: int, count: int, game: Game) -> Played:
    road.tell(pinger, PlayPings(ponger=ponger, count=count, warm_up=game.warm_up, window=window))
    deadline = time.monotonic() + game.timeout_s
    while (left := deadline - time.monotonic()) > 0:
        message = road.listen(left)
        if isinstance(message, PingsPlayed):
            return Played(window=window, elapsed_ns=message.elapsed_ns, round_trips_ns=message.round_trips_ns)
        if message is not None:
            raise BenchmarkFailed(f"{game.road}: the pinger sent {message!r}")
    raise BenchmarkFailed(f"{game.road}: {count} round trips, {window} at a time, took more than {game.timeout_s:g} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    answer_with(play(options_of(Game, sys.argv[1:])), sys.argv[1:])
