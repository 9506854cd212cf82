"""Actors whose sending is recorded instead of sent; everything else of them is real."""

from __future__ import annotations

from typing import Any


class Recorded:
    """Mixed in before an actor's class."""

    sent: list[tuple[Any, Any]]
    woken: list[tuple[int, Any]]

    def send(self, address: Any, message: Any) -> None:
        self.sent.append((address, message))

    def wake_after_ns(self, delay_ns: int, payload: Any) -> None:
        self.woken.append((delay_ns, payload))

    @property
    def myAddress(self) -> str:  # noqa: N802  (thespian's name)
        return "self"

    def to(self, address: str, kind: type | None = None) -> list[Any]:
        """What was sent to an address, of one kind or all."""
        return [m for receiver, m in self.sent if receiver == address and (kind is None or isinstance(m, kind))]
