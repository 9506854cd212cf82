"""API keys, from the environment or a private file, in the gateway's process alone.

A file must be 0600 and hold `api_key` and `api_secret` in TOML. A file named in the settings is used before the
environment; in `sim` mode without either, the bundled simulator's own keys are used, which open nothing else.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.errors import SettingsError
from core.settings import Mode, Settings
from exchange.simulator import auth

KEY_VARIABLE = "INTENTD_API_KEY"
SECRET_VARIABLE = "INTENTD_API_SECRET"  # noqa: S105  (the name of a variable)


class Credentials(msgspec.Struct, frozen=True):
    """Never logged, never sent in a message; `repr` shows nothing of it."""

    api_key: str
    api_secret: str

    @property
    def secrets(self) -> tuple[str, str]:
        """What `mask` must take out of every text."""
        return self.api_key, self.api_secret

    def __repr__(self) -> str:
        return "Credentials(…)"


def load(settings: Settings, environment: Mapping[str, str], fallback: Credentials) -> Credentials:
    """The credentials for the mode. `fallback` serves `sim` only. Raises `SettingsError` naming what is missing."""
    if settings.exchange.credentials_file:
        return _from_file(Path(settings.exchange.credentials_file).expanduser())
    key, secret = environment.get(KEY_VARIABLE, ""), environment.get(SECRET_VARIABLE, "")
    if key and secret:
        return Credentials(key, secret)
    if key or secret:
        missing = SECRET_VARIABLE if key else KEY_VARIABLE
        raise SettingsError(f"{missing} is not set although its partner is; set both or neither")
    if settings.engine.mode is Mode.SIM:
        return fallback
    raise SettingsError(
        f"mode {settings.engine.mode} needs credentials; set {KEY_VARIABLE} and {SECRET_VARIABLE}, "
        "or exchange.credentials_file to a 0600 file"
    )


def check(settings: Settings, environment: Mapping[str, str]) -> None:
    """See that there are credentials, without reading a file of them. Raises `SettingsError`."""
    if settings.exchange.credentials_file:
        _check_private(Path(settings.exchange.credentials_file).expanduser())
    else:
        load(settings, environment, Credentials("", ""))


def simulator_credentials(environment: Mapping[str, str]) -> Credentials:
    """The bundled simulator's own, as it reads them itself."""
    return Credentials(*auth.credentials_from(environment))


def _check_private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SettingsError(f"exchange.credentials_file = {path}: {error.strerror}; mend the path") from None
    if mode & 0o077:
        raise SettingsError(f"{path} has mode {mode:04o}, others can read it; `chmod 600 {path}`")


def _from_file(path: Path) -> Credentials:
    _check_private(path)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"exchange.credentials_file = {path}: {error.strerror}; mend the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError(f'{path} is not TOML; it needs two lines: api_key = "…" and api_secret = "…"') from None
    key, secret = content.get("api_key"), content.get("api_secret")
    if not (
        isinstance(key, str)
        and isinstance(secret, str)
        and key
        and secret
        and set(content) == {"api_key", "api_secret"}
    ):
        raise SettingsError(f"{path} needs exactly two texts: api_key and api_secret")
    return Credentials(key, secret)
