"""`run.py demo`: the whole main job on the bundled simulator, and a verdict.

A mixed stream of intents is submitted, as fast as the engine takes it within a window; what still rests at the end is
canceled; then the engine stops and the book is compared with the venue.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actors.client import Client
from core.book import OpeningOutcome
from core.budget import budgets_of
from core.errors import RequestTimedOut, StorageError
from core.ids import IntentId
from core.intent import RESTING, Intent
from core.planning import Refusal
from core.records import TradingState
from core.settings import RiskSettings, Settings
from exchange.simulator.symbols import markets
from messages.intents import IntentAnswered, IntentDone
from storage import beginning
from storage.book_store import BookStore
from storage.layout import StateFolder
from storage.tables import Reader
from tools import stop_summary, verdict, views
from tools.command_book import ledger_summary, print_budgets, print_ledger, print_positions
from tools.demo_stream import Wish, market_buy, nearer, stream
from tools.launch import Launch
from tools.output import console_for, print_json, print_table

WINDOW = 32
"""Most wishes without an answer at one time."""
ANSWER_TIMEOUT_S = 30.0
RESTING_PATIENCE_S = 5.0
END_TIMEOUT_S = 60.0
QUIET_LISTEN_S = 0.2
SIMULATOR_OPTIONS = ("--order-limit", "1000000", "--weight-limit", "10000000")
"""The stream comes faster than a real account may trade, and the figures shall not be those of a rate limit."""
LIMITS = RiskSettings(max_positions=100, max_trades_per_day=1_000_000, max_open_orders=1_000)
"""Wider than what one trades in a day, for the same reason; exposure and drawdown are as shipped."""
FAULTS = {"latency_ms": {"min": 1, "max": 8}, "partial_fill": {"on": ["place"], "probability": 0.15}}
"""A venue that answers in milliseconds, and fills some orders only in part, so that the rest is tried again."""
FIGURES = (
    "intents",
    "terminal",
    "replaced",
    "refused",
    "duplicates_answered",
    "conflicts",
    "orders_at_venue",
    "duplicate_orders_at_venue",
    "fills_venue",
    "fills_booked",
    "reservations_left",
    "brakes",
    "ledger_balanced",
    "elapsed_s",
)
"""Of the JSON object, those that the table of the verdict shows."""


class Demo:
    """One run: what was sent, what was answered, what is still open."""

    def __init__(self, client: Client, progress: Progress, symbol: str, count: int) -> None:
        self.client = client
        self.symbol = symbol
        """One that is traded."""
        self.brakes: dict[TradingState, str] = {}
        """The code of the refusal of a buy, by what trading was then; empty: it was not refused."""
        self.progress = progress
        self.task = progress.add_task("intents", total=count, text="submitting")
        self.unanswered: set[str] = set()
        self.open: dict[IntentId, Intent] = {}
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.ended: set[IntentId] = set()

    def submit_all(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            router = self.client.router(wish.request.symbol, ANSWER_TIMEOUT_S)
            if isinstance(router, Refusal):
                self.outcomes[OpeningOutcome.REFUSED] += 1
                self.refusals[router.code] += 1
                continue
            self.unanswered.add(self.client.send_intent(router, wish.request, wait=True))
            while len(self.unanswered) >= WINDOW:
                self.take_one(ANSWER_TIMEOUT_S)
        while self.unanswered:
            self.take_one(ANSWER_TIMEOUT_S)

    def take_one(self, timeout_s: float) -> bool:
        """Handle one message. Raises `RequestTimedOut` if an answer is overdue; False if nothing came in time."""
        message = self.client.next_message(timeout_s)
        if message is None:
            if self.unanswered:
                raise RequestTimedOut(f"{len(self.unanswered)} submissions have no answer after {timeout_s:g} s")
            return False
        if isinstance(message, IntentAnswered) and message.request_id in self.unanswered:
            self.unanswered.discard(message.request_id)
            self.note_answer(message)
        elif isinstance(message, IntentDone):
            self.note_end(message.record.intent.intent_id)
        return True

    def note_answer(self, message: IntentAnswered) -> None:
        answer = message.answer
        self.outcomes[answer.outcome] += 1
        if answer.refusal is not None:
            self.refusals[answer.refusal.code] += 1
        record = answer.record
        if answer.outcome is not OpeningOutcome.ACCEPTED or record is None:
            return
        if record.intent.intent_id not in self.ended:  # the news of its end may have come first
            self.open[record.intent.intent_id] = record.intent

    def note_end(self, intent_id: IntentId) -> None:
        self.ended.add(intent_id)
        self.open.pop(intent_id, None)
        self.progress.update(self.task, completed=len(self.ended))

    def settle(self) -> None:
        """Replace every second resting order by a nearer one, give them a moment, cancel what is left, await all."""
        self.progress.update(self.task, text="replacing what rests")
        for intent_id, intent in list(self.open.items())[::2]:
            router = self.client.router(intent.symbol, ANSWER_TIMEOUT_S)
            if intent.tif in RESTING and not isinstance(router, Refusal):
                self.client.send_replace(router, intent_id, nearer(intent, time.time_ns()))
        self.progress.update(self.task, text="waiting for resting orders")
        self.drain(RESTING_PATIENCE_S)
        self.progress.update(self.task, text="canceling what rests")
        for intent_id, intent in list(self.open.items())[::2]:
            router = self.client.router(intent.symbol, ANSWER_TIMEOUT_S)
            if intent.tif in RESTING and not isinstance(router, Refusal):
                self.client.send_cancel(router, intent_id, "the demo ends")
        self.use_brakes()
        self.drain(END_TIMEOUT_S)

    def use_brakes(self) -> None:
        """As an operator: narrow trading, stop it with everything that still rests, let it go on."""
        self.progress.update(self.task, text="narrowing and stopping trading")
        for state in (TradingState.REDUCING, TradingState.HALTED):
            is_halt = state is TradingState.HALTED
            self.client.set_trading(state, "the demo tries its brakes", ANSWER_TIMEOUT_S, cancel_open=is_halt)
            self.brakes[state] = self.refusal_of_a_buy(f"demo-brakes-{state}")
        self.client.set_trading(TradingState.ACTIVE, "the brakes work", ANSWER_TIMEOUT_S)

    def refusal_of_a_buy(self, key: str) -> str:
        """What stands in its way; empty if nothing did."""
        router = self.client.router(self.symbol, ANSWER_TIMEOUT_S)
        if isinstance(router, Refusal):
            return router.code
        answer = self.client.submit(router, market_buy(self.symbol, key), wait=False, timeout_s=ANSWER_TIMEOUT_S)
        return answer.refusal.code if answer.refusal is not None else ""

    def drain(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self.open and (left := deadline - time.monotonic()) > 0:
            self.take_one(min(left, QUIET_LISTEN_S))


def run_demo(folder: StateFolder, settings: Settings, symbols: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """One demo run on a fresh state folder; returns the figures of its JSON. Prints progress, not results."""
    began = time.monotonic()
    prices = reference_prices()
    wishes = list(stream(count, symbols, {symbol: prices[symbol] for symbol in symbols}, seed))
    with Launch(folder, settings, seed=seed, simulator_options=SIMULATOR_OPTIONS) as launch:
        if launch.simulator is not None:
            launch.simulator.misbehave(FAULTS)
        demo = _submit(launch.client(), wishes, symbols[0], count)
        launch.stop("the demo ends")
        stop = stop_summary.fields(launch.ending)["report"] or {"agrees": False, "clean": False}
        truth = verdict.ask_venue(launch.settings, sorted(symbols))
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            judged = verdict.judge(view, truth)
    finally:
        store.close()
    return {
        "intents": judged.pop("intents"),
        "terminal": judged.pop("terminal"),
        "by_state": judged.pop("by_state"),
        "refused": demo.outcomes[OpeningOutcome.REFUSED],
        "duplicates_answered": demo.outcomes[OpeningOutcome.DUPLICATE],
        "conflicts": demo.outcomes[OpeningOutcome.CONFLICT],
        "refusals": dict(sorted(demo.refusals.items())),
        "brakes": {str(state): code for state, code in demo.brakes.items()},
        "stop": {name: stop[name] for name in ("agrees", "clean")},
        **judged,
        "seed": seed,
        "elapsed_s": round(time.monotonic() - began, 3),
    }


def reference_prices() -> dict[str, Decimal]:
    """Every symbol of the bundled simulator with the price its market opens at."""
    return {f"{market.base}/{market.quote}": market.price for market in markets().values()}


def _submit(client: Client, wishes: Sequence[Wish], symbol: str, count: int) -> Demo:
    columns = (TextColumn("{task.fields[text]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = console_for(sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        demo = Demo(client, progress, symbol, count)
        demo.submit_all(wishes)
        demo.settle()
    return demo


def report(folder: StateFolder, figures: dict[str, Any], *, as_json: bool) -> int:
    """Print the result and return the exit code: 0 only if nothing is wrong."""
    wrong = verdict.problems(figures) + brake_problems(figures)
    if not all(figures["stop"].values()):
        wrong.append("the engine's own comparison at its stop did not agree, or was not done; see logs/intentd.jsonl")
    if as_json:
        print_json(figures)
    else:
        _print_tables(folder, figures)
        click.echo("")
        if not wrong:
            click.echo("PASSED: every intent ended, and book and venue agree to the last digit.")
    for line in wrong:
        click.echo(f"FAILED: {line}", err=True)
    return 1 if wrong else 0


def brake_problems(figures: dict[str, Any]) -> list[str]:
    """What an operator would not expect of trading that he has narrowed or stopped."""
    return [
        f"a buy was answered with {code or 'yes'} while trading was {state}"
        for state, code in figures["brakes"].items()
        if code != f"TRADING_{state}"
    ]


def _print_tables(folder: StateFolder, figures: dict[str, Any]) -> None:
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            print_table("Intents by state", ("state", "intents"), list(figures["by_state"].items()))
            print_positions([views.position(record) for record in view.positions()])
            moved = _moved_currencies(view)
            print_budgets([entry for entry in budgets_of(view, time.time_ns()) if entry.currency in moved])
            ledger = ledger_summary(view)
            print_ledger(ledger | {"accounts": [row for row in ledger["accounts"] if row["currency"] in moved]})
    finally:
        store.close()
    latency = figures["latency_ms"]
    print_table("Latency, submit to done (ms)", tuple(latency), [tuple(latency.values())])
    rows = [(name, figures[name]) for name in FIGURES]
    drift = {currency: amount for currency, amount in figures["balance_drift"].items() if amount != 0}
    print_table("Book against venue", ("figure", "value"), [*rows, ("balance_drift", drift or "none, exactly zero")])


def _moved_currencies(view: Reader) -> set[str]:
    """Those that a trade has moved; the account's other balances would only fill the screen."""
    moved: set[str] = set()
    for fill in view.fills():
        moved |= {*fill.symbol.split("/"), fill.fee_currency}
    return moved


def fresh_folder(path: Path) -> StateFolder:
    """A folder without a book. Raises `StorageError` if there is one: a demo never mixes with anything."""
    folder = StateFolder(path)
    if beginning.exists(folder):
        raise StorageError(f"{folder.root} holds a book already; a demo starts fresh, so choose a new --state folder")
    return folder
