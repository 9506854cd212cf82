"""Where a run takes place: a simulator, a daemon on a folder of its own, and the verdict. Nothing outlives it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from actors.client import Client
from core.errors import IntentdError
from core.planning import Refusal
from storage.book_store import BookStore
from storage.layout import StateFolder
from storage.tables import Reader
from tests.system.brakes.progress import Progress
from tests.system.harness import Daemon, marked
from tools.trial import judgement
from tools.trial.strategy import Wish
from tools.trial.venue import Truth, Venue

ANSWER_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 120.0
POLL_S = 0.25


class Ground:
    """A context; the daemon runs from `start` to `stop`, the venue as long as the block."""

    def __init__(self, folder: Path, progress: Progress, seed: int, venue_options: Sequence[str]) -> None:
        """`venue_options` are the simulator's; `seed` is of its market."""
        self.folder = StateFolder(folder)
        self.progress = progress
        self._seed = seed
        self._venue_options = venue_options
        self._stack = ExitStack()
        self.venue: Venue
        self.daemon: Daemon

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            processes = stack.enter_context(marked())
            self.venue = stack.enter_context(Venue(self._seed, self._venue_options))
            self.daemon = Daemon(processes, self.folder.root)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, settings: str) -> None:
        """`settings` as a file's text; the venue's address is in it."""
        self.progress.tell("starting")
        self.folder.root.mkdir(parents=True, exist_ok=True)
        file = self.folder.root / "brakes.toml"
        file.write_text(settings)
        self.daemon.start("--config", str(file))

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        client = Client.connect(self.folder)
        try:
            yield client
        finally:
            client.close()

    @contextlib.contextmanager
    def book(self) -> Iterator[Reader]:
        """As it is now; may be used while the daemon writes."""
        store = BookStore.open_reader(self.folder)
        try:
            with store.snapshot() as view:
                yield view
        finally:
            store.close()

    def stop(self) -> None:
        self.progress.tell("stopping")
        code = self.daemon.stop()
        if code:
            raise IntentdError(f"the daemon ended with exit code {code}; it said: {self.daemon.output}")

    def answers(self) -> dict[str, int]:
        """The venue's own count of how requests ended, by method, path and status."""
        counted: dict[str, int] = self.venue.ask("stats")["answers"]
        return counted

    def truth(self) -> Truth:
        return self.venue.truth()

    def judged(self, wishes: Mapping[str, Wish]) -> dict[str, Any]:
        """Book against venue."""
        with self.book() as view:
            return judgement.judge(view, self.folder, wishes, self.truth())

    def agrees_soon(self, wishes: Mapping[str, Wish]) -> None:
        """What the venue told late gets a moment to be booked. Whether it was is the verdict's matter."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            figures = self.judged(wishes)
            figures["trail_gaps"] = 0  # the scribe writes a moment later
            if not judgement.problems(figures):
                return
            time.sleep(POLL_S)


@contextlib.contextmanager
def state_folder(state: str | None) -> Iterator[Path]:
    """The one that was named, which must hold no book, or one that is removed afterwards."""
    if state is not None:
        folder = StateFolder(state)
        if folder.book.exists():
            raise IntentdError(f"{folder.root} holds a book already; choose a new --state folder")
        yield folder.root
        return
    with tempfile.TemporaryDirectory(prefix="intentd-brakes-") as temporary:
        yield Path(temporary) / "state"


def router(client: Client, symbol: str) -> Any:
    """Raises `IntentdError` where there is none."""
    found = client.router(symbol, ANSWER_TIMEOUT_S)
    if isinstance(found, Refusal):
        raise IntentdError(f"the engine has no router for {symbol}: {found.reason}")
    return found


def status_of(daemon: Daemon, part: str) -> Any:
    """One part of what `intentctl status --json` shows."""
    return daemon.ask("status")[part]


def events(folder: StateFolder) -> list[dict[str, Any]]:
    """Every event of the order and audit streams, in the order in which they were committed."""
    lines = [line for file in (folder.order_log, folder.audit_log) for line in file.read_bytes().splitlines()]
    return sorted(map(msgspec.json.decode, lines), key=lambda event: event["seq"])  # type: ignore[no-any-return]
