"""The book of a simulated machine: one real LMDB environment, which all its processes share.

LMDB must not be opened twice in one process of the operating system, so every simulated process gets a door of its own
to the same environment. What a door adds to the real `BookStore` is the moments at which its process may die: before a
commit and after it. A transaction that is open then is aborted, as LMDB does.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

import lmdb

from storage.book_store import BookStore, Transaction
from storage.layout import StateFolder
from tests.simulation.machine import Process

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  (a folder of our own is made in it)
"""Where a commit is not delayed by a disk, if the machine has it. Nothing here loses power."""


class SharedBook:
    """The environment, in a folder that is removed with it. A context."""

    def __init__(self, venue: str) -> None:
        parent = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self._root = Path(tempfile.mkdtemp(prefix="intentd-simulation-", dir=parent))
        self.folder = StateFolder(self._root).create()
        self._store = BookStore.open_writer(self.folder, 1, venue)
        self.view = self._store.snapshot
        self.commits = 0
        self.on_commit: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def door(self, process: Process) -> Door:
        return Door(self, self._store, process)

    def committed(self) -> None:
        self.commits += 1
        self.on_commit()


class Door(BookStore):
    """One process's access."""

    def __init__(self, book: SharedBook, store: BookStore, process: Process) -> None:
        super().__init__(store._env, store._tables)
        self._book = book
        self._process = process

    def begin(self) -> Transaction:
        return DoorTransaction(self._book, self._process, self._env.begin(write=True), self._tables)

    def close(self) -> None:
        """The environment stays for the others."""


class DoorTransaction(Transaction):
    def __init__(self, book: SharedBook, process: Process, txn: lmdb.Transaction, tables: dict[str, object]) -> None:
        super().__init__(txn, tables)
        self._book = book
        self._process = process
        process.machine.lock(process, self)

    def commit(self) -> None:
        self._process.touch("before a commit")
        machine = self._process.machine
        try:
            super().commit()
        finally:
            machine.unlock()
        self._book.committed()
        if machine.trace.on:
            machine.trace.note("", f"commit {self._book.commits}")
        self._process.touch("after a commit")

    def abort(self) -> None:
        with contextlib.suppress(lmdb.Error):  # it may have ended already
            super().abort()
        if self._process.machine.transaction is self:
            self._process.machine.unlock()
