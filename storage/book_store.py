"""The book as one LMDB environment: durable at every commit, one writer, any number of readers.

* `sync=True` and nothing else: `metasync=False` may undo the last commit and `sync=False` can corrupt at power loss.
* An environment is opened after the fork, in the process that uses it, and never twice in one process.
* Readers take short snapshots; they neither block the writer nor are blocked by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from core.errors import StorageError
from core.settings import Settings
from storage import beginning
from storage.damage import damaged, unusable, unwritten
from storage.keys import key
from storage.layout import PRIVATE_FILE, StateFolder
from storage.schema import SCHEMA_VERSION
from storage.tables import TABLES, Reader
from storage.writer import Writer

GIB = 1 << 30
READERS_MAX = 512
MAP_ALARM_SHARE = 0.70


class BookStore:
    """One process's access to the book. `open_writer` for the portfolio, `open_reader` for everybody else."""

    def __init__(self, env: lmdb.Environment, tables: dict[str, Any]) -> None:
        self._env = env
        self._tables = tables
        self._place = str(env.path())

    @classmethod
    def open_writer(cls, folder: StateFolder, map_size_gib: int, venue: str) -> BookStore:
        """Open or begin the book. `venue` names what it belongs to (`binance/sim`); another one's book is refused.

        A folder that has lost its book is refused, too.
        """
        map_size = map_size_gib * GIB
        if not beginning.exists(folder):
            beginning.begin(folder, lambda place: _fill(place, map_size, venue))
        env = _open(folder.book, readonly=False, map_size=map_size)
        try:
            with env.begin(write=True) as txn:
                tables = {name: env.open_db(name.encode(), txn=txn) for name in TABLES}
                _check_schema(txn, tables["meta"], folder.book)
                _check_venue(txn, tables["meta"], folder.book, venue)
        except lmdb.Error as error:
            env.close()
            raise unusable(str(folder.book), error) from error
        except StorageError:
            env.close()
            raise
        env.reader_check()
        return cls(env, tables)

    @classmethod
    def open_reader(cls, folder: StateFolder) -> BookStore:
        """Open an existing book to read. Raises `StorageError` when there is none."""
        if not beginning.exists(folder):
            beginning.refuse_if_lost(folder)
            raise StorageError(f"no book in {folder.root}; start an engine on it first, or choose another with --state")
        env = _open(folder.book, readonly=True, map_size=0)
        try:
            tables = {name: env.open_db(name.encode(), create=False) for name in TABLES}
            with env.begin() as txn:
                _check_schema(txn, tables["meta"], folder.book)
        except lmdb.Error as error:
            env.close()
            raise unusable(str(folder.book), error) from error
        except StorageError:
            env.close()
            raise
        return cls(env, tables)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """A consistent view, as of now. Keep it short."""
        with self._begun(write=False) as txn:
            yield Reader(txn, self._tables, self._place)

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Write and commit at the end; an exception throws everything away."""
        unit = self.begin()
        try:
            yield unit.writer
        except BaseException:
            unit.abort()
            raise
        unit.commit()

    def begin(self) -> Transaction:
        """A write transaction that stays open over several requests, for the group commit."""
        return Transaction(self._begun(write=True), self._tables, self._place)

    def _begun(self, *, write: bool) -> lmdb.Transaction:
        try:
            return self._env.begin(write=write)
        except lmdb.Error as error:
            raise unusable(self._place, error) from error

    def used_share(self) -> float:
        """Of the map, 0 to 1. Above `MAP_ALARM_SHARE` it is time to set a larger `storage.map_size_gib`."""
        info, stat = self._env.info(), self._env.stat()
        return float((info["last_pgno"] + 1) * stat["psize"] / info["map_size"])

    def close(self) -> None:
        self._env.close()


class Transaction:
    """A write transaction and its writer; ends with `commit` or `abort`."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any], place: str = "") -> None:
        self._txn = txn
        self._place = place
        try:
            self.writer = Writer(txn, tables, place)
        except BaseException:
            txn.abort()
            raise

    def commit(self) -> None:
        """Durable when it returns. Raises `StorageError` when the disk or the map is full; then nothing was written."""
        try:
            self.writer.flush()
        except BaseException:
            self._txn.abort()
            raise
        try:
            self._txn.commit()
        except lmdb.Error as error:
            raise unwritten(self._place, error) from error

    def abort(self) -> None:
        self._txn.abort()


def venue_name(settings: Settings) -> str:
    """What a book belongs to: a book of one exchange or mode must not be used with another."""
    return f"{settings.exchange.id}/{settings.engine.mode}"


def _fill(path: Path, map_size: int, venue: str) -> None:
    env = _environment(path, readonly=False, map_size=map_size)
    try:
        with env.begin(write=True) as txn:
            meta = env.open_db(b"meta", txn=txn)
            txn.put(key("schema"), str(SCHEMA_VERSION).encode(), db=meta)
            txn.put(key("venue"), venue.encode(), db=meta)
    except lmdb.Error as error:
        raise unusable(str(path), error) from error
    finally:
        env.close()


def _open(path: Path, *, readonly: bool, map_size: int) -> lmdb.Environment:
    if (path / beginning.DATA_FILE).stat().st_size == 0:
        raise damaged(str(path), "data.mdb is empty")
    env = _environment(path, readonly=readonly, map_size=map_size)
    _check_whole(env, path)
    return env


def _environment(path: Path, *, readonly: bool, map_size: int) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(path),
            map_size=map_size,  # 0 for a reader: the size that the writer has set, so that it can follow a growing book
            readonly=readonly,
            sync=True,
            metasync=True,
            create=not readonly,
            mode=PRIVATE_FILE,
            max_dbs=len(TABLES) + 8,
            max_readers=READERS_MAX,
            readahead=False,
        )
    except lmdb.Error as error:
        raise unusable(str(path), error) from error


def _check_whole(env: lmdb.Environment, path: Path) -> None:
    """A file that was cut short would end this process with SIGBUS at the first missing page, so look before."""
    needed_bytes = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    size_bytes = (
        (path / beginning.DATA_FILE).stat().st_size
    )  # asked for after what is needed, since a writer may be at work
    if size_bytes < needed_bytes:
        env.close()
        raise damaged(str(path), f"data.mdb has {size_bytes} bytes of {needed_bytes}, its end is missing")


def _check_venue(txn: lmdb.Transaction, meta: Any, path: Path, venue: str) -> None:
    owner = bytes(txn.get(key("venue"), db=meta) or b"").decode()
    if owner != venue:
        raise StorageError(
            f"the book in {path} belongs to {owner}, not to {venue}; choose another --state, or set the mode back"
        )


def _check_schema(txn: lmdb.Transaction, meta: Any, path: Path) -> None:
    found = txn.get(key("schema"), db=meta)
    if found is None or bytes(found) != str(SCHEMA_VERSION).encode():
        version = "none" if found is None else bytes(found).decode()
        raise StorageError(
            f"the book in {path} has schema {version}, this version reads {SCHEMA_VERSION}; "
            "use the intentd that wrote it"
        )
