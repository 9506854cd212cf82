"""What a process sends, and what it holds back because a mailbox is full.

A message that finds no room is held, and everything for the same receiver is held behind it, so the order is kept. Each
full mailbox has a `Door`, which wakes the process when there is room; then as much leaves as it takes. When the
receiver dies, what is held for it comes back to the sender, all at once.

How much may be held is a bound for the whole process. It is the sender who keeps it: see `UnixTransport`.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from typing import Any

from actors.mailbox import Door, Mailbox, Put

HELD_MAX = 1_000
HELD_BYTES_MAX = 32 * 1024 * 1024

Item = tuple[str, bytes, Any]
"""Receiver, payload, and what the sender wants back when its fate is known."""


class Outgoing:
    """The messages that one process holds. May be used by several threads."""

    def __init__(self, mailbox: Mailbox, epoll: select.epoll) -> None:
        self._mailbox = mailbox
        self._epoll = epoll
        self._lock = threading.RLock()
        self._held: dict[str, deque[tuple[bytes, Any]]] = {}
        self._doors: dict[str, Door] = {}
        self.count = 0
        """Messages held."""
        self.size = 0
        """Bytes held."""

    def close(self) -> None:
        """Forget what is held."""
        for door in self._doors.values():
            door.close()
        self._doors.clear()
        self._held.clear()
        self.count = self.size = 0

    def too_much(self, share: float = 1.0) -> bool:
        """Whether more than this share of what may be held is held."""
        return self.count > HELD_MAX * share or self.size > HELD_BYTES_MAX * share

    def doors(self) -> dict[int, str]:
        """Descriptor → receiver, of every mailbox that is waited for."""
        with self._lock:
            return {door.fileno(): path for path, door in self._doors.items()} if self._doors else {}

    def items(self) -> list[Item]:
        with self._lock:
            return [(path, payload, token) for path, queue in self._held.items() for payload, token in queue]

    def send_now(self, path: str, payload: bytes) -> bool:
        """Send if there is room and nothing is held for the receiver. False: nothing was sent."""
        with self._lock:
            return path not in self._held and self._mailbox.put(path, payload) is Put.DONE

    def send(self, path: str, payload: bytes, token: Any) -> Put:
        """Now, or later: FULL means that the message is held."""
        with self._lock:
            put = Put.FULL if path in self._held else self._mailbox.put(path, payload)
            return self._hold(path, payload, token) if put is Put.FULL else put

    def _hold(self, path: str, payload: bytes, token: Any) -> Put:
        if path not in self._held:
            door = self._mailbox.door_to(path)
            if not door.open():
                door.close()
                return Put.GONE
            self._held[path], self._doors[path] = deque(), door
            self._epoll.register(door, select.EPOLLOUT)
        self._held[path].append((payload, token))
        self.count += 1
        self.size += len(payload)
        return Put.FULL

    def let_out(self, path: str) -> tuple[list[Any], list[Any]]:
        """Send what is held for a receiver, as far as it has room: the tokens of what left and of what never will."""
        sent: list[Any] = []
        with self._lock:
            queue, door = self._held.get(path), self._doors.get(path)
            if queue is None or door is None:
                return sent, []
            while queue:
                payload, token = queue[0]
                put = self._mailbox.put_through(door, payload)
                if put is Put.FULL:
                    return sent, []
                if put is Put.GONE:
                    break
                queue.popleft()
                self.count -= 1
                self.size -= len(payload)
                sent.append(token)
            return sent, self.let_go(path)

    def let_go(self, path: str) -> list[Any]:
        """Hold nothing more for a receiver: the tokens of what was held."""
        with self._lock:
            left, door = self._held.pop(path, ()), self._doors.pop(path, None)
            if door is not None:
                self._epoll.unregister(door)
                door.close()
            self.count -= len(left)
            self.size -= sum(len(payload) for payload, _ in left)
            return [token for _, token in left]
