"""The account that the API key opens: what it is called here, and what the key may do there.

The fingerprint names the account, not the key: with the venue's own number of the account it stays the same when the
key is changed. An operator types it to say which account may trade, so it is short; it tells nobody the key.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from core.ids import payload_hash

FINGERPRINT_DIGITS: Final = 12
"""Hex; two accounts of one person differ."""


class KeyRights(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue says that the API key may do. One that may withdraw is refused at the start."""

    may_trade: bool
    may_transfer: bool
    """To other accounts of the venue."""
    is_ip_restricted: bool


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The connected one."""

    fingerprint: str
    address: str
    """Where requests go: scheme, host and port."""
    rights: KeyRights | None = None
    """None: the venue does not tell in this mode."""


class KeyWarning(NamedTuple):
    """Something about the key that an operator should mend."""

    code: str
    """Of its alert."""
    text: str


def fingerprint(exchange: str, mode: str, uid: str, api_key: str) -> str:
    """Of the account. `uid` is the venue's own number of it; empty: it tells none, and the key stands for the account.

    One way, and the same in every process and version.
    """
    who = ("uid", uid) if uid else ("key", api_key)
    return payload_hash(("account", exchange, mode, *who))[:FINGERPRINT_DIGITS]


def warnings(account: Account) -> tuple[KeyWarning, ...]:
    """What is wrong with the key, and not so bad that it is refused."""
    rights, found = account.rights, []
    if rights is None:
        return ()
    if not rights.is_ip_restricted:
        text = (
            "whoever gets hold of this API key can trade with it from anywhere; restrict it to this machine's address"
        )
        found.append(KeyWarning("KEY_NOT_IP_RESTRICTED", text))
    if rights.may_transfer:
        text = "this API key may move money to other accounts of the venue; make one that may only read and trade"
        found.append(KeyWarning("KEY_MAY_TRANSFER", text))
    if not rights.may_trade:
        text = "this API key may not trade, so the venue will refuse every order; allow it spot trading"
        found.append(KeyWarning("KEY_MAY_NOT_TRADE", text))
    return tuple(found)
