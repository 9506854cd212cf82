"""Whose account it is, and what the API key of it may do, as the venue tells it."""

from __future__ import annotations

import msgspec

UID_DEFAULT = 1


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    uid: int = UID_DEFAULT
    """The venue's number of the account."""
    key_may_withdraw: bool = False
    key_is_ip_restricted: bool = True
