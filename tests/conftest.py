"""What every test gets: Hypothesis is really random, and a failure prints what replays it.

A failing property prints its smallest example and the `@reproduce_failure` blob that replays it. Nothing is remembered
between runs, so no run depends on another.
"""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "intentd",
    print_blob=True,
    derandomize=False,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it is about the machine
    database=None,
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile("intentd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first: else one worker has them alone in the end, and the other waits."""
    items.sort(key=_patience_s, reverse=True)


def _patience_s(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit is not None else 0.0
