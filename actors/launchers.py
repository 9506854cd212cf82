"""Who launches on a state folder: the process that has both its lock and its crew file open.

Every actor has the crew file open as well, but not the lock: the library closes that in forked children. Neither is a
name, a pid or a file's content, which may all be of somebody who is gone; and it holds even when somebody has removed
the files and they were made again, since what is open keeps its path.
"""

from __future__ import annotations

import os

import psutil

from storage.layout import StateFolder


def launcher_of(folder: StateFolder) -> int | None:
    """Its pid, if one lives that is not this process."""
    wanted, mine = {str(path.resolve()) for path in (folder.lock_file, folder.crew_file)}, os.getpid()
    for process in psutil.process_iter():
        if process.pid != mine and wanted <= open_files(process):
            return int(process.pid)
    return None


def open_files(process: psutil.Process) -> set[str]:
    """Their paths; none of a process that has ended or is not ours to ask."""
    try:
        return set() if process.status() == psutil.STATUS_ZOMBIE else {file.path for file in process.open_files()}
    except psutil.Error:
        return set()
