"""How records become bytes: one version byte, then msgpack by field name.

Names make a record readable for the next version without a migration as long as fields are only added with defaults.
When that is not enough, `SCHEMA_VERSION` rises and the reader of the old number stays here beside the new one.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from core.errors import BookDamaged, StorageError

SCHEMA_VERSION = 1
_VERSION_BYTE = bytes([SCHEMA_VERSION])

Record = TypeVar("Record")


class Codec(Generic[Record]):
    """Encodes and decodes one type of record."""

    def __init__(self, kind: Any) -> None:
        self._name = getattr(kind, "__name__", str(kind))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(kind)

    def encode(self, record: Record) -> bytes:
        return _VERSION_BYTE + self._encoder.encode(record)

    def decode(self, data: bytes) -> Record:
        """Raises `StorageError` when the bytes are not such a record of this version."""
        if data[:1] != _VERSION_BYTE:
            raise StorageError(
                f"a {self._name} record has schema {data[:1].hex() or 'none'}, this version reads {SCHEMA_VERSION}; "
                "use the version of intentd that wrote the book"
            )
        try:
            return self._decoder.decode(memoryview(data)[1:])
        except msgspec.MsgspecError as error:
            raise BookDamaged(
                f"a {self._name} record in the book is damaged: {error}; stop, restore a copy, and compare it with the "
                "venue"
            ) from error


class Plain(Codec[bytes]):
    """For rows that are no records: an index, a word."""

    def __init__(self) -> None:
        super().__init__(bytes)

    def encode(self, record: bytes) -> bytes:
        return record

    def decode(self, data: bytes) -> bytes:
        return data
