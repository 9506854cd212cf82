"""The bare ccxt client in a process of its own, which idles while intentd is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.bare_process import Batch
from benchmarks.errors import BenchmarkFailed
from benchmarks.flow import Flow
from benchmarks.lines import Lines
from benchmarks.processes import Processes, end, said
from benchmarks.venue import Order

READY_TIMEOUT_S = 30.0
BATCH_TIMEOUT_S = 300.0
END_PATIENCE_S = 2.0


class Bare:
    """Places orders as somebody does who calls `create_order` from the strategy. A context."""

    def __init__(self, processes: Processes, base_url: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process = processes.start("-m", "benchmarks.bare_process", base_url, errors=self._errors)
        self._lines = Lines(self._process)

    def __enter__(self) -> Self:
        try:
            self._answer(READY_TIMEOUT_S)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        end(self._process, END_PATIENCE_S)
        self._errors.close()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def trade(self, orders: Sequence[Order], window: int = 1) -> Flow:
        """All of the orders, `window` under way at a time. Raises `BenchmarkFailed` if one is not filled."""
        batch = Batch(orders=list(orders), window=window)
        self._process.stdin.write(msgspec.json.encode(batch) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._answer(BATCH_TIMEOUT_S), type=Flow)

    def _answer(self, timeout_s: float) -> str:
        line = self._lines.next(timeout_s)
        if not line:
            raise BenchmarkFailed(f"the bare client ended{said(self._errors)}")
        return line
