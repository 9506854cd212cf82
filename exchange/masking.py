"""Takes secrets out of a text before anybody writes it down (O6).

ccxt puts the full signed address into the text of its exceptions, so every text that comes from there goes through
`mask` before it is logged, stored, shown or sent to another process. What is masked stays masked: doing it twice
changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"

_SIGNATURE: Final = re.compile(
    r"""(signature(?:=|%3D|%253D|\\?["']?\s*:\s*\\?["']?))  # in an address, encoded, encoded twice, in JSON or a repr
        (?!\*\*\*)[^&\s"'\\,}%]+(?:%(?!26)[^&\s"'\\,}%]+)*  # up to the next parameter""",
    re.IGNORECASE | re.VERBOSE,
)


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` without the value of any `signature` and without any of the `secrets`, URL- and JSON-encoded forms too.

    Empty secrets are ignored.
    """
    pattern = _pattern(tuple(secrets))
    without_secrets = text if pattern is None else pattern.sub(MASK, text)
    return _SIGNATURE.sub(rf"\g<1>{MASK}", without_secrets)


@lru_cache(maxsize=16)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        return None
    # the longest first, or a short form would leave the rest of a longer one behind
    return re.compile("|".join(_pattern_of(form) for form in sorted(forms, key=lambda form: (-len(form), form))))


def _forms(secret: str) -> set[str]:
    once = quote(secret, safe="")
    return {secret, once, quote(secret), quote_plus(secret), quote(once, safe=""), json.dumps(secret)[1:-1]}


def _pattern_of(form: str) -> str:
    """Escaped; the hexadecimal digits of `%2F` may be small."""
    return re.sub(r"%[0-9A-F]{2}", lambda found: f"(?i:{found.group()})", re.escape(form))
