"""One process's mailbox: a few Unix datagram sockets with one name in a private folder.

A datagram arrives whole or not at all, and what one process puts into a mailbox is taken out in the order in which it
was put. The kernel never drops one: a full mailbox says so, and `Door` is how to wait until it has room. A mailbox
whose process is gone says so at once.

- **Slots.** A socket holds ten datagrams on most machines (`net.unix.max_dgram_qlen`), too few for a receiver that many
  write to while it waits for its disk. So a mailbox has `SLOTS` sockets, and a sender always uses the same one of them:
  the order of what it sends is kept.
- **Large messages** travel as a file in memory whose descriptor is handed over in the datagram, so that they too arrive
  whole, in their place, and leave nothing behind when either side dies.
- **Long paths.** A socket's address holds 107 bytes. Whatever is longer is reached through a descriptor of the folder.
- **Leftovers.** A name is never used twice, so files that a killed process left behind cannot be mistaken for another
  mailbox; who finds nobody behind them removes them.
- **Forks.** A forked child that kept its copy of the sockets would keep a dead mailbox alive: it must `close` it.

Whoever may enter the folder may write: the folder's mode is the protection, and it must be 0700.
"""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import os
import secrets
import select
import socket
import zlib
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
SLOTS = 8


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
        self._sockets: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._ready: list[int] = []
        try:
            _claim(self.path)
            for slot in reversed(range(SLOTS)):  # who finds the first one finds all
                self._open(slot)
        except BaseException:
            self.close()
            raise
        self._sender = next(iter(self._sockets.values()))
        name = os.fsencode(self.path)
        self._head = len(name).to_bytes(LENGTH_BYTES) + name
        self._suffix = _suffix(zlib.crc32(name) % SLOTS)
        self._buffer = bytearray(DATAGRAM_MAX)
        self._view = memoryview(self._buffer)

    @classmethod
    def fresh(cls, folder: Path) -> Mailbox:
        """With a name that was never used before."""
        return cls(folder / secrets.token_hex(8))

    def _open(self, slot: int) -> None:
        opened = _datagram_socket()
        self._sockets[opened.fileno()] = opened
        os.fchmod(opened.fileno(), PRIVATE_FILE)  # of the file that the bind makes
        opened.bind(_reach(self.path + _suffix(slot)))
        self._epoll.register(opened, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to take; -1 once it is closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def descriptors(self) -> list[int]:
        """Of its sockets, for who wants to wait for them among others."""
        return list(self._sockets)

    def door_to(self, target: str) -> Door:
        """The way to a mailbox that is full, to wait at."""
        return Door(target, self._suffix)

    def put(self, target: str, payload: bytes) -> Put:
        """Hand a message to the mailbox at `target`. Never waits."""
        return self._put(self._sender, target, payload)

    def put_through(self, door: Door, payload: bytes) -> Put:
        """Hand a message to the mailbox behind a door. Never waits."""
        return self._put(door.socket, door.target, payload)

    def _put(self, via: socket.socket, target: str, payload: bytes) -> Put:
        try:
            address = _reach(target + self._suffix) if via is self._sender else None
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
        while not self._epoll.closed:
            if not self._ready:
                self._ready = [descriptor for descriptor, _ in self._epoll.poll(0)]
                if not self._ready:
                    return None
            taken = self.take_from(self._ready.pop())
            if taken is not None:
                return taken
        return None

    def take_from(self, descriptor: int) -> tuple[str, bytes] | None:
        """The same from one of its sockets, whose turn it is."""
        try:
            return self._receive(self._sockets[descriptor])
        except BlockingIOError:
            return None

    def _receive(self, slot: socket.socket) -> tuple[str, bytes]:
        size, ancillary, _, _ = slot.recvmsg_into([self._buffer], ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        start = int.from_bytes(self._view[:LENGTH_BYTES]) + LENGTH_BYTES
        sender = os.fsdecode(bytes(self._view[LENGTH_BYTES:start]))
        if ancillary:
            return sender, _read_from_memory(ancillary)
        return sender, bytes(self._view[start:size])

    def close(self) -> None:
        """Give the name up; what had arrived and was not taken is lost. Harmless when it is closed already."""
        for opened in self._sockets.values():
            opened.close()
        if self._sockets and self._owner == os.getpid():
            discard(self.path)
        self._sockets.clear()
        self._epoll.close()


class Door:
    """A way to one full mailbox that can be waited for: it is writable (poll, epoll) when the mailbox has room.

    A socket that sends to many has no such notion, so each full mailbox gets one that is connected to it alone.
    """

    def __init__(self, target: str, suffix: str) -> None:
        self.target = target
        self._address = target + suffix
        self.socket = _datagram_socket()

    def open(self) -> bool:
        """False: there is nobody behind it."""
        try:
            self.socket.connect(_reach(self._address))
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
    door = Door(path, _suffix(0))
    try:
        return door.open()
    finally:
        door.close()


def discard(path: str) -> None:
    """Remove the files of a mailbox that nobody reads any more."""
    for slot in range(SLOTS):
        with contextlib.suppress(OSError):
            os.unlink(path + _suffix(slot))  # noqa: PTH108  (on the way of a message to somebody who is gone)


def _suffix(slot: int) -> str:
    return f".{slot}"


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.settimeout(0)
    return made


def _claim(path: str) -> None:
    """Make the name free if a dead process left it behind. Raises `OSError` when a living one has it."""
    if is_read(path):
        raise OSError(errno.EADDRINUSE, "another process reads this mailbox", path)
    discard(path)


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
