"""Fixtures for the tests of the core."""

from __future__ import annotations

import pytest

from tests.core.floor import Floor


@pytest.fixture
def floor() -> Floor:
    """A router with a fresh quote and a book."""
    return Floor()
