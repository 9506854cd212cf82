"""`run.py up` as a user runs it: a process of its own on a state folder of its own, with every commit on disk.

It trades on a venue that somebody else has started, so the start of the venue is not in its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actors.client import Client
from benchmarks.errors import BenchmarkFailed
from benchmarks.lines import Lines
from benchmarks.processes import Processes, end, said
from storage.layout import StateFolder
from tools.crew import Crew

READY_WORD = "ready"
END_PATIENCE_S = 30.0
LOG_LENGTH_MAX = 2_000
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    # the bare client trades on the same account, which is drift to the engine
    "reconciler": {"balance_interval": "7d"},
    # a day of trading in a minute
    "risk": {
        "max_exposure_pct": 1,
        "max_positions": 1_000_000,
        "max_daily_drawdown_pct": 1,
        "max_trades_per_day": 1_000_000_000,
        "max_open_orders": 1_000_000,
    },
}
"""What differs from the defaults. The figures are those of the defaults; only limits of business are lifted."""


class Daemon:
    """One engine. A context: it is started by entering, and gone when the block is left."""

    def __init__(
        self, processes: Processes, root: Path, venue_url: str, *, start_timeout_s: int = 60, state: Path | None = None
    ) -> None:
        """`root` is an empty folder; `state` a state folder that exists, else a new one is made in `root`."""
        self.folder = StateFolder(state or root / "state")
        self.ready_ns = 0
        """From the start of the process to the line that says so."""
        self._processes = processes
        self._timeout_s = start_timeout_s
        self._config = root / "intentd.toml"
        self._config.write_text(_toml(venue_url, start_timeout_s))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process: Any = None

    def __enter__(self) -> Self:
        began_ns = time.monotonic_ns()
        command = ("run.py", "up", "--state", str(self.folder.root), "--config", str(self._config))
        try:
            self._process = self._processes.start(*command, errors=self._errors, dies_with_us=True)
            line = Lines(self._process).next(self._timeout_s)
            self.ready_ns = time.monotonic_ns() - began_ns
            if READY_WORD not in line:
                raise BenchmarkFailed(f"the engine did not start{said(self._errors)}{self._last_words()}")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._process is not None:
            end(self._process, END_PATIENCE_S)
        self._errors.close()

    def _last_words(self) -> str:
        """The end of its log, which goes with the folder."""
        log = self.folder.program_log
        return f"\n{log.read_text()[-LOG_LENGTH_MAX:]}" if log.exists() else ""

    @property
    def pid(self) -> int:
        """Of the launcher."""
        return int(self._process.pid)

    def crash(self) -> None:
        """kill -9 of the launcher and of every process it started, at any moment; the state folder stays."""
        end(self._process, 0)
        Crew(self.folder.crew_file).kill()

    def connect(self) -> Client:
        """As `intentctl` and strategies do; close it before the daemon ends."""
        return Client.connect(self.folder)


def _toml(venue_url: str, start_timeout_s: int) -> str:
    # no user stream: the bare client has none, and each event costs the venue
    exchange: dict[str, Any] = {"base_url": venue_url, "user_stream": False}
    sections: dict[str, Mapping[str, Any]] = {
        "exchange": exchange,
        "engine": {"start_timeout": f"{start_timeout_s}s"},
        **SETTINGS,
    }
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{name} = {_written(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
