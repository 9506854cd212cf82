"""`intentd chaos`: intents under load, faults of the venue, and kills of random processes; then book against venue.

The simulator is outside the blast. Everything else is real: the daemon as `intentd up` starts it, kill -9, restarts by
its own supervision, and a strategy that asks again with the same key. When the last kill is done the venue behaves, the
strategy waits until every intent has ended, and the book is compared with the venue's truth to the last digit.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import IntentdError
from core.intent import RESTING, IntentRequest, Side
from core.money import ZERO
from core.replacing import NewTerms
from storage.book_store import BookStore
from storage.layout import StateFolder
from tools.demo import reference_prices
from tools.demo_stream import Purpose, stream
from tools.output import console_for
from tools.trial import faults, judgement
from tools.trial.daemon import Daemon, wait_until_gone
from tools.trial.halt import Halt
from tools.trial.strategy import Strategy, ended
from tools.trial.venue import Venue

SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
WINDOW: Final = 24
"""Most intents that are open at one time."""
STEP_S: Final = 0.05
PAUSE_S: Final = (0.05, 1.0)
"""Between two kills, at random."""
NEARER: Final = {Side.BUY: Decimal("1.0003"), Side.SELL: Decimal("0.9997")}
LESS: Final = 0.5
LESS_SHARE: Final = Decimal("0.8")
AT_WORK: Final = 0.5
AT_WORK_PATIENCE_S: Final = 5.0
END_TIMEOUT_S: Final = 180.0
AGREE_TIMEOUT_S: Final = 60.0
VERIFY_TIMEOUT_S: Final = 30.0
RESTARTED: Final = ("child_replaced", "engine_starting")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run shall be."""

    intents: int
    kills: int
    faults: str
    seed: int
    halt_at: int = 0
    """An operator halts trading when so many intents were submitted; 0: never."""


class Chaos:
    """One run."""

    def __init__(self, plan: Plan, folder: StateFolder, venue: Venue, daemon: Daemon, strategy: Strategy) -> None:
        self._plan = plan
        self._folder = folder
        self._venue = venue
        self._daemon = daemon
        self._strategy = strategy
        self._draw = random.Random(f"intentd chaos {plan.seed}")  # noqa: S311  (to be replayed)
        self._kill_s = 0.0
        self._killed_s = 0.0
        self._hits_work = False
        self.halt = Halt(strategy)
        self.kills = 0
        self.killed: dict[str, int] = {}
        self.verified: list[str] = []
        """What the engine's own comparison finds at the end."""

    def run(self, tell: Callable[[str, int, int], None]) -> None:
        """Until every intent has ended and book and venue agree, or patience has."""
        plan, prices = self._plan, reference_prices()
        wishes = stream(plan.intents, SYMBOLS, {symbol: prices[symbol] for symbol in SYMBOLS}, plan.seed)
        left = [wish.request for wish in wishes if wish.purpose is Purpose.INTENT]
        self._daemon.start()
        self._until_connected()
        self._venue.misbehave(faults.rules(plan.faults, plan.seed))
        self._plan_kill()
        while left or self.kills < plan.kills or (plan.halt_at and not self.halt.is_over):
            self._daemon.keep_alive()
            allowed = self._allowed(plan.intents)
            while left and len(self._strategy.wishes) < allowed and len(self._strategy.open) < WINDOW:
                self._wish(left.pop(0))
            self._strategy.step(STEP_S)
            self._strategy.lift_what_is_explained()
            if plan.halt_at and len(self._strategy.wishes) >= plan.halt_at and not self.halt.has_begun:
                self.halt.begin()
            self.halt.step(self.kills, more_kills=self.kills < plan.kills)
            if self.kills < plan.kills and self._is_kill_due():
                self._kill_one()
                self._plan_kill()
            tell("under fire", ended(self._strategy.wishes.values()), self.kills)
        self._settle(tell)

    def _wish(self, request: IntentRequest) -> None:
        """What rests is replaced as soon as it is known to be there, by something a little nearer or less."""
        terms = None
        if request.tif in RESTING and request.limit_price is not None:
            is_less = self._draw.random() < LESS and request.qty is not None
            price = request.limit_price * (NEARER[request.side])
            terms = NewTerms(
                qty=(request.qty or ZERO) * LESS_SHARE if is_less else None,
                price=price.quantize(request.limit_price),
                reason="the trial wants it nearer",
                asked_ns=time.time_ns(),
            )
        self._strategy.add(request, terms)

    def _allowed(self, intents: int) -> int:
        """Intents are spread over the kills, so that each one hits somebody at work."""
        return intents if not self._plan.kills else -(-intents * (self.kills + 1) // self._plan.kills)

    def _until_connected(self) -> None:
        """The first start is not under fire: a daemon that cannot start at all is another matter."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while not self._folder.engine_file.exists():
            if not self._daemon.lives or time.monotonic() > deadline:
                raise IntentdError(f"the daemon did not start; it said: {self._daemon.said()}")
            time.sleep(STEP_S)

    def _plan_kill(self) -> None:
        self._killed_s = time.monotonic()
        self._kill_s = self._killed_s + self._draw.uniform(*PAUSE_S)
        self._hits_work = self._draw.random() < AT_WORK

    def _is_kill_due(self) -> bool:
        """Half of the kills hit a daemon that works; the others come at any time, while it starts, too."""
        now_s = time.monotonic()
        if now_s < self._kill_s or self.halt.spares:
            return False
        works = self._strategy.heard_s > self._killed_s
        return works or not self._hits_work or now_s - self._kill_s > AT_WORK_PATIENCE_S

    def _kill_one(self) -> None:
        processes = self._daemon.processes()
        if not processes:
            return
        victim = self._draw.choice(processes)
        role = "launcher" if victim.pid == self._daemon.launcher_pid else "part"
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
            self.kills += 1
            self.killed[role] = self.killed.get(role, 0) + 1
        if role == "launcher":
            wait_until_gone(victim.pid)

    def _settle(self, tell: Callable[[str, int, int], None]) -> None:
        """The fire is over: every intent ends, and what the venue told late is booked, too."""
        self._venue.behave()
        self._strategy.cancel_resting()
        deadline = time.monotonic() + END_TIMEOUT_S
        while self._strategy.open and time.monotonic() < deadline:
            self._daemon.keep_alive()
            self._strategy.step(STEP_S)
            self._strategy.lift_what_is_explained()
            tell("settling", ended(self._strategy.wishes.values()), self.kills)
        deadline = time.monotonic() + AGREE_TIMEOUT_S
        while self._differs() and time.monotonic() < deadline:
            self._daemon.keep_alive()
            time.sleep(STEP_S)
        tell("verifying", ended(self._strategy.wishes.values()), self.kills)
        self.verified = self._verify()
        self._strategy.close()
        self._daemon.stop()

    def _verify(self) -> list[str]:
        """What `intentctl verify` finds, one line each. The kills are over, so somebody answers soon."""
        deadline = time.monotonic() + AGREE_TIMEOUT_S
        while time.monotonic() < deadline:
            self._daemon.keep_alive()
            verdict = self._strategy.verify(VERIFY_TIMEOUT_S)
            if verdict is not None:
                found = [f"{one.kind} {one.subject}: {one.book} and {one.venue}" for one in verdict.differences]
                return found + [f"not compared: {what}" for what in verdict.not_compared]
            time.sleep(STEP_S)
        return ["no answer"]

    def _differs(self) -> bool:
        figures = judged(self._folder, self._strategy, self._venue)
        figures["trail_gaps"] = 0  # the scribe writes a moment later
        return bool(judgement.problems(figures))


def judged(folder: StateFolder, strategy: Strategy, venue: Venue) -> dict[str, Any]:
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            return judgement.judge(view, folder, strategy.wishes, venue.truth())
    finally:
        store.close()


def run_chaos(folder: StateFolder, plan: Plan) -> dict[str, Any]:
    """One run on a fresh state folder; returns the figures of its JSON. Prints progress, not results."""
    began = time.monotonic()
    folder.create()
    columns = (TextColumn("{task.fields[text]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = console_for(sys.stderr)
    with (
        Venue(plan.seed) as venue,
        Daemon(folder, venue.base_url) as daemon,
        contextlib.closing(Strategy(folder)) as strategy,
        Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task("chaos", total=plan.intents, text="starting")

        def tell(text: str, done: int, kills: int) -> None:
            progress.update(task, completed=done, text=f"{text}, {kills} kills")

        chaos = Chaos(plan, folder, venue, daemon, strategy)
        chaos.run(tell)
        figures = judged(folder, strategy, venue)
        if plan.halt_at:
            figures |= chaos.halt.figures(venue.truth().arrived)
        return figures | {
            "quarantines_lifted": len(strategy.lifted),
            "contradictions": strategy.contradictions,
            "verify": chaos.verified,
            "kills": chaos.kills,
            "killed": chaos.killed,
            "restarts": restarts(folder.program_log),
            "faults": plan.faults,
            "seed": plan.seed,
            "elapsed_s": round(time.monotonic() - began, 3),
        }


def restarts(log: Path) -> int:
    """Of parts, engines and daemons, by the program's own log; the first start is none."""
    lines = log.read_text(errors="replace").splitlines()
    return sum(1 for line in lines if any(f'"event":"{event}"' in line for event in RESTARTED)) - 1
