"""Starting and stopping an engine with everything it needs: lock, simulator, actor system, Engine.

`Launch` is a context: what it started is stopped when the block is left, on errors and Ctrl-C too, and nothing is left
running. It must be entered before the process has threads or an open book, because thespian forks.

While it lasts, `wait` watches the engine and the simulator, and `relaunch` puts a new engine in the place of one that
died or hangs. What an earlier launcher that was killed left behind is swept up first.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import filelock
import msgspec

from actors import system
from actors.client import Client
from actors.launchers import launcher_of
from core.errors import NO_ROOM, EngineAlreadyRunning, EngineNotRunning, StartRefused, StartupFailed, VenueSilent
from core.settings import Mode, Settings
from exchange import credentials
from exchange.simulator import auth
from exchange.simulator.process import SimulatorFailed, SimulatorProcess
from messages.admin import (
    AskStatus,
    EngineBorn,
    EngineStarted,
    EngineStopped,
    StartEngine,
    StatusReported,
    StopBegun,
    StopDelayed,
    StopEngine,
)
from messages.lifecycle import StartDelayed
from storage.layout import PRIVATE_FILE, StateFolder
from tools import signals
from tools.crew import Crew

NS_PER_S = 1_000_000_000
ENGINE_CLASS = "actors.engine.Engine"
LAUNCHER = "launcher"
END_GRACE_S = 5.0
LISTEN_S = 0.25
PROBES_PER_TIMEOUT = 4


class Launch:
    """One engine on one state folder, as long as the block lasts."""

    def __init__(
        self, folder: StateFolder, settings: Settings, *, seed: int | None = None, simulator_options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.simulator_options = simulator_options
        self.session_id = ""
        self.venue_url = settings.exchange.base_url
        self.markets = 0
        self.swept = 0
        """Orphans of an earlier launcher that were ended at the start."""
        self.is_wanted: Callable[[], bool] = lambda: True
        """Asked every moment while an engine starts; False gives the start up."""
        self.say: Callable[[str], None] = lambda _text: None
        """Gets what somebody who waits for a start, or for a stop, should know."""
        self.is_forced: Callable[[], bool] = lambda: False
        """Asked every moment during a graceful stop; True cuts it short."""
        self.is_stopping = False
        """A graceful stop has begun, whoever wanted it: what ends now is not replaced."""
        self.simulator: SimulatorProcess | None = None
        self._crew = Crew(folder.crew_file)
        self._stack = contextlib.ExitStack()
        self._door: system.ActorSystemHandle | None = None
        self._engine: Any = None
        self._engine_pid = 0
        """Of an engine that was ready."""
        self._born_pid = 0
        self._stopped: EngineStopped | None = None
        self._asked_s = self._heard_s = 0.0
        self._hurry: list[str] = []

    def __enter__(self) -> Self:
        """A stop signal meanwhile ends the start, and raises `KeyboardInterrupt`."""
        try:
            with signals.raised():
                self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def ending(self) -> EngineStopped:
        """How it went, when it is over."""
        forced = EngineStopped(reason="a second signal", failed=False, forced=True)
        return forced if self._is_forced else self._stopped or EngineStopped(reason="it has not answered", failed=True)

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
            self._stack.callback(self._stop_simulator)
            self._start_simulator()
            assert self.simulator is not None
            self.venue_url = self.simulator.base_url
            exchange = msgspec.structs.replace(self.settings.exchange, base_url=self.venue_url)
            self.settings = msgspec.structs.replace(self.settings, exchange=exchange)
        self._stack.callback(self._end_system)
        self._start_system()

    def _hold_lock(self) -> None:
        """While it is held there is no other launcher, so whoever is of a crew then is an orphan.

        The lock's file may have been removed under a launcher that lives, so it is looked for, too.
        """
        lock = filelock.FileLock(self.folder.lock_file, mode=PRIVATE_FILE)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise self._already_runs(launcher_of(self.folder)) from None
        self._stack.callback(lock.release)
        self._crew.enlist()
        self._stack.callback(self._crew.dismiss)
        if (other := launcher_of(self.folder)) is not None:
            raise self._already_runs(other)
        self.swept = self._crew.kill()

    def _already_runs(self, pid: int | None) -> EngineAlreadyRunning:
        who = f"pid {pid}" if pid is not None else "it is just starting or ending"
        return EngineAlreadyRunning(
            f"an engine already runs on {self.folder.root} ({who}); stop it with `intentctl stop`, or choose another "
            "--state"
        )

    def _start_simulator(self, port: int = 0) -> None:
        keys = credentials.load(self.settings, os.environ, credentials.simulator_credentials(os.environ))
        environment = {auth.KEY_VARIABLE: keys.api_key, auth.SECRET_VARIABLE: keys.api_secret}
        try:
            self.simulator = SimulatorProcess.start(
                port=port,
                seed=self.seed,
                state=self.folder.simulator_file,
                environment=environment,
                arguments=self.simulator_options,
            )
        except SimulatorFailed as error:
            raise StartupFailed(str(error)) from None
        except OSError as error:
            raise StartupFailed(f"the simulator: {error.strerror}; mend it") from error

    def _stop_simulator(self) -> None:
        """What it has answered is on disk at any moment."""
        if self.simulator is None:
            return
        if self._is_forced:
            self.simulator.kill()
        else:
            self.simulator.stop()

    def _start_system(self) -> None:
        """Raises `StartupFailed`. Whatever of it was forked is of the crew, so it can be cut short anywhere."""
        self.session_id = uuid.uuid4().hex[:12]
        self._stopped, self._engine_pid, self._born_pid = None, 0, 0
        self._door = system.start(self.settings.engine.system_base, self.folder.run)
        self._engine = self._door.create(ENGINE_CLASS, self._start_timeout_s, self.is_wanted)
        wish = StartEngine(
            settings=self.settings,
            state_root=str(self.folder.root),
            session_id=self.session_id,
            launcher_pid=os.getpid(),
            venue_was_reached=self.markets > 0,
        )
        try:
            self._door.tell(self._engine, wish)
        except EngineNotRunning as error:
            raise StartupFailed(str(error)) from None
        started = self._await_start()
        self._engine_pid = self._born_pid = started.pid
        self.markets = started.markets
        self._asked_s = self._heard_s = time.monotonic()
        # the process that led the group ended when it had forked the admin; nobody else will bury it
        with contextlib.suppress(ChildProcessError):
            os.waitpid(started.process_group, os.WNOHANG)
        self._publish()

    @property
    def _start_timeout_s(self) -> float:
        return self.settings.engine.start_timeout / NS_PER_S

    def _await_start(self) -> EngineStarted:
        """Looks, too, whether anybody is left who could answer."""
        assert self._door is not None
        deadline, delayed = time.monotonic() + self._start_timeout_s, ""
        while (left := deadline - time.monotonic()) > 0:
            message = self._door.listen(min(left, LISTEN_S))
            if isinstance(message, EngineBorn):
                self._born_pid = message.pid
            elif isinstance(message, EngineStarted):
                return message
            elif isinstance(message, EngineStopped):
                raise _failure(message)
            elif isinstance(message, StartDelayed):
                delayed = message.reason
                self.say(f"{delayed}, trying again")
            elif message is None and (dead := self._who_is_dead()):
                raise StartupFailed(dead)
            if not self.is_wanted():
                raise StartupFailed("it was told to stop before it was ready")
        if delayed:
            raise VenueSilent(f"{delayed}, for {self._start_timeout_s:g} s; start again when it does")
        raise StartupFailed(
            f"the engine was not ready within {self._start_timeout_s:g} s; see {self.folder.program_log}"
        )

    def _who_is_dead(self) -> str:
        """Of the two processes that nobody but the launcher replaces; empty if both live."""
        if self._born_pid and not system.process_lives(self._born_pid):
            return f"the engine process (pid {self._born_pid}) died; see {self.folder.program_log}"
        if self._door is not None and not self._door.is_alive:
            return "the actor system's own process died"
        return ""

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
            folder_id=system.identity(self.folder),
            stop_timeout_s=self.settings.engine.stop_timeout / NS_PER_S,
        )
        try:
            system.write_engine_file(self.folder, file)
        except OSError as error:
            raise StartupFailed(f"{self.folder.engine_file} cannot be written: {error.strerror}; mend it") from None

    # ── while it runs ─────────────────────────────────────────────────────────────────────────────────────────────

    def client(self) -> Client:
        """A client on this process's own door."""
        assert self._door is not None
        return Client(self._door, self._engine)

    def wait(self, timeout_s: float) -> EngineStopped | None:
        """Until the engine has stopped by itself or by `intentctl stop`, died or hung, or the time is over.

        A simulator that died is started again, with what it had told anybody.
        """
        assert self._door is not None
        try:
            self._mind_simulator()
        except StartupFailed as error:
            self._stopped = EngineStopped(reason=str(error), failed=True)
            return self._stopped
        message = self._door.listen(timeout_s)
        now_s = time.monotonic()
        if isinstance(message, EngineStopped):
            self._stopped = message
        elif isinstance(message, StatusReported):
            self._heard_s = now_s
        elif isinstance(message, StopBegun):
            self._stop_begun(message.reason)
        elif isinstance(message, StopDelayed):
            self.say(f"waiting for {message.waits_for}")
        if self._stopped is None:
            self._stopped = self._judge(now_s)
        return self._stopped

    def _stop_begun(self, reason: str) -> None:
        """Somebody else may have told the engine."""
        if not self.is_stopping:
            self.is_stopping = True
            self.say(f"stopping ({reason})")

    def _mind_simulator(self) -> None:
        if self.simulator is not None and not self.simulator.is_running:
            self._start_simulator(self.simulator.port)

    def _judge(self, now_s: float) -> EngineStopped | None:
        """Whether the engine's own process is gone, or does not answer any more; asks for its next sign of life."""
        dead = self._who_is_dead()
        if dead:
            return EngineStopped(reason=dead, failed=True)
        timeout_s = self.settings.engine.hang_timeout / NS_PER_S
        if now_s - self._asked_s > timeout_s / 2:
            self._heard_s = now_s  # it was we who slept
        if now_s - self._heard_s > timeout_s:
            reason = f"the engine process (pid {self._engine_pid}) has not answered for {timeout_s:g} s"
            return EngineStopped(reason=reason, failed=True)
        if now_s - self._asked_s > timeout_s / PROBES_PER_TIMEOUT:
            self._asked_s = now_s
            with contextlib.suppress(EngineNotRunning):  # then the next look finds its process gone
                self._tell(AskStatus(request_id=LAUNCHER))
        return None

    def _tell(self, message: Any) -> None:
        """Raises `EngineNotRunning`, also between two engines."""
        if self._door is None:
            raise EngineNotRunning("there is no engine at the moment")
        self._door.tell(self._engine, message)

    def relaunch(self) -> None:
        """A new actor system and engine in the place of what is left of the old ones. Raises `StartupFailed`.

        A stop signal ends the start, too; it is for the caller, who notes them, to act upon it.
        """
        try:
            self.end_by_force()
            with signals.raised():
                self._start_system()
        except KeyboardInterrupt:
            raise StartupFailed("it was told to stop before it was ready") from None
        except OSError as error:  # no room, no process left: it must not end the launcher without a halt
            kind = StartRefused if error.errno in NO_ROOM else StartupFailed
            raise kind(f"{error.filename or 'the machine'}: {error.strerror}; mend it") from error

    def end_by_force(self) -> None:
        """No engine any more; lock and simulator stay."""
        self.folder.engine_file.unlink(missing_ok=True)
        self._kill_system()

    # ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, reason: str) -> None:
        """Gracefully: what is in flight settles, book and venue are compared, everything is flushed."""
        self.is_stopping = True
        if self._stopped is not None:
            return
        try:
            self._tell(StopEngine(request_id=LAUNCHER, reason=reason))
        except EngineNotRunning as error:
            self._stopped = EngineStopped(reason=str(error), failed=True)
        deadline = time.monotonic() + self.settings.engine.stop_timeout / NS_PER_S + 1
        while self._stopped is None and not self._must_hurry and (left := deadline - time.monotonic()) > 0:
            self.wait(min(left, LISTEN_S))
        if self._stopped is None and not self._must_hurry:
            self._stopped = EngineStopped(reason="it has not answered in time", failed=True)

    @property
    def _must_hurry(self) -> bool:
        return bool(self._hurry) or self.is_forced()

    @property
    def _is_forced(self) -> bool:
        """Somebody did not want to wait until the engine had stopped."""
        return self._must_hurry if self._stopped is None else self._stopped.forced

    def _end_system(self) -> None:
        """In order if it still answers, and in any case."""
        self.folder.engine_file.unlink(missing_ok=True)
        if self._engine_pid:
            self.stop("the launcher ends")
            in_order = self._stopped is not None and not self._stopped.failed and not self._stopped.forced
            if in_order and self._door is not None and self._door.shutdown(END_GRACE_S, lambda: not self._must_hurry):
                self._crew.await_end(END_GRACE_S)
        self._kill_system()

    def _kill_system(self) -> None:
        self._crew.kill()
        if self._door is not None:
            self._door.leave()
            self._door.remove()
            self._door = None


def _failure(ended: EngineStopped) -> StartupFailed:
    if ended.venue_silent:
        return VenueSilent(ended.reason)
    return (StartRefused if ended.passing else StartupFailed)(ended.reason)
