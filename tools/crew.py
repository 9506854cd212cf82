"""Every process of an engine, known by a file that it holds open.

The launcher opens the file before it forks, so every actor has it open for as long as it lives, whatever became of the
launcher; no other process has. Whoever holds the state folder's lock may take everybody with this file for its own crew
or, before it has one, for orphans of an earlier launcher that was killed together with its engine.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil

from actors.launchers import open_files
from storage.layout import PRIVATE_FILE

END_TIMEOUT_S = 5.0
POLL_S = 0.02


class Crew:
    """Of the engines that this process starts. Use it with the lock held."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1

    def enlist(self) -> None:
        """From now on every process that is forked is of the crew."""
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)  # not closed by a fork

    def dismiss(self) -> None:
        """This process starts no more engines."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def members(self) -> list[psutil.Process]:
        """Who lives, without this process."""
        wanted, mine = str(self._file.resolve()), os.getpid()
        return [process for process in psutil.process_iter() if process.pid != mine and wanted in open_files(process)]

    def kill(self) -> int:
        """All of them, at once, and wait until they are gone. Returns how many there were."""
        killed: set[int] = set()
        deadline = time.monotonic() + END_TIMEOUT_S
        while (left := self.members()) and time.monotonic() < deadline:
            for process in left:
                killed.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(POLL_S)
        for pid in killed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # one that is our own child must be buried by us
        return len(killed)

    def await_end(self, timeout_s: float) -> None:
        """Until nobody is left, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while self.members() and time.monotonic() < deadline:
            time.sleep(POLL_S)
