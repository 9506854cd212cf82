"""Ctrl-C, TERM and HUP: as an exception, or as a note."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def noted(note: Callable[[str], None]) -> Iterator[None]:
    """In the block a stop signal only calls `note` with its name."""

    def handle(number: int, _frame: FrameType | None) -> None:
        note(signal.Signals(number).name)

    with _handled(handle):
        yield


def insists(noted_ones: Sequence[str]) -> bool:
    """Whether somebody has sent a second signal. HUP does not count: a terminal that is closed often sends it twice."""
    return sum(name != signal.SIGHUP.name for name in noted_ones) > 1


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """In the block each of them raises `KeyboardInterrupt`, so that everything is cleaned up.

    Whoever notes them around the block has noted it then. A process that is forked in the block is not meant: it is
    ended by who has forked it.
    """
    mine, around = os.getpid(), {int(number): signal.getsignal(number) for number in STOP_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != mine:
            return
        outer = around[number]
        if callable(outer):
            outer(number, frame)
        raise KeyboardInterrupt

    with _handled(handle):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS if not _is_nohup(number)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _is_nohup(number: int) -> bool:
    """Started with nohup(1): it shall not end with its terminal."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
