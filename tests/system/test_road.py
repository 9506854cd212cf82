"""The road between the actors, with real processes: closed to others, and nothing is lost on it under pressure."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors import system
from core.settings import SystemBase
from tests.system.harness import Daemon, Marked

NOBODY = "nobody"
LISTENING = "LISTEN"
unix_only = pytest.mark.skipif(
    system.resolve(SystemBase.AUTO) is not SystemBase.UNIX, reason="the Unix base is not the one under test"
)


def waiting(daemon: Daemon) -> list[Any]:
    """Every internet socket of the daemon's processes that waits for somebody."""
    connections = (each for process in daemon.processes.alive() for each in process.net_connections(kind="inet"))
    return [
        each for each in connections if each.status == LISTENING or (each.type == socket.SOCK_DGRAM and not each.raddr)
    ]


@unix_only
def test_nothing_listens_but_the_simulator(running: Daemon) -> None:
    """No TCP and no UDP socket of any process of the daemon, other than the simulator's on 127.0.0.1."""
    port = int(running.engine_file["venue_url"].rpartition(":")[2])
    assert [connection.laddr for connection in waiting(running)] == [("127.0.0.1", port)]


@unix_only
def test_the_sockets_lie_in_a_folder_of_this_user_alone(running: Daemon) -> None:
    """The folder of the sockets has mode 0700, and so has the one above it."""
    folder = Path(running.engine_file["system_folder"])
    assert folder.parent == running.state / "run"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}
    assert any(stat.S_ISSOCK(path.stat().st_mode) for path in folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_can_neither_read_the_state_nor_reach_an_actor(running: Daemon) -> None:
    """As `nobody`: no file of the state folder opens, no folder lists, no socket connects."""
    private = [path for path in running.state.rglob("*") if path.parent != running.state]
    assert any(path.suffix == ".mdb" for path in private)
    open_the_way(running.state)
    assert as_user(pwd.getpwnam(NOBODY), lambda: reached(private)) == []
    assert len(reached(private)) == len(private), "the intruder's tools do work"


def reached(paths: list[Path]) -> list[str]:
    """Which of them this user can list, open or connect to."""
    return [str(path) for path in paths if can_list(path) or can_open(path) or can_connect(path)]


def can_list(path: Path) -> bool:
    try:
        return path.is_dir() and list(path.iterdir()) is not None
    except PermissionError:
        return False


def can_open(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        try:
            door.connect(str(path))
        except OSError:
            return False
    return True


def as_user(user: pwd.struct_passwd, look: Callable[[], list[str]]) -> list[str]:
    """What a function sees in a child process that has become another user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(writer, json.dumps(look()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        seen: list[str] = json.loads(answer.read())
    os.waitpid(child, 0)
    return seen


def open_the_way(folder: Path) -> None:
    """Let everybody come as far as the state folder: only its own protection is to be tested."""
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)


@unix_only
def test_a_flood_from_many_to_a_slow_one_arrives_whole(processes: Marked) -> None:
    """200 000 messages from 8 senders, up to 300 kB each: all there, in order per sender, in bounded memory."""
    done = processes.run("-m", "tests.system.flood", "--messages", "200000", "--senders", "8")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)  # with the seed that replays it
    assert (figures["arrived"], figures["out_of_order"], figures["garbled"]) == (200_000, 0, 0)
    assert figures["grew_mb"] < 100
    assert figures["senders_grew_mb"] < 100


def test_a_stop_leaves_no_socket_and_no_secret(daemon: Daemon) -> None:
    """The folder of the actor system is gone with it."""
    daemon.start()
    folder = Path(daemon.engine_file["system_folder"])
    assert folder.is_dir()
    assert daemon.stop() == 0
    assert not folder.exists()


def test_what_a_killed_run_left_behind_does_no_harm(daemon: Daemon) -> None:
    """After kill -9 of everything the next start works, and clears the old folder away."""
    daemon.start()
    left = Path(daemon.engine_file["system_folder"])
    daemon.processes.end_all()
    assert left.exists()
    daemon.start()
    assert not left.exists()
    assert daemon.submit(symbol="BTC/USDT", side="buy", quote=50, market=True, wait=True)["state"] == "FILLED"
    assert daemon.stop() == 0


def test_a_long_state_folder_works(processes: Marked, tmp_path: Path) -> None:
    """Longer than any socket address."""
    daemon = Daemon(processes, tmp_path / "/".join(["a-folder-name-of-forty-characters-at-least"] * 4) / "state")
    daemon.start()
    assert daemon.submit(symbol="BTC/USDT", side="buy", quote=50, market=True, wait=True)["state"] == "FILLED"
    assert daemon.stop() == 0
