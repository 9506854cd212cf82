"""An engine over parts that exist by name only: what it sends is recorded, the clock and the deaths are the test's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from actors.children import PORTFOLIO
from actors.engine import Engine
from core.breaker import Breaker
from core.errors import StorageError
from core.health import StreamHealth
from core.rates import Rates
from core.settings import Settings
from messages.admin import AskStatus, StartEngine, StatusReported
from messages.lifecycle import ChildReady, RestartDue
from messages.venue import GatewayHealth
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.actors.recorded import Recorded
from tests.builders import SECOND, SYMBOL, T0, rules

LAUNCHER, CLIENT = "launcher", "client"
RESTARTS_MAX = 2


class RecordedEngine(Recorded, Engine):
    """The engine over parts that exist by name only; the book is real."""

    def __init__(self, folder: StateFolder, settings: Settings) -> None:
        super().__init__()
        self.sent, self.woken = [], []
        self.clock_ns = T0
        self.born = 0
        self.killed: list[int] = []
        self.gone: set[int] = set()
        self.disk_full = False
        self.folder, self.settings, self.launcher = folder, settings, LAUNCHER
        self.start = StartEngine(settings=settings, state_root=str(folder.root), session_id="s", launcher_pid=1)
        self.supervision = self.new_supervision()
        self.markets = {SYMBOL: rules()}

    def createActor(self, actorClass: Any, *_: Any, **__: Any) -> Any:  # noqa: N802, N803  (thespian's names)
        self.born += 1
        return f"{actorClass}#{self.born}"

    def now_ns(self) -> int:
        return self.clock_ns

    def monotonic_ns(self) -> int:
        return self.clock_ns

    def kill_process(self, pid: int) -> None:
        self.killed.append(pid)

    def lives(self, pid: int) -> bool:
        return pid not in self.gone

    def open_book_to_write(self) -> BookStore:
        if self.disk_full:
            raise StorageError("the disk is full")
        return super().open_book_to_write()

    def transmit(self, targetAddr: Any, msg: Any) -> None:  # noqa: N803
        self.sent.append((targetAddr, msg))

    # ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────

    def let_all_start(self, *, but: str = "", open_symbols: tuple[str, ...] = ()) -> None:
        self.advance()
        while waiting := [c for c in self.children.values() if c.state == "starting" and c.name != but]:
            for child in waiting:
                symbols = open_symbols if child.name == PORTFOLIO else ()
                ready = ChildReady(
                    name=child.name, pid=100 + int(str(child.address).rpartition("#")[2]), open_symbols=symbols
                )
                self.receiveMsg_ChildReady(ready, child.address)

    def let_die(self, name: str) -> None:
        self.receiveMsg_ChildActorExited(SimpleNamespace(childAddress=self.children[name].address), "admin")

    def let_restart(self) -> None:
        """The timers of what waits for its restart are due."""
        for delay_ns, payload in list(self.woken):
            if isinstance(payload, RestartDue):
                self.woken.remove((delay_ns, payload))
                self.on_timer(payload)

    def exhaust(self, name: str) -> None:
        for _ in range(RESTARTS_MAX + 1):
            self.let_die(name)
            self.let_restart()
            if self.state == "running":
                self.let_all_start()

    def wait(self, seconds: int) -> None:
        """Everybody who is ready gives a sign of life meanwhile."""
        for _ in range(seconds):
            self.clock_ns += SECOND
            for child in self.children.values():
                if child.is_ready:
                    child.heard_ns = self.clock_ns
            self.probe()

    def status(self) -> StatusReported:
        self.receiveMsg_AskStatus(AskStatus(request_id="r"), CLIENT)
        answer: StatusReported = self.to(CLIENT, StatusReported)[-1]
        return answer


def health(*, is_live: bool) -> GatewayHealth:
    """What a gateway tells while its user stream lives, or is cut."""
    stream = StreamHealth(is_live=is_live, since_ns=1, because="" if is_live else "cut")
    return GatewayHealth(
        at_ns=1,
        in_flight=0,
        rates=Rates().figures({}, 1),
        breaker=Breaker(Settings().breaker, None).figures(1),
        stream=stream,
    )
