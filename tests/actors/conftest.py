"""Fixtures: the road between the actors, and an engine whose parts are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.transport import UnixTransport
from core.settings import from_mapping
from storage.layout import StateFolder
from tests.actors.ends import actor
from tests.actors.recorded_engine import RESTARTS_MAX, RecordedEngine


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
