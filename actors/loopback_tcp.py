"""thespian's TCP system base, closed to other machines and to other users of this one.

The stock base binds every actor's port on all interfaces and unpickles whatever arrives there, which lets anyone who
reaches a port run code with the API keys. Here:

- **An address is a loopback address.** What is bound and what is announced are both 127.0.0.1, and nothing else can be
  expressed.
- **Every message is authenticated.** It carries an HMAC-SHA-256 over its bytes, keyed with a secret that is made anew
  for each actor system and kept in a 0600 file. It is checked before anything is unpickled; what does not fit closes
  the connection. thespian's acknowledgements are signed the same way, because a sender unpickles them.

Somebody else on the machine can still connect, be turned away, and hold a port's attention. The Unix base is private
altogether; this one is for systems without it.

thespian's transport takes the class of its addresses, its serializer and its acknowledgements from its module, so those
names are replaced there. Every process of the system is forked from one that has imported this module and has the
secret, or imports it to join.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from pathlib import Path
from typing import Any

from thespian.system.multiprocTCPBase import ActorSystemBase as TCPActorSystemBase
from thespian.system.transport import TCPTransport as tcp_module  # noqa: N813  (a module)
from thespian.system.transport.IPBase import TCPv4ActorAddress
from thespian.system.transport.streamBuffer import ackDataErrPacket, ackPacket, toSendBuffer

from core.errors import EngineNotRunning
from storage.layout import PRIVATE_FILE

LOOPBACK = "127.0.0.1"
SECRET_BYTES = 32
SECRET_NAME = "secret"  # noqa: S105  (of a file)
DIGEST = hashlib.sha256
DIGEST_BYTES = DIGEST().digest_size


class NotAuthentic(Exception):
    """A message that was not written by a process of this actor system."""


class SignedPickle:
    """thespian's idea of a serializer: `dumps` and `loads`. Without a secret it neither writes nor reads anything."""

    def __init__(self) -> None:
        self.secret = b""

    def dumps(self, message: Any) -> bytes:
        payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        return self._digest(payload) + payload

    def loads(self, data: bytes) -> Any:
        """Raises `NotAuthentic` before anything of the message is looked at."""
        digest, payload = bytes(data[:DIGEST_BYTES]), bytes(data[DIGEST_BYTES:])
        if not hmac.compare_digest(digest, self._digest(payload)):
            raise NotAuthentic("a message on an actor's port has no valid signature")
        return pickle.loads(payload)  # noqa: S301  (written by ourselves)

    def _digest(self, payload: bytes) -> bytes:
        if len(self.secret) < SECRET_BYTES:
            raise NotAuthentic("this process has no secret of the actor system")
        return hmac.digest(self.secret, payload, DIGEST)


class LoopbackAddress(TCPv4ActorAddress):  # type: ignore[misc]
    """An actor's address. Whatever host the transport asks for, it gets the loopback interface."""

    def __init__(self, _host: Any = None, port: Any = 0, external: Any = False) -> None:  # noqa: ARG002, FBT002
        super().__init__(LOOPBACK, int(port or 0), external=False)


signed = SignedPickle()
tcp_module.TCPv4ActorAddress = LoopbackAddress
tcp_module.serializer = signed


def use_secret(secret: bytes) -> None:
    """From now on this process, and all it forks, speaks to the system with this secret alone."""
    signed.secret = secret
    tcp_module.ackMsg = toSendBuffer(ackPacket, signed.dumps)
    tcp_module.ackDataErrMsg = toSendBuffer(ackDataErrPacket, signed.dumps)


def make_secret(folder: Path) -> bytes:
    """A new secret, also in a file that only this user can read."""
    secret = os.urandom(SECRET_BYTES)
    descriptor = os.open(folder / SECRET_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(secret)
    return secret


def read_secret(folder: Path) -> bytes:
    """Raises `EngineNotRunning` when it is not there or not ours to read."""
    try:
        return (folder / SECRET_NAME).read_bytes()
    except OSError as error:
        raise EngineNotRunning(
            f"the engine's secret {folder / SECRET_NAME}: {error.strerror}; see `intentctl status`"
        ) from None


class ActorSystemBase(TCPActorSystemBase):  # type: ignore[misc]
    """The system base, in the form that thespian expects of a base module."""
