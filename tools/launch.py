"""Starting and stopping an engine with everything it needs: lock, simulator, actor system, Engine.

`Launch` is a context: what it started is stopped when the block is left, on errors and Ctrl-C too, and nothing is left
running. It must be entered before the process has threads or an open book, because thespian forks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import filelock
import msgspec

from actors import system
from actors.client import Client
from core.errors import EngineAlreadyRunning, EngineNotRunning, StartupFailed
from core.settings import Mode, Settings
from exchange import credentials
from exchange.simulator import auth
from exchange.simulator.process import SimulatorFailed, SimulatorProcess
from messages.admin import EngineStarted, EngineStopped, StartEngine, StopEngine
from storage.layout import PRIVATE_FILE, StateFolder
from tools import signals

NS_PER_S = 1_000_000_000
ENGINE_CLASS = "actors.engine.Engine"
PROCESS_GROUP_GRACE_S = 5.0
POLL_S = 0.02
LISTEN_S = 0.25


class Launch:
    """One engine on one state folder, as long as the block lasts."""

    def __init__(
        self, folder: StateFolder, settings: Settings, *, seed: int | None = None, simulator_options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.simulator_options = simulator_options
        self.session_id = uuid.uuid4().hex[:12]
        self.venue_url = settings.exchange.base_url
        self.markets = 0
        self.simulator: SimulatorProcess | None = None
        self._stack = contextlib.ExitStack()
        self._door: system.ActorSystemHandle | None = None
        self._engine: Any = None
        self._process_group = 0
        self._engine_pid = 0
        self._stopped: EngineStopped | None = None
        self._hurry: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        """End everything. A stop signal meanwhile cuts the graceful part short, never the rest."""
        with signals.noted(self._hurry.append):
            self._stack.close()

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        credentials.check(self.settings, os.environ)
        self.folder.create()
        self._hold_lock()
        if self.settings.engine.mode is Mode.SIM and not self.settings.exchange.base_url:
            self._start_simulator()
        with signals.held_back():  # a system that is half started could not be ended
            self._door = system.start(self.settings.engine.system_base, self.folder.run)
            self._stack.callback(self._end_system)
            self._engine = self._door.create(ENGINE_CLASS)
        self._door.tell(
            self._engine,
            StartEngine(
                settings=self.settings,
                state_root=str(self.folder.root),
                session_id=self.session_id,
                launcher_pid=os.getpid(),
            ),
        )
        started = self._await_start()
        self._engine_pid = started.pid
        self._process_group, self.markets = started.process_group, started.markets
        # the process that led the group ended when it had forked the admin; nobody else will bury it
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process_group, os.WNOHANG)
        self._publish()

    def _hold_lock(self) -> None:
        """Held by this process and, through the fork, by every actor: it is free only when the last of them is gone."""
        lock = filelock.FileLock(self.folder.lock_file, mode=PRIVATE_FILE)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise EngineAlreadyRunning(
                f"an engine already runs on {self.folder.root} (pid {self._holder()}); stop it with `intentctl stop`, "
                "or choose another --state"
            ) from None
        self._stack.callback(lock.release)

    def _holder(self) -> str:
        try:
            return str(system.read_engine_file(self.folder).pid)
        except EngineNotRunning:
            return "unknown, it is just starting or ending"

    def _start_simulator(self) -> None:
        keys = credentials.load(self.settings, os.environ, credentials.simulator_credentials(os.environ))
        environment = {auth.KEY_VARIABLE: keys.api_key, auth.SECRET_VARIABLE: keys.api_secret}
        try:
            simulator = SimulatorProcess.start(
                seed=self.seed,
                state=self.folder.simulator_file,
                environment=environment,
                arguments=self.simulator_options,
            )
        except SimulatorFailed as error:
            raise StartupFailed(str(error)) from None
        self.simulator = self._stack.enter_context(simulator)
        self.venue_url = simulator.base_url
        exchange = msgspec.structs.replace(self.settings.exchange, base_url=simulator.base_url)
        self.settings = msgspec.structs.replace(self.settings, exchange=exchange)

    def _await_start(self) -> EngineStarted:
        assert self._door is not None
        deadline = time.monotonic() + self.settings.engine.start_timeout / NS_PER_S
        while (left := deadline - time.monotonic()) > 0:
            message = self._door.listen(left)
            if isinstance(message, EngineStarted):
                return message
            if isinstance(message, EngineStopped):
                raise StartupFailed(message.reason)
        raise StartupFailed(
            f"the engine was not ready within {self.settings.engine.start_timeout // NS_PER_S} s; "
            f"see {self.folder.program_log}"
        )

    def _publish(self) -> None:
        assert self._door is not None
        file = system.EngineFile(
            pid=os.getpid(),
            system_base=self._door.kind,
            system_folder=str(self._door.folder),
            admin_port=self._door.admin_port,
            engine=system.address_text(self._engine),
            session_id=self.session_id,
            mode=str(self.settings.engine.mode),
            venue_url=self.venue_url,
            started_ns=time.time_ns(),
            stop_timeout_s=self.settings.engine.stop_timeout / NS_PER_S,
        )
        system.write_engine_file(self.folder, file)
        self._stack.callback(self.folder.engine_file.unlink, missing_ok=True)

    # ── while it runs ─────────────────────────────────────────────────────────────────────────────────────────────

    def client(self) -> Client:
        """A client on this process's own door."""
        assert self._door is not None
        return Client(self._door, self._engine)

    def wait(self, timeout_s: float) -> EngineStopped | None:
        """Until the engine has stopped by itself or by `intentctl stop`, or the time is over."""
        assert self._door is not None
        message = self._door.listen(timeout_s)
        if isinstance(message, EngineStopped):
            self._stopped = message
        elif self._stopped is None and not system.process_lives(self._engine_pid):
            reason = f"the engine process (pid {self._engine_pid}) died; see {self.folder.program_log}"
            self._stopped = EngineStopped(reason=reason, failed=True)
        return self._stopped

    # ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, reason: str) -> None:
        """Gracefully: what is in flight settles, everything is flushed."""
        assert self._door is not None
        if self._stopped is not None:
            return
        self._door.tell(self._engine, StopEngine(request_id="launcher", reason=reason))
        deadline = time.monotonic() + self.settings.engine.stop_timeout / NS_PER_S + 1
        while self._stopped is None and not self._hurry and (left := deadline - time.monotonic()) > 0:
            self.wait(min(left, LISTEN_S))

    def _end_system(self) -> None:
        assert self._door is not None
        if self._process_group:
            self.stop("the launcher ends")
        self._door.shutdown()
        self._door.leave()
        if self._process_group:
            _end_group(self._process_group)
        self._door.remove()


def _end_group(group: int) -> None:
    """Wait for the last actor process to be gone; end by force what will not go."""
    deadline = time.monotonic() + PROCESS_GROUP_GRACE_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
