"""Fixtures: the road between the actors, an engine whose parts are recorded, a book and an attempt for a gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.transport import UnixTransport
from core import fencing
from core.records import AttemptRecord
from core.settings import from_mapping
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.actors.ends import actor
from tests.actors.recorded_engine import RESTARTS_MAX, RecordedEngine
from tests.builders import Desk


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[UnixTransport, UnixTransport]]:
    here, there = actor(tmp_path), actor(tmp_path)
    yield here, there
    here.close()
    there.close()


@pytest.fixture
def engine(tmp_path: Path) -> RecordedEngine:
    settings = from_mapping({"engine": {"restarts_max": RESTARTS_MAX}})
    return RecordedEngine(StateFolder(tmp_path).create(), settings)


@pytest.fixture
def running(engine: RecordedEngine) -> RecordedEngine:
    engine.let_all_start()
    assert engine.state == "running"
    return engine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BookStore]:
    """A book in its first epoch."""
    book = BookStore.open_writer(StateFolder(tmp_path).create(), 1, "binance/sim")
    with book.transaction() as unit:
        fencing.begin(unit, 1)
    yield book
    book.close()


@pytest.fixture
def attempt() -> AttemptRecord:
    return replace(Desk().accept(), created_ns=time.time_ns(), epoch=1)
