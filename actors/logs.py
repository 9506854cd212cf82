"""The program's own log: JSON lines in `logs/intentd.jsonl`, one write per line, from every process.

Records are rendered here, in the process that has the words, since thespian's children replace the root logger and
turn records into text. A line is one `write` to a file opened for append, so lines of several processes never mix.

Nobody ends because it cannot say something. A line that cannot be written, since the disk is full, goes to stderr if
that takes it, and is counted; the first line for which there is room again is preceded by the count (`lines_lost`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
from typing import Any

import msgspec
import structlog

from core.settings import LOG_LEVELS
from storage.layout import PRIVATE_FILE, StateFolder

STDERR = 2


class LineFile:
    """A structlog logger that appends each event as one line, and never raises."""

    def __init__(self, path: str, last_resort: int | None = None) -> None:
        self._path = path
        self._last_resort = last_resort
        """Descriptor for what the file does not take."""
        self._descriptor = -1
        self._lost = 0
        self._is_torn = False
        """Whether the file ends with a part of a line."""

    def msg(self, line: str) -> None:
        data = line.encode(errors="backslashreplace") + b"\n"
        if self._lost:
            said = {"event": "lines_lost", "lost": self._lost, "level": "error", "pid": os.getpid()}
            if not self._append((b"\n" if self._is_torn else b"") + msgspec.json.encode(said) + b"\n"):
                self._lose(data)
                return
            self._lost = 0
        if not self._append(data):
            self._lose(data)

    def _append(self, data: bytes) -> bool:
        """All of it; else False."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)
            written = os.write(self._descriptor, data)
        except OSError:
            return False
        if written == len(data):
            self._is_torn = False
            return True
        self._is_torn = (not self._take_back(written)) if written else self._is_torn
        return False

    def _take_back(self, written: int) -> bool:
        """Part of a line is worth nothing, and would spoil the next one, maybe of another process."""
        with contextlib.suppress(OSError):
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if os.fstat(self._descriptor).st_size == end:  # else somebody has written behind it
                os.ftruncate(self._descriptor, end - written)
                return True
        return False

    def _lose(self, data: bytes) -> None:
        self._lost += 1
        if self._last_resort is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if select.select([], [self._last_resort], [], 0)[1]:  # one that nobody reads must not hold us up
                os.write(self._last_resort, data[: select.PIPE_BUF])

    log = debug = info = warning = error = critical = exception = msg


def configure(folder: StateFolder, level: str, **bound: Any) -> Any:
    """A logger of this process, with `bound` in every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_render),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level(level)),
        cache_logger_on_first_use=False,
    )
    return structlog.wrap_logger(LineFile(str(folder.program_log), STDERR), pid=os.getpid(), **bound)


def _level(name: str) -> int:
    return int(getattr(logging, name.upper())) if name in LOG_LEVELS else logging.INFO


def _render(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except UnicodeEncodeError:  # a text that is none must not stop the story
        return json.dumps(event, default=str)
