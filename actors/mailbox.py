"""One process's mailbox: a few Unix datagram sockets with one name in a private folder.

A datagram arrives whole or not at all, and what one process puts into a mailbox is taken out in the order in which it
was put. The kernel never drops one: a full mailbox says so, and `Door` is how to wait until it has room. A mailbox
whose process is gone says so at once.

- **Slots.** A socket holds ten datagrams on most machines (`net.unix.max_dgram_qlen`), too few for a receiver that many
  write to while it waits for its disk. So a mailbox has `SLOTS` sockets, and a sender always uses the same one of them:
  the order of what it sends is kept.
- **Large messages** travel as a file in memory whose descriptor is handed over in the datagram, so that they too arrive
  whole, in their place, and leave nothing behind when either side dies. A receiver without a free descriptor loses such
  a message, and is told so: the kernel has dropped the descriptor by then.
- **Leftovers.** A name is never used twice, so files that a killed process left behind cannot be mistaken for another
  mailbox; who finds nobody behind them removes them. Only the admin's name is used again, by `_claim`.
- **Forks.** A forked child that kept its copy of the sockets would keep a dead mailbox alive: it must `close` it.

Whoever may enter the folder may write: the folder's mode is the protection, and it must be 0700. What he writes by
mistake must not stop a process all the same: it is taken out as a message without a payload.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import secrets
import select
import socket
import time
import zlib
from pathlib import Path

from actors import memory
from actors.doors import GONE, NO_MAILBOX, SLOTS, Door, Folder, datagram_socket, is_read, suffix
from actors.memory import ANCILLARY
from storage.layout import PRIVATE_FILE

INLINE_MAX = 16_384
"""Bytes of payload that travel in the datagram itself; the default send buffer holds as many such as a mailbox."""
DATAGRAM_MAX = INLINE_MAX + 4_096 + 16
NO_ROOM = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
SHORT = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""The kernel is short of something that is not the receiver's; a door does not know when that is over."""
SHORT_S = 0.001
CUT = socket.MSG_CTRUNC | socket.MSG_TRUNC
LENGTH_BYTES = 2
KNOWN_MAX = 4_096

Taken = tuple[str, bytes | None]
"""Sender and payload; None for what cannot be read: it is no message, or its descriptor was lost."""


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
        self._reserve = memory.Reserve()
        self._folder = Folder(str(path.parent))
        try:
            self._claim()
            for slot in reversed(range(SLOTS)):  # who finds the first one finds all
                self._open(slot)
        except BaseException:
            self.close()
            raise
        self._sender = next(iter(self._sockets.values()))
        name = os.fsencode(self.path)
        self._head = len(name).to_bytes(LENGTH_BYTES) + name
        self._suffix = suffix(zlib.crc32(name) % SLOTS)
        self._addresses: dict[str, str] = {}
        self._names: dict[bytes, str] = {}
        self._view = memoryview(bytearray(DATAGRAM_MAX))
        self._buffers = [self._view]

    @classmethod
    def fresh(cls, folder: Path, prefix: str = "") -> Mailbox:
        """With a name that was never used before."""
        return cls(folder / f"{prefix}{secrets.token_hex(8)}")

    def _claim(self) -> None:
        """Make the name free if a dead process left it behind. Raises `OSError` when a living one has it."""
        if is_read(self.path):
            raise OSError(errno.EADDRINUSE, "another process reads this mailbox", self.path)
        self._folder.remove(self.path)

    def _open(self, slot: int) -> None:
        opened = datagram_socket()
        self._sockets[opened.fileno()] = opened
        os.fchmod(opened.fileno(), PRIVATE_FILE)  # of the file that the bind makes
        opened.bind(f"{self._folder.way_to(self.path)}{suffix(slot)}")
        self._epoll.register(opened, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to take; -1 once it is closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def descriptors(self) -> list[int]:
        """Of its sockets, for who wants to wait for them among others."""
        return list(self._sockets)

    def can_reach(self, path: str) -> bool:
        """Whether this can be the path of a mailbox."""
        return self._folder.way_to(path) is not None

    # ── putting ───────────────────────────────────────────────────────────────────────────────────────────────────

    def door_to(self, target: str) -> Door | None:
        """The way to a mailbox that is full, to wait at; None when nobody is there any more."""
        way = self._folder.way_to(target)
        if way is None:
            return None
        door = self._reserve.spend(lambda: Door(way + self._suffix))
        if door.open():
            return door
        self.give_back(door)
        return None

    def give_back(self, door: Door) -> None:
        door.close()
        self._reserve.refill()

    def put(self, target: str, payload: bytes) -> Put:
        """Hand a message to the mailbox at `target`. Never waits."""
        address = self._addresses.get(target) or self._find(target)
        return self._put(self._sender, target, payload, address) if address else Put.GONE

    def _find(self, target: str) -> str | None:
        way = self._folder.way_to(target)
        if way is None:
            return None
        if len(self._addresses) >= KNOWN_MAX:
            self._addresses.clear()
        address = self._addresses[target] = way + self._suffix
        return address

    def put_through(self, door: Door, target: str, payload: bytes) -> Put:
        """Hand a message to the mailbox behind a door. Never waits."""
        return self._put(door.socket, target, payload, None)

    def _put(self, via: socket.socket, target: str, payload: bytes, address: str | None) -> Put:
        try:
            if len(payload) > INLINE_MAX:
                memory.send(via, self._head, payload, address, self._reserve)
            elif address is None:
                via.send(self._head + payload)
            else:
                via.sendto(self._head + payload, address)
        except OSError as error:
            if error.errno in NO_ROOM:
                return Put.FULL
            if error.errno in GONE:
                self.remove_dead(target)
                return Put.GONE
            if error.errno in NO_MAILBOX:
                return Put.GONE
            if error.errno in SHORT:
                time.sleep(SHORT_S)  # whoever tries again at once finds no more of it
                return Put.FULL
            raise
        return Put.DONE

    def remove_dead(self, target: str) -> None:
        """The files of a mailbox whose process is gone."""
        self._folder.remove(target)

    # ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self) -> Taken | None:
        """The next message; None when there is none now. Never waits. For one thread at a time."""
        while not self._epoll.closed:
            if not self._ready:
                self._ready = [descriptor for descriptor, _ in self._epoll.poll(0)]
                if not self._ready:
                    return None
            taken = self.take_from(self._ready.pop())
            if taken is not None:
                return taken
        return None

    def take_from(self, descriptor: int) -> Taken | None:
        """The same from one of its sockets, whose turn it is."""
        try:
            return self._receive(self._sockets[descriptor])
        except BlockingIOError:
            return None

    def _receive(self, slot: socket.socket) -> Taken:
        size, ancillary, flags, _ = slot.recvmsg_into(self._buffers, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        start = int.from_bytes(self._view[:LENGTH_BYTES]) + LENGTH_BYTES
        if flags & CUT or start > size:
            memory.receive(ancillary)  # closes what came with it
            return os.fsdecode(bytes(self._view[LENGTH_BYTES : min(start, size)])), None
        name = bytes(self._view[LENGTH_BYTES:start])
        sender = self._names.get(name) or self._decode(name)
        return sender, bytes(self._view[start:size]) if not ancillary else memory.receive(ancillary)

    def _decode(self, name: bytes) -> str:
        if len(self._names) >= KNOWN_MAX:
            self._names.clear()
        path = os.fsdecode(name)
        if self.can_reach(path):
            self._names[name] = path
        return path

    def close(self) -> None:
        """Give the name up; what had arrived and was not taken is lost. Harmless when it is closed already."""
        for opened in self._sockets.values():
            opened.close()
        if self._sockets and self._owner == os.getpid():
            self._remove_own()
        self._sockets.clear()
        self._epoll.close()
        self._reserve.close()
        self._folder.close()

    def _remove_own(self) -> None:
        for slot in range(SLOTS):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._folder.way_to(self.path)}{suffix(slot)}")  # noqa: PTH108  (Path knows no descriptors)
