"""The name of a process as ps(1) and top(1) show it, so that the parts of one engine can be told apart."""

from __future__ import annotations

import contextlib
from pathlib import Path

OWN_NAME = Path("/proc/self/comm")
PREFIX = "intentd:"
BYTES_MAX = 15
"""What Linux keeps of it (prctl(2), PR_SET_NAME)."""


def name_process(role: str) -> None:
    """`intentd:` and the role, as far as there is room. Where there is no such name, nothing happens."""
    with contextlib.suppress(OSError):
        OWN_NAME.write_bytes(f"{PREFIX}{role}".encode()[:BYTES_MAX])
