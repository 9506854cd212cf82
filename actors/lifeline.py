"""A part ends with its engine: nobody could halt, stop or replace what outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""Of prctl(2)."""


def end_with_parent() -> None:
    """On Linux the kernel kills this process, from now on, when the one that has forked it ends, however that ends.
    Elsewhere nothing happens; `actors.base` looks before it handles a message."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
