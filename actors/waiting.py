"""A full receiver holds its senders back: how a process waits for room, and what it goes on doing meanwhile.

- It waits for one receiver, until half of what may be held for it is held. Who has room is not waited for.
- It goes on taking in what arrives and sending what can leave. One that is stuck, for `STUCK_S` without getting
  anything out to the receiver and with its inbox full, widens the inbox: so two that write to each other cannot both
  wait for ever, and no flood crawls.
- It tells that it lives (`while_waiting`), for it does not answer anybody: who waits for one that hangs does not hang.
- A request to end ends the waiting, and all waiting after it: then more is held than allowed, until it has ended.
- The end: what is held is sent for `DRAIN_S` at most, to clients for `CLIENT_DRAIN_S`; what arrives is thrown away.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from thespian.system.transport import SendStatus

from actors.inbox import Inbox
from actors.mailbox import Mailbox
from actors.outgoing import Outgoing

STUCK_S = 0.5
DRAIN_S = 7.0
"""How long an ending process tries to get out what it holds; thespian's own limit for its transports."""
CLIENT_DRAIN_S = 1.0


class Waiting:
    """What one process does while it cannot send."""

    def __init__(self, mailbox: Mailbox, inbox: Inbox, outgoing: Outgoing, mail_came: Callable[[], None]) -> None:
        self._mailbox = mailbox
        self._inbox = inbox
        self._outgoing = outgoing
        self._mail_came = mail_came
        self._told_s = 0.0
        self._ends_s: float | None = None
        self.ending = False
        """This process was asked to end, by a signal, or has ended all but its sending."""
        self.while_waiting: Callable[[], None] | None = None
        """Called now and then by a process that waits for room; it must not wait itself."""

    @property
    def is_over(self) -> bool:
        return self.ending or self._inbox.end_arrived

    def for_room(self, path: str) -> None:
        """Until half of what may be held for a receiver is held, or this process is to end."""
        moved_s = time.monotonic()
        while self._outgoing.too_much(path, 0.5) and not self.is_over:
            moved_s = self._press_on(STUCK_S, moved_s, lambda: self._outgoing.held_for(path))
            if self.while_waiting is not None and time.monotonic() - self._told_s >= STUCK_S:
                self._told_s = time.monotonic()
                self.while_waiting()

    def _press_on(self, timeout_s: float, moved_s: float, held: Callable[[], int]) -> float:
        """Do what can be done, once; if nothing has left for too long, read ahead further. Returns when it last did."""
        before = held()
        self.once(timeout_s)
        now_s = time.monotonic()
        if held() < before:
            return now_s
        if now_s - moved_s < STUCK_S:
            return moved_s
        self._inbox.widen()
        return now_s

    def once(self, timeout_s: float) -> None:
        """Until a held message can leave or mail can be taken in, at most `timeout_s`; then do what can be done."""
        poll = select.poll()
        doors = self._outgoing.doors()
        for descriptor in doors:
            poll.register(descriptor, select.POLLOUT)
        if self._inbox.has_wide_room():
            poll.register(self._mailbox, select.POLLIN)
        poll.poll(timeout_s * 1_000)
        self._inbox.take_in_widely()
        self._mail_came()
        for path in doors.values():
            self.let_out(path)

    def let_out(self, path: str) -> None:
        """What is held for a receiver, as far as it has room."""
        sent, lost = self._outgoing.let_out(path)
        finish(sent, SendStatus.Sent)
        finish(lost, SendStatus.DeadTarget)

    def drain(self, until_s: float | None) -> int:
        """Send what is held, until a point in time; returns how many messages are left."""
        moved_s = time.monotonic()
        while self._outgoing.count:
            left_s = STUCK_S if until_s is None else until_s - time.monotonic()
            moved_s = self._press_on(min(max(left_s, 0), STUCK_S), moved_s, lambda: self._outgoing.count)
            if left_s <= 0:
                break
        return self._outgoing.count

    def drain_last(self) -> int:
        """The same before this process ends, for the time that it has for that in all. Returns 0."""
        self.ending = True
        begun_s = time.monotonic()
        self._ends_s = self._ends_s or begun_s + DRAIN_S
        while self._outgoing.count and (left_s := self._ends_s - time.monotonic()) > 0:
            self._inbox.throw_away()
            self.once(min(left_s, STUCK_S))
            if time.monotonic() - begun_s > CLIENT_DRAIN_S:
                self._give_up(self._outgoing.clients())
        self._give_up(list(self._outgoing.doors().values()))
        return 0

    def _give_up(self, paths: list[str]) -> None:
        for path in paths:
            finish(self._outgoing.let_go(path), SendStatus.Failed)


def finish(intents: list[Any], status: Any) -> None:
    """Tell of each message what became of it."""
    for intent in intents:
        intent.tx_done(status)
