"""The TCP base's messages: signed by us or not looked at."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from thespian.system.transport.streamBuffer import ReceiveBuffer, toSendBuffer

from actors.loopback_tcp import (
    DIGEST_BYTES,
    SECRET_BYTES,
    NotAuthentic,
    SignedPickle,
    make_secret,
    read_secret,
    tcp_module,
    use_secret,
)
from core.errors import EngineNotRunning


class Exploit:
    """What an attacker sends: it acts while it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def ours() -> SignedPickle:
    signer = SignedPickle()
    signer.secret = os.urandom(SECRET_BYTES)
    return signer


def test_what_we_signed_we_read(ours: SignedPickle) -> None:
    """Any message, unchanged."""
    message = {"number": 1, "text": "x" * 10_000}
    assert ours.loads(ours.dumps(message)) == message


def test_an_unsigned_message_is_not_unpickled(ours: SignedPickle, tmp_path: Path) -> None:
    """The check comes before anything of the message can act."""
    mark = tmp_path / "acted"
    payload = pickle.dumps(Exploit(mark))
    for forged in (payload, b"\x00" * DIGEST_BYTES + payload, b"", payload[:5]):
        with pytest.raises(NotAuthentic):
            ours.loads(forged)
    assert not mark.exists()


def test_a_changed_message_is_refused(ours: SignedPickle) -> None:
    """One bit anywhere."""
    data = ours.dumps("buy")
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(NotAuthentic):
            ours.loads(bytes(changed))


def test_another_systems_message_is_refused(ours: SignedPickle) -> None:
    """Each system has a secret of its own."""
    other = SignedPickle()
    other.secret = os.urandom(SECRET_BYTES)
    with pytest.raises(NotAuthentic):
        ours.loads(other.dumps("hello"))


def test_without_a_secret_nothing_is_written_or_read() -> None:
    """An empty secret would be one that everybody knows."""
    with pytest.raises(NotAuthentic):
        SignedPickle().dumps("hello")


def test_thespian_uses_the_signed_form_for_messages_and_acknowledgements(ours: SignedPickle) -> None:
    """A sender unpickles the acknowledgement, so it must be signed as well."""
    use_secret(ours.secret)
    for acknowledgement in (tcp_module.ackMsg, tcp_module.ackDataErrMsg):
        buffer = ReceiveBuffer(tcp_module.serializer.loads)
        buffer.addMore(acknowledgement)
        assert tcp_module.isControlMessage(buffer.completed()[0])
    forged = ReceiveBuffer(tcp_module.serializer.loads)
    forged.addMore(toSendBuffer("ACK"))
    with pytest.raises(NotAuthentic):
        forged.completed()


def test_the_secret_is_private_and_made_once(tmp_path: Path) -> None:
    """Mode 0600, read back as written, never overwritten; a missing one means that no engine runs."""
    with pytest.raises(EngineNotRunning, match="secret"):
        read_secret(tmp_path)
    secret = make_secret(tmp_path)
    assert len(secret) == SECRET_BYTES
    assert read_secret(tmp_path) == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        make_secret(tmp_path)
