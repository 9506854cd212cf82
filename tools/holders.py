"""Who holds a state folder's lock: its launcher and, through the fork, every actor of its engine.

An engine whose launcher was killed ends by itself within a second, unless its own process was killed, too. What is left
then are orphans: they hold the lock, and nobody leads them. They are known by nothing but that open file, which no
foreign process has.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec
import psutil

from storage.layout import PRIVATE_FILE, StateFolder

END_TIMEOUT_S = 5.0
POLL_S = 0.02


class Launcher(msgspec.Struct, frozen=True, kw_only=True):
    """Who started the engine: a process is one and the same only with its time of birth."""

    pid: int
    born: float

    @property
    def lives(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return bool(process.create_time() == self.born and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def sign(folder: StateFolder) -> None:
    """Say that this process is the launcher. Call it with the lock held."""
    me = Launcher(pid=os.getpid(), born=psutil.Process().create_time())
    draft = folder.launcher_file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(msgspec.json.encode(me))
    draft.replace(folder.launcher_file)


def launcher_of(folder: StateFolder) -> Launcher | None:
    """Whoever signed last; None when nobody did, or has not finished."""
    try:
        return msgspec.json.decode(folder.launcher_file.read_bytes(), type=Launcher)
    except (OSError, msgspec.MsgspecError):
        return None


def holders(lock_file: Path) -> list[psutil.Process]:
    """Every other process of this user that has the file open."""
    wanted = str(lock_file.resolve())
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _has_open(process, wanted)]


def end(lock_file: Path) -> int:
    """Kill every holder, at once, and wait until they are gone. Returns how many there were."""
    found: dict[int, psutil.Process] = {}
    deadline = time.monotonic() + END_TIMEOUT_S
    while (left := holders(lock_file)) and time.monotonic() < deadline:
        for process in left:
            found[process.pid] = process
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_S)
    for pid in found:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # one that is our own child must be buried by us
    return len(found)


def _has_open(process: psutil.Process, wanted: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(file.path == wanted for file in process.open_files())
    except psutil.Error:
        return False
