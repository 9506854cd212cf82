"""What has arrived in a process and is not handled yet: mail that was taken out of the mailbox, and what is due inside.

Reading ahead is bounded (`AHEAD_MAX`, `AHEAD_BYTES_MAX`); the rest waits in the mailbox, and so in its senders. A
process that waits to send and is stuck may `widen` the bound, since two that write to each other would wait for ever
else; it is doubled each time, and back at its old value once what was read beyond it is handled.

May be used by several threads; `lock` is held over taking and noting, so that order and content survive that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, PoisonMessage

from actors import wire
from actors.addressing import Envelope, UnixAddress
from actors.mailbox import Mailbox
from messages.urgent import URGENT

AHEAD_MAX = 2_000
AHEAD_BYTES_MAX = 32 * 1024 * 1024
TURN_MAX = 64
"""Messages of one turn: what is held for others, timers and watches must not wait until thousands are handled."""
URGENT_RUN = 32
"""After so many urgent messages one that is not has its turn: a flood of them must not stop everything else."""
KNOWN_SENDERS_MAX = 4_096
SHOWN_MAX = 200
"""Characters of a stranger's name that are worth telling."""


class Inbox:
    """The messages of one process that wait to be handled: urgent ones first, and the oldest first of each kind."""

    def __init__(self, mailbox: Mailbox, own_address: Any) -> None:
        self._mailbox = mailbox
        self._own_address = own_address
        self._urgent: deque[Envelope] = deque()
        self._urgent_in_a_row = 0
        self._waiting: deque[Envelope] = deque()
        self._size = 0
        self._width = 1
        self._senders: dict[str, Any] = {}
        self.lock = threading.RLock()
        self.end_arrived = False
        """Among what has arrived is a request to end; it may be handled already."""

    def __len__(self) -> int:
        return len(self._urgent) + len(self._waiting)

    def messages(self) -> list[Envelope]:
        with self.lock:
            return [*self._urgent, *self._waiting]

    def begin_turn(self) -> int:
        """How many messages to handle before the next look at everything else."""
        if self._width > 1 and self.has_room():
            self._width = 1
        return min(len(self), TURN_MAX)

    def pop(self) -> Envelope:
        """Raises `IndexError` when there is none."""
        with self.lock:
            is_urgents_turn = self._urgent_in_a_row < URGENT_RUN or not self._waiting
            if self._urgent and is_urgents_turn:
                self._urgent_in_a_row += 1
                envelope = self._urgent.popleft()
            else:
                self._urgent_in_a_row = 0
                envelope = self._waiting.popleft()
            self._size -= envelope.size
        return envelope

    def keep(self, message: Any) -> None:
        """A message of this process to itself."""
        with self.lock:
            self._waiting.append(Envelope(self._own_address, message))

    def put_first(self, messages: Iterable[Any]) -> None:
        """Of this process to itself, and before the mail."""
        envelopes = [Envelope(self._own_address, message) for message in messages]
        with self.lock:
            self._waiting.extendleft(reversed(envelopes))

    def has_room(self) -> bool:
        return len(self) < AHEAD_MAX and self._size < AHEAD_BYTES_MAX

    def has_wide_room(self) -> bool:
        """By the bound that may have been widened."""
        return len(self) < AHEAD_MAX * self._width and self._size < AHEAD_BYTES_MAX * self._width

    def widen(self) -> None:
        if not self.has_wide_room():
            self._width *= 2

    def take_in(self) -> None:
        """Take out of the mailbox what has arrived, as far as there is room."""
        with self.lock:
            while len(self) < AHEAD_MAX and self._size < AHEAD_BYTES_MAX:  # `has_room`, once a message
                if (taken := self._mailbox.take()) is None:
                    return
                self._note(*taken)

    def take_in_widely(self) -> None:
        """The same by the bound that may have been widened."""
        with self.lock:
            while self.has_wide_room() and (taken := self._mailbox.take()) is not None:
                self._note(*taken)

    def take_in_from(self, slot: int) -> None:
        """One message of the mailbox's socket whose turn it is, if there is room."""
        with self.lock:
            if self.has_room() and (taken := self._mailbox.take_from(slot)) is not None:
                self._note(*taken)

    def throw_away(self) -> None:
        """Everything, and what is in the mailbox: nobody will handle it."""
        with self.lock:
            while self._mailbox.take() is not None:
                pass
            self._urgent.clear()
            self._waiting.clear()
            self._size = 0

    def _note(self, path: str, payload: bytes | None) -> None:
        sender = self._senders.get(path)
        if sender is None and (sender := self._meet(path)) is None:
            told = f"from {path[:SHOWN_MAX]!r}, which is no mailbox"
            self._waiting.append(Envelope(self._own_address, PoisonMessage(None, told)))
            return
        size = 0 if payload is None else len(payload)
        try:
            message = wire.loads(payload) if payload is not None else PoisonMessage(None, _lost(path))
        except Exception as error:
            message = PoisonMessage(None, f"{size} bytes from {path} cannot be read: {error!r}")
        if isinstance(message, ActorExitRequest):
            self.end_arrived = True
        queue = self._urgent if type(message) in URGENT else self._waiting
        queue.append(Envelope(sender, message, size))
        self._size += size

    def _meet(self, path: str) -> Any:
        """The address of one who has not written before; None for who can be no actor and no client."""
        if not self._mailbox.can_reach(path):
            return None
        if len(self._senders) >= KNOWN_SENDERS_MAX:
            self._senders.clear()
        address = self._senders[path] = ActorAddress(UnixAddress(path))
        return address


def _lost(path: str) -> str:
    return f"a message from {path} is lost: it is damaged, or this process had no free descriptor for it"
