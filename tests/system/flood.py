"""`python -m tests.system.flood`: many senders write to one slow receiver on the Unix base; what arrived, as JSON.

Every message carries its sender, its number and a digest of its content; the receiver checks all three, and the digest
makes it slower than any of its senders. Each process reports by how much its memory grew at most.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import tempfile
from pathlib import Path
from typing import Any

import click
from thespian.actors import ActorTypeDispatcher

from actors import system
from core.settings import SystemBase
from tests.system import flood  # noqa: PLW0406  (actors cannot live in `__main__`)

SIZES = ((0.97, 10, 600), (0.027, 15_000, 40_000), (0.003, 100_000, 300_000))
"""Share of the messages, and their smallest and largest size in bytes: most are small, some fill a datagram, few are
larger than one."""
TIMEOUT_S = 240
ROUNDS = 8


class Sender(ActorTypeDispatcher):  # type: ignore[misc]
    """Sends all its messages from one handler, as fast as it is let."""

    def receiveMsg_tuple(self, order: Any, sender: Any) -> None:  # noqa: N802
        name, receiver, count, seed = order
        base_kb, dice = memory_kb(), random.Random(f"{seed}-{name}")
        for number in range(count):
            content = dice.randbytes(size(dice))
            self.send(receiver, {"from": name, "number": number, "content": content, "digest": digest(content)})
        self.send(sender, {"name": name, "grew_mb": (memory_kb() - base_kb) / 1024})


class Receiver(ActorTypeDispatcher):  # type: ignore[misc]
    """Checks every message; tells how it went when the last one is there."""

    def receiveMsg_tuple(self, order: Any, sender: Any) -> None:  # noqa: N802
        self.asked_by, self.expected = sender, order[0]
        self.next: dict[int, int] = {}
        self.arrived = self.out_of_order = self.garbled = 0
        self.base_kb = memory_kb()
        self.send(sender, "ready")

    def receiveMsg_dict(self, message: Any, _sender: Any) -> None:  # noqa: N802
        self.arrived += 1
        self.out_of_order += message["number"] != self.next.get(message["from"], 0)
        self.next[message["from"]] = message["number"] + 1
        self.garbled += digest(message["content"]) != message["digest"]
        if self.arrived == self.expected:
            figures = {"arrived": self.arrived, "out_of_order": self.out_of_order, "garbled": self.garbled}
            self.send(self.asked_by, figures | {"name": "receiver", "grew_mb": (memory_kb() - self.base_kb) / 1024})


def size(dice: random.Random) -> int:
    point = dice.random()
    for share, least, most in SIZES:
        if point < share:
            return dice.randint(least, most)
        point -= share
    return 0


def digest(content: bytes) -> bytes:
    """Several rounds: the receiver is to be slow."""
    value = hashlib.blake2b(content).digest()
    for _ in range(ROUNDS):
        value = hashlib.blake2b(value).digest()
    return value


def memory_kb() -> int:
    """The most this process has ever used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@click.command()
@click.option("--messages", default=200_000, show_default=True)
@click.option("--senders", default=8, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(messages: int, senders: int, seed: int) -> None:
    """Flood a slow actor and print what arrived."""
    with tempfile.TemporaryDirectory(prefix="flood-") as folder:
        door = system.start(SystemBase.UNIX, Path(folder))
        try:
            click.echo(json.dumps(run(door, messages, senders, seed)))
        finally:
            door.shutdown()
            door.leave()


def run(door: system.ActorSystemHandle, messages: int, senders: int, seed: int) -> dict[str, Any]:
    each = messages // senders
    receiver = door.create("tests.system.flood.Receiver")
    writers = [door.create("tests.system.flood.Sender") for _ in range(senders)]
    door.tell(receiver, (each * senders,))
    assert door.listen(TIMEOUT_S) == "ready"
    for name, writer in enumerate(writers):
        door.tell(writer, (name, receiver, each, seed))
    told: list[dict[str, Any]] = []
    while len(told) <= senders:
        message = door.listen(TIMEOUT_S)
        if message is None:
            return {"arrived": None, "told": told, "seed": seed}
        told.append(message)
    by_name = {message.pop("name"): message for message in told}
    figures: dict[str, Any] = by_name.pop("receiver")
    return figures | {"senders_grew_mb": max(message["grew_mb"] for message in by_name.values()), "seed": seed}


if __name__ == "__main__":
    flood.main()  # the module as its actors import it, not `__main__`
