"""Scribe: writes the book's outbox to the order, audit and health streams, off the hot path, each event once.

Where it stands is the file itself: the last whole line names the sequence it came from. After a crash the torn end of
a file is cut off and writing goes on after the last whole line, so there is no gap and no double.

The health stream has heartbeats in between, each with the sequence up to which the events before it are written. One
that cannot be written is left out: how things are is worth no crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from actors.base import Guarded
from actors.crashpoints import reach
from core import health
from core.errors import NO_ROOM, StorageError, StorageFull
from core.event_streams import AUDIT_STREAM, HEALTH_STREAM, ORDER_STREAM, streams_of
from core.events import AnyEvent
from core.health import Health
from messages.lifecycle import Beat, ChildReady, ConfigureChild, Tick
from storage import health_file
from storage.book_store import BookStore
from storage.layout import PRIVATE_FILE

POLL_NS = 200_000_000
BATCH_MAX = 2_000
TAIL_BYTES = 1 << 16


class _Numbered(msgspec.Struct):
    """Of a line, what says where it belongs."""

    seq: int


class Stream:
    """One JSONL file that knows the sequence of its last line."""

    def __init__(self, path: Path, session_id: str) -> None:
        self._session_id = session_id
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        self.last = self._mend()

    def append(self, entries: list[tuple[int, AnyEvent]]) -> None:
        """Write the events that are not in the file yet, in one go."""
        lines = [_line(sequence, self._session_id, event) for sequence, event in entries if sequence > self.last]
        if lines:
            self._write(b"".join(lines))
        if entries:
            self.last = max(self.last, entries[-1][0])

    def note(self, told: Iterable[Any], sequence: int) -> None:
        """Lines that are not of the outbox, in one go. What of it belongs here is written up to `sequence`."""
        self._write(b"".join(_line(sequence, self._session_id, each) for each in told))
        self.last = max(self.last, sequence)

    def _write(self, data: bytes) -> None:
        """All of it or none: a torn line in mid-file would be a gap. Raises `StorageError` when the disk is full."""
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            kind = StorageFull if error.errno in NO_ROOM else StorageError
            raise kind(f"a stream cannot be written: {error.strerror}; free space, then start again") from error
        if written < len(data):
            os.ftruncate(self._descriptor, start)
            os.lseek(self._descriptor, start, os.SEEK_SET)  # else the next line begins behind a hole of zeros
            raise StorageFull("a stream cannot be written: the disk is full; free space, then start again")

    def close(self) -> None:
        os.close(self._descriptor)

    def _mend(self) -> int:
        """Cut a torn end off and return the sequence of the last whole line, 0 for an empty file. Lines that cannot be
        read, as power that is lost in mid-file leaves them, are put aside: a stream that is damaged must not keep the
        engine from starting, and the outbox has what they said."""
        while (sequence := self._cut_end()) is None:
            pass
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return sequence

    def _cut_end(self) -> int | None:
        """The sequence of the last whole line, which is the end of the file then. None: it was no line, and is gone."""
        size = os.lseek(self._descriptor, 0, os.SEEK_END)
        reach = TAIL_BYTES
        while True:
            start = max(0, size - reach)
            tail = os.pread(self._descriptor, size - start, start)
            end = tail.rfind(b"\n") + 1
            begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
            if begin > 0 or start == 0:
                break
            reach *= 2
        sequence = _sequence_of(tail[begin:end])
        if sequence is None:
            self._put_aside(tail[begin:])
        os.ftruncate(self._descriptor, start + (begin if sequence is None else end))
        return sequence

    def _put_aside(self, data: bytes) -> None:
        with open(f"{self._path}.damaged", "ab", opener=_private) as aside:
            aside.write(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


def _sequence_of(line: bytes) -> int | None:
    """0: there is no line. None: it cannot be read."""
    if not line:
        return 0
    try:
        return msgspec.json.decode(line, type=_Numbered).seq
    except msgspec.DecodeError:
        return None


def _line(sequence: int, session_id: str, event: Any) -> bytes:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    ids = {"seq": sequence, "session_id": session_id, "order_req_id": fields.pop("intent_id", None)}
    return msgspec.json.encode(ids | fields) + b"\n"


class Scribe(Guarded):
    name = "scribe"
    store: BookStore

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, Stream] = {}
        self.cursor = 0
        self.last_health: Health | None = None

    def on_start(self, message: ConfigureChild) -> ChildReady:
        self.store = self.open_book()
        self.streams = {
            ORDER_STREAM: Stream(self.folder.order_log, message.session_id),
            AUDIT_STREAM: Stream(self.folder.audit_log, message.session_id),
            HEALTH_STREAM: Stream(self.folder.health_log, message.session_id),
        }
        self.last_health = health_file.read(self.folder)
        fresh = self.streams[HEALTH_STREAM]
        if not fresh.last:  # what was before stands in the audit stream, and a long story would hold up the start
            fresh.last = min(self.streams[name].last for name in (ORDER_STREAM, AUDIT_STREAM))
        self.cursor = min(stream.last for stream in self.streams.values())
        self.follow()
        self.wake_after_ns(POLL_NS, Tick(name="follow"))
        return ChildReady(name=self.label, pid=self.process_id())

    def on_prepare_stop(self) -> bool:
        self.follow()
        return True

    def on_stop(self) -> None:
        if not hasattr(self, "store"):
            return
        self.follow()
        for stream in self.streams.values():
            stream.close()
        self.store.close()

    def on_timer(self, payload: Any) -> None:
        self.follow()
        self.wake_after_ns(POLL_NS, payload)

    def receiveMsg_Beat(self, message: Beat, _sender: Any) -> None:
        """How everything is, after everything that led there."""
        self.follow()
        with self.store.snapshot() as view:
            found = health.beat(
                view,
                message.engine,
                self.last_health,
                used_share=round(self.store.used_share(), 6),
                stale_after_ns=self.settings.router.intent_stale_threshold,
                now_ns=self.now_ns(),
            )
        try:
            self.streams[HEALTH_STREAM].note([found.heartbeat, *found.budgets], self.cursor)
            reach("scribe heartbeat: in the stream")
            health_file.write(self.folder, found)
        except (StorageError, OSError) as error:
            self.log.warning("heartbeat_not_written", reason=str(error))
            return
        self.last_health = found

    def follow(self) -> None:
        """Write everything that the outbox has and the files have not, in bounded batches."""
        while True:
            with self.store.snapshot() as view:
                entries = list(view.events(after=self.cursor, limit=BATCH_MAX))
            if not entries:
                return
            reach("scribe write: before")
            for name, stream in self.streams.items():
                stream.append([entry for entry in entries if name in streams_of(entry[1])])
            reach("scribe write: after")
            self.cursor = entries[-1][0]
