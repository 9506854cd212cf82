"""What an account is called, and what is said about its key."""

from __future__ import annotations

import pytest

from core.account import FINGERPRINT_DIGITS, Account, KeyRights, fingerprint, warnings

KEY, OTHER_KEY = "key-of-the-account", "another-key"


def test_a_fingerprint_is_the_accounts_and_not_the_keys() -> None:
    """A key that is changed leaves it as it is; another account, mode or exchange has another one."""
    ours = fingerprint("binance", "live", "42", KEY)
    assert fingerprint("binance", "live", "42", OTHER_KEY) == ours
    others = {
        fingerprint("binance", "live", "43", KEY),
        fingerprint("binance", "testnet", "42", KEY),
        fingerprint("kraken", "live", "42", KEY),
    }
    assert len(others | {ours}) == 4
    assert (len(ours), int(ours, 16) >= 0) == (FINGERPRINT_DIGITS, True)


def test_a_fingerprint_stays_the_same_over_versions() -> None:
    """It stands in books and in operators' scripts."""
    assert fingerprint("binance", "live", "42", KEY) == "1572133a94bd"


def test_without_a_number_of_the_account_the_key_stands_for_it() -> None:
    """Two keys are two accounts then; a key that reads like a number is not taken for one."""
    assert fingerprint("binance", "live", "", KEY) != fingerprint("binance", "live", "", OTHER_KEY)
    assert fingerprint("binance", "live", "", "42") != fingerprint("binance", "live", "42", "")


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"is_ip_restricted": False}, ["KEY_NOT_IP_RESTRICTED"]),
        ({"may_transfer": True}, ["KEY_MAY_TRANSFER"]),
        ({"may_trade": False}, ["KEY_MAY_NOT_TRADE"]),
    ],
)
def test_a_key_is_warned_of_that_may_more_than_it_needs_or_less(changes: dict[str, bool], codes: list[str]) -> None:
    """One that reads and trades from known addresses is as it should be."""
    rights = KeyRights(**({"may_trade": True, "may_transfer": False, "is_ip_restricted": True} | changes))
    account = Account(fingerprint="f", address="http://127.0.0.1:1", rights=rights)
    assert [warning.code for warning in warnings(account)] == codes


def test_nothing_is_said_of_a_key_that_the_venue_tells_nothing_of() -> None:
    """The testnet does not."""
    assert warnings(Account(fingerprint="f", address="http://127.0.0.1:1")) == ()
