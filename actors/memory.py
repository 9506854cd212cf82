"""Large messages: a file in memory, whose descriptor is handed over in place of the bytes.

What arrives is checked, since whoever may enter the folder may send any descriptor: only a regular file is read, never
a pipe or a device, and every descriptor is closed, whatever comes of it.

A process that has used up its descriptors can still send: a few are kept back for that (`Reserve`).
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import TypeVar

LARGEST = 1 << 30
"""Bytes of the largest message."""
ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)
"""Bytes of what comes beside a datagram: one descriptor, or two, for they are padded."""
RESERVED = 4

Ancillary = list[tuple[int, int, bytes]]
Made = TypeVar("Made")


class Reserve:
    """Descriptors kept back for when no other is free."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._wanted = RESERVED
        self.refill()

    def spend(self, make: Callable[[], Made]) -> Made:
        """What `make` makes, with one of these descriptors if it finds no other. Raises what it raises."""
        try:
            return make()
        except OSError as error:
            if error.errno != errno.EMFILE or not self._kept:
                raise
            os.close(self._kept.pop())
            return make()

    def refill(self) -> None:
        """After something was closed. Harmless when there is nothing to fill up, or no descriptor to do it with."""
        with contextlib.suppress(OSError):
            while len(self._kept) < self._wanted:
                self._kept.append(os.open(os.devnull, os.O_PATH | os.O_CLOEXEC))

    def close(self) -> None:
        """For good."""
        self._wanted = 0
        while self._kept:
            os.close(self._kept.pop())


def send(via: socket.socket, head: bytes, payload: bytes, address: str | None, reserve: Reserve) -> None:
    """`head` in the datagram, `payload` beside it. Raises `OSError`; `ValueError` for a payload beyond `LARGEST`."""
    if len(payload) > LARGEST:
        raise ValueError(f"a message of {len(payload)} bytes; {LARGEST} is the most that can be sent")
    descriptor = reserve.spend(lambda: os.memfd_create("intentd-message", os.MFD_CLOEXEC))
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as memory:
            memory.write(payload)
        handed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        if address is None:
            via.sendmsg([head], handed)
        else:
            via.sendmsg([head], handed, 0, address)
    finally:
        os.close(descriptor)
        reserve.refill()


def receive(ancillary: Ancillary) -> bytes | None:
    """What the one descriptor holds; None when there is not exactly one, or it is no memory that can be read."""
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    try:
        return _read(descriptors[0]) if len(descriptors) == 1 else None
    except OSError:
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _read(descriptor: int) -> bytes | None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
        return None
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as memory:
        memory.seek(0)
        return memory.read()
