"""Every setting, with its unit, default and rule. Settings are frozen: a change is a restart.

`from_mapping` turns a parsed settings file into `Settings`. Unknown names and wrong types are refused with the nearest
valid name; nothing is guessed. Durations are written as `"400ms"`, `"60s"`, `"5m"`, `"24h"`, `"7d"`, or as seconds.
Settings that this version reads but does not act upon yet are listed in `NOT_YET_ENFORCED`, and the daemon says so when
a file sets one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import EnumType, StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from core.errors import SettingsError


class Mode(StrEnum):
    SIM = "sim"
    """The bundled simulator or another Binance-compatible server at `exchange.base_url`."""
    OBSERVE = "observe"
    """Everything but the send."""
    TESTNET = "testnet"
    LIVE = "live"


class SystemBase(StrEnum):
    AUTO = "auto"
    """What INTENTD_SYSTEM_BASE names; without it, unix on Linux and tcp elsewhere."""
    UNIX = "unix"
    """Unix datagram sockets in a private folder; Linux only."""
    TCP = "tcp"
    """thespian's TCP transport on the loopback address, every message authenticated."""


class OnStop(StrEnum):
    KEEP = "keep"
    """Working orders stay at the venue and are taken up at the next start."""
    CANCEL = "cancel"
    """Each is canceled, buys and sells, and followed to its end."""


Duration = Annotated[int, Meta(extra={"duration": True})]
"""Nanoseconds inside the program; a text with a unit, or seconds, in a file."""
Interval = Annotated[int, Meta(extra={"duration": True, "at_least": 1_000_000})]
"""A duration that must not be nothing: something is done again and again, or given up, after it."""
LongInterval = Annotated[int, Meta(extra={"duration": True, "at_least": 1_000_000_000})]
"""The same, one second at least."""
PositiveInt = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[Decimal, Meta(extra={"at_most": 1})]
"""0.8 is 80 %."""

_MS: Final = 1_000_000
_S: Final = 1_000 * _MS
_MINUTE: Final = 60 * _S
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: Mode = Mode.SIM
    """Where orders go."""
    system_base: SystemBase = SystemBase.AUTO
    """The road between the actors."""
    start_timeout: Interval = 30 * _S
    """The longest wait until every part is ready."""
    stop_timeout: Interval = 10 * _S
    """The longest that a graceful stop takes: what is in flight, cancels, the last comparison, and writing it down."""
    on_stop: OnStop = OnStop.KEEP
    """What becomes of working orders at a graceful stop."""
    request_timeout: Interval = 30 * _S
    """The longest wait of one part for another one's answer."""
    heartbeat: LongInterval = 30 * _S
    restarts_max: PositiveInt = 20
    """Parts that died are restarted at most so many times within `restart_window`, and a part that never gets as far as
    working at most so many times in a row; then trading is halted."""
    restart_window: Interval = 60 * _S
    hang_timeout: Interval = 20 * _S
    """A part that does not answer its supervisor for this long is killed and restarted."""


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str = "binance"
    """The exchange's name in ccxt. Only binance is supported."""
    base_url: str = ""
    """Scheme, host and port that replace those of every address of the exchange; empty: the mode's own."""
    timeout_ms: PositiveInt = 10_000
    """The longest wait for one answer of the venue."""
    recv_window_ms: Annotated[int, Meta(ge=1, le=60_000)] = 5_000
    """How late a request may still be executed by the venue; bounds how long a lost request can surprise us."""
    read_lag: Duration = 10 * _S
    """How far the venue's reads may lag behind its writes, with room for a clock that differs."""
    user_stream: bool = True
    """Hear of fills and order updates by the venue's websocket, too; false: by asking alone."""
    credentials_file: str = ""
    """A 0600 file with `api_key` and `api_secret` in TOML; empty: INTENTD_API_KEY and INTENTD_API_SECRET."""


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    min_notional: Decimal = Decimal(5)
    """Smallest order in quote currency; the venue's own minimum holds where it is larger."""
    slippage_bps: Annotated[Decimal, Meta(extra={"above": 0})] = Decimal(20)
    """Basis points from the touch that a limit price may be away at most."""
    max_retries: Annotated[int, Meta(ge=0, le=20)] = 3
    """Attempts after the first one."""
    backoff_ms: PositiveInt = 400
    """Wait before the first retry; doubles with each."""
    order_max_age: Duration = 24 * _HOUR
    """Age at which a resting order is canceled."""
    replace_wait: Duration = 2 * _S
    """How long a replaced order must be over, with no further fill, before the next one leaves; longer where the venue
    reports fills late."""
    fetch_order_on_fill: bool = False
    """Fetch an order once more instead of trusting the placement's own answer."""
    quote_max_age: Interval = 1 * _S
    """Oldest top of book that an order may be planned against."""
    poll_interval: Interval = 1 * _S
    """How often working orders are looked at."""
    stream_poll_interval: Interval = 15 * _S
    """The same, while the user stream tells what happens to them."""
    intent_stale_threshold: Duration = 60 * _S
    """Age at which an intent expires of which provably nothing was ever at the venue."""


class PortfolioSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    idempotency_retention: Duration = 7 * _DAY
    """How long a key is remembered at least."""
    order_meta_max_age: Duration = 24 * _HOUR
    """Age at which a terminal order's metadata may be compacted."""
    commit_batch_max: PositiveInt = 256
    """Most requests that share one durable commit."""


class ReconcilerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every check has an interval of its own; 0 turns it off, but for the look-ups."""

    start_timeout: Interval = 10 * _S
    """The longest wait at a start for the comparison with the venue; what was not compared then is, while trading."""
    order_interval: Interval = 5 * _S
    """How often ended intents are compared with the venue's trades."""
    trades_interval: Interval = 30 * _S
    """How often own trades are read from the durable cursor on, of symbols in which something was going on."""
    late_fill_check: Duration = 60 * _S
    """Trades are read again for this long before they count as accounted for: venues do report fills late."""
    open_orders_interval: Interval = 60 * _S
    """How often the account's open orders are compared with the book."""
    in_flight_interval: Interval = 5 * _S
    """How often the book is searched for orders that nobody follows, and the ledger for contradictions."""
    in_flight_max: Interval = 45 * _S
    """An order that was sent and not answered for this long is unknown."""
    balance_interval: Interval = 30 * _S
    """How often balances are compared."""
    private_data_max_age: LongInterval = 60 * _S
    """When the account could not be read for so long, nothing is bought until it can be."""
    lookup_interval: Interval = 500 * _MS
    """Wait between two look-ups of an order whose outcome is unknown; it doubles up to sixteen times."""
    drift_looks_max: Annotated[int, Meta(ge=2)] = 6
    """An unexplained difference that was seen so often halts trading; the second time has narrowed it already."""


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each 0 switches its limit off. What is measured: `core/risk.py`."""

    max_exposure_pct: Share = Decimal("0.80")
    """Share of the equity that positions and open buys may take, per quote currency."""
    max_positions: Count = 10
    """Symbols held or being bought."""
    max_daily_drawdown_pct: Share = Decimal("0.08")
    """Share of the UTC day's opening equity that may be lost, per quote currency; then trading is REDUCING."""
    max_trades_per_day: Count = 120
    """Intents of a UTC day that have traded or still may."""
    max_open_orders: Count = 200
    """Intents that are not terminal."""
    max_position_notional: Decimal = Decimal(0)
    """Quote currency: a symbol's position and its open buys."""
    max_order_notional: Decimal = Decimal(0)
    """Quote currency: quantity × price of one order."""
    symbol_cooldown: Duration = 0
    """Wait between a symbol's last trade and the next buy."""
    cash_target: Decimal = Decimal(0)
    """Quote currency that must stay free."""
    min_sell_profit_pct: Decimal = Decimal(0)
    """Share above the average cost that a sale must bring."""


UNLIMITED: Final = RiskSettings(
    max_exposure_pct=Decimal(0),
    max_positions=0,
    max_daily_drawdown_pct=Decimal(0),
    max_trades_per_day=0,
    max_open_orders=0,
)
"""Every limit switched off; for benchmarks, and for tests of something else."""


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When new orders stop because the venue fails at them (`core/breaker.py`)."""

    window: LongInterval = 30 * _S
    """Placements of so long count."""
    min_samples: PositiveInt = 10
    """Fewer placements in the window say nothing."""
    failure_rate: Annotated[Decimal, Meta(extra={"above": 0, "at_most": 1})] = Decimal("0.5")
    """Share of the window's placements whose outcome is unknown, from which on no new order leaves."""
    cool_off: LongInterval = 15 * _S
    """How long none leaves; doubles with each failed probe, up to sixteen times."""
    probes: Annotated[int, Meta(ge=1, le=100)] = 3
    """So many orders test the venue after the cool-off; when all succeed, all may leave again."""


class ExitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    take_profit: Decimal = Decimal("1.005")
    """Multiple of the average cost."""
    stop_loss: Decimal = Decimal("0.990")
    """Multiple of the average cost."""


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    map_size_gib: Annotated[int, Meta(ge=1, le=4096)] = 16
    """Largest size of the book; the file is sparse and takes only what it holds."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: str = "info"
    """debug, info, warning or error."""
    retention_decision_days: PositiveInt = 365
    retention_order_days: PositiveInt = 365
    retention_tracer_days: PositiveInt = 60
    retention_audit_days: PositiveInt = 730
    retention_health_days: PositiveInt = 30


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it; one member per section of `intentd.toml`."""

    engine: EngineSettings = EngineSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    router: RouterSettings = RouterSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()
    risk: RiskSettings = RiskSettings()
    breaker: BreakerSettings = BreakerSettings()
    exits: ExitSettings = ExitSettings()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()


NOT_YET_ENFORCED: Final = frozenset(
    {
        "portfolio.order_meta_max_age",
        "exits",
        "log.retention_decision_days",
        "log.retention_order_days",
        "log.retention_tracer_days",
        "log.retention_audit_days",
        "log.retention_health_days",
    }
)
"""Sections and names that are read and checked, but that this version does not act upon yet."""

_UNITS_NS: Final = {"ms": _MS, "s": _S, "m": _MINUTE, "h": _HOUR, "d": _DAY}
_LONGEST_NS: Final = 36_500 * _DAY
_DURATION: Final = re.compile(r"([0-9]+)\s*(ms|s|m|h|d)")
_DURATION_LENGTH_MAX: Final = 40
_BASE_URL: Final = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def from_mapping(mapping: Mapping[str, Any], origin: str = "settings") -> Settings:
    """`Settings` from a parsed file. Raises `SettingsError` naming the value, the rule and the remedy."""
    sections = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    built: dict[str, Any] = {}
    for section, values in mapping.items():
        if section not in sections:
            raise SettingsError(f"{origin}: {_unknown_section(section, values, sections)}")
        if not isinstance(values, Mapping):
            raise SettingsError(
                f"{origin}: {section} = {values!r} must be a section; write [{section}] on its own line"
            )
        built[section] = _section(sections[section], section, values, origin)
    return Settings(**built)


def _unknown_section(name: str, values: Any, sections: Mapping[str, Any]) -> str:
    """What is wrong with a name at the top of the file that is no section."""
    owners = [section for section, kind in sections.items() if name in kind.__struct_fields__]
    if owners and not isinstance(values, Mapping):
        return f"{name} = {values!r} stands outside of its section; write it below [{owners[0]}]"
    return f"unknown section [{name}]; {_nearest(name, list(sections))}"


def unenforced(mapping: Mapping[str, Any]) -> list[str]:
    """The names a file sets although this version does not act upon them yet."""
    names = [f"{section}.{name}" for section, values in mapping.items() for name in values]
    return [name for name in names if name in NOT_YET_ENFORCED or name.split(".")[0] in NOT_YET_ENFORCED]


def _section(kind: Any, section: str, values: Mapping[str, Any], origin: str) -> Any:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    prepared: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{origin}: {section}.{name}"
        if name not in fields:
            raise SettingsError(f"{where} is not a setting; {_nearest(name, list(fields))}")
        prepared[name] = _value(fields[name].type, value, where)
    return kind(**prepared)


def _value(annotation: Any, value: Any, where: str) -> Any:
    extra = _extra(annotation)
    if extra.get("duration"):
        value = _duration_ns(value, extra, where)
    choices: list[str] = list(annotation) if isinstance(annotation, EnumType) else []
    if choices and value not in choices:
        raise SettingsError(f"{where} = {value!r}: must be one of {', '.join(choices)}")
    if isinstance(value, bool) and annotation is not bool:
        raise SettingsError(f"{where} = {value!r}: must not be true or false; give a value such as the default")
    try:
        converted = msgspec.convert(value, annotation, strict=True)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where} = {value!r}: {str(error).lower()}; see `intentctl config --defaults`") from None
    if isinstance(converted, Decimal):
        _check_decimal(converted, extra, where)
    if where.endswith(" log.level") and converted not in LOG_LEVELS:
        raise SettingsError(f"{where} = {value!r}: must be one of {', '.join(LOG_LEVELS)}")
    if where.endswith(" exchange.base_url") and value and not _BASE_URL.fullmatch(value):
        raise SettingsError(f"{where} = {value!r}: must be scheme, host and port; write it like http://127.0.0.1:8080")
    if where.endswith(" exchange.id") and value != "binance":
        raise SettingsError(f"{where} = {value!r}: is not supported; only 'binance' is")
    return converted


def _check_decimal(value: Decimal, extra: Mapping[str, Any], where: str) -> None:
    if not value.is_finite() or value < 0 or ("above" in extra and value <= extra["above"]):
        rule = f"above {extra['above']}" if "above" in extra else "0 or more"
        raise SettingsError(f"{where} = {value}: must be a finite number {rule}; see `intentctl config --defaults`")
    if "at_most" in extra and value > extra["at_most"]:
        raise SettingsError(f"{where} = {value}: must be {extra['at_most']} at most; see `intentctl config --defaults`")


def _duration_ns(value: Any, extra: Mapping[str, Any], where: str) -> int:
    read = duration_of(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        duration_ns = value * _S
    elif read is not None:
        duration_ns = read
    else:
        raise SettingsError(
            f'{where} = {value!r}: is not a duration; write it like "400ms", "60s", "5m", "24h" or "7d"'
        )
    least_ns = extra.get("at_least", 0)
    if not least_ns <= duration_ns <= _LONGEST_NS:
        raise SettingsError(
            f"{where} = {value!r}: must be {duration_text(least_ns)} to {duration_text(_LONGEST_NS)}; "
            "see `intentctl config --defaults`"
        )
    return duration_ns


def _extra(annotation: Any) -> Mapping[str, Any]:
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, Meta) and item.extra:
            return item.extra
    return {}


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else f"valid names: {', '.join(sorted(valid))}"


def duration_of(text: str) -> int | None:
    """`1m` → `60000000000`; None for what is not written like a duration."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS_NS[match[2]] if match is not None and len(text) <= _DURATION_LENGTH_MAX else None


def duration_text(value_ns: int) -> str:
    """`60000000000` → `1m`: the way a duration is written in a file, in the largest unit that fits."""
    for unit, size in reversed(_UNITS_NS.items()):
        if value_ns and value_ns % size == 0:
            return f"{value_ns // size}{unit}"
    return f"{value_ns}ns" if value_ns else "0s"
