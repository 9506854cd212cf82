"""Nobody ends because it cannot say something: what finds no room is counted, and said when there is some."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors import logs
from actors.logs import LineFile
from storage.layout import StateFolder


class Disk:
    """In place of `os.write`: takes so many bytes of what goes to a file, then nothing."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write: Callable[[int, bytes], int] = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        if descriptor <= logs.STDERR:
            return self._write(descriptor, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    full = Disk(1 << 20)
    monkeypatch.setattr(logs.os, "write", full.write)
    return full


def lines(path: Path) -> list[Any]:
    """Those that are whole."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append("torn")
    return found


def test_what_finds_no_room_is_counted_and_said_once_when_there_is_some(tmp_path: Path, disk: Disk) -> None:
    """In front of the first line that is written again."""
    log = LineFile(str(tmp_path / "log"))
    log.msg('{"event":"before"}')
    disk.room = 0
    for _ in range(3):
        log.msg('{"event":"lost"}')
    disk.room = 1 << 20
    log.msg('{"event":"after"}')
    log.msg('{"event":"later"}')
    before, told, *after = lines(tmp_path / "log")
    assert before == {"event": "before"}
    assert told == {"event": "lines_lost", "lost": 3, "level": "error", "pid": os.getpid()}
    assert [line["event"] for line in after] == ["after", "later"]


def test_a_line_for_which_there_was_not_enough_room_does_not_spoil_the_next_one(tmp_path: Path, disk: Disk) -> None:
    """Its part is taken back, however often there is a little room in between."""
    log = LineFile(str(tmp_path / "log"))
    for room in (5, 0, 7, 1 << 20):
        disk.room = room
        log.msg('{"event":"x"}')
    told, last = lines(tmp_path / "log")
    assert (told["lost"], last) == (3, {"event": "x"})


def test_a_part_of_a_line_that_cannot_be_taken_back_ends_there(tmp_path: Path, disk: Disk) -> None:
    """Another process has written behind it, so the next line begins with an end of line."""
    log = LineFile(str(tmp_path / "log"))
    log._take_back = lambda _written: False  # type: ignore[method-assign]
    for room in (5, 0, 7, 1 << 20):
        disk.room = room
        log.msg('{"event":"x"}')
    *torn, told, last = lines(tmp_path / "log")
    assert set(torn) == {"torn"}
    assert (told["lost"], last) == (3, {"event": "x"})


@pytest.mark.parametrize("path", ["nowhere/log", "."])
def test_a_file_that_cannot_be_opened_ends_nobody(tmp_path: Path, path: str) -> None:
    """It is tried again with each line."""
    log = LineFile(str(tmp_path / path))
    log.msg("one")
    assert log._lost == 1
    (tmp_path / "nowhere").mkdir()
    log.msg("two")
    assert log._lost == (2 if path == "." else 0)


def test_stderr_is_the_last_resort(tmp_path: Path, disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    """So that a service manager has it."""
    disk.room = 0
    logs.configure(StateFolder(tmp_path).create(), "info", actor="engine").error("disk_is_full")
    assert json.loads(capfd.readouterr().err)["event"] == "disk_is_full"


def test_a_last_resort_that_nobody_reads_holds_nobody_up(tmp_path: Path, disk: Disk) -> None:
    """A pipe that is full is not waited for."""
    disk.room = 0
    reading, writing = os.pipe()
    log = LineFile(str(tmp_path / "log"), writing)
    for _ in range(2_000):
        log.msg("x" * 1_000)
    os.close(reading)
    log.msg("nor is one that is closed")
    os.close(writing)
    log.msg("nor one that is gone")
    assert log._lost == 2_002
