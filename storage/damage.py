"""What lmdb raises, as an error of ours: a book that is damaged, or full, is told from one that cannot be used."""

from __future__ import annotations

import errno
from typing import Final

import lmdb

from core.errors import NO_ROOM, BookDamaged, StorageError, StorageFull

DAMAGE: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.InvalidError)
"""The content is at fault, not the disk, the map or the machine."""
HALF_WRITTEN: Final = errno.EIO
"""What LMDB makes of a write for which there was only some room left; the next one may be told as it is."""


def unusable(place: str, error: lmdb.Error) -> StorageError:
    """For a book that cannot be opened."""
    if isinstance(error, DAMAGE):
        return damaged(place, error)
    if _code(error) in NO_ROOM:
        return StorageFull(f"the book in {place} cannot be used: {error}; free space")
    return StorageError(f"the book in {place} cannot be used: {error}; restore a copy or choose another --state")


def unwritten(place: str, error: lmdb.Error) -> StorageError:
    """For what could not be written; none of it is in the book."""
    if isinstance(error, DAMAGE):
        return damaged(place, error)
    if isinstance(error, lmdb.MapFullError):
        return StorageFull(
            "the book is full; set a larger storage.map_size_gib and start again, nothing acknowledged is lost"
        )
    if _code(error) in {*NO_ROOM, HALF_WRITTEN}:
        return StorageFull(f"the book could not be written: {error}; free space, then start again")
    return StorageError(f"the book cannot be written: {error}; mend the disk, then start again")


def damaged(place: str, error: object) -> BookDamaged:
    """For whatever goes wrong while rows are read: nothing else can then."""
    return BookDamaged(f"the book {place} is damaged ({error}); stop, restore a copy, and compare it with the venue")


def _code(error: lmdb.Error) -> int:
    """Of the operating system or of LMDB; 0 where it came without one."""
    return int(getattr(error, "code", 0))
