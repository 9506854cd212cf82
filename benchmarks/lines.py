"""Reading a child's lines with a deadline."""

from __future__ import annotations

import os
import selectors
import subprocess
import time

from benchmarks.errors import BenchmarkFailed

CHUNK_BYTES = 1 << 16


class Lines:
    """Of one process's standard output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
        self._rest = b""

    def next(self, timeout_s: float) -> str:
        """The next line, without its end; empty when the process has closed its output. Raises `BenchmarkFailed`."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise BenchmarkFailed(f"a child process said nothing for {timeout_s:g} s")
                chunk = os.read(self._descriptor, CHUNK_BYTES)
                if not chunk:
                    return ""
                self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()
