"""What can go wrong with a benchmark itself. Bad figures are no error; `--check` judges them."""

from __future__ import annotations

from core.errors import IntentdError


class BenchmarkFailed(IntentdError):
    """Nothing was measured, or not what the name says; the text tells what to look at."""
