"""Seeded randomness without hidden state: a number is a pure function of a key and a counter.

So nothing but the counter has to be saved for a run to go on exactly as it would have, and asking in another order
changes nothing. The mixing function is splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
"""

from __future__ import annotations

import hashlib
from typing import Final

RANGE: Final = 1 << 64
"""Numbers are from 0 to this, exclusive."""

_MASK: Final = RANGE - 1


def key_of(seed: int, name: str) -> int:
    """The key of a named stream; streams of different names are independent."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def roll(key: int, counter: int) -> int:
    """The number at `counter` in the stream of `key`: 0 to RANGE, exclusive, evenly spread."""
    mixed = (key + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def chance(number: int, probability: float) -> bool:
    """Whether a rolled number falls within the probability, 0 to 1."""
    return number < probability * RANGE
