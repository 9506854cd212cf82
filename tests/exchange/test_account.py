"""What a start tells of the account and its key: who it is, and what the key may do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from core.account import KeyRights, fingerprint
from core.errors import StartupFailed
from core.settings import from_mapping
from exchange import parsing
from exchange.client import VenueClient
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.simulator.process import SimulatorProcess
from tests.exchange.conftest import Venue

KEY_VARIABLES = {"INTENTD_API_KEY": SIM_API_KEY, "INTENTD_API_SECRET": SIM_API_SECRET}


def started(process: SimulatorProcess, mode: str = "live", environment: Mapping[str, str] = KEY_VARIABLES) -> Any:
    """What a client's start brings."""
    settings = from_mapping({"engine": {"mode": mode}, "exchange": {"base_url": process.base_url}})

    async def start() -> Any:
        client = VenueClient(settings, environment, [].append, time.time_ns)
        try:
            return await client.start()
        finally:
            await client.close()

    return asyncio.run(start())


def test_a_start_tells_which_account_it_is(venue: Venue) -> None:
    """The fingerprint is of the venue's own number of the account, and says nothing of the key; the address is where
    requests go."""
    account = started(venue.process).account
    assert account.fingerprint == fingerprint("binance", "live", "1", "any key")
    assert account.address == venue.base_url
    assert account.rights == KeyRights(may_trade=True, may_transfer=False, is_ip_restricted=True)


def test_the_same_account_with_another_key_keeps_its_fingerprint() -> None:
    """And another account with the same key does not."""
    found = []
    for uid, key in (("7", "one-key-1234"), ("7", "other-key-1234"), ("8", "one-key-1234")):
        sim = {"INTENTD_SIM_API_KEY": key, "INTENTD_SIM_API_SECRET": "secret-1234"}
        keys = {"INTENTD_API_KEY": key, "INTENTD_API_SECRET": "secret-1234"}
        with SimulatorProcess.start(arguments=("--uid", uid), environment=sim) as process:
            found.append(started(process, environment=keys).account.fingerprint)
    assert (found[0] == found[1], found[0] == found[2]) == (True, False)


@pytest.mark.parametrize("mode", ["live", "observe"])
def test_a_key_that_may_withdraw_is_refused(mode: str) -> None:
    """On the exchange itself, before anything is sent with it; the words say what to do."""
    with (
        SimulatorProcess.start(arguments=("--key-may-withdraw",)) as process,
        pytest.raises(StartupFailed, match="may withdraw; make one that may only read and trade"),
    ):
        started(process, mode)


def test_a_key_without_an_address_of_its_own_is_told() -> None:
    """It starts; the testnet and the simulator are not even asked."""
    with SimulatorProcess.start(arguments=("--key-not-ip-restricted",)) as process:
        live = started(process).account.rights
        assert (live.is_ip_restricted, live.may_trade) == (False, True)
        assert started(process, "sim").account.rights is None
        assert Venue(process).ask("GET", "/_sim/stats").body["requests"]["GET /sapi/v1/account/apiRestrictions"] == 1


def test_what_the_venue_does_not_tell_of_a_key_is_taken_for_the_worse() -> None:
    """An answer without a plain no means that it may withdraw, and move money."""
    assert [parsing.may_withdraw({"enableWithdrawals": told}) for told in (False, "false", True, None, "")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert parsing.may_withdraw({})
    assert parsing.key_rights({}) == KeyRights(may_trade=False, may_transfer=True, is_ip_restricted=False)


@pytest.mark.parametrize("account", [{}, {"info": {}}, {"info": {"uid": None}}, {"info": {"uid": 0}}])
def test_a_venue_may_have_no_number_of_the_account(account: dict[str, Any]) -> None:
    """Then there is none, not a number that all accounts share."""
    assert parsing.uid(account) == ""
