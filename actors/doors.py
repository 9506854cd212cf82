"""Ways to a mailbox: the addresses of its sockets, whether somebody reads there, and where to wait when it is full.

- **Slots.** A mailbox has `SLOTS` sockets, files with its name and a number; each sender uses one of them.
- **Long paths.** A socket's address holds 107 bytes. A longer one is reached through a descriptor of the folder.
- **One folder.** Mailboxes lie in the folder of their system, and only there anything is removed, whoever names it. The
  mailbox of another system can be written to if its path is short enough.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

ADDRESS_MAX = 107
"""Bytes of a path in a socket's address (`sun_path`, unix(7)), without the closing zero."""
NAME_MAX = 64
"""Bytes of a mailbox's name; with the way through a folder's descriptor it fits into an address."""
GONE = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE})
NO_MAILBOX = frozenset({errno.EPROTOTYPE, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What is at this path is no mailbox of ours, or not meant for us."""
SUFFIX_MAX = 2
"""Bytes of a slot's suffix."""
SLOTS = 8


class Folder:
    """Where a system's mailboxes are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._way = path
        if len(os.fsencode(path)) + NAME_MAX > ADDRESS_MAX:
            self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._way = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def way_to(self, mailbox: str) -> str | None:
        """Its address, to which a slot's suffix is added; None for a path that cannot be a mailbox's."""
        folder, name = os.path.split(mailbox)
        if "\0" in mailbox or not folder.startswith("/") or not name:
            return None
        if folder == self.path and len(os.fsencode(name)) <= NAME_MAX:
            return f"{self._way}/{name}"
        return mailbox if len(os.fsencode(mailbox)) + SUFFIX_MAX <= ADDRESS_MAX else None

    def remove(self, mailbox: str) -> None:
        """The files of a mailbox of this folder that nobody reads. What is no socket, or is read after all, stays."""
        way = self.way_to(mailbox)
        if way is None or os.path.dirname(mailbox) != self.path:  # noqa: PTH120  (quick: messages wait)
            return
        for slot in range(SLOTS):
            address = f"{way}{suffix(slot)}"
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.lstat(address).st_mode) and not _answers(address):
                    os.unlink(address)  # noqa: PTH108


class Door:
    """A way to one full mailbox that can be waited for: it is writable (poll, epoll) when the mailbox has room.

    A socket that sends to many has no such notion, so each full mailbox gets one that is connected to it alone.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.socket = datagram_socket()

    def open(self) -> bool:
        """False: there is nobody behind it."""
        try:
            self.socket.connect(self._address)
        except OSError as error:
            if error.errno in GONE | NO_MAILBOX:
                return False
            raise
        return True

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


def is_read(path: str) -> bool:
    """Whether a living process reads the mailbox at this path."""
    try:
        folder = Folder(os.path.dirname(path))  # noqa: PTH120
    except FileNotFoundError:
        return False
    try:
        way = folder.way_to(path)
        return way is not None and _answers(way + suffix(0))
    finally:
        folder.close()


def _answers(address: str) -> bool:
    door = Door(address)
    try:
        return door.open()
    finally:
        door.close()


def suffix(slot: int) -> str:
    return f".{slot}"


def datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.settimeout(0)
    return made
