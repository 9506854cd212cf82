"""While an engine starts the launcher looks whether it still can, and says meanwhile that it is alive itself."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from actors import system
from core.errors import EngineNotRunning, StartRefused, StartupFailed, VenueSilent
from core.settings import Settings, from_mapping
from exchange.simulator.process import SimulatorFailed, SimulatorProcess
from messages.admin import AskStatus, EngineBorn, EngineStarted, EngineStopped, StopBegun, StopDelayed
from messages.lifecycle import StartDelayed
from storage.layout import StateFolder
from tools.launch import Launch

SILENCES_MAX = 1_000
"""Who listens oftener has not noticed anything."""
PATIENT = from_mapping({"engine": {"start_timeout": "1h", "stop_timeout": "1h"}})


class SilentDoor:
    """A door through which only what a test has put there comes."""

    def __init__(self, *letters: Any, is_alive: bool = True) -> None:
        self.letters = deque(letters)
        self.is_alive = is_alive
        self.silences, self.silences_max = 0, SILENCES_MAX

    def listen(self, _timeout_s: float) -> Any:
        if self.letters:
            return self.letters.popleft()
        self.silences += 1
        assert self.silences < self.silences_max, "nobody noticed"
        return None


def launch(folder: Path, *letters: Any, is_alive: bool = True) -> Launch:
    waiting = Launch(StateFolder(folder), PATIENT)
    waiting._door = SilentDoor(*letters, is_alive=is_alive)  # type: ignore[assignment]
    return waiting


def nobodys_pid() -> int:
    return next(pid for pid in range(2, 1 << 22) if not psutil.pid_exists(pid))


def test_an_engine_that_dies_while_it_starts_is_noticed_at_once(tmp_path: Path) -> None:
    """Not when the patience for a slow start is over."""
    with pytest.raises(StartupFailed, match="died"):
        launch(tmp_path, EngineBorn(pid=nobodys_pid()))._await_start()


def test_an_actor_system_that_dies_while_the_engine_starts_is_noticed_at_once(tmp_path: Path) -> None:
    """Nobody is left who could start a part."""
    with pytest.raises(StartupFailed, match="own process died"):
        launch(tmp_path, EngineBorn(pid=os.getpid()), is_alive=False)._await_start()


def test_whoever_waits_for_a_start_is_asked_meanwhile_and_may_give_it_up(tmp_path: Path) -> None:
    """The watchdog says that it is alive then, and a stop signal need not wait."""
    waiting = launch(tmp_path, EngineBorn(pid=os.getpid()))
    asked: list[int] = []
    waiting.is_wanted = lambda: len(asked) < 3 and not asked.append(1)  # type: ignore[func-returns-value]
    with pytest.raises(StartupFailed, match="told to stop"):
        waiting._await_start()
    assert len(asked) == 3


def test_an_engine_that_lives_is_waited_for(tmp_path: Path) -> None:
    """Silence of one that is there is only slowness."""
    started = EngineStarted(pid=os.getpid(), process_group=1, markets=3)
    assert launch(tmp_path, EngineBorn(pid=os.getpid()), None, None, started)._await_start() is started


@pytest.mark.parametrize(("passing", "kind"), [(True, StartRefused), (False, StartupFailed)])
def test_what_can_pass_is_told_from_what_the_next_start_finds_again(
    tmp_path: Path, passing: bool, kind: type[StartupFailed]
) -> None:
    """The first is waited for, the second is a crash loop when it goes on."""
    with pytest.raises(StartupFailed, match="because") as caught:
        launch(tmp_path, EngineStopped(reason="because", failed=True, passing=passing))._await_start()
    assert type(caught.value) is kind


def test_between_two_engines_there_is_nobody_to_tell(tmp_path: Path) -> None:
    """A stop then is no assertion that fails; there is nothing to stop."""
    idle = Launch(StateFolder(tmp_path), Settings())
    with pytest.raises(EngineNotRunning):
        idle._tell(AskStatus(request_id="r"))
    idle.stop("Ctrl-C")


@pytest.mark.parametrize(("code", "passes"), [(errno.EAGAIN, False), (errno.ENOSPC, True)])
def test_a_machine_without_room_for_a_new_engine_is_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, passes: bool
) -> None:
    """The launcher tries again, a full disk for as long as it takes; it does not end with the halt unwritten."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(system, "start", refuse)
    with pytest.raises(StartupFailed, match=f"the machine: {os.strerror(code)}") as failed:
        Launch(StateFolder(tmp_path).create(), Settings()).relaunch()
    assert isinstance(failed.value, StartRefused) is passes


def test_a_simulator_that_does_not_come_back_is_an_engine_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the replacing of it is bounded, too, and ends with the halt in the book."""
    waiting = launch(tmp_path)
    monkeypatch.setattr(waiting, "simulator", SimpleNamespace(is_running=False, port=1))

    def fail(*_: object, **__: object) -> None:
        raise SimulatorFailed("it was not ready")

    monkeypatch.setattr(SimulatorProcess, "start", fail)
    assert waiting.wait(0) == EngineStopped(reason="it was not ready", failed=True)


def test_a_delay_is_told_and_is_the_reason_when_the_time_is_over(tmp_path: Path) -> None:
    """A gateway that asks the venue again may need longer than there is."""
    waiting = launch(tmp_path, StartDelayed(reason="the venue does not answer (503)"))
    waiting.settings = from_mapping({"engine": {"start_timeout": "1s"}})
    waiting._door.silences_max = sys.maxsize  # type: ignore[union-attr]
    said: list[str] = []
    waiting.say = said.append
    with pytest.raises(VenueSilent, match="503"):
        waiting._await_start()
    assert said == ["the venue does not answer (503), trying again"]


def stopping(folder: Path, *letters: Any) -> Launch:
    """With an engine that has started, and will send this."""
    waiting = launch(folder, *letters)
    waiting._door.tell = lambda *_: None  # type: ignore[union-attr, method-assign]
    waiting._born_pid = os.getpid()
    waiting._asked_s = waiting._heard_s = time.monotonic()
    return waiting


def test_a_stop_that_lasts_says_what_it_waits_for(tmp_path: Path) -> None:
    """Whoever watches knows why; how it went is kept for the summary."""
    ended = EngineStopped(reason="Ctrl-C", failed=False)
    waiting = stopping(tmp_path, StopBegun(reason="Ctrl-C"), StopDelayed(waits_for="orders on the wire"), ended)
    said: list[str] = []
    waiting.say = said.append
    waiting.stop("Ctrl-C")
    assert (said, waiting.ending) == (["waiting for orders on the wire"], ended)


def test_a_stop_that_somebody_else_wanted_is_announced(tmp_path: Path) -> None:
    """`intentctl stop` in another terminal; from then on an engine that dies is not replaced."""
    waiting = stopping(tmp_path, StopBegun(reason="intentctl stop"))
    said: list[str] = []
    waiting.say = said.append
    waiting.wait(0)
    assert (said, waiting.is_stopping) == (["stopping (intentctl stop)"], True)


def test_a_second_signal_ends_the_wait_for_a_graceful_stop(tmp_path: Path) -> None:
    """And how it ended is told as what it was."""
    waiting = stopping(tmp_path)
    asked: list[int] = []
    waiting.is_forced = lambda: len(asked) >= 3 or bool(asked.append(1))
    waiting.stop("Ctrl-C")
    assert (waiting.ending.forced, waiting.ending.failed) == (True, False)


def test_a_second_signal_after_the_engine_has_stopped_changes_nothing(tmp_path: Path) -> None:
    """All was in order by then; only the rest is quicker."""
    waiting = stopping(tmp_path, EngineStopped(reason="Ctrl-C", failed=False))
    waiting.stop("Ctrl-C")
    waiting.is_forced = lambda: True
    assert not waiting.ending.forced
