"""Messages on the road come back as they went, whichever form they travel in."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from thespian.actors import WakeupMessage

from actors import wire
from core import reports
from core.intent import IntentRequest, Kind, Side
from messages import Message
from messages.book import ApplyReport
from messages.intents import CancelIntent, SubmitIntent
from tests.messages.test_vocabulary import MESSAGES, by_name, sample, sample_of_class

PICKLED = {"ConfigureChild", "Rewire", "RouterFound", "BalancesFetched"}
"""They carry actors' addresses, or a mapping that may be something else."""


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_message_comes_back_as_it_went(kind: type[Message]) -> None:
    """To the digit, the enumeration and the class of each part."""
    message = sample_of_class(kind)
    back = wire.loads(wire.dumps(message))
    assert back == message
    assert repr(back) == repr(message)


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_our_messages_are_not_pickled(kind: type[Message]) -> None:
    """All but a few rare ones: reading them runs no code and costs a tenth."""
    written = wire.dumps(sample_of_class(kind))
    assert written.startswith(wire.OURS) == (kind.__name__ not in PICKLED)


@pytest.mark.parametrize("kind", msgspec.inspect.type_info(reports.Report).types, ids=lambda found: found.cls.__name__)
def test_every_kind_of_report_keeps_its_kind(kind: Any) -> None:
    """A field that may be one of several structs comes back as the one it was."""
    message = ApplyReport(report=sample(kind.cls))
    assert type(wire.loads(wire.dumps(message)).report) is kind.cls


@pytest.mark.parametrize("number", ["0.10", "1E-8", "123456789012345678901234567890.000000000001", "-0", "0E+3"])
def test_money_keeps_every_digit(number: str) -> None:
    """Also trailing zeros and exponents: a Decimal is written as its text."""
    request = IntentRequest(symbol="BTC/USDT", side=Side.BUY, kind=Kind.MARKET, qty=Decimal(number))
    message = SubmitIntent(request_id="1", request=request, wait=False)
    assert str(wire.loads(wire.dumps(message)).request.qty) == str(Decimal(number))


@pytest.mark.parametrize("message", ["text", 1, None, {"a": (1, 2)}, [b"x"]], ids=repr)
def test_what_is_not_ours_is_pickled(message: Any) -> None:
    """thespian's own messages and plain values."""
    assert wire.loads(wire.dumps(message)) == message
    assert wire.dumps(message) == pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    assert isinstance(wire.loads(wire.dumps(WakeupMessage(1, "payload"))), WakeupMessage)


@pytest.mark.parametrize("wrong", [5, None, ["a"], {"a": 1}, "\ud800", 1 << 80, object], ids=repr)
def test_a_clients_mistake_reaches_who_can_answer_it(wrong: Any) -> None:
    """A field of the wrong type is not the end of the message: its receiver refuses it with the reason."""
    message = CancelIntent(request_id="1", intent_id=wrong, reason="why")
    back = wire.loads(wire.dumps(message))
    assert isinstance(back, CancelIntent)
    assert (back.request_id, back.intent_id, back.reason) == ("1", wrong, "why")


@pytest.mark.parametrize(
    "payload",
    [b"", wire.OURS, wire.OURS + b"Nonsense\x00\x80", wire.OURS + b"CancelIntent\x00", b"\x80\x05garbage", b"junk"],
    ids=repr,
)
def test_rubbish_raises(payload: bytes) -> None:
    """The transport turns it into a poison message."""
    with pytest.raises((ValueError, EOFError, pickle.UnpicklingError, msgspec.MsgspecError, TypeError, KeyError)):
        wire.loads(payload)
