"""`intentd crashpoints --run`: at every named moment a real process kills itself; afterwards book and venue must agree.

One daemon and one simulator serve a whole list of points; several such pairs work side by side. For each point the
flows below are gone through, in an order that comes to it soon, until somebody has died there. Then the daemon recovers
as it always does, every intent ends, and the book is compared with the venue.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actors import crashpoints
from core.intent import IntentRequest, Kind, Side, TimeInForce
from core.replacing import NewTerms
from storage.layout import StateFolder
from tools.demo import reference_prices
from tools.output import console_for
from tools.trial import judgement
from tools.trial.chaos import judged
from tools.trial.daemon import Daemon
from tools.trial.strategy import Strategy
from tools.trial.venue import Venue

SYMBOL: Final = "BTC/USDT"
STEP_S: Final = 0.02
LOOK_S: Final = 0.2
"""Between two looks whether it was interrupted."""
FLOW_TIMEOUT_S: Final = 20.0
AGREE_TIMEOUT_S: Final = 60.0
WORKERS: Final = 4
"""They wait more than they work."""
SKEW_FIRST_MS: Final = 1_500
"""The venue refuses what claims a time more than a second ahead of it."""
SKEW_STEP_MS: Final = 100
PATIENT: Final = Decimal("0.9")
"""Of the market's price: far enough that nothing fills."""


class Interrupted(Exception):
    """The run was told to stop."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one point."""

    point: str
    visited: bool
    problems: list[str]


class Station:
    """One daemon against one simulator, and a strategy, through many points."""

    def __init__(self, root: Path, seed: int, is_told_to_stop: Callable[[], bool]) -> None:
        self._is_told_to_stop = is_told_to_stop
        self._stack = contextlib.ExitStack()
        self._folder = StateFolder(root).create()
        self._file = root / "crashpoint"
        self._venue = self._stack.enter_context(Venue(seed))
        environment = {crashpoints.VARIABLE: str(self._file)}
        # without the user stream: what is asked for only where it fails to tell would hardly be come to
        daemon = Daemon(self._folder, self._venue.base_url, environment, user_stream=False)
        self._daemon = self._stack.enter_context(daemon)
        self._strategy = self._stack.enter_context(contextlib.closing(Strategy(self._folder)))
        self._price = reference_prices()[SYMBOL]
        self._has_drifted = False
        self._drifts = 0
        self._skews = 0
        self._flows: dict[str, Callable[[], None]] = {
            "buy": self._buy,
            "retry": self._retry,
            "rest": self._rest,
            "replace": self._replace,
            "blind": self._blind,
            "skew": self._skew,
            "refused": self._refused,
            "lost": self._lost,
            "absent": self._absent,
            "waiting": self._wait,
            "verify": self._verify,
            "drift": self._drift,
            "part dies": self._part_dies,
            "stop": self._stop,
            "start": self._start,
            "lost and start": self._lose_and_start,
        }

    def close(self) -> None:
        self._stack.close()

    def visit(self, point: str) -> Visit:
        """Let a process die there, and see what is left of the promise."""
        self._settle()
        self._until_up()
        crashpoints.arm(self._file, point)
        for name in order(point, list(self._flows)):
            self._flows[name]()
            if not self._file.exists():
                break
        visited = not self._file.exists()
        self._file.unlink(missing_ok=True)
        problems = self._settle()
        return Visit(point=point, visited=visited, problems=problems)

    # ── flows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _buy(self) -> None:
        self._wish(quote_budget=Decimal(20))
        self._until_ended()

    def _retry(self) -> None:
        """The first attempt fills a part, the next one the rest."""
        self._venue.misbehave({"partial_fill": {"on": ["place"], "nth": [1]}})
        self._wish(quote_budget=Decimal(60))
        self._until_ended()

    def _rest(self) -> None:
        """An order rests, is followed, and is canceled on request."""
        key = self._wish_to_rest()
        self._strategy.wishes[key].cancel = True
        self._until_ended()

    def _wish_to_rest(self) -> str:
        """An order that rests, followed for a while."""
        limit = (self._price * PATIENT).quantize(Decimal(1))
        key = self._wish(kind=Kind.LIMIT, qty=Decimal("0.001"), limit_price=limit, tif=TimeInForce.GTC)
        deadline = time.monotonic() + 1.0
        while not self._over(deadline):
            self._step()
        return key

    def _replace(self) -> None:
        """An order rests, gets another price, and is canceled when that one rests."""
        key = self._wish_to_rest()
        price = (self._price * PATIENT * PATIENT).quantize(Decimal(1))
        wish = self._strategy.wishes[key]
        wish.terms = NewTerms(qty=None, price=price, reason="a crash point", asked_ns=time.time_ns())
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while not (self._over(deadline) or (wish.record is not None and wish.record.amendments)):
            self._step()
        wish.cancel = True
        self._until_ended()

    def _blind(self) -> None:
        """The account cannot be read for so long that nothing is bought any more, and then it can again."""
        self._venue.misbehave({"server_error": {"on": ["account"], "point": "before", "probability": 1.0}})
        self._wait()
        self._venue.behave()

    def _skew(self) -> None:
        """The venue's clock is set back, so that it refuses our times; further each time, for only that is news."""
        self._skews += 1
        self._venue.misbehave({"clock_skew": {"ms": -SKEW_FIRST_MS - SKEW_STEP_MS * self._skews}})
        self._wish(quote_budget=Decimal(20))
        self._until_ended()
        self._venue.behave()

    def _refused(self) -> None:
        self._wish(quote_budget=Decimal("0.5"))
        self._until_ended()

    def _lost(self) -> None:
        """The venue has the order, and nobody was told."""
        self._venue.misbehave({"answer_lost": {"nth": [1]}})
        self._wish(quote_budget=Decimal(20))
        self._until_ended()

    def _absent(self) -> None:
        """The order never came there, and nobody was told."""
        self._venue.misbehave({"close_connection": {"on": ["place"], "nth": [1], "point": "before"}})
        self._wish(quote_budget=Decimal(20))
        self._until_ended()

    def _wait(self) -> None:
        """Long enough for what is done on intervals, and for trades to be old enough for the cursor."""
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while not self._over(deadline):
            self._step()

    def _verify(self) -> None:
        self._strategy.verify(FLOW_TIMEOUT_S)

    def _drift(self) -> None:
        """Money goes, which stops trading, and comes back; an operator lets trading go on.

        Another amount each time: the one that an operator has seen alarms nobody again.
        """
        self._drifts += 1
        self._has_drifted = True
        self._venue.transfer("USDT", Decimal(-self._drifts))
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while not self._over(deadline):
            self._step()
        self._venue.transfer("USDT", Decimal(self._drifts))
        self._strategy.resume()

    def _part_dies(self) -> None:
        """A part is killed, so that it is replaced and everybody is told; the scribe first, the portfolio last."""
        for name in ("scribe", f"router {SYMBOL}", "reconciler", "gateway", "portfolio"):
            pid = self._strategy.part(name)
            if pid and self._file.exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._wish(quote_budget=Decimal(20))
                self._until_ended()

    def _stop(self) -> None:
        """With an order that rests, which the stop cancels (`tools/trial/settings.py`)."""
        self._wish_to_rest()
        self._daemon.stop()
        self._buy()

    def _start(self) -> None:
        self._daemon.kill()
        self._buy()

    def _lose_and_start(self) -> None:
        """The venue has the order, nobody was told, and everything starts anew: no router waits for what is found."""
        silence = {"on": ["order", "all_orders", "trades"], "point": "before", "probability": 1.0}
        self._venue.misbehave({"answer_lost": {"nth": [1]}, "close_connection": silence})
        wish = self._strategy.wishes[self._wish(quote_budget=Decimal(20))]
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while wish.record is None and not self._over(deadline):
            self._step()
        self._daemon.kill()
        self._venue.behave()
        self._until_ended()

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wish(self, **fields: Any) -> str:
        key = f"crash-{len(self._strategy.wishes)}"
        usual: dict[str, Any] = {"symbol": SYMBOL, "side": Side.BUY, "kind": Kind.MARKET, "key": key}
        self._strategy.add(IntentRequest(**(usual | fields)))
        return key

    def _step(self) -> None:
        if self._is_told_to_stop():
            raise Interrupted
        self._daemon.keep_alive()
        self._strategy.step(STEP_S)

    def _over(self, deadline: float) -> bool:
        return time.monotonic() > deadline or not self._file.exists()

    def _until_up(self) -> None:
        """Whoever died at the point before was replaced, and is ready."""
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while not self._strategy.is_answered() and time.monotonic() < deadline:
            self._step()

    def _until_ended(self) -> None:
        deadline = time.monotonic() + FLOW_TIMEOUT_S
        while self._strategy.open and time.monotonic() < deadline:
            self._step()

    def _settle(self) -> list[str]:
        """The venue behaves, every intent ends, and book and venue agree. Returns what is wrong if they do not."""
        self._venue.behave()
        self._strategy.cancel_resting()
        deadline = time.monotonic() + AGREE_TIMEOUT_S
        problems = ["the daemon did not come up"]
        while problems and time.monotonic() < deadline:
            self._step()
            if problems and self._has_drifted:
                self._strategy.resume()
            if not self._strategy.open and self._folder.engine_file.exists():
                figures = judged(self._folder, self._strategy, self._venue)
                problems = judgement.problems(figures | {"contradictions": self._strategy.contradictions})
        self._has_drifted = False
        return problems


FIRST: Final = {
    "BeginAttempt": "retry", "AttemptBegun": "retry",
    "CancelIntent": "rest", "RequestCancel": "rest", "CancelRequested": "rest", "CancelOrder": "rest",
    "CancelAttempted": "rest", "IntentCancelNoted": "rest", "cancel": "rest", "OpenOrdersFetched": "rest",
    "FetchOpenOrders": "rest", "OrderReported": "rest", "FetchOrder": "rest",
    "RequestReplace": "replace", "ReplaceIntent": "replace", "ReplaceRequested": "replace",
    "IntentReplaceNoted": "replace", "RecordPrivateData": "blind", "RecordClock": "skew", "RecordRefusal": "refused",
    "ResolveUnknown": "lost", "UnknownResolved": "lost",
    "FetchRecentOrders": "absent", "RecentOrdersFetched": "absent",
    "BalancesFetched": "waiting", "FetchBalances": "waiting", "FetchTrades": "waiting", "TradesFetched": "waiting",
    "RecordEvents": "waiting", "SettleTrades": "waiting",
    "VerifyBook": "verify", "BookVerified": "verify",
    "TightenTrading": "drift", "SetTradingState": "drift", "TradingStateSet": "drift",
    "Rewire": "part dies", "GatewayGone": "part dies", "ChildActorExited": "part dies", "ChildReady": "part dies",
    "PrepareStop": "stop", "StopEngine": "stop", "CancelOpenIntents": "stop", "CompareAtStop": "stop",
    "EndPlacing": "stop",
    "OpenIntentsCanceled": "stop", "ComparedAtStop": "stop", "EngineStopped": "stop",
    "StartEngine": "start", "GatewayReady": "start", "ConfigureChild": "start", "EngineStarted": "start",
    "RecordOpeningBalances": "start", "OpeningBalancesRecorded": "start", "epoch": "start", "FindRouter": "start",
    "RouterFound": "start",
}  # fmt: skip
"""By a word of a point's name: the flow that comes there soonest. Without one, the flows are tried from the first."""


def order(point: str, flows: Sequence[str]) -> list[str]:
    """The flows, the most promising one first."""
    hints = [flow for word, flow in FIRST.items() if word in point.split() or point.endswith(f": {word}")]
    reconcilers = ["absent"] if point.startswith("reconciler receives O") else []
    reconcilers += ["lost and start"] if point == "reconciler sent ApplyReport" else []
    first = [*reconcilers, *hints]
    return [*dict.fromkeys([*first, *flows])]


def visit_all(points: Sequence[str], seed: int = 1) -> dict[str, Any]:
    """Every point, shared out among the workers; returns the figures of the JSON. Prints progress, not results."""
    began = time.monotonic()
    columns = (TextColumn("{task.fields[text]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = console_for(sys.stderr)
    visits: list[Visit] = []
    with (
        tempfile.TemporaryDirectory(prefix="intentd-crash-") as root,
        Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        task = progress.add_task("points", total=len(points), text="crash points")

        stop = threading.Event()

        def work(number: int) -> list[Visit]:
            done: list[Visit] = []
            station = Station(Path(root) / str(number), seed + number, stop.is_set)
            with contextlib.closing(station), contextlib.suppress(Interrupted):
                for point in points[number::WORKERS]:
                    done.append(station.visit(point))
                    progress.advance(task)
            return done

        try:
            left = {pool.submit(work, number) for number in range(WORKERS)}
            while left:  # a signal that comes just before an endless wait would not end it
                done, left = wait(left, LOOK_S, FIRST_COMPLETED)
                for one in done:
                    visits += one.result()
        finally:
            stop.set()  # on Ctrl-C the workers are waited for, and shall not go on for minutes
    return {
        "points": len(points),
        "visited": sum(1 for visit in visits if visit.visited),
        "missed": [visit.point for visit in visits if not visit.visited],
        "violated": {visit.point: visit.problems for visit in visits if visit.problems},
        "elapsed_s": round(time.monotonic() - began, 3),
    }
