"""Fixtures for the road between the actors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.transport import UnixTransport
from tests.actors.ends import actor


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[UnixTransport, UnixTransport]]:
    here, there = actor(tmp_path), actor(tmp_path)
    yield here, there
    here.close()
    there.close()
