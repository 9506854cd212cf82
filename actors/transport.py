"""thespian's messages over Unix datagram sockets: a private, fast road between the actors of one machine.

Every process of an actor system (the admin, thespian's logger, each actor, each client) has one mailbox: sockets in
one folder that only this user may enter. A message is written down (`wire`), put into the receiver's mailbox by one
system call and taken out by another; there are no connections, no acknowledgements and no listening network sockets.
What thespian asks of a transport, and how this one gives it:

- **Order.** What one process sends to another arrives in the order in which it was sent. The kernel keeps it, and so
  do we: while something is held for a receiver, whatever follows is held behind it.
- **Nothing is dropped.** When a mailbox is full, the message is *held* by its sender and leaves as soon as there is
  room. A sender that holds too much (`Outgoing`) waits inside `send` until half of it has left: the slow hold back the
  fast, and memory stays bounded. While it waits it goes on taking in what arrives, so two that write to each other
  cannot both wait for ever. The admin never waits (thespian demands it); it says little.
- **Reading ahead is bounded** too (`AHEAD_MAX`, `AHEAD_BYTES_MAX`); the rest waits in the mailbox, and so in its
  senders. Only a sender that has waited `STUCK_S` without getting anything out reads past the bound, little by little.
- **The dead are noticed at once.** A message to a process that is gone fails when it is sent, held ones when they would
  have left; thespian makes them dead letters. Names are never used twice, so nothing reaches the wrong actor.
- **To oneself.** What an actor sends to itself is handled after everything that had arrived by then (group commit
  relies on it). It is not written down.
- **File descriptors** that an actor watches are looked at with the mailbox, once a turn; a turn handles what was there
  at its beginning, so neither mail nor watches nor timers starve the others. Timers fire oldest first.
- **Signals** set a flag and wake the process: a child that died, a request to end.
- **Threads** may send; one thread at a time runs `run`, which thespian sees to.

A system's folder is named by the capability `Socket Folder`. Its admin is called `admin`, all others by random names.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import threading
import time
import weakref
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    InvalidActorAddress,
    PoisonMessage,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.addressManager import ActorLocalAddress, CannotPickleAddress
from thespian.system.messages.multiproc import ChildMayHaveDied
from thespian.system.multiprocCommon import multiprocessCommon
from thespian.system.timing import ExpirationTimer
from thespian.system.transport import (
    ExternalInterfaceTransportInit,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitOnly,
)

from actors import wire
from actors.addressing import ADMIN_NAME, Clone, Endpoint, Envelope, UnixAddress, address_of
from actors.mailbox import Mailbox, Put, discard, is_read
from actors.outgoing import Outgoing
from messages import Message

FOLDER_CAPABILITY = "Socket Folder"
AHEAD_MAX = 2_000
AHEAD_BYTES_MAX = 32 * 1024 * 1024
STUCK_S = 1.0
STUCK_BATCH = 64
DRAIN_S = 7.0
"""How long an ending process tries to get out what it holds; thespian's own limit for its transports."""
KNOWN_SENDERS_MAX = 4_096

_open_transports: weakref.WeakSet[UnixTransport] = weakref.WeakSet()


class UnixTransport:
    """One process's end of the road. The methods in camel case are thespian's."""

    def __init__(self, kind: Any, *args: Any) -> None:
        mine = None
        if isinstance(kind, ExternalInterfaceTransportInit):
            self._adminAddr = self.getAdminAddr(args[0])
        elif isinstance(kind, Endpoint):
            self._adminAddr, mine = kind.admin, kind.address
        else:
            self._adminAddr = kind.admin
        admin = Path(self._adminAddr.addressDetails.path)
        self._mailbox = Mailbox.fresh(admin.parent) if mine is None else Mailbox(Path(mine.addressDetails.path))
        self._path = self._mailbox.path
        self.myAddress = ActorAddress(UnixAddress(self._path))
        self._lock = threading.RLock()
        self._may_wait = True
        self._inbox: deque[Envelope] = deque()
        self._ahead_bytes = 0
        self._turn = 0
        self._just_looked = False
        self._senders: dict[str, Any] = {}
        self._timers: list[tuple[float, int, ExpirationTimer, Any]] = []
        self._numbers = itertools.count()
        self._watched: list[int] = []
        self._children_died = self._end_requested = False
        self._ended = self._drains = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._outgoing = Outgoing(self._mailbox, self._epoll)
        self._slots = frozenset(self._mailbox.descriptors())
        for slot in self._slots:
            self._epoll.register(slot, select.EPOLLIN)
        self._epoll.register(self._bell, select.EPOLLIN)
        _open_transports.add(self)

    def close(self) -> None:
        """Give the mailbox up, with what is in it and what is held. Harmless when that is done already."""
        _open_transports.discard(self)
        self._mailbox.close()
        self._outgoing.close()
        self._epoll.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    # ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def getAdminAddr(capabilities: Any) -> Any:
        """Raises `InvalidActorAddress` when the capabilities name no folder."""
        folder = capabilities.get(FOLDER_CAPABILITY)
        if not folder:
            raise InvalidActorAddress(folder, f"this base needs the capability {FOLDER_CAPABILITY!r}, a private folder")
        return address_of(Path(folder) / ADMIN_NAME)

    @staticmethod
    def getAddressFromString(text: str) -> Any:
        return address_of(Path(text))

    @staticmethod
    def probeAdmin(address: Any) -> bool:
        return is_read(address.addressDetails.path)

    def external_transport_clone(self) -> UnixTransport:
        return UnixTransport(Clone(self._adminAddr))

    def prepEndpoint(self, assigned: Any, _capabilities: Any) -> Endpoint:
        details = assigned.addressDetails
        if isinstance(details, ActorLocalAddress):
            return Endpoint(details.addressInstanceNum, None, self.myAddress, self._adminAddr)
        return Endpoint(None, assigned, self.myAddress, self._adminAddr)

    def connectEndpoint(self, _endpoint: Endpoint) -> None:
        """The child says by itself where it is."""

    def childResetFileNumList(self) -> list[int]:
        """None: a forked child has closed its copy of the mailbox already, in a way that Python knows of."""
        return []

    def protectedFileNumList(self) -> list[int]:
        return [self._mailbox.fileno(), self._bell, self._epoll.fileno()]

    def setAddressManager(self, _manager: Any) -> None:
        """Comes with every message anyway."""

    def enableRXPauseFlowControl(self, enable: bool = True) -> None:
        self._may_wait = enable

    def deadAddress(self, manager: Any, child: Any) -> None:
        """A child has ended: nobody will read what is held for it."""
        known = manager.exportAddr(child)
        if isinstance(details := getattr(known, "addressDetails", None), UnixAddress):
            discard(details.path)
            self._finish(self._outgoing.let_go(details.path), SendStatus.DeadTarget)

    def _updateStatusResponse(self, response: Any) -> None:
        with self._lock:
            for _, _, intent in self._outgoing.items():
                response.addPendingMessage(self.myAddress, intent.targetAddr, intent.message)
            for envelope in self._inbox:
                response.addReceivedMessage(envelope.sender, self.myAddress, envelope.message)
            response.addWakeups([(self.myAddress, timer) for _, _, timer, _ in sorted(self._timers)])

    # ── sending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def post(self, target: Any, message: Any) -> bool:
        """Send without thespian's bookkeeping, if that can be done at once. False: nothing was sent or held."""
        details = target.addressDetails
        if type(details) is not UnixAddress:
            return False
        if details.path == self._path:
            self._keep(message)
            return True
        if not isinstance(message, Message):
            return False
        try:
            payload = wire.dumps(message)
        except Exception:
            return False  # thespian's way knows what to do about it
        return self._outgoing.send_now(details.path, payload)

    def scheduleTransmit(self, manager: Any, intent: Any, has_exclusive_flag: bool = False) -> None:  # noqa: ARG002
        """Send, or hold until there is room. Raises what pickling the message raises."""
        if manager is not None:
            target, message = manager.prepMessageSend(intent.targetAddr, intent.message)
            if message is SendStatus.DeadTarget:  # news for the dead about the dead
                intent.tx_done(SendStatus.Sent)
                return
            if target is None:
                raise CannotPickleAddress(intent.targetAddr)
            intent.changeTargetAddr(target)
            intent.changeMessage(message)
        if isinstance(intent.message, Thespian__UpdateWork):
            intent.tx_done(SendStatus.Sent)
            self._ring()
            return
        path = intent.targetAddr.addressDetails.path
        if path == self._path:
            self._keep(intent.message)
            intent.tx_done(SendStatus.Sent)
        else:
            self._send(path, wire.dumps(intent.message), intent)

    def _keep(self, message: Any) -> None:
        """A message to ourselves: behind everything that has arrived."""
        self._take_in(AHEAD_MAX)
        with self._lock:
            self._inbox.append(Envelope(self.myAddress, message))
        if threading.current_thread() is not threading.main_thread():
            self._ring()

    def _send(self, path: str, payload: bytes, intent: Any) -> None:
        put = self._outgoing.send(path, payload, intent)
        if put is Put.DONE:
            intent.tx_done(SendStatus.Sent)
        elif put is Put.GONE:
            intent.tx_done(SendStatus.DeadTarget)
        elif self._outgoing.too_much() and self._may_wait:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Until half of what may be held is held. A request to end cuts it short: then more is held than allowed."""
        moved_s = time.monotonic()
        while self._outgoing.too_much(0.5) and not self._end_requested:
            before = self._outgoing.count
            stuck = time.monotonic() - moved_s > STUCK_S
            self._wait_once(STUCK_S, past_bound=STUCK_BATCH if stuck else 0)
            if self._outgoing.count < before or stuck:
                moved_s = time.monotonic()

    def _wait_once(self, timeout_s: float, past_bound: int = 0) -> None:
        """Until a held message can leave or mail can be taken in, at most `timeout_s`; then do what can be done."""
        bound = max(AHEAD_MAX, len(self._inbox) + past_bound) if past_bound else AHEAD_MAX
        poll = select.poll()
        doors = self._outgoing.doors()
        for descriptor in doors:
            poll.register(descriptor, select.POLLOUT)
        if self._has_room(bound):
            poll.register(self._mailbox, select.POLLIN)
        poll.poll(timeout_s * 1_000)
        self._take_in(bound)
        if threading.current_thread() is not threading.main_thread():
            self._ring()
        for path in doors.values():
            self._let_out(path)

    def _let_out(self, path: str) -> None:
        sent, lost = self._outgoing.let_out(path)
        self._finish(sent, SendStatus.Sent)
        self._finish(lost, SendStatus.DeadTarget)

    @staticmethod
    def _finish(intents: list[Any], status: Any) -> None:
        for intent in intents:
            intent.tx_done(status)

    # ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, handler: Any, maximumDuration: timedelta | None = None) -> Any:
        """thespian's main loop: messages to `handler` until it returns something false; without one, the next message.

        With `TransmitOnly`: send what is held and return how many messages are left.
        """
        until = None if maximumDuration is None else time.monotonic() + maximumDuration.total_seconds()
        if handler is TransmitOnly or isinstance(handler, TransmitOnly):
            self._ended = False
            return self._drain(until)
        while not self._ended:
            envelope = self._next(until)
            if envelope is None:
                break
            if handler is None:
                return envelope
            result = handler(envelope)
            if not result:
                return Thespian__Run_HandlerResult(result)
        if not self._ended:
            return Thespian__Run_Expired()
        self._ended = False
        if self._drains:
            self._drain(time.monotonic() + DRAIN_S)
        return Thespian__Run_Terminated()

    def abort_run(self, drain: bool = False) -> None:
        self._ended, self._drains = True, drain
        self._ring()

    def _drain(self, until: float | None) -> int:
        while self._outgoing.count:
            left = STUCK_S if until is None else until - time.monotonic()
            self._wait_once(min(max(left, 0), STUCK_S))
            if left <= 0:
                break
        return self._outgoing.count

    def _next(self, until: float | None) -> Envelope | None:
        """The next message, waited for; None when the time is over or the run was aborted."""
        looked = False
        while not self._ended:
            envelope = self._signal()
            if envelope is None:  # no `or`: an envelope is false to thespian
                envelope = self._mail()
            if envelope is not None:
                return envelope
            if looked and not self._inbox and until is not None and time.monotonic() >= until:
                return None
            self._look(self._time_left(until))
            looked = True
        return None

    def _signal(self) -> Envelope | None:
        if self._children_died:
            self._children_died = False
            return Envelope(self.myAddress, ChildMayHaveDied())
        if self._end_requested:
            self._end_requested = False
            return Envelope(self.myAddress, ActorExitRequest())
        return None

    def _mail(self) -> Envelope | None:
        """The next message of this turn."""
        if self._turn == 0:
            return None
        if not self._just_looked:
            self._take_in(AHEAD_MAX)  # a mailbox is small: while we are busy it must not fill up and stop its senders
        with self._lock:
            self._just_looked = False
            self._turn -= 1
            envelope = self._inbox.popleft()
            self._ahead_bytes -= envelope.size
        return envelope

    def _time_left(self, until: float | None) -> float:
        """Seconds to wait for mail; -1: for ever."""
        if self._inbox:
            return 0
        times = [self._timers[0][0]] if self._timers else []
        if until is not None:
            times.append(until)
        return max(min(times) - time.monotonic(), 0) if times else -1

    def _look(self, wait_s: float) -> None:
        """Begin a turn: see what has arrived, what can leave, and which watched descriptors are ready."""
        ready: list[int] = []
        doors = self._outgoing.doors()
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor in self._slots:
                if self._has_room(AHEAD_MAX) and (taken := self._mailbox.take_from(descriptor)) is not None:
                    self._admit(*taken)
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif descriptor in doors:
                self._let_out(doors[descriptor])
            elif descriptor in self._watched:
                ready.append(descriptor)
        with self._lock:
            if ready:
                self._inbox.append(Envelope(self.myAddress, WatchMessage(ready)))
            self._inbox.extendleft(reversed(self._due_timers()))
            self._turn, self._just_looked = len(self._inbox), True

    def _due_timers(self) -> list[Envelope]:
        """The oldest first."""
        now_s, due = time.monotonic(), []
        while self._timers and self._timers[0][0] <= now_s:
            _, _, timer, payload = heapq.heappop(self._timers)
            due.append(Envelope(self.myAddress, WakeupMessage(timer.duration, payload)))
        return due

    def _has_room(self, bound: int) -> bool:
        return len(self._inbox) < bound and self._ahead_bytes < AHEAD_BYTES_MAX

    def _take_in(self, bound: int) -> None:
        """Move what has arrived from the mailbox to the inbox."""
        with self._lock:
            while self._has_room(bound) and (taken := self._mailbox.take()) is not None:
                self._admit(*taken)

    def _admit(self, path: str, payload: bytes) -> None:
        try:
            message = wire.loads(payload)
        except Exception as error:
            message = PoisonMessage(None, f"{len(payload)} bytes from {path} cannot be read: {error!r}")
        with self._lock:
            self._inbox.append(Envelope(self._sender(path), message, len(payload)))
            self._ahead_bytes += len(payload)

    def _sender(self, path: str) -> Any:
        address = self._senders.get(path)
        if address is None:
            if len(self._senders) >= KNOWN_SENDERS_MAX:
                self._senders.clear()
            address = self._senders[path] = ActorAddress(UnixAddress(path))
        return address

    # ── timers, watches, signals ──────────────────────────────────────────────────────────────────────────────────

    def addWakeup(self, period: timedelta, payload: Any) -> None:
        due = time.monotonic() + period.total_seconds()
        with self._lock:
            heapq.heappush(self._timers, (due, next(self._numbers), ExpirationTimer(period), payload))
        if threading.current_thread() is not threading.main_thread():
            self._ring()

    def set_watch(self, descriptors: list[int]) -> None:
        """Watch exactly these for something to read. A descriptor that cannot be watched is left out."""
        if descriptors == self._watched:
            return
        for descriptor in set(self._watched) - set(descriptors):
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(descriptor)
        for descriptor in set(descriptors) - set(self._watched):
            with contextlib.suppress(OSError, ValueError):
                self._epoll.register(descriptor, select.EPOLLIN)
        self._watched = list(descriptors)

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:
        """Called by signal handlers, so it takes no lock."""
        self._end_requested |= signal_shutdown
        self._children_died |= check_children
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it rings already, or is gone
            os.eventfd_write(self._bell, 1)


class ActorSystemBase(multiprocessCommon):  # type: ignore[misc]
    """The system base, in the form that thespian expects of a base module."""

    transportType = UnixTransport

    def __init__(self, system: Any, logDefs: Any = None) -> None:
        system.capabilities["Thespian ActorSystem Name"] = "intentd Unix datagrams"
        system.capabilities["Thespian ActorSystem Version"] = 1
        system.capabilities["Thespian Watch Supported"] = True
        super().__init__(system, logDefs)


def _close_inherited() -> None:
    """In a forked child: an open copy of its parent's mailbox would keep a dead parent's address alive."""
    for transport in list(_open_transports):
        transport.close()


os.register_at_fork(after_in_child=_close_inherited)
