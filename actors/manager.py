"""The short way between the transport and an actor, for messages of our own vocabulary.

thespian's manager asks of every message whether it is one of its own two dozen kinds, keeps statistics, and wraps what
is sent into an intent with timers and callbacks. For our messages none of that is needed: they go straight to the
actor, and straight out (`UnixTransport.post`). It is a third of a hop. Everything else (thespian's messages, an actor
that is not ready yet or is ending, a receiver that is full or gone) takes thespian's way.

It also mends how thespian forgets a child that has died while another one's death was being told.

thespian makes its managers from a name in its own module, so that name is replaced, for both bases.
"""

from __future__ import annotations

from typing import Any

from thespian.actors import ThespianWatch
from thespian.system import multiprocCommon as multiproc_common  # noqa: N813  (a module)

from messages import Message


class Manager(multiproc_common.MultiProcManager):  # type: ignore[misc]
    """One actor's manager."""

    def handleMessages(self, envelope: Any) -> Any:
        message = envelope.message
        if not isinstance(message, Message) or self._is_busy_with_itself():
            return super().handleMessages(envelope)
        wanted = self.actorInst.receiveMessage(message, envelope.sender)  # the guard lets no exception out
        self.transport.set_watch(wanted.filenos if isinstance(wanted, ThespianWatch) else [])
        return True

    def _childExited(self, childAddr: Any) -> None:
        """Strike this child off, and no other.

        thespian strikes off every child that is dead by now. One that died a moment ago, of which nobody has told yet,
        would be among them, and its death would never be told.
        """
        self._child_procs = [
            child
            for child in getattr(self, "_child_procs", [])
            if childAddr not in (child.childAddr, getattr(child, "childRealAddr", None))
            or self._checkChildLiveness(child)
        ]

    def _is_busy_with_itself(self) -> bool:
        """Starting, ending, or with messages that came back to it and are to be handled first."""
        return self.asLogger is None or bool(self._receiveQueue) or getattr(self, "_exiting", False)


multiproc_common.MultiProcManager = Manager
