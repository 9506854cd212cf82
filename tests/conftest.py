"""What every test gets: Hypothesis is really random, and a failure prints what replays it.

A failing property prints its `@reproduce_failure` blob; a whole run is replayed with `--hypothesis-seed=N`, which the
header names. Nothing is remembered between runs, so no run depends on another.
"""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("intentd", print_blob=True, derandomize=False, deadline=None, database=None)
hypothesis.settings.load_profile("intentd")
