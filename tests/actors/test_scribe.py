"""The streams: every event of the outbox once, in order, whatever the end of the file looks like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.scribe import TAIL_BYTES, Stream
from core.events import AlertFired

Opened = Callable[[], Stream]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "order.jsonl"


def entries(*sequences: int, text: str = "x") -> list[tuple[int, AlertFired]]:
    return [(number, AlertFired(at_ns=number, code="TEST", text=text)) for number in sequences]


def write(path: Path, *sequences: int, text: str = "x") -> int:
    """Open the stream, append, close; returns where it stood when it was opened."""
    stream = Stream(path, "session")
    stood = stream.last
    stream.append(entries(*sequences, text=text))
    stream.close()
    return stood


def sequences(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_a_stream_goes_on_where_its_file_ends(path: Path) -> None:
    """Reopened, it knows the last sequence and writes only what is newer."""
    assert write(path, 1, 2, 5) == 0
    assert write(path, 2, 5, 6, 9) == 5
    assert sequences(path) == [1, 2, 5, 6, 9]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_line_is_cut_off_and_written_again(path: Path, cut: int) -> None:
    """After a crash in the middle of a line there is no gap and no double."""
    write(path, 1, 2, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    assert write(path, 2, 3, 4) == 2
    assert sequences(path) == [1, 2, 3, 4]


def test_a_line_longer_than_the_tail_is_found(path: Path) -> None:
    """The last line is found however long it is."""
    write(path, 1)
    write(path, 2, text="y" * (3 * TAIL_BYTES))
    assert write(path, 3) == 2
    assert sequences(path) == [1, 2, 3]


def test_a_file_of_one_torn_line_begins_anew(path: Path) -> None:
    """A first line that was never finished is no line."""
    path.write_bytes(b'{"seq": 1, "eve')
    assert write(path, 1) == 0
    assert sequences(path) == [1]


def test_a_line_names_event_session_and_intent(path: Path) -> None:
    """Every line can be joined with the others by its ids."""
    write(path, 7)
    line = json.loads(path.read_text())
    assert (line["seq"], line["event"], line["session_id"], line["order_req_id"]) == (7, "alert_fired", "session", None)
