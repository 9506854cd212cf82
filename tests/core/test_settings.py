"""Settings: the defaults of the specification, and a clear word for everything a file can get wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import SettingsError
from core.settings import NOT_YET_ENFORCED, Mode, Settings, duration_text, from_mapping, unenforced
from storage.settings_file import load
from tests.builders import SECOND, dec

MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND

SPECIFIED: dict[str, Any] = {
    "engine.mode": Mode.SIM,
    "engine.heartbeat": 30 * SECOND,
    "router.min_notional": dec("5.0"),
    "router.slippage_bps": dec(20),
    "router.max_retries": 3,
    "router.backoff_ms": 400,
    "router.fetch_order_on_fill": False,
    "router.intent_stale_threshold": 60 * SECOND,
    "portfolio.idempotency_retention": 7 * DAY,
    "portfolio.order_meta_max_age": 24 * HOUR,
    "risk.max_exposure_pct": dec("0.80"),
    "risk.max_positions": 10,
    "risk.max_daily_drawdown_pct": dec("0.08"),
    "risk.max_trades_per_day": 120,
    "exits.take_profit": dec("1.005"),
    "exits.stop_loss": dec("0.990"),
    "log.retention_decision_days": 365,
    "log.retention_order_days": 365,
    "log.retention_tracer_days": 60,
    "log.retention_audit_days": 730,
    "log.retention_health_days": 30,
    "exchange.recv_window_ms": 5_000,
}


def value_of(settings: Settings, name: str) -> Any:
    section, setting = name.split(".")
    return getattr(getattr(settings, section), setting)


def refusal(mapping: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as error:
        from_mapping(mapping, "intentd.toml")
    text = str(error.value)
    assert text.startswith("intentd.toml: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", SPECIFIED)
def test_defaults_are_those_of_the_specification(name: str) -> None:
    """What nobody sets is what the specification says."""
    assert SPECIFIED[name] == value_of(Settings(), name)


def test_an_empty_file_means_the_defaults() -> None:
    """No section, or empty sections, change nothing."""
    assert Settings() == from_mapping({})
    assert Settings() == from_mapping({"router": {}, "engine": {}})


@pytest.mark.parametrize(
    ("section", "name", "value", "expected"),
    [
        ("engine", "mode", "testnet", Mode.TESTNET),
        ("router", "max_retries", 0, 0),
        ("router", "slippage_bps", Decimal("12.5"), Decimal("12.5")),
        ("router", "slippage_bps", 15, Decimal(15)),
        ("router", "slippage_bps", "15", Decimal(15)),
        ("router", "fetch_order_on_fill", True, True),
        ("router", "order_max_age", "90m", 90 * MINUTE),
        ("router", "order_max_age", 60, 60 * SECOND),
        ("router", "order_max_age", "0s", 0),
        ("router", "poll_interval", "400ms", 400_000_000),
        ("portfolio", "idempotency_retention", "8d", 8 * DAY),
        ("router", "poll_interval", "5 s", 5 * SECOND),
        ("exchange", "base_url", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("log", "level", "debug", "debug"),
    ],
)
def test_a_value_is_taken(section: str, name: str, value: Any, expected: Any) -> None:
    """Sound values of every kind are read, durations with a unit or in seconds."""
    settings = from_mapping({section: {name: value}})
    assert expected == value_of(settings, f"{section}.{name}")
    assert Settings() == msgspec.structs.replace(settings, **{section: getattr(Settings(), section)})


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        ({"ruoter": {}}, ["[ruoter]", "'router'"]),
        ({"zzz": {}}, ["[zzz]", "valid names", "router"]),
        ({"router": {"max_retry": 3}}, ["router.max_retry", "'max_retries'"]),
        ({"router": {"zzz": 3}}, ["router.zzz", "valid names", "backoff_ms"]),
        ({"router": 5}, ["router = 5", "[router]"]),
        ({"mode": "sim"}, ["mode = 'sim'", "below [engine]"]),
        ({"engine": {"mode": "prod"}}, ["engine.mode = 'prod'", "one of sim, observe, testnet, live"]),
        ({"engine": {"system_base": "udp"}}, ["engine.system_base = 'udp'", "one of auto, unix, tcp"]),
        ({"engine": {"hang_timeout": "0s"}}, ["engine.hang_timeout = '0s'", "1ms to 36500d"]),
        ({"router": {"poll_interval": "99999999999d"}}, ["poll_interval = '99999999999d'", "1ms to 36500d"]),
        ({"router": [{}]}, ["router", "section"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(mapping: dict[str, Any], parts: list[str]) -> None:
    """Nothing is guessed, but the likely meaning is named."""
    text = refusal(mapping)
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("router", "max_retries", "3"),
        ("router", "max_retries", -1),
        ("router", "max_retries", 21),
        ("router", "max_retries", Decimal("2.5")),
        ("router", "max_retries", True),
        ("router", "slippage_bps", 0),
        ("router", "slippage_bps", -1),
        ("router", "slippage_bps", Decimal("NaN")),
        ("router", "slippage_bps", Decimal("Infinity")),
        ("router", "slippage_bps", "many"),
        ("router", "slippage_bps", False),
        ("router", "min_notional", -1),
        ("router", "fetch_order_on_fill", "yes"),
        ("router", "fetch_order_on_fill", 1),
        ("router", "backoff_ms", 0),
        ("router", "poll_interval", "5 parsecs"),
        ("router", "poll_interval", "-5s"),
        ("router", "poll_interval", -5),
        ("router", "poll_interval", "1.5s"),
        ("router", "poll_interval", True),
        ("router", "poll_interval", Decimal("1.5")),
        ("router", "poll_interval", ""),
        ("engine", "mode", "paper"),
        ("engine", "mode", 1),
        ("engine", "system_base", "udp"),
        ("exchange", "recv_window_ms", 60_001),
        ("exchange", "base_url", 5),
        ("log", "level", "loud"),
        ("storage", "map_size_gib", 0),
    ],
)
def test_a_wrong_value_is_refused(section: str, name: str, value: Any) -> None:
    """The text names file, setting, value, and what to do."""
    text = refusal({section: {name: value}})
    assert f"{section}.{name} = " in text


def test_what_is_not_acted_upon_yet_is_named() -> None:
    """A file that sets something without effect hears about it, by name."""
    mapping = {"exits": {"stop_loss": "0.9"}, "risk": {"max_positions": 5}, "portfolio": {"order_meta_max_age": "5h"}}
    assert sorted(unenforced(mapping)) == ["exits.stop_loss", "portfolio.order_meta_max_age"]
    assert unenforced({}) == []


def test_what_is_not_enforced_exists() -> None:
    """The list of settings without effect names only sections and settings that there are."""
    sections = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    names = {f"{section}.{field.name}" for section, kind in sections.items() for field in msgspec.structs.fields(kind)}
    assert NOT_YET_ENFORCED - names - sections.keys() == set()


@pytest.mark.parametrize(
    ("value_ns", "expected"),
    [(0, "0s"), (400_000_000, "400ms"), (60 * SECOND, "1m"), (90 * SECOND, "90s"), (5 * MINUTE, "5m"), (7 * DAY, "7d")],
)
def test_a_duration_is_written_as_in_a_file(value_ns: int, expected: str) -> None:
    """The largest unit that needs no fraction."""
    assert expected == duration_text(value_ns)


@pytest.mark.parametrize("value_ns", [0, 1_000_000, 90 * SECOND, 36 * HOUR, 7 * DAY])
def test_a_written_duration_can_be_read(value_ns: int) -> None:
    """What is shown can be put into the file."""
    settings = from_mapping({"router": {"order_max_age": duration_text(value_ns)}})
    assert value_ns == settings.router.order_max_age


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_exactly(tmp_path: Path) -> None:
    """Decimals of a file stay as they are written."""
    path = tmp_path / "intentd.toml"
    path.write_text("[router]\nslippage_bps = 0.1\norder_max_age = '2h'\n")
    settings, mapping = load(path)
    assert (settings.router.slippage_bps, settings.router.order_max_age) == (dec("0.1"), 2 * HOUR)
    assert mapping["router"]["slippage_bps"] == dec("0.1")


@pytest.mark.parametrize(
    ("content", "word"), [(b"[router", "TOML"), (b"\xff\xfe", "UTF-8"), (b"[router]\nmax_retries = 99", "max_retries")]
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    """The error names the file and the place, in one line."""
    path = tmp_path / "intentd.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(path)
    text = str(error.value)
    assert [str(path) in text, word in text, "\n" in text] == [True, True, False]


def test_a_missing_file_is_an_error_when_it_was_named(tmp_path: Path) -> None:
    """A file that was asked for must be there."""
    with pytest.raises(SettingsError, match="--config"):
        load(tmp_path / "nowhere.toml")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No path and no `intentd.toml` in this folder: defaults; with one, that is read."""
    monkeypatch.chdir(tmp_path)
    assert load(None) == (Settings(), {})
    (tmp_path / "intentd.toml").write_text("[router]\nmax_retries = 7\n")
    assert load(None)[0].router.max_retries == 7
