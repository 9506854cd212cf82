"""Ids: deterministic, of the promised form, and free of collisions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core import ids
from core.ids import IdempotencyKey, IntentId, PayloadHash
from tests.builders import SECOND, T0

ROOT = Path(__file__).parents[2]
KEY = IdempotencyKey("k1")
PAYLOAD = ids.payload_hash(("BTC/USDT", "buy"))


def test_an_intent_id_has_the_promised_form() -> None:
    """I2: creation in ms, the symbol without its slash, 8 hex digits."""
    made = ids.intent_id(1_697_123_456_789_123_456, "BTC/USDT", KEY, PAYLOAD)
    assert re.fullmatch(r"1697123456789-BTCUSDT-[0-9a-f]{8}", made)


def test_ids_are_the_same_in_every_process() -> None:
    """Nothing of a process (hash seed, time, environment) goes into an id."""
    code = (
        "from core import ids; made = ids.intent_id(5, 'BTC/USDT', 'k', ids.payload_hash(('a', 'b')));"
        "print(made, ids.client_order_id(made, 3), ids.content_key(ids.payload_hash(('a',)), 5))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    made = ids.intent_id(5, "BTC/USDT", IdempotencyKey("k"), ids.payload_hash(("a", "b")))
    key = ids.content_key(ids.payload_hash(("a",)), 5)
    assert outputs == {f"{made} {ids.client_order_id(made, 3)} {key}\n"}


@given(st.text(min_size=1, max_size=60), st.integers(1, 10_000))
def test_a_client_order_id_fits_every_exchange(intent_id: str, attempt: int) -> None:
    """I5: at most 18 characters of [A-Za-z0-9], and the same at every call."""
    made = ids.client_order_id(IntentId(intent_id), attempt)
    assert re.fullmatch(r"[A-Za-z0-9]{1,18}", made)
    assert made == ids.client_order_id(IntentId(intent_id), attempt)


def test_client_order_ids_do_not_collide() -> None:
    """A hundred thousand attempts have as many client order ids."""
    made = {
        ids.client_order_id(IntentId(f"{T0 // ids.NS_PER_MS + number}-BTCUSDT-a3f5c2d1"), attempt)
        for number in range(25_000)
        for attempt in (1, 2, 3, 4)
    }
    assert len(made) == 100_000


def test_intents_of_the_same_millisecond_have_different_ids() -> None:
    """Key, payload, symbol and the nanosecond all go into the id."""
    made = {
        ids.intent_id(T0, "BTC/USDT", KEY, PAYLOAD),
        ids.intent_id(T0 + 1, "BTC/USDT", KEY, PAYLOAD),
        ids.intent_id(T0, "BTC/USDC", KEY, PAYLOAD),
        ids.intent_id(T0, "BTC/USDT", IdempotencyKey("k2"), PAYLOAD),
        ids.intent_id(T0, "BTC/USDT", KEY, ids.payload_hash(("other",))),
    }
    assert len(made) == 5


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_a_payload_hash_tells_different_parts_apart(one: list[str], other: list[str]) -> None:
    """Equal parts hash equal; different parts, or the same text split elsewhere, do not."""
    same = ids.payload_hash(tuple(one)) == ids.payload_hash(tuple(other))
    assert same == (one == other)


def test_a_content_key_lasts_for_its_bucket() -> None:
    """Within 60 s from a bucket's start the key stays; the next bucket has another, which knows the one before."""
    payload = PayloadHash("p")
    first = ids.content_key(payload, T0)
    assert first == ids.content_key(payload, T0 + 60 * SECOND - 1)
    assert first != ids.content_key(payload, T0 + 60 * SECOND)
    assert first == ids.previous_content_key(payload, T0 + 60 * SECOND)
    assert first.startswith("auto:")
