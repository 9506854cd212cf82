"""What lmdb raises, as an error of ours: a book that is damaged is told from one that cannot be used just now."""

from __future__ import annotations

from typing import Final

import lmdb

from core.errors import BookDamaged, StorageError

DAMAGE: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.InvalidError)
"""The content is at fault, not the disk, the map or the machine."""


def unusable(place: str, error: lmdb.Error) -> StorageError:
    """For a book that cannot be opened."""
    if isinstance(error, DAMAGE):
        return damaged(place, error)
    return StorageError(f"the book in {place} cannot be used: {error}; restore a copy or choose another --state")


def damaged(place: str, error: object) -> BookDamaged:
    """For whatever goes wrong while rows are read: nothing else can then."""
    return BookDamaged(f"the book {place} is damaged ({error}); stop, restore a copy, and compare it with the venue")
