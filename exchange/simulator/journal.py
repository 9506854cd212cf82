"""The state file: what the venue has promised survives its own kill -9.

One line per request: a JSON array of the records that the request changed, handed to the operating system before the
answer leaves. A line is taken over whole or not at all, so a last line that was torn by a crash is left out: nobody has
got an answer for it. Of several records of one thing the last one counts. The file is rewritten at each start, with one
record a line. It is 0600, and a lock keeps a second simulator away.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from exchange.simulator.matching import Record
from exchange.simulator.orders import Order, Trade

VERSION: Final = 1
_MODE: Final = 0o600
_encoder: Final = msgspec.json.Encoder()


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: Literal["intentd-simulator"] = "intentd-simulator"
    version: int = VERSION


class JournalError(Exception):
    """The state file cannot be used; the text says why and what to do."""


class Journal:
    """Open it, `load` it, `begin` with the state as it shall go on, then `append`."""

    def __init__(self, path: Path) -> None:
        """Creates the folder's file lock. Raises `JournalError`."""
        self._path = path
        self._fd = -1
        if path.is_dir():
            raise JournalError(f"{path} is a folder; name a file in it")
        lock = path.with_name(path.name + ".lock")
        try:
            self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path} is in use by another simulator; stop it or name another file") from None
        except OSError as error:
            raise JournalError(f"{path} cannot be used: {error.strerror}; name a file in a folder of yours") from None

    def load(self) -> list[Record]:
        """The latest record of each thing, in the order they first came in. Empty for a new file."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self._path} cannot be read: {error.strerror}; mend it or name another file") from None
        if not content:
            return []
        header, *lines = content.split(b"\n")
        self._check_header(header)
        # what follows the last line's end is nothing, or a line that was torn
        return _latest(record for number, line in enumerate(lines[:-1], 2) for record in self._decoded(line, number))

    def begin(self, records: Iterable[Record]) -> None:
        """Rewrite the file with these records, durably, and be ready to append."""
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.unlink(missing_ok=True)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _MODE)
            _write(fd, _encoder.encode(Header()) + b"\n" + b"".join(_line([record]) for record in records))
            os.fsync(fd)
            fresh.replace(self._path)
        except OSError as error:
            raise JournalError(f"{self._path} cannot be written: {error.strerror}; name another file") from None
        self._fd = fd

    def append(self, records: list[Record]) -> None:
        """Hand the records to the operating system, all or none. Raises `OSError`."""
        if records:
            _write(self._fd, _line(records))

    def close(self) -> None:
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _check_header(self, line: bytes) -> None:
        try:
            header = msgspec.json.decode(line, type=Header)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise JournalError(f"{self._path} is not a simulator's state file; name another one") from None
        if header.version != VERSION:
            raise JournalError(f"{self._path} is of version {header.version}, not {VERSION}; name another file")

    def _decoded(self, line: bytes, number: int) -> list[Record]:
        try:
            return msgspec.json.decode(line, type=list[Record])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JournalError(f"{self._path} is damaged in line {number}: {error}; name another file") from None


def _line(records: list[Record]) -> bytes:
    return _encoder.encode(records) + b"\n"


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _latest(records: Iterable[Record]) -> list[Record]:
    found: dict[tuple[object, ...], Record] = {}
    for record in records:
        found[_key(record)] = record
    return list(found.values())


def _key(record: Record) -> tuple[object, ...]:
    if isinstance(record, Order | Trade):
        return type(record), record.symbol, record.id
    name = getattr(record, "symbol", None) or getattr(record, "asset", None)
    return type(record), name
