"""The command line: `python -m exchange.simulator`. Exits 0 when told to stop, 2 when it cannot start as asked."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from exchange.simulator import auth, opening, options
from exchange.simulator.control import Control
from exchange.simulator.journal import Journal, JournalError
from exchange.simulator.limits import RateLimits
from exchange.simulator.matching import Record
from exchange.simulator.options import Options
from exchange.simulator.server import HOST, Venue

USAGE_ERROR: Final = 2
CRASHED: Final = 3
PARENT_CHECK_S: Final = 0.5
SHUTDOWN_S: Final = 1.0


class StartError(Exception):
    """The simulator cannot start as asked; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return asyncio.run(_serve(options.parse(arguments)))
    except (StartError, JournalError, opening.OpeningError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return USAGE_ERROR


async def _serve(asked: Options) -> int:
    journal = Journal(asked.state) if asked.state else None
    engine = opening.carry_on(
        journal.load() if journal else [],
        seed=asked.seed,
        now_ns=time.time_ns(),
        symbols=asked.symbols,
        fees=asked.fees,
        balances=asked.balance,
    )
    venue = Venue(
        engine=engine,
        save=journal.append if journal else _forget,
        credentials=auth.credentials_from(os.environ),
        limits=RateLimits(asked.weight_limit, asked.order_limit),
        clock_ns=time.time_ns,
        ping_interval_s=asked.ping_interval_s,
        owner=asked.owner,
    )
    if journal:
        journal.begin(engine.records())
    runner = web.AppRunner(_application(venue), access_log=None, shutdown_timeout=SHUTDOWN_S, handle_signals=False)
    await runner.setup()
    try:
        port = await _listen(runner, asked.port)
        stop = _stop_event(until_stdin_closes=asked.until_stdin_closes)
        _say_ready(port, as_json=asked.json)
        return await _run(venue, stop)
    finally:
        await runner.cleanup()


def _forget(_records: list[Record]) -> None:
    """Without a state file nothing is kept."""


async def _run(venue: Venue, stop: asyncio.Event) -> int:
    """Until told to stop, or until something breaks."""
    market = asyncio.create_task(venue.run_market())
    stopped = asyncio.create_task(stop.wait())
    futures: list[asyncio.Future[Any]] = [market, stopped, venue.failure]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    broken = [future.exception() for future in (market, venue.failure) if future.done()]
    for task in (market, stopped):
        task.cancel()
    for error in broken:
        sys.stderr.write(f"simulator: broken, its state is that of the last answer: {error!r}\n")
    return CRASHED if broken else 0


def _application(venue: Venue) -> web.Application:
    application = web.Application(client_max_size=64 * 1024)
    application.add_routes(Control(venue).routes())
    application.on_shutdown.append(venue.streams.close)
    application.router.add_route("*", "/{path:.*}", venue.handle)
    return application


async def _listen(runner: web.AppRunner, port: int) -> int:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as error:
        raise StartError(f"port {port} cannot be used: {error.strerror}; name another one, or 0 for any") from None
    return int(runner.addresses[0][1])


def _say_ready(port: int, *, as_json: bool) -> None:
    if as_json:
        line = msgspec.json.encode({"event": "ready", "port": port, "pid": os.getpid()}).decode()
    else:
        line = f"simulator ready on http://{HOST}:{port}, pid {os.getpid()}; stop with Ctrl-C"
    print(line, flush=True)


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stop_event(*, until_stdin_closes: bool) -> asyncio.Event:
    """Set by SIGINT and SIGTERM, and if wanted when the launcher is gone."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        for wait in (_wait_for_stdin, _wait_for_parent):
            threading.Thread(target=_set_after, args=(wait, loop, stop), daemon=True).start()
    return stop


def _set_after(wait: Callable[[], None], loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    wait()
    loop.call_soon_threadsafe(stop.set)


def _wait_for_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass


def _wait_for_parent() -> None:
    """A process that the launcher forked may hold the other end of stdin for longer than the launcher lives."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        time.sleep(PARENT_CHECK_S)


if __name__ == "__main__":
    sys.exit(main())
