"""Start an actor system, or join a running one; never start one by accident.

thespian starts a system whenever a client finds none, and a second start silently joins the first, with its old code.
So the two are different functions here: `start` is for the launcher alone, which holds the state folder's lock, and
`join` refuses to start anything.

Each system has a private folder of its own, `run/bus-<random>`, which holds its sockets (Unix) or its secret (TCP); so
what a killed system left behind cannot reach the next one, nor the other way round. How to reach a running engine is
written to `run/engine.json` by the launcher, as an `EngineFile`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil

from core.errors import EngineNotRunning, SettingsError, StartupFailed
from core.settings import SystemBase
from storage.layout import PRIVATE_FILE, StateFolder

os.environ.setdefault("THESPLOG_FILE", os.devnull)  # else thespian leaves a log in the temporary folder
from thespian.actors import ActorAddress, ActorSystemException
from thespian.system import isInternalActorSystemMessage
from thespian.system.messages.admin import PendingActor, SystemShutdown, SystemShutdownCompleted
from thespian.system.systemBase import NewActorResponse
from thespian.system.transport import ReceiveEnvelope, Thespian__UpdateWork, TransmitIntent
from thespian.system.transport.IPBase import TCPv4ActorAddress

from actors import loopback_tcp, manager  # noqa: F401  (the manager takes the place of thespian's)
from actors.addressing import ADMIN_NAME, UnixAddress, address_of
from actors.doors import is_read
from actors.launchers import launcher_of

LOGGING = {
    "version": 1,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "root": {"handlers": ["nowhere"], "level": "CRITICAL"},
}
"""thespian's own logger has nothing to say that the actors' guard does not log better."""

BASE_VARIABLE = "INTENTD_SYSTEM_BASE"
BUS_PREFIX = "bus-"
ADMIN_TIMEOUT_S = 1.0
CREATE_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 10.0
SLICE_S = 0.25
"""How long thespian is left alone before we look whether to go on."""


class EngineFile(msgspec.Struct, frozen=True, kw_only=True):
    """How a client reaches the running engine."""

    pid: int
    """Of the launcher."""
    system_base: SystemBase
    system_folder: str
    """Of the actor system's sockets or secret."""
    admin_port: int
    """Of the TCP base; 0 for the Unix base."""
    engine: str
    """The engine's address as text."""
    session_id: str
    mode: str
    venue_url: str
    """Where orders go; empty for the exchange itself."""
    started_ns: int
    stop_timeout_s: float
    """How long a graceful stop may take."""
    folder_id: str
    """Of the state folder, `identity`: the file may be a copy that lies in another one."""


class _Coordinates:
    """What thespian wants to know about a system before it has one."""

    def __init__(self, capabilities: dict[str, Any]) -> None:
        self.capabilities = capabilities


class ActorSystemHandle:
    """One process's door to an actor system from outside: send, listen, create, shut down."""

    def __init__(self, base: Any, kind: SystemBase, folder: Path, admin_port: int) -> None:
        self._base = base
        self.kind = kind
        self.folder = folder
        self.admin_port = admin_port
        self._created = 0

    def create(
        self, actor_class: str, timeout_s: float = CREATE_TIMEOUT_S, go_on: Callable[[], bool] = lambda: True
    ) -> Any:
        """A top-level actor by `module.Class`; returns its address. Raises `StartupFailed`.

        thespian's own way waits 50 s for an admin that hangs, and tells in exceptions of its own that it is gone.
        `go_on` is asked every moment; False gives it up.
        """
        with contextlib.closing(self._base.transport.external_transport_clone()) as door:
            answer = NewActorResponse(door, self._base.adminAddr)
            self._created += 1
            wish = PendingActor(actor_class, None, self._created, None, globalName=None)
            door.scheduleTransmit(None, TransmitIntent(self._base.adminAddr, wish, onError=answer.transmit_failed))
            deadline = time.monotonic() + timeout_s
            while answer.pending and (left := deadline - time.monotonic()) > 0:
                door.run(answer, timedelta(seconds=min(left, SLICE_S)))
                if not go_on():
                    raise StartupFailed("it was told to stop before it was ready")
                if answer.pending and not self.is_alive:  # it took the wish, and nobody will answer
                    raise StartupFailed("the actor system's own process died")
        if answer.failed:
            why = answer.failure_message or answer.failure
            raise StartupFailed(f"the actor system's own process made no {actor_class} ({why})")
        if not answer.actor_address:
            raise StartupFailed(f"the actor system's own process did not answer within {timeout_s:g} s")
        return answer.actor_address

    def tell(self, address: Any, message: Any) -> None:
        """Returns when it has left this process. Raises `EngineNotRunning` when the receiver is gone, if that shows."""
        post = getattr(self._base.transport, "post", None)
        if post is not None and post(address, message):
            return
        details = address.addressDetails
        if isinstance(details, UnixAddress) and not is_read(details.path):
            raise EngineNotRunning("a part of the engine is gone; see `intentctl status`")
        try:
            self._base.tell(address, message)
        except ActorSystemException as error:
            raise EngineNotRunning(f"the engine does not take messages ({error}); see `intentctl status`") from None

    def listen(self, timeout_s: float) -> Any:
        """The next message, or None when the time is over. For one thread at a time."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = timedelta(seconds=max(deadline - time.monotonic(), 0))
            received = self._base.transport.run(None, left)
            if isinstance(received, Thespian__UpdateWork):
                continue
            if not isinstance(received, ReceiveEnvelope):
                return None
            if not isInternalActorSystemMessage(received.message):
                return received.message

    def is_there(self, address: Any) -> bool:
        """Whether somebody lives who may answer from there."""
        details = address.addressDetails
        return is_read(details.path) if isinstance(details, UnixAddress) else _listens(details.connectArgs[0][1])

    @property
    def is_alive(self) -> bool:
        """Whether the system's own process, its admin, is there; without it nobody new can join."""
        return _admin_lives(self.kind, self.folder, self.admin_port)

    def shutdown(self, timeout_s: float = SHUTDOWN_TIMEOUT_S, go_on: Callable[[], bool] = lambda: True) -> bool:
        """End every actor and the system itself. False: it did not, in this time or until `go_on` said no."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(ActorSystemException):
            sent = self._base._tx_to_admin(SystemShutdown())  # noqa: SLF001
            while not sent.failed and (left := deadline - time.monotonic()) > 0 and go_on():
                received = self._base.transport.run(None, timedelta(seconds=min(left, SLICE_S)))
                if isinstance(getattr(received, "message", None), SystemShutdownCompleted):
                    return True
        return False

    def leave(self) -> None:
        """Close this process's door; the system goes on."""
        self._base.transport.close()

    def remove(self) -> None:
        """Remove the folder of a system that has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def resolve(kind: SystemBase) -> SystemBase:
    """UNIX or TCP. Raises `SettingsError` for what this machine does not have."""
    if kind is SystemBase.AUTO:
        kind = _preferred()
    if kind is SystemBase.UNIX and sys.platform != "linux":
        raise SettingsError(f"engine.system_base unix: {sys.platform} does not have it; use tcp")
    return kind


def _preferred() -> SystemBase:
    named = os.environ.get(BASE_VARIABLE)
    if not named:
        return SystemBase.UNIX if sys.platform == "linux" else SystemBase.TCP
    if named not in {SystemBase.UNIX, SystemBase.TCP}:
        raise SettingsError(f"{BASE_VARIABLE}={named}: it must be {SystemBase.UNIX} or {SystemBase.TCP}")
    return SystemBase(named)


def start(kind: SystemBase, run: Path) -> ActorSystemHandle:
    """A new system with its folder below `run`, which must be private and belong to nobody else's system.

    Folders that earlier systems left there are removed. Call it before this process has threads or an open book: it
    forks. Raises `StartupFailed`.
    """
    kind = resolve(kind)
    for left in run.glob(f"{BUS_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=BUS_PREFIX, dir=run))  # 0700
        port = 0
        if kind is SystemBase.TCP:
            port = _free_port()
            loopback_tcp.use_secret(loopback_tcp.make_secret(folder))
        base = _base_class(kind)(_Coordinates(_capabilities(folder, port)), LOGGING)
    except Exception as error:
        raise StartupFailed(f'the actor system did not start ({error}); try engine.system_base = "tcp"') from error
    return ActorSystemHandle(base, kind, folder, port)


def join(file: EngineFile) -> ActorSystemHandle:
    """The system of a running engine. Raises `EngineNotRunning` rather than starting one."""
    folder = Path(file.system_folder)
    if file.system_base is SystemBase.TCP:
        loopback_tcp.use_secret(loopback_tcp.read_secret(folder))
    if not os.access(folder, os.W_OK | os.X_OK) or not _admin_lives(file.system_base, folder, file.admin_port):
        _refuse_to_start()
    joining = type("Joining", (_base_class(file.system_base),), {"_startAdmin": _refuse_to_start})
    base = joining(_Coordinates(_capabilities(folder, file.admin_port)), LOGGING)
    return ActorSystemHandle(base, file.system_base, folder, file.admin_port)


def _admin_lives(kind: SystemBase, folder: Path, port: int) -> bool:
    if kind is SystemBase.UNIX:
        return is_read(str(folder / ADMIN_NAME))
    return _listens(port)


def _listens(port: int) -> bool:
    """Whether a process of this machine takes connections there."""
    try:
        with socket.create_connection((loopback_tcp.LOOPBACK, port), ADMIN_TIMEOUT_S):
            return True
    except OSError:
        return False


def _refuse_to_start(*_: Any) -> None:
    raise EngineNotRunning("the engine does not answer; a new one is put in its place, try again in a moment")


def _base_class(kind: SystemBase) -> Any:
    if kind is SystemBase.TCP:
        return loopback_tcp.ActorSystemBase
    from actors import transport  # noqa: PLC0415  (Linux only)

    return transport.ActorSystemBase


def address_text(address: Any) -> str:
    """An actor's address as text for `EngineFile`: a path, or `host:port`."""
    details = address.addressDetails
    if isinstance(details, TCPv4ActorAddress):
        host, port = details.connectArgs[0]
        return f"{host}:{port}"
    return str(details)


def address_from_text(text: str) -> Any:
    """The opposite of `address_text`."""
    if Path(text).is_absolute():
        return address_of(Path(text))
    host, _, port = text.rpartition(":")
    return ActorAddress(loopback_tcp.LoopbackAddress(host, int(port)))


def write_engine_file(folder: StateFolder, file: EngineFile) -> None:
    """Publish the engine, in one step: a reader sees the whole file or none."""
    draft = folder.engine_file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(msgspec.json.format(msgspec.json.encode(file)))
    draft.replace(folder.engine_file)


def identity(folder: StateFolder) -> str:
    """The folder itself, whatever its name is now: device and inode."""
    found = folder.root.stat()
    return f"{found.st_dev}:{found.st_ino}"


def read_engine_file(folder: StateFolder) -> EngineFile:
    """Of a running engine. Raises `EngineNotRunning` when there is none, or its launcher is gone."""
    try:
        file = msgspec.json.decode(folder.engine_file.read_bytes(), type=EngineFile)
        is_ours = file.folder_id == identity(folder)
    except (OSError, msgspec.MsgspecError):
        raise _none_runs(folder, "no engine runs on") from None
    if not is_ours:
        raise _none_runs(folder, "no engine runs on")
    if not process_lives(file.pid):
        raise _none_runs(folder, f"the engine (pid {file.pid}) is gone on")
    return file


def _none_runs(folder: StateFolder, what: str) -> EngineNotRunning:
    pid = launcher_of(folder)
    if pid is not None:
        return EngineNotRunning(
            f"the engine on {folder.root} is being started or stopped by pid {pid}; try again in a moment"
        )
    return EngineNotRunning(f"{what} {folder.root}; start one with `intentd up --state {folder.root}`")


def process_lives(pid: int) -> bool:
    """Whether a process with this id exists and has not ended; one that nobody has buried yet has ended."""
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return status not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def _capabilities(folder: Path, port: int) -> dict[str, Any]:
    return {
        "Socket Folder": str(folder),
        "Admin Port": port,
        "Process Startup Method": "fork",
        "Convention Address.IPv4": "",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((loopback_tcp.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
