"""Reading `intentd.toml`."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.errors import SettingsError
from core.settings import Settings, from_mapping

DEFAULT_NAME = "intentd.toml"


def load(path: Path | None) -> tuple[Settings, dict[str, Any]]:
    """Settings and the mapping they came from. Without a path: `intentd.toml` in this folder if there is one.

    Raises `SettingsError` naming the file, the value, the rule and the remedy.
    """
    if path is None:
        path = Path(DEFAULT_NAME)
        if not path.exists():
            return Settings(), {}
    try:
        mapping = tomllib.loads(path.read_text(), parse_float=Decimal)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}; mend the path given with --config") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings file {path} is not UTF-8 text; write it as TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}; mend that place") from None
    return from_mapping(mapping, str(path)), mapping
