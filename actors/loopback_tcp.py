"""thespian's TCP system base, closed to other machines.

The stock base binds every actor's port on all interfaces and unpickles whatever arrives there, which lets anyone who
reaches a port run code with the API keys. Here an address *is* a loopback address: what is bound and what is announced
are both 127.0.0.1, and nothing else can be expressed. Other users of the same machine can still connect; a private
transport takes this one's place later (`engine.system_base`).

thespian's transport takes the class of its addresses from its module, so that name is replaced there. Every process
of the system is forked from one that has imported this module, or imports it to join.
"""

from __future__ import annotations

from typing import Any

from thespian.system.multiprocTCPBase import ActorSystemBase as TCPActorSystemBase
from thespian.system.transport import TCPTransport as tcp_module  # noqa: N813  (a module)
from thespian.system.transport.IPBase import TCPv4ActorAddress

LOOPBACK = "127.0.0.1"


class LoopbackAddress(TCPv4ActorAddress):  # type: ignore[misc]
    """An actor's address. Whatever host the transport asks for, it gets the loopback interface."""

    def __init__(self, _host: Any = None, port: Any = 0, external: Any = False) -> None:  # noqa: ARG002, FBT002
        super().__init__(LOOPBACK, int(port or 0), external=False)


tcp_module.TCPv4ActorAddress = LoopbackAddress


class ActorSystemBase(TCPActorSystemBase):  # type: ignore[misc]
    """The system base, in the form that thespian expects of a base module."""
