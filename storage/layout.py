"""What lies where below a state folder, and that nobody else can read it.

| path | what | who writes |
|---|---|---|
| `book/` | the LMDB environment | Portfolio alone |
| `logs/` | the streams and the program's own log | Scribe, Gateway, everybody's log lines |
| `run/engine.json` | how to reach the running engine | the launcher |
| `run/bus-*/` | the actors' sockets, or the secret of the TCP base; one folder per run | the actors |
| `run/lock` | held while an engine runs | the launcher |
| `run/crew` | open in every process of the engine, which are known by that | nobody |
| `simulator/` | the bundled simulator's own state | the simulator |
"""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import StorageError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
DEFAULT_STATE = "state"


class StateFolder:
    """Paths below one state folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        self.book = self.root / "book"
        self.logs = self.root / "logs"
        self.run = self.root / "run"
        self.simulator = self.root / "simulator"
        self.engine_file = self.run / "engine.json"
        self.crew_file = self.run / "crew"
        self.lock_file = self.run / "lock"
        self.simulator_file = self.simulator / "venue.journal"
        self.order_log = self.logs / "orders" / "order.jsonl"
        self.audit_log = self.logs / "audit" / "order_audit.jsonl"
        self.health_log = self.logs / "health" / "health.jsonl"
        self.health_file = self.logs / "health" / "last.json"
        self.tracer_log = self.logs / "tracer" / "exchange.jsonl"
        self.program_log = self.logs / "intentd.jsonl"

    def create(self) -> StateFolder:
        """Make the folders, private to this user. Raises `StorageError` naming the folder that cannot be used."""
        folders = [self.root, self.book, self.run, self.simulator, self.logs]
        folders += [path.parent for path in (self.order_log, self.audit_log, self.health_log, self.tracer_log)]
        for folder in folders:
            self._make(folder)
        return self

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            if folder != self.root:  # the root may be a folder the user shares on purpose
                folder.chmod(PRIVATE_FOLDER)
        except OSError as error:
            raise StorageError(
                f"state folder {folder}: {error.strerror}; choose another with --state or mend it"
            ) from None
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError(f"state folder {folder}: not readable and writable for this user; mend its permissions")
