"""Credentials come from the environment or a private file, and are asked for before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import Settings, from_mapping
from exchange.credentials import Credentials, load, simulator_credentials

FALLBACK = Credentials("sim-key", "sim-secret")


def _settings(mode: str, file: Path | None = None) -> Settings:
    exchange = {} if file is None else {"credentials_file": str(file)}
    return from_mapping({"engine": {"mode": mode}, "exchange": exchange})


@pytest.mark.parametrize("mode", ["sim", "observe", "testnet", "live"])
def test_the_environment_is_used_in_every_mode(mode: str) -> None:
    """Both variables set: they are the credentials."""
    environment = {"INTENTD_API_KEY": "k", "INTENTD_API_SECRET": "s"}
    assert load(_settings(mode), environment, FALLBACK) == Credentials("k", "s")


@pytest.mark.parametrize("mode", ["observe", "testnet", "live"])
def test_without_credentials_only_the_simulator_works(mode: str) -> None:
    """Any mode but sim refuses to start and names the variables."""
    with pytest.raises(SettingsError, match="INTENTD_API_KEY"):
        load(_settings(mode), {}, FALLBACK)
    assert load(_settings("sim"), {}, FALLBACK) == FALLBACK


@pytest.mark.parametrize("lonely", ["INTENTD_API_KEY", "INTENTD_API_SECRET"])
def test_half_a_pair_is_refused(lonely: str) -> None:
    """One variable without the other is a mistake in every mode."""
    with pytest.raises(SettingsError, match="is not set although its partner is"):
        load(_settings("sim"), {lonely: "x"}, FALLBACK)


def test_a_private_file_is_used(tmp_path: Path) -> None:
    """A 0600 file with both values is used before the environment."""
    file = tmp_path / "keys.toml"
    file.write_text('api_key = "fk"\napi_secret = "fs"\n')
    file.chmod(0o600)
    environment = {"INTENTD_API_KEY": "k", "INTENTD_API_SECRET": "s"}
    assert load(_settings("testnet", file), environment, FALLBACK) == Credentials("fk", "fs")


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        ('api_key = "k"\napi_secret = "s"\n', 0o644, "chmod 600"),
        ('api_key = "k"\n', 0o600, "exactly two texts"),
        ('api_key = "k"\napi_secret = 5\n', 0o600, "exactly two texts"),
        ("nonsense", 0o600, "not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_its_content(
    tmp_path: Path, content: str, mode: int, complaint: str
) -> None:
    """The error names the file and the remedy, and never shows what is in it."""
    file = tmp_path / "keys.toml"
    file.write_text(content.replace('"k"', '"topsecret"'))
    file.chmod(mode)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(_settings("testnet", file), {}, FALLBACK)
    assert str(file) in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_credentials_do_not_show_themselves() -> None:
    """Their repr holds neither key nor secret."""
    shown = repr(Credentials("visible-key", "visible-secret"))
    assert "visible" not in shown


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("sim-key-intentd", "sim-secret-intentd")),
        ({"INTENTD_API_KEY": "k", "INTENTD_API_SECRET": "s"}, ("k", "s")),
        ({"INTENTD_SIM_API_KEY": "sk", "INTENTD_API_KEY": "k", "INTENTD_API_SECRET": "s"}, ("sk", "s")),
    ],
)
def test_engine_and_simulator_agree_in_one_environment(environment: dict[str, str], expected: tuple[str, str]) -> None:
    """A simulator that is started beside the engine takes the keys that the engine would send."""
    assert simulator_credentials(environment) == Credentials(*expected)
