"""What lmdb raises is told by what helps: room, a copy, or somebody who looks at the disk."""

from __future__ import annotations

import errno

import lmdb
import pytest

from core.errors import BookDamaged, StorageError, StorageFull
from storage.damage import unusable, unwritten


def raised(kind: type[lmdb.Error], code: int = 0) -> lmdb.Error:
    """As lmdb makes it where the operating system has said no."""
    error = kind("mdb_txn_commit: because")
    error.code = code
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised(lmdb.DiskError, errno.ENOSPC), StorageFull),
        (raised(lmdb.Error, errno.EDQUOT), StorageFull),
        (raised(lmdb.Error, errno.EFBIG), StorageFull),
        (raised(lmdb.Error, errno.EIO), StorageFull),
        (raised(lmdb.MapFullError), StorageFull),
        (raised(lmdb.BadTxnError), StorageError),
        (lmdb.Error("without a code"), StorageError),
        (raised(lmdb.CorruptedError), BookDamaged),
    ],
    ids=str,
)
def test_only_what_room_would_help_is_told_as_full(error: lmdb.Error, kind: type[StorageError]) -> None:
    """Whoever ends over it is started again without end. EIO is how LMDB tells a write that fitted in part."""
    assert type(unwritten("here", error)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised(lmdb.DiskError, errno.ENOSPC), StorageFull),
        (raised(lmdb.Error, errno.EIO), StorageError),
        (raised(lmdb.ReadersFullError), StorageError),
        (raised(lmdb.InvalidError), BookDamaged),
    ],
    ids=str,
)
def test_a_book_that_cannot_be_opened_is_full_only_if_that_is_said(error: lmdb.Error, kind: type[StorageError]) -> None:
    """Nothing was written there, so an input or output error is what it says."""
    assert type(unusable("here", error)) is kind
