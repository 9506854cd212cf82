"""The guard that every actor inherits.

thespian gives a message whose handler raised to the same actor again, on half-changed state. Here an unexpected
exception is a crash instead: it is logged with its traceback and the process ends at once, so that no actor goes on
with state that it no longer trusts (design, failure rule 4). Messages nobody has a handler for are logged, not lost in
silence.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import structlog
from thespian.actors import (
    ActorExitRequest,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from actors import crashpoints, lifeline, logs, process_name
from core.errors import NO_ROOM, PASSING, BookDamaged, IntentdError, StorageError, StorageFull, VenueSilent
from core.settings import Settings
from messages import ClientRequest, Message, RequestRefused
from messages.lifecycle import (
    Alive,
    ChildBorn,
    ChildFailed,
    ChildReady,
    ConfigureChild,
    PrepareStop,
    Probe,
    Rewire,
    StopPrepared,
)
from storage.book_store import BookStore, venue_name
from storage.layout import StateFolder

CRASH_EXIT_CODE = 70
SLOW_CLIENTS_MAX = 1_000
CREDENTIAL_VARIABLES = ("INTENTD_API_KEY", "INTENTD_API_SECRET")

__all__ = ["CREDENTIAL_VARIABLES", "ActorExitRequest", "ChildActorExited", "Guarded", "WatchMessage"]


def mendable(error: BaseException | None) -> IntentdError | None:
    """What somebody can mend, so that `status` shall say it; None for everything else."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return StorageFull(f"{error.strerror}: {error.filename or 'a file'} cannot be written; free space")
    return None


class Guarded(ActorTypeDispatcher):  # type: ignore[misc]
    """An actor of intentd. Subclasses define `receiveMsg_<Message>` and the hooks `on_start`, `on_stop`."""

    name: ClassVar[str] = "actor"
    keeps_credentials: ClassVar[bool] = False
    first: ClassVar[type] = ConfigureChild
    """The message that makes it work. Another one may overtake it on the road."""
    folder: StateFolder
    """Set before `on_start`; nothing of an actor is used before it is configured."""

    def __init__(self) -> None:
        super().__init__()
        self.label = self.name
        self.log: Any = structlog.get_logger()
        self.is_configured = False
        self.watched: list[int] = []
        self.slow_clients: dict[str, None] = {}
        """Who was told of in the log, and has not caught up yet."""
        self.engine: Any = None
        self.engine_pid = 0
        """Of the process that has forked this one; 0 where that is nobody to end with."""
        self.settings = Settings()

    # ── hooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self, message: ConfigureChild) -> ChildReady | None:
        """Get ready. None: the child sends its `ChildReady` itself, later."""
        raise NotImplementedError

    def on_stop(self) -> None:
        """The process is about to end in an orderly way: close what is open."""

    def on_prepare_stop(self) -> bool:
        """Finish what is in flight. False: the child sends its `StopPrepared` itself, later."""
        return True

    # ── the guard ─────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        if self.engine_pid and self.parent_pid() != self.engine_pid:
            self.end_process()
        try:
            if isinstance(message, ClientRequest):
                message = self.checked(message, sender)
            if message is not None:
                self.dispatch(message, sender)
        except Exception:
            self.crash(message)
        return ThespianWatch(self.watched) if self.watched else None

    def dispatch(self, message: Any, sender: Any) -> None:
        """To the handler of the message's own class; thespian looks through all its ancestors, twice."""
        kind = type(message).__name__
        if not self.is_configured and not isinstance(message, self.first) and isinstance(message, Message):
            self.log.warning("not_started_yet", actor=self.label, message=kind)  # whoever waits asks again
            return
        if crashpoints.armed:
            crashpoints.reach(crashpoints.receives(self.name, kind))
        getattr(self, f"receiveMsg_{kind}", self.receiveUnrecognizedMessage)(message, sender)

    def checked(self, message: ClientRequest, sender: Any) -> ClientRequest | None:
        """The request with every field of its declared type; None after refusing one that is not.

        Structs made in Python are not checked when they are made, and clients are not ours.
        """
        try:
            return msgspec.convert(msgspec.to_builtins(message), type(message), strict=True)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            reason = f"{type(message).__name__}: {error}; use the types that the message declares"
            self.log.warning("request_refused", actor=self.label, reason=reason)
            self.answer(sender, RequestRefused(request_id=str(message.request_id), reason=reason))
            return None

    def send(self, targetAddr: Any, msg: Any) -> None:
        """To nobody while a part is being replaced: as to one that has just died, whoever waits asks again."""
        if targetAddr is None:
            self.log.warning("nobody_to_send_to", actor=self.label, message=type(msg).__name__)
        else:
            self.transmit(targetAddr, msg)

    def transmit(self, targetAddr: Any, msg: Any) -> None:
        """By the short way if the road has one and it is free."""
        post = getattr(self._myRef.transport, "post", None)
        if post is None or not post(targetAddr, msg):
            super().send(targetAddr, msg)
        if crashpoints.armed:
            crashpoints.reach(crashpoints.sends(self.name, type(msg).__name__))

    def answer(self, client: Any, message: Any) -> None:
        """To somebody outside of the engine, who is never waited for.

        Once much is held for a client that does not read, it gets nothing more until it has read all of that. It can
        ask again, with its key.
        """
        if not self.is_behind(client):
            if self.slow_clients:
                self.slow_clients.pop(str(client), None)
            self.send(client, message)
        elif str(client) not in self.slow_clients:
            if len(self.slow_clients) >= SLOW_CLIENTS_MAX:
                self.slow_clients.clear()
            self.slow_clients[str(client)] = None
            self.log.warning("client_too_slow", actor=self.label, client=str(client))
            self.forget_client(client)

    def is_behind(self, client: Any) -> bool:
        """Whether the road tells that a client does not read; TCP does not, and drops by itself what is too much."""
        road = self.road()
        return hasattr(road, "is_behind") and bool(road.is_behind(client))

    def road(self) -> Any:
        """thespian's transport; None in a world without one."""
        return getattr(getattr(self, "_myRef", None), "transport", None)

    def forget_client(self, _client: Any) -> None:
        """It has asked for more than it reads. Actors that remember whom they owe an answer override this."""

    def crash(self, message: Any) -> None:
        """Log the exception being handled and end this process, now."""
        try:
            self.log.critical("actor_crashed", actor=self.label, while_handling=type(message).__name__, exc_info=True)  # noqa: LOG014
            if error := mendable(sys.exc_info()[1]):
                self.fail(error)
        finally:
            self.end_process()

    def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, DeadEnvelope | PoisonMessage):
            self.log.error("message_not_delivered", actor=self.label, message=type(message).__name__)
            return
        self.log.error("message_not_understood", actor=self.label, message=type(message).__name__, sender=str(sender))

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_ConfigureChild(self, message: ConfigureChild, sender: Any) -> None:
        self.engine = sender
        if message.engine_pid:
            self.end_with_engine(message.engine_pid)
        self.name_process()
        self.settings = message.settings
        self.folder = StateFolder(message.state_root)
        if message.rules is not None:
            self.label = f"{self.name} {message.rules.symbol}"
        if not self.keeps_credentials:
            for variable in CREDENTIAL_VARIABLES:
                os.environ.pop(variable, None)
        self.send(sender, ChildBorn(name=self.label, pid=self.process_id()))
        self.show_life_while_waiting()
        self.log = self.open_log(message.session_id)
        try:
            answer = self.on_start(message)
        except IntentdError as error:
            self.fail(error)
            return
        except OSError as error:
            told = mendable(error)
            if told is None:
                raise
            self.fail(told)
            return
        gc.freeze()  # what is there now stays: no collection need walk it, nor copy the pages shared with the parent
        self.is_configured = True
        if answer is not None:
            self.send(sender, answer)

    def fail(self, error: IntentdError) -> None:
        """This child cannot do its work, for a reason that it can name."""
        self.log.error("child_failed", reason=str(error))
        failed = ChildFailed(
            name=self.label,
            pid=self.process_id(),
            reason=str(error),
            damaged=isinstance(error, BookDamaged),
            passing=isinstance(error, PASSING),
            venue_silent=isinstance(error, VenueSilent),
        )
        self.send(self.engine, failed)

    def receiveMsg_Rewire(self, _message: Rewire, _sender: Any) -> None:
        """Parts that ask others something override this."""

    def receiveMsg_Probe(self, _message: Probe, sender: Any) -> None:
        self.send(sender, Alive(name=self.label))

    def show_life_while_waiting(self) -> None:
        """Who cannot send, because the receiver hangs, does not hang itself; it cannot answer a `Probe` then."""
        road = self.road()
        if hasattr(road, "call_while_waiting"):
            road.call_while_waiting(lambda: road.post(self.engine, Alive(name=self.label)))

    def receiveMsg_PrepareStop(self, _message: PrepareStop, _sender: Any) -> None:
        if self.on_prepare_stop():
            self.stop_prepared()

    def stop_prepared(self) -> None:
        self.send(self.engine, StopPrepared(name=self.label))

    def receiveMsg_ActorExitRequest(self, _message: ActorExitRequest, _sender: Any) -> None:
        self.on_stop()
        sys.stdout.flush()

    def receiveMsg_ChildActorExited(self, _message: ChildActorExited, _sender: Any) -> None:
        """Only the engine has children; it overrides this."""

    # ── the world ─────────────────────────────────────────────────────────────────────────────────────────────────
    # Everything of it that an actor touches by itself, so that a simulation can put another world in its place.

    def now_ns(self) -> int:
        """The wall clock, ns UTC. The one place where actors read it."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """A clock that nobody sets, for how long something takes."""
        return time.monotonic_ns()

    def process_id(self) -> int:
        return os.getpid()

    def parent_pid(self) -> int:
        return os.getppid()

    def end_with_engine(self, pid: int) -> None:
        """Nobody can halt, stop or replace a part whose engine is gone, so it must not trade on."""
        self.engine_pid = pid
        lifeline.end_with_parent()
        if self.parent_pid() != pid:  # it has ended before that
            self.end_process()

    def name_process(self) -> None:
        """For whoever looks at a list of processes."""
        process_name.name_process(self.name)

    def open_log(self, session_id: str) -> Any:
        return logs.configure(self.folder, self.settings.log.level, actor=self.label, session=session_id)

    def open_book(self) -> BookStore:
        """To read in it. Raises `StorageError` when there is none."""
        return BookStore.open_reader(self.folder)

    def open_book_to_write(self) -> BookStore:
        """For the portfolio, and for who acts for one that is dead. Raises `StorageError`."""
        return BookStore.open_writer(self.folder, self.settings.storage.map_size_gib, venue_name(self.settings))

    def end_process(self) -> None:
        """Now, without a word to anybody; the supervisor sees it."""
        os._exit(CRASH_EXIT_CODE)

    def kill_process(self, pid: int) -> None:
        """Another one, which does not answer; it may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def wake_after_ns(self, delay_ns: int, payload: Any) -> None:
        """Get `payload` back after the delay. It cannot be taken back, so it must tell when it is stale."""
        self.wakeupAfter(timedelta(microseconds=max(delay_ns, 0) / 1_000), payload)

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: Any) -> None:
        self.on_timer(message.payload)

    def on_timer(self, payload: Any) -> None:
        """A timer of this actor is due."""
        raise NotImplementedError(payload)
