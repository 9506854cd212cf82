"""The machine on which the daemon runs: processes with a mailbox each, and what may become of them.

A process handles one message after the other and is busy meanwhile, so messages pile up and are committed together. It
may be killed between two messages, or in the middle of one: at its k-th *touch* of the world outside (a message that
leaves, a commit before and after). Then its memory, its mailbox and its open transaction are gone; what was committed
and what has left stays. It may also be stopped and go on later, as with SIGSTOP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from thespian.actors import ActorExitRequest, ChildActorExited, WakeupMessage

from actors import wire
from tests.simulation.scheduler import NS_PER_MS, NS_PER_US, Scheduler
from tests.simulation.trace import Trace, shown

SERVICE_NS = (20 * NS_PER_US, 150 * NS_PER_US)
"""Handling one message takes so long."""
BURIAL_NS = (NS_PER_MS, 20 * NS_PER_MS)
"""A parent hears of its child's end after so long."""


class Killed(BaseException):
    """A process ends here, in the middle of whatever it does. Nothing in an actor catches it."""


class Address:
    """Where a process is. Never used again; like thespian's, it can be compared and sent, not hashed."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"


class Receiver(Protocol):
    """What runs in a process: an actor, or a hand-written one."""

    def receiveMessage(self, message: Any, sender: Any) -> Any: ...  # noqa: N802  (thespian's name)


class Transaction(Protocol):
    """One that is open in the book."""

    def abort(self) -> None: ...


class Process:
    """One process. Made by `Machine.spawn`."""

    def __init__(self, machine: Machine, address: Address, parent: Process | None) -> None:
        self.machine = machine
        self.address = address
        self.parent = parent
        self.actor: Receiver
        self.is_alive = True
        self.is_stopped = self.was_stopped = False
        self.children: list[Process] = []
        self.on_end: list[Callable[[], None]] = []
        """What the operating system cleans up behind it."""
        self.writes_book = False
        self.is_part = False
        """Of the daemon; else it is a client or the launcher."""
        self.handling = False
        self._touches_left: int | None = None
        self._inbox: deque[tuple[Any, Any]] = deque()
        self._busy_until_ns = 0
        self._is_awaited = False

    @property
    def name(self) -> str:
        return self.address.name

    def arrive(self, message: Any, sender: Any) -> None:
        """Something is in its mailbox: bytes from the road, or a message of thespian's own."""
        if self.is_alive:
            self._inbox.append((message, sender))
            self.attend()

    def attend(self) -> None:
        """Handle what waits, as soon as it is free."""
        if self._is_awaited or self.handling or self.is_stopped or not self.is_alive or not self._inbox:
            return
        scheduler = self.machine.scheduler
        if self._busy_until_ns <= scheduler.now_ns:
            self._work()
        else:
            self._is_awaited = True
            scheduler.at(self._busy_until_ns, self._due)

    def _due(self) -> None:
        self._is_awaited = False
        self.attend()

    def _work(self) -> None:
        machine = self.machine
        if self.writes_book and machine.is_locked_for(self):
            return  # it is attended to when the lock is free
        content, sender = self._inbox.popleft()
        message = wire.loads(content) if isinstance(content, bytes) else content
        if machine.trace.on:
            machine.trace.note(str(self.address), f"⇠ {shown(message)} from {sender}")
        self.handling = True
        try:
            machine.before_handling(self, message)
            self.actor.receiveMessage(message, sender)
            if self._touches_left is not None:
                raise Killed("at the end of a step")
        except Killed as end:
            machine.bury(self, str(end))
            return
        finally:
            self.handling = False
        if isinstance(message, ActorExitRequest):
            machine.bury(self, "exit")
            return
        self._busy_until_ns = machine.scheduler.now_ns + machine.random.randint(*SERVICE_NS)
        self.attend()

    def doom(self, touches: int) -> None:
        """Let it die at this touch of the world, counted from now; 0: at the end of what it is doing."""
        self._touches_left = touches

    def touch(self, what: str) -> None:
        """Something is about to leave the process, or has. Raises `Killed` if this is its end."""
        if self._touches_left:
            self._touches_left -= 1
            if self._touches_left == 0:
                raise Killed(what)


class Machine:
    """All processes, by number."""

    def __init__(self, scheduler: Scheduler, random: Random, trace: Trace) -> None:
        self.scheduler = scheduler
        self.random = random
        self.trace = trace
        self.processes: dict[int, Process] = {}
        self.deaths = 0
        self.writer: Process | None = None
        """Who has a write transaction open: LMDB has one at a time, others wait."""
        self.transaction: Transaction | None = None
        self.before_handling: Callable[[Process, Any], None] = lambda _process, _message: None
        self._numbers = 0

    def spawn(self, name: str, make: Callable[[Process], Receiver], parent: Process | None = None) -> Process:
        """A new process; `make` makes what runs in it."""
        self._numbers += 1
        process = Process(self, Address(name, self._numbers), parent)
        self.processes[self._numbers] = process
        process.actor = make(process)
        if parent is not None:
            parent.children.append(process)
        return process

    def at(self, address: Any) -> Process | None:
        """Who lives there."""
        process = self.processes.get(address.number)
        return process if process is not None and process.is_alive else None

    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if process.is_alive]

    def wake_after(self, process: Process, delay_ns: int, payload: Any) -> None:
        delay_ns = max(delay_ns, 0)
        wakeup = WakeupMessage(delay_ns, payload)
        self.scheduler.after(delay_ns, lambda: process.arrive(wakeup, process.address))

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def kill(self, process: Process, why: str) -> None:
        """At once. Not for the one that is just handling something: that one is doomed."""
        if process.is_alive:
            assert not process.handling
            self.bury(process, why)

    def bury(self, process: Process, why: str) -> None:
        process.is_alive = False
        self.deaths += 1
        if self.trace.on:
            self.trace.note(str(process.address), f"☠ {why}")
        if self.writer is process and self.transaction is not None:
            self.transaction.abort()
            self.unlock()
        for clean_up in process.on_end:
            clean_up()
        parent = process.parent
        if parent is not None:
            told = ChildActorExited(process.address)
            self.scheduler.after(self.random.randint(*BURIAL_NS), lambda: parent.arrive(told, process.address))

    def stop(self, process: Process, for_ns: int) -> None:
        """It does nothing for a while. What is sent to it waits."""
        if process.is_alive and not process.is_stopped:
            process.is_stopped = process.was_stopped = True
            if self.trace.on:
                self.trace.note(str(process.address), f"stopped for {for_ns / NS_PER_MS:.0f} ms")
            self.scheduler.after(for_ns, lambda: self.go_on(process))

    def go_on(self, process: Process) -> None:
        if process.is_alive and process.is_stopped:
            process.is_stopped = False
            if self.trace.on:
                self.trace.note(str(process.address), "goes on")
            process.attend()

    # ── the book's write lock ─────────────────────────────────────────────────────────────────────────────────────

    def is_locked_for(self, process: Process) -> bool:
        return self.writer is not None and self.writer is not process

    def lock(self, process: Process, transaction: Transaction) -> None:
        assert self.writer is None, "LMDB would have blocked here for ever"
        self.writer, self.transaction = process, transaction

    def unlock(self) -> None:
        self.writer = self.transaction = None
        for process in self.processes.values():
            if process.writes_book and process.is_alive:
                self.scheduler.after(0, process.attend)
