"""Whoever looks after the daemon: has the book compared now and then, narrows or stops trading and lets it go on.

In the storm a comparison may find what is only on its way. What the book says against itself, and what must never be,
it may not find even then. In the end it must find nothing but the drift that there is, to the digit; and nothing at all
once the operator has accepted it.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any, Final

from core.records import TradingState
from core.verdict import Verdict
from messages.book import SetTradingState, TradingStateSet
from messages.reconciling import BookVerified, VerifyBook
from tests.simulation.launcher import Launcher
from tests.simulation.machine import Machine
from tests.simulation.road import Road
from tests.simulation.safety import OPERATOR, Safety
from tests.simulation.scheduler import NS_PER_S
from tests.simulation.venue import Venue

NEVER: Final = frozenset({"ledger", "reservation", "fill_differs", "fill_unknown", "order_stray"})
"""Kinds of differences that a comparison finds at no time: between its two looks every read has caught up."""
PATIENCE_NS: Final = 30 * NS_PER_S
ASK_AGAIN_NS: Final = 8 * NS_PER_S
STOPPED_NS: Final = (3 * NS_PER_S, 20 * NS_PER_S)
CANCELS_OPEN: Final = 0.5
ORDERS_USUAL: Final = 15
"""So many leave in a short run."""


class Operator:
    def __init__(
        self, machine: Machine, road: Road, launcher: Launcher, venue: Venue, safety: Safety, random: Random
    ) -> None:
        self.verdict: Verdict | None = None
        """Of the comparison that was asked for last."""
        self.has_resumed = False
        self._machine = machine
        self._road = road
        self._launcher = launcher
        self._venue = venue
        self._safety = safety
        self._random = random
        self._process = machine.spawn(OPERATOR, lambda _process: self)
        self._asked = 0
        self._asked_ns = 0
        self._stops = 0
        self._asked_for_ns = 0
        self._stops_at: set[int] = set()
        self._orders_left = 0
        self._wanted: TradingState | None = None
        """The trading state that was asked for and that it insists on; None: as it is."""

    def plan_looks(self, count: int, within_ns: int) -> None:
        for _ in range(count):
            self._machine.scheduler.after(self._random.randrange(within_ns), self.verify)

    def plan_stops(self, count: int) -> None:
        """Narrow or stop trading so often, for a while each time, just when some order leaves for the venue."""
        self._stops_at = set(self._random.sample(range(1, ORDERS_USUAL), count))

    def order_leaves(self) -> None:
        self._orders_left += 1
        if self._orders_left in self._stops_at:
            self._stop()

    def _stop(self) -> None:
        """Insists until it is told that trading is stopped; from then on no order may come to the venue."""
        if self._wanted is not None:
            return
        self._insist(self._random.choice((TradingState.REDUCING, TradingState.HALTED)))
        self._machine.scheduler.after(self._random.randint(*STOPPED_NS), self._go_on)

    def _go_on(self) -> None:
        self._safety.stopped = None
        self._insist(TradingState.ACTIVE)

    def _insist(self, state: TradingState) -> None:
        self._wanted = state
        self._stops += 1
        self._asked_for_ns = self._machine.scheduler.now_ns
        self._ask_for(self._stops, state, cancel_open=self._random.random() < CANCELS_OPEN)

    def _ask_for(self, number: int, state: TradingState, *, cancel_open: bool) -> None:
        if self._wanted is not state or number != self._stops:
            return
        is_halt = state is TradingState.HALTED
        self._send(
            SetTradingState(
                request_id=f"{number}-{state}",
                state=state,
                reason="a test",
                cancel_open=cancel_open and is_halt,
                asked_ns=self._asked_for_ns,
            )
        )
        self._machine.scheduler.after(ASK_AGAIN_NS, lambda: self._ask_for(number, state, cancel_open=cancel_open))

    def let_go_on(self) -> None:
        """Trading is stopped by its word, and it has long wanted it to go on: the word was told twice, or late."""
        if self._wanted is None:
            self._insist(TradingState.ACTIVE)

    @property
    def is_holding(self) -> bool:
        """Trading does not go on yet, by its wish."""
        return self._wanted is not None

    def verify(self) -> None:
        """Have everything compared, anew."""
        self.verdict = None
        self._asked += 1
        self._asked_ns = self._machine.scheduler.now_ns
        self._send(VerifyBook(request_id=f"{OPERATOR}-{self._asked}"))

    @property
    def is_waiting(self) -> bool:
        """An answer may still come."""
        is_new = self._machine.scheduler.now_ns - self._asked_ns < PATIENCE_NS
        return self._asked > 0 and self.verdict is None and is_new

    def resume(self) -> None:
        """What is missing was looked into; trading goes on."""
        self.verdict = None
        self._send(SetTradingState(request_id="resume", state=TradingState.ACTIVE, reason="the transfer was mine"))

    def _send(self, message: Any) -> None:
        if self._launcher.engine is not None:
            self._road.carry(self._process, self._launcher.engine, message)

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802, ARG002  (thespian's name)
        match message:
            case BookVerified():
                self._verified(message)
            case TradingStateSet(request_id="resume"):
                self.has_resumed = message.standing.state is TradingState.ACTIVE
            case TradingStateSet() if message.request_id == f"{self._stops}-{self._wanted}":
                self._told(message.standing.state)

    def _told(self, state: TradingState) -> None:
        if state is TradingState.ACTIVE:
            self._wanted = None
        else:
            self._safety.trading_stopped(state)

    def _verified(self, message: BookVerified) -> None:
        verdict = message.verdict
        for each in verdict.differences:
            if each.kind in NEVER:
                self._safety.broken(f"verify finds {each.kind} {each.subject}: book {each.book}, venue {each.venue}")
        for order in verdict.external:
            if (order.symbol, int(order.exchange_order_id)) not in self._venue.foreign:
                self._safety.broken(
                    f"verify lists {order.client_order_id} of {order.symbol} as external, and it is ours"
                )
        if message.request_id == f"{OPERATOR}-{self._asked}":
            self.verdict = verdict

    def judge(self, drift: dict[str, Decimal]) -> None:
        """It is the end, so the verdict must be this: the balances differ by the drift, and nothing else does."""
        assert self.verdict is not None
        found = {each.subject: each.amount for each in self.verdict.differences if each.kind == "balance"}
        others = [each for each in self.verdict.differences if each.kind != "balance"]
        if others or found != drift:
            told = [f"{each.kind} {each.subject} (book {each.book}, venue {each.venue})" for each in others]
            balances = {currency: str(amount) for currency, amount in found.items()}
            self._safety.broken(f"in the end verify finds {told} and balances {balances}")
        if self.verdict.unresolved:
            self._safety.broken(f"in the end verify counts {self.verdict.unresolved} unresolved")
        missing = {
            (symbol, number)
            for (symbol, number), order in self._venue.foreign.items()
            if order.is_open or order.executed
        } - {(order.symbol, int(order.exchange_order_id)) for order in self.verdict.external}
        if missing:
            self._safety.broken(f"in the end verify does not list external {min(missing)}")
