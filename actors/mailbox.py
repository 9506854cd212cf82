"""One process's mailbox: a Unix datagram socket with a name in a private folder.

A datagram arrives whole or not at all, and what one process puts into a mailbox is taken out in the order in which it
was put. The kernel never drops one: a full mailbox (`net.unix.max_dgram_qlen` datagrams, 10 on most machines) says so,
and `Door` is how to wait until it has room. A mailbox whose process is gone says so at once.

- **Large messages** travel as a file in memory whose descriptor is handed over in the datagram, so that they too arrive
  whole, in their place, and leave nothing behind when either side dies.
- **Long paths.** A socket's address holds 107 bytes. Whatever is longer is reached through a descriptor of the folder.
- **Leftovers.** A name is never used twice, so a file that a killed process left behind cannot be mistaken for another
  mailbox; who finds nobody behind it removes it.
- **Forks.** A forked child that kept its copy of the socket would keep a dead mailbox alive: it must `close` it.

Whoever may enter the folder may write: the folder's mode is the protection, and it must be 0700.
"""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path

from storage.layout import PRIVATE_FILE

ADDRESS_MAX = 107
"""Bytes of a path in a socket's address (`sun_path`, unix(7)), without the closing zero."""
INLINE_MAX = 16_384
"""Bytes of payload that travel in the datagram itself; the default send buffer holds as many such as a mailbox."""
DATAGRAM_MAX = INLINE_MAX + 4_096 + 16
NO_ROOM = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE})
GONE = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE})
ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)
LENGTH_BYTES = 2


class Put(enum.Enum):
    """What became of a message."""

    DONE = enum.auto()
    FULL = enum.auto()
    """Not taken; try again when there is room."""
    GONE = enum.auto()
    """Nobody will ever read it there."""


class Mailbox:
    """A mailbox of this process. `path` is its address."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._owner = os.getpid()
        self._socket = _datagram_socket()
        try:
            _bind(self._socket, self.path)
        except BaseException:
            self._socket.close()
            raise
        name = os.fsencode(self.path)
        self._head = len(name).to_bytes(LENGTH_BYTES) + name
        self._buffer = bytearray(DATAGRAM_MAX)
        self._view = memoryview(self._buffer)

    @classmethod
    def fresh(cls, folder: Path) -> Mailbox:
        """With a name that was never used before."""
        return cls(folder / secrets.token_hex(8))

    def fileno(self) -> int:
        """-1 once it is closed."""
        return self._socket.fileno()

    def put(self, target: str, payload: bytes) -> Put:
        """Hand a message to the mailbox at `target`. Never waits."""
        return self._put(self._socket, target, payload)

    def put_through(self, door: Door, payload: bytes) -> Put:
        """Hand a message to the mailbox behind a door. Never waits."""
        return self._put(door.socket, door.target, payload)

    def _put(self, via: socket.socket, target: str, payload: bytes) -> Put:
        try:
            address = _reach(target) if via is self._socket else None
            if len(payload) > INLINE_MAX:
                _send_in_memory(via, self._head, payload, address)
            elif address is None:
                via.send(self._head + payload)
            else:
                via.sendto(self._head + payload, address)
        except OSError as error:
            if error.errno in NO_ROOM:
                return Put.FULL
            if error.errno in GONE:
                discard(target)
                return Put.GONE
            raise
        return Put.DONE

    def take(self) -> tuple[str, bytes] | None:
        """The next message as (sender, payload); None when there is none now. Never waits."""
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except OSError:
            if self._socket.fileno() < 0:
                return None
            raise
        start = int.from_bytes(self._view[:LENGTH_BYTES]) + LENGTH_BYTES
        sender = os.fsdecode(bytes(self._view[LENGTH_BYTES:start]))
        if ancillary:
            return sender, _read_from_memory(ancillary)
        return sender, bytes(self._view[start:size])

    def close(self) -> None:
        """Give the name up; what had arrived and was not taken is lost. Harmless when it is closed already."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            if self._owner == os.getpid():
                discard(self.path)


class Door:
    """A way to one full mailbox that can be waited for: it is writable (poll, epoll) when the mailbox has room.

    A socket that sends to many has no such notion, so each full mailbox gets one that is connected to it alone.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.socket = _datagram_socket()

    def open(self) -> bool:
        """False: there is nobody behind it."""
        try:
            self.socket.connect(_reach(self.target))
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        return True

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


def is_read(path: str) -> bool:
    """Whether a living process reads the mailbox at this path."""
    door = Door(path)
    try:
        return door.open()
    finally:
        door.close()


def discard(path: str) -> None:
    """Remove the file of a mailbox that nobody reads any more."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108  (on the way of every message to somebody who is gone)


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.settimeout(0)
    return made


def _bind(unbound: socket.socket, path: str) -> None:
    """Raises `OSError` when a living process has the name."""
    os.fchmod(unbound.fileno(), PRIVATE_FILE)  # of the file that the bind makes
    try:
        unbound.bind(_reach(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or is_read(path):
            raise
        discard(path)
        unbound.bind(_reach(path))


@lru_cache(maxsize=4_096)
def _reach(path: str) -> str:
    """The path, or a short one to the same place."""
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        return path
    folder, name = os.path.split(path)
    return f"/proc/self/fd/{_folder_descriptor(folder)}/{name}"


@lru_cache(maxsize=64)
def _folder_descriptor(folder: str) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _send_in_memory(via: socket.socket, head: bytes, payload: bytes, address: str | None) -> None:
    descriptor = os.memfd_create("intentd-message", os.MFD_CLOEXEC)
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


def _read_from_memory(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    payload = b""
    for descriptor in descriptors:  # one, unless somebody else writes here
        with os.fdopen(descriptor, "rb") as memory:
            memory.seek(0)
            payload = memory.read()
    return payload
