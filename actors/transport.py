"""thespian's messages over Unix datagram sockets: a private, fast road between the actors of one machine.

Every process of an actor system (the admin, thespian's logger, each actor, each client) has one mailbox: sockets in
one folder that only this user may enter. A message is written down (`wire`), put into the receiver's mailbox by one
system call and taken out by another; there are no connections, no acknowledgements and no listening network sockets.
What thespian asks of a transport, and how this one gives it:

- **Order.** What one process sends to another arrives in the order in which it was sent. The kernel keeps it, and so
  do we: while something is held for a receiver, whatever follows is held behind it. Only cancels and halts
  (`messages/urgent.py`) overtake everything else, among what is held and in the inbox.
- **Between actors nothing is dropped.** When a mailbox is full, the message is *held* by its sender (`Outgoing`) and
  leaves as soon as there is room. A sender that holds too much for one receiver waits inside `send` (`Waiting`): the
  slow hold back the fast, and memory stays bounded. The admin never waits (thespian demands it); it says little.
- **Clients**, the processes outside of the system, need not be waited for: `is_behind` tells whether one reads so
  little that it is better to drop what it was to get. An actor that asks before each message never waits for one.
- **Reading ahead is bounded** (`Inbox`); the rest waits in the mailbox, and so in its senders.
- **The dead are noticed at once.** A message to a process that is gone fails when it is sent, held ones when they would
  have left; thespian makes them dead letters. Names are never used twice, so nothing reaches the wrong actor.
- **To oneself.** What an actor sends to itself is handled after everything that had arrived by then and that it may
  read ahead (group commit relies on it: the mark that ends a batch comes after the requests). It is not written down.
- **File descriptors** that an actor watches are looked at with the mailbox, once a turn; a turn handles what was there
  at its beginning, some dozens of messages at most, so neither mail nor watches nor timers nor what is held starve the
  others. Timers and watches come first in a turn, the oldest timer before all.
- **Signals** set a flag and wake the process: a child that died, a request to end.
- **Threads** may send and set timers; one thread at a time runs `run`, which thespian sees to.

A system's folder is named by the capability `Socket Folder`. Its admin is called `admin`, clients `client-…`, all
others by random names.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, InvalidActorAddress, WatchMessage
from thespian.system.addressManager import ActorLocalAddress, CannotPickleAddress
from thespian.system.messages.multiproc import ChildMayHaveDied
from thespian.system.multiprocCommon import multiprocessCommon
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
from actors.doors import is_read
from actors.inbox import Inbox
from actors.mailbox import Mailbox, Put
from actors.outgoing import CLIENT_PREFIX, Outgoing
from actors.waiting import Waiting, finish
from actors.watches import Timers, Watches
from messages import Message
from messages.urgent import URGENT

FOLDER_CAPABILITY = "Socket Folder"

_open_transports: weakref.WeakSet[UnixTransport] = weakref.WeakSet()


class UnixTransport:
    """One process's end of the road. The methods in camel case are thespian's."""

    def __init__(self, kind: Any, *args: Any) -> None:
        mine, prefix = None, CLIENT_PREFIX
        if isinstance(kind, ExternalInterfaceTransportInit):
            self._adminAddr = self.getAdminAddr(args[0])
        elif isinstance(kind, Endpoint):
            self._adminAddr, mine, prefix = kind.admin, kind.address, ""
        else:
            self._adminAddr = kind.admin
        folder = Path(self._adminAddr.addressDetails.path).parent
        self._mailbox = Mailbox.fresh(folder, prefix) if mine is None else Mailbox(Path(mine.addressDetails.path))
        self._path = self._mailbox.path
        self.myAddress = ActorAddress(UnixAddress(self._path))
        self._may_wait = True
        self._turn = 0
        self._just_looked = False
        self._children_died = self._end_requested = False
        self._ended = self._drains = False
        self._runner: int | None = None
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._inbox = Inbox(self._mailbox, self.myAddress)
        self._outgoing = Outgoing(self._mailbox, self._epoll)
        self._waiting = Waiting(self._mailbox, self._inbox, self._outgoing, self._tell_runner)
        self._timers, self._watches = Timers(), Watches(self._epoll)
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
            self._mailbox.remove_dead(details.path)
            finish(self._outgoing.let_go(details.path), SendStatus.DeadTarget)

    def _updateStatusResponse(self, response: Any) -> None:
        for _, _, intent in self._outgoing.items():
            response.addPendingMessage(self.myAddress, intent.targetAddr, intent.message)
        for envelope in self._inbox.messages():
            response.addReceivedMessage(envelope.sender, self.myAddress, envelope.message)
        response.addWakeups([(self.myAddress, timer) for timer in self._timers.pending()])

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
            self._send(path, wire.dumps(intent.message), intent, is_urgent=type(intent.message) in URGENT)

    def is_behind(self, client: Any) -> bool:
        """Whether a client reads so little that it should get nothing more until it has taken what is held for it."""
        details = client.addressDetails
        return type(details) is UnixAddress and self._outgoing.is_behind(details.path)

    def call_while_waiting(self, told: Callable[[], None]) -> None:
        """`told` is called now and then while a `send` waits for room; it must not wait itself."""
        self._waiting.while_waiting = told

    def _keep(self, message: Any) -> None:
        """A message to ourselves: behind everything that has arrived."""
        self._inbox.take_in()
        self._inbox.keep(message)
        self._tell_runner()

    def _send(self, path: str, payload: bytes, intent: Any, *, is_urgent: bool) -> None:
        put = self._outgoing.send(path, payload, intent, is_urgent=is_urgent)
        if put is Put.DONE:
            intent.tx_done(SendStatus.Sent)
        elif put is Put.GONE:
            intent.tx_done(SendStatus.DeadTarget)
        elif self._may_wait and self._outgoing.too_much(path):
            self._waiting.for_room(path)

    # ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, handler: Any, maximumDuration: timedelta | None = None) -> Any:
        """thespian's main loop: messages to `handler` until it returns something false; without one, the next message.

        With `TransmitOnly`: send what is held and return how many messages are left.
        """
        until = None if maximumDuration is None else time.monotonic() + maximumDuration.total_seconds()
        if handler is TransmitOnly or isinstance(handler, TransmitOnly):
            self._ended = False
            return self._waiting.drain_last() if self._waiting.ending else self._waiting.drain(until)
        self._runner = threading.get_ident()
        try:
            return self._run(handler, until)
        finally:
            self._runner = None

    def _run(self, handler: Any, until: float | None) -> Any:
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
            self._waiting.drain_last()
        return Thespian__Run_Terminated()

    def abort_run(self, drain: bool = False) -> None:
        """The run that is going on, or the next one, ends. With `drain` it is the last one of this process."""
        self._ended, self._drains = True, drain
        self._ring()

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
            self._inbox.take_in()  # a mailbox is small: while we are busy it must not fill up and stop its senders
        self._just_looked = False
        self._turn -= 1
        return self._inbox.pop()

    def _time_left(self, until: float | None) -> float:
        """Seconds to wait for mail; -1: for ever."""
        if self._inbox:
            return 0
        due = self._timers.next_s()
        if due is None or (until is not None and until < due):
            due = until
        return -1 if due is None else max(due - time.monotonic(), 0)

    def _look(self, wait_s: float) -> None:
        """Begin a turn: see what has arrived, what can leave, and which watched descriptors are ready."""
        ready: list[int] = []
        doors = self._outgoing.doors()
        if self._watches.may_be_closed:
            self._watches.look_again()
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor in self._slots:
                self._inbox.take_in_from(descriptor)
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif descriptor in doors:
                self._waiting.let_out(doors[descriptor])
            elif descriptor in self._watches:
                ready.append(descriptor)
        if ready:
            self._inbox.put_first([WatchMessage(ready)])
        if self._timers and (due := self._timers.pop_due()):
            self._inbox.put_first(due)
        self._turn, self._just_looked = self._inbox.begin_turn(), True

    # ── timers, watches, signals ──────────────────────────────────────────────────────────────────────────────────

    def addWakeup(self, period: timedelta, payload: Any) -> None:
        self._timers.add(period, payload)
        self._tell_runner()

    def set_watch(self, descriptors: list[int]) -> None:
        """Watch exactly these for something to read. A descriptor that cannot be watched is left out."""
        self._watches.set(descriptors)

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:
        """Called by signal handlers, so it takes no lock."""
        if signal_shutdown:
            self._end_requested = self._waiting.ending = True
        self._children_died |= check_children
        self._ring()

    def _tell_runner(self) -> None:
        """Another thread may sleep in `run`; what it has to do has changed."""
        if self._runner is not None and self._runner != threading.get_ident():
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
