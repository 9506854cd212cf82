"""How a book begins: in one step, and only where there has never been one.

A folder that has lost its book must not get an empty one: with the keys in the book goes the knowledge of what was
bought already, and every key would be bought again. What is looked at comes to be after the book alone. LMDB's own lock
file would come before it, so a new book is made in a folder beside, and moved to its place when it is whole: a start
that dies on the way leaves no sign.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from core.errors import NO_ROOM, StorageError, StorageFull
from storage.layout import PRIVATE_FOLDER, StateFolder

DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
WORKSHOP = "new"


def exists(folder: StateFolder) -> bool:
    return (folder.book / DATA_FILE).exists()


def refuse_if_lost(folder: StateFolder) -> None:
    """Raises `StorageError` where there is no book, and has been one."""
    sign = None if exists(folder) else _sign(folder)
    if sign is not None:
        raise StorageError(
            f"the book in {folder.book} is gone, and {sign} tells that there was one; restore it from a copy, or move "
            f"{folder.root} away to begin anew"
        )


def _sign(folder: StateFolder) -> Path | None:
    for path in (folder.book / LOCK_FILE, folder.engine_file):
        if path.exists():
            return path
    for path in (folder.order_log, folder.audit_log):  # the scribe makes them empty, and fills them from the book
        if path.exists() and path.stat().st_size > 0:
            return path
    return None


def begin(folder: StateFolder, fill: Callable[[Path], None]) -> None:
    """A new book; `fill` makes it in the folder that it is given, and closes it. Raises `StorageError`."""
    refuse_if_lost(folder)
    workshop = folder.book / WORKSHOP
    try:
        shutil.rmtree(workshop, ignore_errors=True)  # of a start that died
        workshop.mkdir(mode=PRIVATE_FOLDER)
        fill(workshop)
        (workshop / DATA_FILE).replace(folder.book / DATA_FILE)
        _make_durable(folder.book)
        shutil.rmtree(workshop)
    except OSError as error:
        kind = StorageFull if error.errno in NO_ROOM else StorageError
        raise kind(f"the book in {folder.book} cannot be made: {error.strerror}; mend it") from error


def _make_durable(folder: Path) -> None:
    """The name in the folder, too, not only the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
