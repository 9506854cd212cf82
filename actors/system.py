"""Start an actor system, or join a running one; never start one by accident.

thespian starts a system whenever a client finds none, and a second start silently joins the first, with its old code.
So the two are different functions here: `start` is for the launcher alone, which holds the state folder's lock, and
`join` refuses to start anything.

How to reach a running engine is written to `run/engine.json` by the launcher, as an `EngineFile`.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import timedelta
from typing import Any

import msgspec
import psutil

from core.errors import EngineNotRunning
from core.settings import SystemBase
from storage.layout import PRIVATE_FILE, StateFolder

os.environ.setdefault("THESPLOG_FILE", os.devnull)  # else thespian leaves a log in the temporary folder
from thespian.actors import ActorAddress
from thespian.system.transport.TCPTransport import TCPTransport  # noqa: F401  (read by loopback_tcp)

from actors import loopback_tcp

LOGGING = {
    "version": 1,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "root": {"handlers": ["nowhere"], "level": "CRITICAL"},
}
"""thespian's own logger has nothing to say that the actors' guard does not log better."""

BASES: dict[SystemBase, Any] = {SystemBase.TCP: loopback_tcp.ActorSystemBase}


class EngineFile(msgspec.Struct, frozen=True, kw_only=True):
    """How a client reaches the running engine."""

    pid: int
    """Of the launcher."""
    system_base: SystemBase
    admin_port: int
    engine: str
    """The engine's address as text, `host:port`."""
    session_id: str
    mode: str
    venue_url: str
    """Where orders go; empty for the exchange itself."""
    started_ns: int
    stop_timeout_s: float
    """How long a graceful stop may take."""


class _Coordinates:
    """What thespian wants to know about a system before it has one."""

    def __init__(self, capabilities: dict[str, Any]) -> None:
        self.capabilities = capabilities


class ActorSystemHandle:
    """One process's door to an actor system from outside: send, listen, create, shut down."""

    def __init__(self, base: Any, admin_port: int) -> None:
        self._base = base
        self.admin_port = admin_port

    def create(self, actor_class: str) -> Any:
        """A top-level actor by `module.Class`; returns its address."""
        return self._base.newPrimaryActor(_named(actor_class), None, None)

    def tell(self, address: Any, message: Any) -> None:
        self._base.tell(address, message)

    def listen(self, timeout_s: float) -> Any:
        """The next message, or None when the time is over."""
        return self._base.listen(timedelta(seconds=max(timeout_s, 0)))

    def shutdown(self) -> None:
        """End every actor and the system itself."""
        self._base.shutdown()

    def leave(self) -> None:
        """Close this process's door; the system goes on."""
        self._base.transport.close()


def start(kind: SystemBase) -> ActorSystemHandle:
    """A new system on a free port. Call it before this process has threads or an open book: it forks."""
    port = _free_port()
    base = BASES[kind](_Coordinates(_capabilities(port)), LOGGING)
    return ActorSystemHandle(base, port)


def join(file: EngineFile) -> ActorSystemHandle:
    """The system of a running engine. Raises `EngineNotRunning` rather than starting one."""
    joining = type("Joining", (BASES[file.system_base],), {"_startAdmin": _refuse_to_start})
    base = joining(_Coordinates(_capabilities(file.admin_port)), LOGGING)
    return ActorSystemHandle(base, file.admin_port)


def _refuse_to_start(*_: Any) -> None:
    raise EngineNotRunning("the engine does not answer; see `intentctl status`, or start it with `intentd up`")


def address_text(address: Any) -> str:
    """An actor's address as text for `EngineFile`."""
    host, port = address.addressDetails.connectArgs[0]
    return f"{host}:{port}"


def address_from_text(text: str) -> Any:
    """The opposite of `address_text`."""
    host, _, port = text.rpartition(":")
    return ActorAddress(loopback_tcp.LoopbackAddress(host, int(port)))


def write_engine_file(folder: StateFolder, file: EngineFile) -> None:
    """Publish the engine, in one step: a reader sees the whole file or none."""
    draft = folder.engine_file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(msgspec.json.format(msgspec.json.encode(file)))
    draft.replace(folder.engine_file)


def read_engine_file(folder: StateFolder) -> EngineFile:
    """Of a running engine. Raises `EngineNotRunning` when there is none, or its launcher is gone."""
    try:
        file = msgspec.json.decode(folder.engine_file.read_bytes(), type=EngineFile)
    except (OSError, msgspec.MsgspecError):
        raise EngineNotRunning(
            f"no engine runs on {folder.root}; start one with `intentd up --state {folder.root}`"
        ) from None
    if not process_lives(file.pid):
        raise EngineNotRunning(
            f"the engine on {folder.root} (pid {file.pid}) is gone; start it with `intentd up --state {folder.root}`"
        )
    return file


def process_lives(pid: int) -> bool:
    """Whether a process with this id exists and has not ended; one that nobody has buried yet has ended."""
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return status not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def _capabilities(port: int) -> dict[str, Any]:
    return {"Admin Port": port, "Process Startup Method": "fork", "Convention Address.IPv4": ""}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((loopback_tcp.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _named(actor_class: str) -> Any:
    module, _, name = actor_class.rpartition(".")
    __import__(module)
    return getattr(sys.modules[module], name)
