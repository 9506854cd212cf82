"""The commands that stop trading and let it go on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tools import command_trading
from tools.options import Shared


def test_what_is_only_shown_of_a_halt_keeps_it_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk cannot be read: then nobody is shown how it was before, and the engine is asked all the same."""

    @contextmanager
    def unreadable(_folder: Any) -> Iterator[None]:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path))
        yield

    monkeypatch.setattr(command_trading, "book", unreadable)
    shared = Shared()
    shared.state = str(tmp_path)
    assert command_trading._standing(shared) is None
