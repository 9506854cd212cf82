"""Ctrl-C and TERM: as an exception, as a note, or held back while something must not be cut in half."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def noted(note: Callable[[str], None]) -> Iterator[None]:
    """In the block a stop signal only calls `note` with its name."""

    def handle(number: int, _frame: FrameType | None) -> None:
        note(signal.Signals(number).name)

    with _handled(handle):
        yield


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """In the block TERM raises `KeyboardInterrupt` like Ctrl-C, so that everything is cleaned up."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(handle):
        yield


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """In the block no stop signal gets through; one that came is delivered after it."""
    came: list[str] = []
    with noted(came.append):
        yield
    if came:
        os.kill(os.getpid(), signal.Signals[came[0]])


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
