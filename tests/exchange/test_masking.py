"""Masking: no form of a secret gets through, and nothing else is lost."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.masking import mask

SECRET = "s3cr/t+with =odd&chars%"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://api/v3/order?symbol=A&signature=0af3&x=1",
        "GET https://api/v3/order?symbol=A&signature=0af3",
        "body 'symbol=A&signature=0af3'",
        "url%3Fsymbol%3DA%26signature%3D0af3%26x%3D1",
        '{"symbol": "A", "signature": "0af3"}',
        "{'symbol': 'A', 'signature': '0af3'}",
        "SIGNATURE=0af3",
        "signature=0%2Faf3%3D",
    ],
)
def test_a_signature_is_masked_wherever_it_stands(text: str) -> None:
    """Addresses, encoded addresses, bodies, JSON and reprs lose the signature and nothing else."""
    masked = mask(text, [])
    assert "af3" not in masked
    assert "***" in masked
    assert text.count("symbol") == masked.count("symbol")
    assert text.count("x") == masked.count("x")


@pytest.mark.parametrize("form", [str, quote, lambda s: quote(s, safe=""), quote_plus, lambda s: json.dumps(s)[1:-1]])
def test_a_secret_is_masked_in_every_encoding(form: object) -> None:
    """Plain, URL-encoded and JSON forms of a secret are gone."""
    hidden = form(SECRET)  # type: ignore[operator]
    assert mask(f"before {hidden} after", [SECRET]) == "before *** after"


def test_hexadecimal_digits_of_an_encoding_may_be_small() -> None:
    """`%2f` is as much a secret as `%2F`."""
    assert mask("x=a%2fb", ["a/b"]) == "x=***"


def test_an_empty_secret_masks_nothing() -> None:
    """A missing key leaves the text alone."""
    assert mask("a text", ["", ""]) == "a text"


def test_a_secret_that_begins_another_does_not_leave_the_rest_behind() -> None:
    """The longer one goes first."""
    assert mask("key=abcdef", ["abc", "abcdef"]) == "key=***"


@given(st.text(), st.text(min_size=4), st.text())
def test_no_secret_survives(before: str, secret: str, after: str) -> None:
    """Whatever surrounds it, a secret is not in the masked text, and masking again changes nothing."""
    masked = mask(before + secret + after, [secret])
    assert secret in "***" or secret not in masked.replace("***", "\0")
    assert mask(masked, [secret]) == masked or "*" in secret
