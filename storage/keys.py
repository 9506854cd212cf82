"""Keys of the book's rows.

They are UTF-8 text joined by NUL, so that all rows of a symbol or an intent lie together; sequences are 8 bytes big
endian, so that they sort by number.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.events import Event

KEY_BYTES_MAX: Final = 511
"""LMDB's own limit."""

EVENT_MARK_END: Final = 64
"""An event's name is the first field of its record, so it ends before here."""


def key(*parts: str) -> bytes:
    """A table's key. Parts never hold NUL: ids, symbols and currencies are checked where they come in."""
    return "\0".join(parts).encode(errors="surrogatepass")  # what is no text matches nothing, which is an answer


def sequence_key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def number_key(attempt: int) -> str:
    return f"{attempt:04d}"


def event_mark(kind: type[Event]) -> bytes:
    """What the record of an event of this kind has at its beginning, and no other."""
    config = kind.__struct_config__
    return msgspec.msgpack.encode(config.tag_field) + msgspec.msgpack.encode(config.tag)
