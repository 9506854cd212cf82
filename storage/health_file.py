"""The last heartbeat, for whoever asks while no engine runs: one small file beside the health stream.

It is no part of the book: how things were a moment ago is no truth to build on, and writing it must be no work of the
portfolio. A write replaces the file in one step, so there is always a whole one, or none.
"""

from __future__ import annotations

import os

import msgspec

from core.health import Health
from storage.layout import PRIVATE_FILE, StateFolder


def write(folder: StateFolder, health: Health) -> None:
    """Raises `OSError` when the disk is full; the file is as it was then."""
    beside = folder.health_file.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        data = msgspec.json.encode(health)
        if os.write(descriptor, data) < len(data):
            raise OSError(f"{beside} could not be written whole")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(folder.health_file)


def read(folder: StateFolder) -> Health | None:
    """None when there was none yet, or another version has written it."""
    try:
        return msgspec.json.decode(folder.health_file.read_bytes(), type=Health)
    except (OSError, msgspec.MsgspecError):
        return None
