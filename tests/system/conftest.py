"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import Daemon, Marked, marked

TIMEOUT_S = 400
"""A command takes a second on a machine that is quiet, and some on one that is not; a test has dozens of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """More time than others have, for those of this folder that say nothing themselves."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture
def processes() -> Iterator[Marked]:
    """Starts processes; none outlives the test."""
    with marked() as started:
        yield started


@pytest.fixture
def daemon(processes: Marked, tmp_path: Path) -> Daemon:
    """A daemon that is not started yet, on its own state folder."""
    return Daemon(processes, tmp_path / "state")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon that the tests of a module share; each test uses keys of its own."""
    with marked() as started:
        shared = Daemon(started, tmp_path_factory.mktemp("running") / "state")
        shared.start()
        yield shared
        assert shared.stop() == 0
