"""The last heartbeat on disk: whole or not at all, and private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from core.health import Health
from storage import health_file
from storage.layout import StateFolder
from tests.builders import Desk
from tests.core.test_health import beat


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state").create()


@pytest.fixture
def health() -> Health:
    return beat(Desk(), quotes=("USDT",))


def test_what_is_written_is_read(folder: StateFolder, health: Health) -> None:
    """The latest, for this user alone, and nothing beside it."""
    assert health_file.read(folder) is None
    later = beat(Desk(), quotes=("USDT",), restarts=3)
    for each in (health, later):
        health_file.write(folder, each)
    assert health_file.read(folder) == later
    assert stat.S_IMODE(folder.health_file.stat().st_mode) == 0o600
    assert list(folder.health_file.parent.iterdir()) == [folder.health_file]


@pytest.mark.parametrize("content", [b"", b'{"heartbeat": ', b'{"heartbeat": {"of": "another version"}}'])
def test_what_cannot_be_read_is_no_heartbeat(folder: StateFolder, content: bytes) -> None:
    """Whoever asks how things are must not fail because of it."""
    folder.health_file.write_bytes(content)
    assert health_file.read(folder) is None


def test_one_that_cannot_be_written_leaves_the_one_before(folder: StateFolder, health: Health) -> None:
    """The new one comes to its place whole."""
    health_file.write(folder, health)
    folder.health_file.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="directory"):
        health_file.write(folder, beat(Desk(), restarts=3))
    assert health_file.read(folder) == health
