"""The operator of a simulated daemon: asks for the whole comparison when everything seems settled, and lets trading go
on when it was stopped for a reason that the operator knows.

Messages are lost and parts die, so it asks again until it has an answer.
"""

from __future__ import annotations

from typing import Any, Final

from core.records import TradingState
from core.verdict import Verdict
from messages.book import SetTradingState
from messages.reconciling import BookVerified, VerifyBook
from tests.simulation.launcher import Launcher
from tests.simulation.machine import Machine
from tests.simulation.road import Road
from tests.simulation.safety import CLIENT
from tests.simulation.scheduler import NS_PER_S

PATIENCE_NS: Final = 15 * NS_PER_S


class Operator:
    def __init__(self, machine: Machine, road: Road, launcher: Launcher) -> None:
        self.verdict: Verdict | None = None
        """The last one that was asked for since `forget`."""
        self._machine = machine
        self._road = road
        self._launcher = launcher
        self._process = machine.spawn(CLIENT, lambda _process: self)
        self._asked_ns = -PATIENCE_NS
        self._asked = 0

    def verify(self) -> None:
        """Ask, unless an answer may still come."""
        self._ask(lambda request_id: VerifyBook(request_id=request_id))

    def resume(self) -> None:
        self._ask(
            lambda request_id: SetTradingState(
                request_id=request_id, state=TradingState.ACTIVE, reason="somebody has withdrawn money"
            )
        )

    def forget(self) -> None:
        """What was told is out of date."""
        self.verdict = None

    def _ask(self, make: Any) -> None:
        now_ns, engine = self._machine.scheduler.now_ns, self._launcher.engine
        if engine is None or now_ns - self._asked_ns < PATIENCE_NS:
            return
        self._asked_ns = now_ns
        self._asked += 1
        self._road.carry(self._process, engine, make(f"operator-{self._asked}"))

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802, ARG002  (thespian's name)
        if isinstance(message, BookVerified):
            self.verdict = message.verdict
        self._asked_ns = -PATIENCE_NS
