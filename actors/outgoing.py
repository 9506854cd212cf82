"""What a process sends, and what it holds back because a mailbox is full.

A message that finds no room is held, and everything for the same receiver is held behind it, so the order is kept; only
what is urgent goes before what is not. Each full mailbox has a `Door`, which wakes the process when there is room; then
as much leaves as it takes. When the receiver dies, what is held for it comes back to the sender, all at once.

How much is held is bounded for each receiver, so that one that does not read is in nobody else's way, and for the
process. Past the bound a sender waits (`Waiting`). Who must not wait for a *client*, a process outside of the system,
asks before whether it is *behind*: then it is to get nothing more until it has taken all that is held for it.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from typing import Any

from actors.doors import Door
from actors.mailbox import Mailbox, Put

HELD_MAX = 1_000
HELD_BYTES_MAX = 32 * 1024 * 1024
"""For one actor."""
CLIENT_HELD_MAX = 10_000
CLIENT_HELD_BYTES_MAX = 16 * 1024 * 1024
"""For one client, before it is behind: the answers to a burst of requests, until it begins to read."""
CLIENT_SHARE = 2
"""Twice that is what may be held for a client by those who do not ask."""
ALL_HELD_MAX = 50_000
ALL_HELD_BYTES_MAX = 128 * 1024 * 1024
"""For all receivers together; past it nobody may have more held who has something held already."""
CLIENT_PREFIX = "client-"
"""So begin the names of the mailboxes of those outside."""

Item = tuple[str, bytes, Any]
"""Receiver, payload, and what the sender wants back when its fate is known."""


class Held:
    """What is held for one receiver."""

    __slots__ = ("behind", "door", "is_client", "queue", "size", "urgent")

    def __init__(self, path: str, door: Door) -> None:
        self.door = door
        self.queue: deque[tuple[bytes, Any]] = deque()
        self.urgent = 0
        """So many at the front of the queue are."""
        self.size = 0
        """Bytes."""
        self.is_client = is_client(path)
        self.behind = False
        """It had more held than it may, and has not taken all of it yet."""

    def exceeds(self, share: float) -> bool:
        """More than this share of what may be held for it."""
        if self.is_client:
            share *= CLIENT_SHARE
            return len(self.queue) > CLIENT_HELD_MAX * share or self.size > CLIENT_HELD_BYTES_MAX * share
        return len(self.queue) > HELD_MAX * share or self.size > HELD_BYTES_MAX * share


class Outgoing:
    """The messages that one process holds. May be used by several threads."""

    def __init__(self, mailbox: Mailbox, epoll: select.epoll) -> None:
        self._mailbox = mailbox
        self._epoll = epoll
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self.count = 0
        """Messages held."""
        self.size = 0
        """Bytes held."""

    def close(self) -> None:
        """Forget what is held."""
        for held in self._held.values():
            held.door.close()
        self._held.clear()
        self.count = self.size = 0

    def too_much(self, path: str, share: float = 1.0) -> bool:
        """Whether this receiver must take something before more is held for it."""
        held = self._held.get(path)
        if held is None:
            return False
        return held.exceeds(share) or (self._is_full() and not held.is_client)

    def is_behind(self, path: str) -> bool:
        """Whether a client has read so little that nothing more should be sent to it. Never of an actor."""
        held = self._held.get(path)
        if held is None or not held.is_client:
            return False
        if len(held.queue) >= CLIENT_HELD_MAX or held.size >= CLIENT_HELD_BYTES_MAX or self._is_full():
            held.behind = True
        return held.behind

    def _is_full(self) -> bool:
        return self.count > ALL_HELD_MAX or self.size > ALL_HELD_BYTES_MAX

    def held_for(self, path: str) -> int:
        """Messages."""
        held = self._held.get(path)
        return 0 if held is None else len(held.queue)

    def doors(self) -> dict[int, str]:
        """Descriptor → receiver, of every mailbox that is waited for."""
        if not self._held:
            return {}
        with self._lock:
            return {held.door.fileno(): path for path, held in self._held.items()}

    def clients(self) -> list[str]:
        """For whom something is held."""
        with self._lock:
            return [path for path, held in self._held.items() if held.is_client]

    def items(self) -> list[Item]:
        with self._lock:
            return [(path, payload, token) for path, held in self._held.items() for payload, token in held.queue]

    def send_now(self, path: str, payload: bytes) -> bool:
        """Send if there is room and nothing is held for the receiver. False: nothing was sent."""
        with self._lock:
            return path not in self._held and self._mailbox.put(path, payload) is Put.DONE

    def send(self, path: str, payload: bytes, token: Any, *, is_urgent: bool = False) -> Put:
        """Now, or later: FULL means that the message is held, an urgent one before those that are not."""
        with self._lock:
            put = Put.FULL if path in self._held else self._mailbox.put(path, payload)
            return self._hold(path, payload, token, is_urgent=is_urgent) if put is Put.FULL else put

    def _hold(self, path: str, payload: bytes, token: Any, *, is_urgent: bool) -> Put:
        held = self._held.get(path)
        if held is None:
            door = self._mailbox.door_to(path)
            if door is None:
                return Put.GONE
            held = self._held[path] = Held(path, door)
            self._epoll.register(door, select.EPOLLOUT)
        if is_urgent:
            held.queue.insert(held.urgent, (payload, token))
            held.urgent += 1
        else:
            held.queue.append((payload, token))
        held.size += len(payload)
        self.count += 1
        self.size += len(payload)
        return Put.FULL

    def let_out(self, path: str) -> tuple[list[Any], list[Any]]:
        """Send what is held for a receiver, as far as it has room: the tokens of what left and of what never will."""
        sent: list[Any] = []
        with self._lock:
            held = self._held.get(path)
            if held is None:
                return sent, []
            while held.queue:
                payload, token = held.queue[0]
                put = self._mailbox.put_through(held.door, path, payload)
                if put is Put.FULL:
                    return sent, []
                if put is Put.GONE:
                    break
                held.queue.popleft()
                held.urgent = max(0, held.urgent - 1)
                held.size -= len(payload)
                self.count -= 1
                self.size -= len(payload)
                sent.append(token)
            return sent, self.let_go(path)

    def let_go(self, path: str) -> list[Any]:
        """Hold nothing more for a receiver: the tokens of what was held."""
        with self._lock:
            held = self._held.pop(path, None)
            if held is None:
                return []
            self._epoll.unregister(held.door)
            self._mailbox.give_back(held.door)
            self.count -= len(held.queue)
            self.size -= held.size
            return [token for _, token in held.queue]


def is_client(path: str) -> bool:
    """Whether the mailbox at this path is that of a process outside of the system."""
    return path.rpartition("/")[2].startswith(CLIENT_PREFIX)
