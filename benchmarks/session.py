"""What a running benchmark works with: a folder that is removed, processes that are ended, a line of progress."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import Processes, started
from benchmarks.progress import Progress


class Session:
    """Of one benchmark."""

    def __init__(self, root: Path, processes: Processes, progress: Progress) -> None:
        self.processes = processes
        self.progress = progress
        self._root = root
        self._numbers = itertools.count(1)

    def folder(self) -> Path:
        """A new empty folder. Its name is short, since a Unix socket's path is."""
        path = self._root / str(next(self._numbers))
        path.mkdir()
        return path


@contextlib.contextmanager
def session(benchmark: str) -> Iterator[Session]:
    """Whatever happens in the block, nothing is left after it."""
    with (
        tempfile.TemporaryDirectory(prefix="intentd-bench-", ignore_cleanup_errors=True) as root,
        started() as processes,
        Progress(benchmark) as progress,
    ):
        yield Session(Path(root), processes, progress)
