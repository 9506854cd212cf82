"""The actor system's edges: loopback only, never started by accident, and a crash is a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors import loopback_tcp, system
from actors.addressing import Clone, address_of
from actors.transport import UnixTransport
from core.errors import EngineNotRunning, SettingsError
from core.settings import SystemBase
from messages.admin import AskStatus
from storage.layout import StateFolder

ROOT = Path(__file__).parents[2]
SOON_S = 45.0
"""Below the 50 s that thespian would wait, and long enough for a machine that is slow."""


def engine_file(
    pid: int, folder: Path = Path("/nowhere"), kind: SystemBase = SystemBase.UNIX, folder_id: str = ""
) -> system.EngineFile:
    return system.EngineFile(
        pid=pid,
        system_base=kind,
        system_folder=str(folder),
        admin_port=9,
        engine="127.0.0.1:9",
        session_id="s",
        mode="sim",
        venue_url="",
        started_ns=1,
        stop_timeout_s=1.0,
        folder_id=folder_id,
    )


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "192.0.2.7", "localhost"])  # noqa: S104
@pytest.mark.parametrize("external", [False, True, ("8.8.8.8", 80)])
def test_an_address_can_only_be_loopback(host: str | None, external: object) -> None:
    """Whatever host is asked for, what is bound and what is announced is 127.0.0.1."""
    address = loopback_tcp.LoopbackAddress(host, 4711, external)
    assert (address.bindArgs, address.connectArgs) == ((("127.0.0.1", 4711),), (("127.0.0.1", 4711),))


def test_the_engine_file_is_whole_and_private(tmp_path: Path) -> None:
    """What was written is read again, and only this user can read it."""
    folder = StateFolder(tmp_path).create()
    file = engine_file(os.getpid(), folder_id=system.identity(folder))
    system.write_engine_file(folder, file)
    assert system.read_engine_file(folder) == file
    assert folder.engine_file.stat().st_mode & 0o777 == 0o600


def test_the_engine_file_in_a_copy_of_the_folder_is_nobodys(tmp_path: Path) -> None:
    """Its addresses lead to the engine of the original, whose book is another one by now."""
    folder = StateFolder(tmp_path / "state").create()
    system.write_engine_file(folder, engine_file(os.getpid(), folder_id=system.identity(folder)))
    shutil.copytree(folder.root, tmp_path / "copy")
    with pytest.raises(EngineNotRunning, match=r"no engine runs on .*copy"):
        system.read_engine_file(StateFolder(tmp_path / "copy"))


@pytest.mark.parametrize("content", [None, "", "{", '{"pid": 1}'])
def test_without_a_sound_engine_file_no_engine_runs(tmp_path: Path, content: str | None) -> None:
    """A missing or broken file means: not running, and the text says how to start."""
    folder = StateFolder(tmp_path).create()
    if content is not None:
        folder.engine_file.write_text(content)
    with pytest.raises(EngineNotRunning, match="intentd up"):
        system.read_engine_file(folder)


@pytest.mark.parametrize("kind", [SystemBase.UNIX, SystemBase.TCP])
@pytest.mark.parametrize("prepared", [False, True])
def test_joining_never_starts_a_system(tmp_path: Path, kind: SystemBase, prepared: bool) -> None:
    """Where nobody listens, joining says so and leaves no process, whether the system's folder is there or not."""
    folder = tmp_path / "bus-1"
    if prepared:
        folder.mkdir()
        loopback_tcp.make_secret(folder)
    with pytest.raises(EngineNotRunning):
        system.join(engine_file(os.getpid(), folder, kind))


def test_telling_somebody_who_is_gone_is_noticed_at_once(tmp_path: Path) -> None:
    """Not when the wait for the answer is over."""
    transport = UnixTransport(Clone(address_of(tmp_path / "admin")))
    base = SimpleNamespace(transport=transport)
    door = system.ActorSystemHandle(base, SystemBase.UNIX, tmp_path, 0)
    with pytest.raises(EngineNotRunning, match="gone"):
        door.tell(address_of(tmp_path / "router"), AskStatus(request_id="1"))
    door.leave()


@pytest.mark.parametrize("text", ["127.0.0.1:4711", "/state/run/bus-1/0123456789abcdef"])
def test_an_address_survives_being_text(text: str) -> None:
    """The text in the engine file leads to the same actor, on either base."""
    assert system.address_text(system.address_from_text(text)) == text


@pytest.mark.parametrize(
    ("kind", "named", "resolved"),
    [
        (SystemBase.AUTO, "", SystemBase.UNIX),
        (SystemBase.AUTO, "tcp", SystemBase.TCP),
        (SystemBase.AUTO, "unix", SystemBase.UNIX),
        (SystemBase.UNIX, "tcp", SystemBase.UNIX),
        (SystemBase.TCP, "unix", SystemBase.TCP),
    ],
)
def test_the_setting_wins_then_the_environment_then_the_machine(
    monkeypatch: pytest.MonkeyPatch, kind: SystemBase, named: str, resolved: SystemBase
) -> None:
    """`engine.system_base`, INTENTD_SYSTEM_BASE, unix on Linux."""
    monkeypatch.setenv(system.BASE_VARIABLE, named)
    assert system.resolve(kind) is resolved


def test_an_unknown_base_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable, the value and what it may be."""
    monkeypatch.setenv(system.BASE_VARIABLE, "udp")
    with pytest.raises(SettingsError, match="INTENTD_SYSTEM_BASE=udp: it must be unix or tcp"):
        system.resolve(SystemBase.AUTO)


def test_the_unix_base_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere TCP is the default, and asking for the other one says what to do."""
    monkeypatch.setattr(system.sys, "platform", "darwin")
    monkeypatch.delenv(system.BASE_VARIABLE, raising=False)
    assert system.resolve(SystemBase.AUTO) is SystemBase.TCP
    with pytest.raises(SettingsError, match="use tcp"):
        system.resolve(SystemBase.UNIX)


def test_a_process_that_has_ended_does_not_live() -> None:
    """Neither an unknown pid nor a child that nobody has buried yet counts as alive."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert system.process_lives(child) is False
    os.waitpid(child, 0)
    assert system.process_lives(child) is False
    assert system.process_lives(os.getpid()) is True


BIRTH = """
import contextlib, os, signal, sys
from pathlib import Path
from actors import system
from core.errors import StartupFailed
from core.settings import SystemBase
from tools.crew import Crew
crew = Crew(Path(sys.argv[1]) / "crew")
crew.enlist()
door = system.start(SystemBase(sys.argv[2]), Path(sys.argv[1]))
for process in crew.members():
    os.kill(process.pid, getattr(signal, sys.argv[3]))
while sys.argv[3] == "SIGKILL" and crew.members():
    pass
asked = []
def go_on():
    asked.append(1)
    if sys.argv[4:]:
        for process in crew.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, getattr(signal, sys.argv[4]))
    return True
try:
    door.create("actors.engine.Engine", 3600.0 if sys.argv[4:] else 3.0, go_on)
except StartupFailed as error:
    print(len(asked) > 1, "failed:", error)
print(door.shutdown(0.5))
crew.kill()
"""


@pytest.mark.parametrize("kind", [SystemBase.UNIX, SystemBase.TCP])
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGSTOP"])
def test_an_admin_that_is_gone_or_hangs_at_birth_is_a_start_that_failed(
    tmp_path: Path, kind: SystemBase, blow: str
) -> None:
    """In one line, soon, and whoever waits is asked meanwhile whether to go on; no exception of thespian's."""
    first, ended = born(tmp_path, kind, blow)
    assert first.startswith(f"{blow == 'SIGSTOP'} failed: the actor system's own process")
    assert ended == "False"


@pytest.mark.parametrize("kind", [SystemBase.UNIX, SystemBase.TCP])
def test_an_admin_that_dies_with_the_wish_in_its_hands_is_noticed(tmp_path: Path, kind: SystemBase) -> None:
    """It took the message, so nobody comes back with it: not when the patience for a slow start is over."""
    first, _ = born(tmp_path, kind, "SIGSTOP", "SIGKILL")
    assert "failed: the actor system's own process" in first


def born(folder: Path, kind: SystemBase, *blows: str) -> list[str]:
    """What is told of a birth whose admin gets the first blow before it is asked, and the other one after that."""
    done = subprocess.run(
        [sys.executable, "-c", BIRTH, str(folder), str(kind), *blows],
        capture_output=True,
        text=True,
        timeout=SOON_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
