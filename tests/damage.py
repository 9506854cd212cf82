"""Damage to a book's file, as a disk does it: pages of one content are no pages any more."""

from __future__ import annotations

from pathlib import Path

PAGE_BYTES = 4096
FLAGS_AT, LEAF = 10, 0x02
"""Of an LMDB page's header: where its flags are, and which of them says that it holds rows."""


def spoil(data: Path, content: bytes) -> int:
    """Every page of `data.mdb` that holds rows with this content loses what says so. Returns how many there were."""
    spoiled = 0
    with data.open("r+b") as file:
        for number in range(2, data.stat().st_size // PAGE_BYTES):  # the first two say where everything is
            file.seek(number * PAGE_BYTES)
            page = file.read(PAGE_BYTES)
            if page[FLAGS_AT] & LEAF and content in page:
                file.seek(number * PAGE_BYTES + FLAGS_AT)
                file.write(b"\0\0")
                spoiled += 1
    return spoiled
