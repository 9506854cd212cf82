"""The streams: every event of the outbox once, in order, whatever the end of the file looks like."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.scribe import TAIL_BYTES, Scribe, Stream
from core import book
from core.errors import StorageError, StorageFull
from core.events import AlertFired, AnyEvent, OrderCancel, RateLimitHit, StaleIntentCleanup
from core.ids import IntentId
from core.settings import Settings
from messages.lifecycle import Beat, ConfigureChild
from storage import health_file
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.actors.recorded import Recorded
from tests.builders import SECOND, T0, dec
from tests.core.test_health import engine

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


def test_a_line_that_found_no_room_leaves_no_hole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes half of a heartbeat. The next line, when there is room, begins where that one began."""
    write(path, 1)
    stream, whole = Stream(path, "session"), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[: len(data) // 2]))
    with pytest.raises(StorageFull, match="full"):
        stream.note([AlertFired(at_ns=1, code="TEST", text="y" * 100)], 1)
    monkeypatch.setattr(os, "write", whole)
    stream.append(entries(2))
    stream.close()
    assert sequences(path) == [1, 2]
    assert write(path, 3) == 2


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageError)])
def test_a_line_that_cannot_be_written_says_whether_room_would_help(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    """Who ends over a full disk is started again for as long as it takes; over a broken one, only so often."""
    stream = Stream(path, "session")

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageError) as error:
        stream.append(entries(1))
    assert type(error.value) is kind
    stream.close()


@pytest.mark.parametrize(
    "junk", [b"\0" * 300 + b"\n", b"{}\n", b'{"seq": "x"}\n' * 3, b"\0" * 5_000, b"\xff\n\0\0{", b"\n" * 1_500]
)
def test_an_end_that_cannot_be_read_is_put_aside(path: Path, junk: bytes) -> None:
    """As power that is lost leaves it; the stream goes on where it was whole, and what was there can be looked at."""
    write(path, 1, 2)
    with path.open("ab") as damaged:
        damaged.write(junk)
    assert write(path, 2, 3) == 2
    assert sequences(path) == [1, 2, 3]
    aside = path.with_name(path.name + ".damaged")
    kept = aside.read_bytes() if aside.exists() else b""
    assert sorted(kept) == sorted(junk if b"\n" in junk else b"")


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


# ── the health stream ─────────────────────────────────────────────────────────────────────────────────────────────────


class RecordedScribe(Recorded, Scribe):
    """A scribe on a real book and real files."""

    def __init__(self, folder: StateFolder) -> None:
        super().__init__()
        self.sent, self.woken = [], []
        self.folder = folder
        self.clock_ns = T0

    def now_ns(self) -> int:
        return self.clock_ns

    def begin(self) -> None:
        self.on_start(ConfigureChild(settings=Settings(), state_root=str(self.folder.root), session_id="s"))

    def beat(self) -> None:
        self.clock_ns += SECOND
        self.receiveMsg_Beat(Beat(engine=engine(quotes=("USDT",))), "engine")

    def die(self) -> None:
        """As with kill -9: nothing is flushed by anybody."""
        for stream in self.streams.values():
            stream.close()


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state").create()


@pytest.fixture
def store(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[BookStore]:
    """One process opens a book once, so the scribe reads through the writer's own environment."""
    opened = BookStore.open_writer(folder, 1, "binance/sim")
    with opened.transaction() as unit:
        book.record_opening_balances(unit, {"USDT": dec(100)}, T0)
    monkeypatch.setattr(BookStore, "open_reader", lambda _folder: opened)
    yield opened
    opened.close()


def tell(store: BookStore, *told: AnyEvent) -> None:
    with store.transaction() as unit:
        for event in told:
            unit.append_event(event)


def alert(code: str) -> AlertFired:
    return AlertFired(at_ns=T0, code=code, text="")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(folder: StateFolder) -> list[str]:
    """What the health stream tells, one word each."""
    return [line.get("code", line["event"]) for line in lines(folder.health_log)]


def test_a_beat_is_written_after_what_led_there(folder: StateFolder, store: BookStore) -> None:
    """Alerts and rate limits stand in the health stream, too, in their order; the story of orders does not."""
    scribe = RecordedScribe(folder)
    scribe.begin()
    hit = RateLimitHit(at_ns=T0, status=429, lanes=("place",), until_ns=T0, reason="")
    tell(store, alert("A"), hit, OrderCancel(at_ns=T0, reason="", filled_qty=dec(0), age_ns=0))
    scribe.beat()
    tell(store, alert("B"))
    scribe.beat()
    assert told(folder) == [
        "A", "rate_limit_hit", "heartbeat", "BUDGET_HEALTH_CHECK", "B", "heartbeat", "BUDGET_HEALTH_CHECK",
    ]  # fmt: skip
    written = lines(folder.health_log)
    assert [line["seq"] for line in written] == [2, 3, 4, 4, 5, 5, 5]
    assert {line["session_id"] for line in written} == {"s"}
    assert [line["event"] for line in lines(folder.audit_log)] == ["ledger_entry", "alert_fired", "rate_limit_hit",
                                                                    "alert_fired"]  # fmt: skip
    scribe.die()


def test_a_scribe_that_was_killed_goes_on_without_gap_or_double(folder: StateFolder, store: BookStore) -> None:
    """Whatever line its health stream ends with, and in the middle of one, too."""
    first = RecordedScribe(folder)
    first.begin()
    tell(store, alert("A"))
    first.beat()
    tell(store, alert("B"))
    first.follow()
    first.beat()
    first.die()
    folder.health_log.write_bytes(folder.health_log.read_bytes()[:-30])
    tell(store, alert("C"))
    second = RecordedScribe(folder)
    second.begin()
    second.beat()
    assert [word for word in told(folder) if len(word) == 1] == ["A", "B", "C"]
    assert second.last_health is not None
    second.die()


def test_a_health_stream_that_is_not_there_begins_now(folder: StateFolder, store: BookStore) -> None:
    """On a book with a long story nobody waits until all of it is copied; a new book's begins with its first event."""
    first = RecordedScribe(folder)
    first.begin()
    tell(store, alert("A"), OrderCancel(at_ns=T0, reason="", filled_qty=dec(0), age_ns=0))
    first.beat()
    assert told(folder)[0] == "A"
    first.die()
    folder.health_log.unlink()
    tell(store, alert("B"))
    second = RecordedScribe(folder)
    second.begin()
    second.beat()
    assert [word for word in told(folder) if len(word) == 1] == ["B"]
    second.die()


def test_the_last_beat_outlives_the_scribe(folder: StateFolder, store: BookStore) -> None:
    """For whoever asks while none runs, and so that the next one knows what was cleaned up since."""
    scribe = RecordedScribe(folder)
    scribe.begin()
    scribe.beat()
    scribe.beat()
    scribe.die()
    kept = health_file.read(folder)
    assert kept is not None
    assert (kept.heartbeat.at_ns, kept.budgets[0].my_budget) == (T0 + 2 * SECOND, dec(100))
    after = RecordedScribe(folder)
    after.begin()
    cleaned = StaleIntentCleanup(
        at_ns=T0, intent_id=IntentId("i1"), symbol="BTC/USDT", age_ns=1, attempts=1, released=dec(1), currency="USDT"
    )
    tell(store, cleaned)
    after.beat()
    assert told(folder)[-3:] == ["STALE_INTENT_CLEANUP", "heartbeat", "BUDGET_HEALTH_CHECK"]
    assert lines(folder.health_log)[-2]["cleaned"] == ["i1"]
    after.die()


def test_a_beat_that_cannot_be_written_ends_nothing(
    folder: StateFolder, store: BookStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: it is left out, and the next one that finds room names what was cleaned up since the last."""
    scribe = RecordedScribe(folder)
    scribe.begin()
    scribe.beat()
    before = scribe.last_health

    def full(*_: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Stream, "_write", full)
        scribe.beat()
    assert (scribe.last_health, told(folder).count("heartbeat")) == (before, 1)
    scribe.beat()
    assert told(folder).count("heartbeat") == 2
    scribe.die()
