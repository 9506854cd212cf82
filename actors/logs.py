"""The program's own log: JSON lines in `logs/intentd.jsonl`, one write per line, from every process.

Records are rendered here, in the process that has the words, since thespian's children replace the root logger and
turn records into text. A line is one `write` to a file opened for append, so lines of several processes never mix.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import msgspec
import structlog

from core.settings import LOG_LEVELS
from storage.layout import PRIVATE_FILE, StateFolder


class LineFile:
    """A structlog logger that appends each event as one line."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)

    def msg(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")

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
    return structlog.wrap_logger(LineFile(str(folder.program_log)), pid=os.getpid(), **bound)


def _level(name: str) -> int:
    return int(getattr(logging, name.upper())) if name in LOG_LEVELS else logging.INFO


def _render(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except UnicodeEncodeError:  # a text that is none must not stop the story
        return json.dumps(event, default=str)
