"""What every test gets: Hypothesis is really random, and a failure prints what replays it.

A failing property prints its smallest example and the `@reproduce_failure` blob that replays it. Nothing is remembered
between runs, so no run depends on another.
"""

from __future__ import annotations

import hypothesis

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
