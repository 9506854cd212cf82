"""The commands of the brakes, as anybody runs them."""

from __future__ import annotations

import json
from typing import Any

from tests.system.harness import Marked

TIMEOUT_S = 300


def run_brake(processes: Marked, name: str, *options: str) -> dict[str, Any]:
    """The JSON of `python -m tests.system.brakes NAME OPTIONS`, which must have held and left nothing running."""
    process = processes.start("-m", "tests.system.brakes", name, *options, "--json")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{err}\n{out}"
    assert processes.alive() == []
    figures: dict[str, Any] = json.loads(out)
    assert (figures["verdict"], figures["problems"]) == ("PASSED", [])
    return figures
