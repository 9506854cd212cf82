"""The books that the contract is about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.fakes import MemoryBook
from tests.storage.records import Book


@pytest.fixture(params=["memory", "lmdb"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    if request.param == "memory":
        yield MemoryBook()
        return
    store = BookStore.open_writer(StateFolder(tmp_path / "state").create(), 1, "binance/sim")
    yield store
    store.close()
